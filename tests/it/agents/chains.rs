//! Chains of models over several providers: which entry answers, what a client receives, and what operators see.

use axum::routing::post;
use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Recorder, Rows, Server, Titlecast,
    model::{respond, serve as serve_model},
    server::{graphql, metrics, request},
};

use super::{Folder, serve, stable};

/// A file with two providers, `one` and `two`, and the chain `one/a`, `two/b` for replies. Titles are made by `titles`.
fn file(one: &str, two: &str, titles: &str) -> String {
    format!(
        r#"
[providers.one]
base_url = "{one}"
first_event = "500ms"

[providers.two]
base_url = "{two}"

[agents.triage]
models = ["one/a", "two/b"]

[titles]
models = ["{titles}"]
"#
    )
}

async fn start(one: &str, two: &str) -> (Folder, Server) {
    let folder = Folder::new().file("titlecast.toml", &file(one, two, "two/b"));
    let server = serve(&folder, &[]).await;
    (folder, server)
}

/// Sends a message; status, and the text of the reply or the code of its failure.
async fn ask(url: &str) -> (u16, String) {
    let body = json!({ "message": "Plan a trip to Kyoto" });
    let (status, answer) = request(url, "POST", "/api/v1/chat", Some(body)).await;
    let said = match status {
        200 => &answer["response"],
        _ => &answer["code"],
    };
    (status, said.as_str().unwrap().to_owned())
}

fn answered() -> (u16, String) {
    (200, ModelServer::REPLY.concat())
}

