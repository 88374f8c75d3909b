//! Traces: what a collector gets of a message and of a failure, and what happens without one.

use axum::http::StatusCode;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use titlecast_testing::{
    Answer, Collector, Events, ModelServer, Step, TestDatabase, Titlecast,
    collector::Span,
    process::Process,
    server::{client, graphql, request},
};

const LOCAL: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A server that sends traces there, on the database that tests run on.
async fn traced(model: &ModelServer, database: &TestDatabase, endpoint: &str) -> (Process, String) {
    let mut serving = Titlecast::new(&LOCAL)
        .env("OPENAI_BASE_URL", &model.url)
        .env("DATABASE_URL", &database.url)
        .env("TITLECAST_TITLE_CHECK", "false")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .start();
    let url = serving.url().await;
    (serving, url)
}

/// The one span that is called so below this one.
#[track_caller]
fn child<'a>(spans: &'a [Span], parent: &Span, name: &str) -> &'a Span {
    let below = || spans.iter().filter(|span| span.parent == parent.id);
    let mut found = below().filter(|span| span.name == name);
    let names: Vec<_> = below().map(|span| &span.name).collect();
    let (Some(span), None) = (found.next(), found.next()) else {
        panic!("not one {name:?} below {:?}, but {names:?}", parent.name);
    };
    span
}

fn names<'a>(spans: &'a [Span], parent: &Span) -> Vec<&'a str> {
    let below = spans.iter().filter(|span| span.parent == parent.id);
    below.map(|span| span.name.as_str()).collect()
}

#[tokio::test]
async fn a_first_message_is_a_trace_from_the_request_to_the_statements() {
    let (model, collector) = (ModelServer::start().await, Collector::start().await);
    let database = TestDatabase::new().await;
    let (serving, url) = traced(&model, &database, &collector.url).await;
    let steps = model.live_reply();
    let sent = client()
        .post(format!("{url}/api/v1/chat/stream"))
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .body(json!({ "message": "Plan a trip to Kyoto" }).to_string());
    let mut stream = Events::of(sent).await;
    let mut event = stream.next().await.unwrap();
    while event["kind"] != "lifecycle" {
        event = stream.next().await.unwrap();
    }
    // The title is stored, and the reply continues.
    steps.send(Step::delta("Hello")).unwrap();
    steps.send(Step::Finish).unwrap();
    stream.rest().await;
    serving.terminate();
    serving.ended().await.ok();

    let resources = collector.resources();
    assert_eq!(resources[0]["service.name"], "titlecast");
    assert_eq!(resources[0]["service.version"], env!("CARGO_PKG_VERSION"));
    let spans = collector.spans();
    let request = spans.iter().find(|span| span.parent == CALLER).unwrap();
    assert_eq!(request.trace, TRACE);
    assert_eq!(request.name, "POST /api/v1/chat/stream");
    assert_eq!(request.kind, SpanKind::Server);
    assert_eq!(
        json!(request.attributes),
        json!({
            "http.request.method": "POST",
            "http.route": "/api/v1/chat/stream",
            "http.response.status_code": 200,
            "url.scheme": "http",
        })
    );
    let system = match database.is_sqlite() {
        true => "sqlite",
        false => "postgresql",
    };
    // One transaction; then what the reply and the title do is theirs.
    let beginning = names(&spans, request);
    assert_eq!(beginning[0], "BEGIN");
    assert!(
        beginning.contains(&"INSERT agent_messages"),
        "{beginning:?}"
    );
    let commit = child(&spans, request, "COMMIT");
    let expected = json!({ "db.system.name": system, "db.operation.name": "COMMIT" });
    assert_eq!(json!(commit.attributes), expected);

    let turn = child(&spans, request, "turn");
    assert_eq!(turn.kind, SpanKind::Internal);
    assert_eq!(turn.attributes["titlecast.outcome"], "completed");
    let insert = child(&spans, turn, "INSERT agent_messages");
    let expected = json!({
        "db.system.name": system,
        "db.operation.name": "INSERT",
        "db.collection.name": "agent_messages",
    });
    assert_eq!(
        (insert.kind, json!(insert.attributes)),
        (SpanKind::Client, expected)
    );
    let call = child(&spans, turn, "chat gpt-6-luna");
    let port: u16 = model.url.split(':').nth(2).unwrap()[..]
        .trim_end_matches("/v1")
        .parse()
        .unwrap();
    let mut expected = json!({
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-6-luna",
        "gen_ai.response.model": "gpt-6-luna-2026-09-22",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 5,
        "server.address": "127.0.0.1",
        "server.port": port,
    });
    assert_eq!(
        (call.kind, json!(call.attributes)),
        (SpanKind::Client, expected.clone())
    );
    let stored = child(&spans, turn, "COMMIT");
    assert!(stored.start >= call.end, "{spans:#?}");

    let title = child(&spans, request, "title");
    assert_eq!(title.attributes["titlecast.outcome"], "titled");
    assert_eq!(
        title.attributes["conversation.id"],
        turn.attributes["conversation.id"]
    );
    let call = child(&spans, title, "chat gpt-6-luna");
    expected["gen_ai.output.type"] = json!("json");
    expected["gen_ai.request.max_tokens"] = json!(512);
    expected["gen_ai.usage.input_tokens"] = json!(90);
    expected["gen_ai.usage.output_tokens"] = json!(12);
    assert_eq!(json!(call.attributes), expected);
    assert!(child(&spans, title, "COMMIT").start >= call.end);
    let written = child(&spans, turn, "chat gpt-6-luna");
    // The stream went on behind the title, whose own span may end a little later: it still has to be recorded as published.
    assert!(
        written.end > call.end,
        "to the end of the stream: {spans:#?}"
    );
    assert!(
        request.end < title.end,
        "to the head of the answer: {spans:#?}"
    );
    for span in &spans {
        assert!(!span.is_failed, "{span:?}");
    }
}