fn failed(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn chat_model(server: &Server) -> (Value, Value) {
    let (status, page) = server.get("/readyz").await;
    assert_eq!(status, 200, "{page}");
    (page["chat_model"].clone(), page["degraded"].clone())
}

fn failure() -> Answer {
    Answer::error(500, "server_error", None, "Out of order")
}

#[tokio::test]
async fn a_silent_model_fails_one_reply_and_the_next_ones_go_to_the_next_model_at_once() {
    let (silent, good) = (ModelServer::start().await, ModelServer::start().await);
    silent.reply(Answer::Silence);
    let (_folder, server) = start(&silent.url, &good.url).await;
    // It was sent, so it is not sent again.
    assert_eq!(ask(&server.url).await, failed(502, "MODEL_UNAVAILABLE"));
    assert_eq!(good.reply_requests().len(), 0);
    for _ in 0..3 {
        assert_eq!(ask(&server.url).await, answered());
    }
    assert_eq!(silent.reply_requests().len(), 1, "its breaker is open");
    assert_eq!(good.reply_requests().len(), 3);
    let says = json!("two/b answers in place of one/a: timeout");
    assert_eq!(chat_model(&server).await, (says, json!(["chat_model"])));
    server.stop().await;
}

#[tokio::test]
async fn the_page_of_health_is_degraded_while_every_model_fails() {
    let (one, two) = (ModelServer::start().await, ModelServer::start().await);
    for model in [&one, &two] {
        model.reply(failure()).reply(failure());
    }
    let (_folder, server) = start(&one.url, &two.url).await;
    assert_eq!(chat_model(&server).await, (json!("ok"), json!([])));
    assert_eq!(ask(&server.url).await, failed(502, "MODEL_UNAVAILABLE"));
    assert_eq!(
        (one.reply_requests().len(), two.reply_requests().len()),
        (2, 2)
    );
    let out = (json!("unavailable"), json!(["chat_model"]));
    assert_eq!(chat_model(&server).await, out);
    // The first one is back.
    assert_eq!(ask(&server.url).await, answered());
    assert_eq!(chat_model(&server).await, (json!("ok"), json!([])));
    server.stop().await;
}

#[tokio::test]
async fn a_model_that_rejects_what_the_next_one_answers_shows() {
    let (one, two) = (ModelServer::start().await, ModelServer::start().await);
    let rejection = || Answer::error(400, "invalid_request_error", None, "Something is wrong");
    let (_folder, server) = start(&one.url, &two.url).await;
    // What both reject may be the message's fault.
    one.reply(rejection());
    two.reply(rejection());
    assert_eq!(ask(&server.url).await, failed(502, "MODEL_MISCONFIGURED"));
    assert_eq!(chat_model(&server).await, (json!("ok"), json!([])));
    one.reply(rejection());
    assert_eq!(ask(&server.url).await, answered());
    let says = json!("two/b answers in place of one/a: invalid_request");
    assert_eq!(chat_model(&server).await, (says, json!(["chat_model"])));
    assert_eq!(ask(&server.url).await, answered());
    assert_eq!(chat_model(&server).await, (json!("ok"), json!([])));
    server.stop().await;
}

#[tokio::test]
async fn a_model_that_always_fails_shows_though_the_next_one_answers() {
    let broken = post(|| respond(failure()));
    let (url, serving) = serve_model(broken).await;
    let good = Recorder::start().await;
    let mut node = Titlecast::new(&["serve", "--listen", "127.0.0.1:0", "--title-check", "false"])
        .file("titlecast.toml", &file(&url, &good.url, "two/b"))
        .env("TITLECAST_CONFIG", "titlecast.toml")
        .start();
    let line = node.line("serving metrics").await;
    let address = line.split("metrics_address=").nth(1).unwrap().trim();
    let page = format!("http://{address}");
    let url = node.url().await;
    for _ in 0..3 {
        assert_eq!(ask(&url).await, (200, "From b.".into()));
    }
    let (_, health) = request(&url, "GET", "/readyz", None).await;
    let says = "two/b answers in place of one/a: unavailable";
    assert_eq!(health["chat_model"], says, "{health}");
    assert_eq!(health["degraded"], json!(["chat_model"]));
    let shown = metrics(&page).await;
    for line in [
        r#"titlecast_model_failing{task="reply",model="one/a"} 1"#,
        r#"titlecast_model_failing{task="reply",model="two/b"} 0"#,
        // It is asked each time, so that it is noticed when it is back.
        r#"titlecast_model_open{task="reply",model="one/a"} 0"#,
        r#"titlecast_model_answering{task="reply",model="two/b"} 1"#,
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    node.terminate();
    let log = node.ended().await.stderr;
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("another model answers in place of the first one"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    for part in ["WARN", "one/a", "two/b", "unavailable", "reply"] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
    serving.abort();
}

#[tokio::test]
async fn a_text_that_is_too_long_goes_to_the_next_model_and_has_a_code_of_its_own() {
    let code = "context_length_exceeded";
    let too_long = || Answer::error(400, "invalid_request_error", Some(code), "Too long");
    let (small, large) = (ModelServer::start().await, ModelServer::start().await);
    let (_folder, server) = start(&small.url, &large.url).await;
    small.reply(too_long());
    assert_eq!(ask(&server.url).await, answered());
    assert_eq!(
        (small.reply_requests().len(), large.reply_requests().len()),
        (1, 1)
    );
    // The message is why, not the model.
    assert_eq!(chat_model(&server).await, (json!("ok"), json!([])));

    small.reply(too_long());
    large.reply(too_long());
    assert_eq!(ask(&server.url).await, failed(422, "CONTEXT_TOO_LONG"));
    assert_eq!(
        (small.reply_requests().len(), large.reply_requests().len()),
        (2, 2)
    );
    assert_eq!(chat_model(&server).await, (json!("ok"), json!([])));
    let query = "{ conversations(first: 1) { nodes { messages { nodes { status error { code message } } } } } }";
    let listed = graphql(&server.url, query, json!({})).await;
    let reply = &listed["data"]["conversations"]["nodes"][0]["messages"]["nodes"][1];
    assert_eq!(reply["status"], "FAILED", "{listed}");
    assert_eq!(reply["error"]["code"], "CONTEXT_TOO_LONG", "{listed}");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("start a new one"), "{message}");
    // Earlier versions read the turn's code, and know this one.
    let rows = Rows::of(&server.database).await;
    let codes = rows
        .all(
            "SELECT reply_failure FROM agent_turns WHERE reply_failure IS NOT NULL",
            [],
        )
        .await;
    let codes: Vec<String> = codes
        .iter()
        .map(|row| row.try_get("", "reply_failure").unwrap())
        .collect();
    assert_eq!(codes, ["MODEL_MISCONFIGURED"]);
    server.stop().await;
}

#[tokio::test]
async fn the_pages_of_health_know_the_models_of_all_agents() {
    let (one, two) = (ModelServer::start().await, ModelServer::start().await);
    let file = file(&one.url, &two.url, "two/b")
        + "[agents.other]\nmodels = [\"two/c\", \"one/a\"]\n\n[agents.third]\nmodels = [\"one/d\"]\n";
    let folder = Folder::new().file("titlecast.toml", &file);
    let server = serve(&folder, &[]).await;
    let (_, alive) = server.get("/healthz").await;
    assert_eq!(alive["chat_model"], "a, b, c, d", "{alive}");
    one.reply(Answer::error(
        404,
        "invalid_request_error",
        Some("model_not_found"),
        "Gone",
    ));
    let body = json!({ "message": "Hello there", "agent_type": "third" });
    let (status, _) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(status, 502);
    let says = json!("one/d: model_not_found");
    assert_eq!(chat_model(&server).await, (says, json!(["chat_model"])));
    server.stop().await;
}

/// Each provider is asked on its own wire, with the same history, instructions and parameters.
#[tokio::test]
async fn a_reply_falls_back_from_one_wire_to_the_other() {
    let (one, two) = (Recorder::start().await, Recorder::start().await);
    let file = format!(
        r#"
[providers.one]
base_url = "{}"
api_key_file = "one.key"
wire = "responses"

[providers.two]
base_url = "{}"
headers = {{ X-Team = "support" }}

[agents.triage]
models = ["one/gone-mini", "two/large"]
instructions = "Be brief."
parameters = {{ reasoning_effort = "low", max_output_tokens = 500, extra = {{ top_k = 20 }} }}

[agents.other]
models = ["two/gone-large", "one/mini"]
instructions = "Be kind."
parameters = {{ verbosity = "high", temperature = 0.5 }}

[titles]
models = ["two/tiny"]
"#,
        one.url, two.url
    );
    let folder = Folder::new()
        .file("titlecast.toml", &file)
        .file("one.key", "key-of-one\n");
    let server = serve(&folder, &[]).await;
    let mut id = Value::Null;
    for (agent, expected) in [("triage", "From large."), ("other", "From mini.")] {
        let body = json!({
            "message": format!("A question for {agent}"), "agent_type": agent, "conversation_id": id,
            "context": { "auto_title": false },
        });
        let (status, answer) = server.send("POST", "/api/v1/chat", body).await;
        assert_eq!(
            (status, &answer["response"]),
            (200, &json!(expected)),
            "{answer}"
        );
        id = answer["conversation_id"].clone();
    }
    let asked = |provider: &Recorder| -> Vec<Value> {
        provider.requests().into_iter().map(stable).collect()
    };
    let (one, two) = (asked(&one), asked(&two));
    assert_eq!((one.len(), two.len()), (2, 2));
    assert!(!json!(two).to_string().contains("key-of-one"));
    insta::assert_json_snapshot!(json!({ "one, responses": one, "two, chat completions": two }));
    // Rows name the model that wrote each.
    let rows = Rows::of(&server.database).await;
    let models = rows
        .all(
            "SELECT model FROM agent_messages WHERE role = 'assistant' ORDER BY position",
            [],
        )
        .await;
    let models: Vec<String> = models
        .iter()
        .map(|row| row.try_get("", "model").unwrap())
        .collect();
    assert_eq!(models, ["two/large", "one/mini"]);
    server.stop().await;
}