#[tokio::test]
async fn operations_and_failures_are_named_by_the_schema_and_by_codes() {
    let (model, collector) = (ModelServer::start().await, Collector::start().await);
    let database = TestDatabase::new().await;
    let (serving, url) = traced(&model, &database, &collector.url).await;
    model.reply(Answer::error(
        401,
        "invalid_request_error",
        Some("invalid_api_key"),
        "no",
    ));
    model.refuse_title();
    let query = r#"mutation Mine { sendMessage(input: { text: "Plan a trip" }) { replyId } }"#;
    let answer = graphql(&url, query, Value::Null).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    let refused = graphql(
        &url,
        r#"query Mine { conversation(id: "x") { id } }"#,
        Value::Null,
    )
    .await;
    assert!(
        refused["errors"][0]["extensions"]["code"].is_string(),
        "{refused}"
    );
    let (status, _) = request(&url, "GET", "/nowhere", None).await;
    assert_eq!(status, 404);
    serving.terminate();
    serving.ended().await.ok();

    let spans = collector.spans();
    let named = |name: &str| {
        let found = spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("no {name:?}: {spans:#?}"))
    };
    let operation = named("mutation sendMessage");
    assert_eq!(operation.attributes["graphql.operation.type"], "mutation");
    let request = spans
        .iter()
        .find(|span| span.id == operation.parent)
        .unwrap();
    assert_eq!(request.name, "POST /graphql");
    let turn = child(&spans, operation, "turn");
    assert!(turn.is_failed);
    assert_eq!(turn.attributes["error.type"], "MODEL_MISCONFIGURED");
    let call = child(&spans, turn, "chat gpt-6-luna");
    assert!(call.is_failed);
    assert_eq!(call.attributes["error.type"], "unauthorized");
    assert_eq!(call.attributes["http.response.status_code"], 401);
    let title = child(&spans, operation, "title");
    assert_eq!(
        (title.is_failed, &title.attributes["error.type"]),
        (true, &json!("invalid_request"))
    );
    let refused_span = named("query conversation");
    let code = &refused["errors"][0]["extensions"]["code"];
    assert_eq!(
        (
            refused_span.is_failed,
            &refused_span.attributes["error.type"]
        ),
        (true, code)
    );
    // What is the client's own, a path or a name, is nowhere.
    assert_eq!(
        named("GET none").attributes["http.response.status_code"],
        404
    );
    for span in &spans {
        assert!(!format!("{span:?}").contains("Mine"), "{span:?}");
    }
}

#[tokio::test]
async fn standard_variables_name_the_service_and_thin_out_traces() {
    let (model, collector) = (ModelServer::start().await, Collector::start().await);
    let start = |sampler: &str| {
        Titlecast::new(&LOCAL)
            .env("OPENAI_BASE_URL", &model.url)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
            .env("OTEL_SERVICE_NAME", "chat-backend")
            .env("OTEL_TRACES_SAMPLER", sampler)
            .start()
    };
    for (sampler, is_sent) in [("always_off", false), ("always_on", true)] {
        let mut serving = start(sampler);
        let url = serving.url().await;
        let body = json!({ "message": "Plan a trip to Kyoto" });
        assert_eq!(
            request(&url, "POST", "/api/v1/chat", Some(body)).await.0,
            200
        );
        serving.terminate();
        serving.ended().await.ok();
        assert_eq!(!collector.bodies().is_empty(), is_sent, "{sampler}");
    }
    assert_eq!(collector.resources()[0]["service.name"], "chat-backend");
}

#[tokio::test]
async fn a_collector_in_trouble_is_mentioned_once_and_holds_nothing() {
    let model = ModelServer::start().await;
    let refusing = Collector::answering(StatusCode::SERVICE_UNAVAILABLE).await;
    let gone = "http://127.0.0.1:9".to_owned();
    for (endpoint, reason) in [(&refusing.url, "503"), (&gone, "connection")] {
        let database = TestDatabase::new().await;
        let (mut serving, url) = traced(&model, &database, endpoint).await;
        let body = json!({ "message": "Plan a trip to Kyoto" });
        assert_eq!(
            request(&url, "POST", "/api/v1/chat", Some(body)).await.0,
            200
        );
        serving.line("traces cannot be sent").await;
        serving.terminate();
        let stopping = std::time::Instant::now();
        let ended = serving.ended().await;
        assert!(stopping.elapsed().as_secs() < 8, "{:?}", stopping.elapsed());
        let said = ended
            .stderr
            .lines()
            .filter(|line| line.contains("traces cannot be sent"));
        let said: Vec<&str> = said.collect();
        assert_eq!(said.len(), 1, "{}", ended.stderr);
        assert!(said[0].contains(reason), "{}", said[0]);
        ended.ok();
    }
}

#[tokio::test]
async fn a_collector_that_says_nothing_does_not_hold_the_end() {
    let (model, database) = (ModelServer::start().await, TestDatabase::new().await);
    // Connections are accepted, and never read.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let (serving, url) = traced(&model, &database, &endpoint).await;
    let body = json!({ "message": "Plan a trip to Kyoto" });
    let (status, _) = request(&url, "POST", "/api/v1/chat", Some(body)).await;
    assert_eq!(status, 200);
    let stopping = std::time::Instant::now();
    serving.terminate();
    let ended = serving.ended().await;
    assert!(stopping.elapsed().as_secs() < 5, "{:?}", stopping.elapsed());
    let said = &ended.stderr;
    assert!(said.contains("cannot send the last spans"), "{said}");
    ended.ok();
}

#[tokio::test]
async fn a_collector_that_cannot_be_one_is_refused_at_the_start() {
    for bad in ["127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://"] {
        let ended = Titlecast::new(&LOCAL)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", bad)
            .run()
            .await;
        ended.assert_refused(&["--otlp-endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://"]);
    }
}

#[tokio::test]
async fn lines_of_the_log_name_the_trace_that_they_belong_to() {
    let (model, collector) = (ModelServer::start().await, Collector::start().await);
    for format in ["json", "text"] {
        let database = TestDatabase::new().await;
        model.reply(Answer::error(401, "invalid_request_error", None, "No"));
        let mut serving = Titlecast::new(&LOCAL)
            .env("OPENAI_BASE_URL", &model.url)
            .env("DATABASE_URL", &database.url)
            .env("TITLECAST_TITLE_CHECK", "false")
            .env("TITLECAST_LOG_FORMAT", format)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
            .start();
        let listening = serving.line("listening").await;
        let address = listening.split("127.0.0.1:").nth(1).unwrap();
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        let sent = client()
            .post(format!("http://127.0.0.1:{port}/api/v1/chat"))
            .header("content-type", "application/json")
            .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
            .body(json!({ "message": "Plan a trip to Kyoto" }).to_string());
        let status = titlecast_testing::within(sent.send())
            .await
            .unwrap()
            .status();
        assert_eq!(status, 502);
        let failed = serving.line("request failed").await;
        let named = match format {
            "json" => format!("\"trace_id\":\"{TRACE}\""),
            _ => format!("trace_id={TRACE}"),
        };
        assert!(failed.contains(&named), "{failed}");
        if format == "json" {
            let line: Value = serde_json::from_str(&failed).unwrap();
            assert_eq!(line["trace_id"], TRACE);
        }
        assert!(!listening.contains("trace_id"), "{listening}");
        serving.terminate();
        serving.ended().await.ok();
    }
}
