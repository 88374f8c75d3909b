//! Whether the title model answers: asked at the start, seen with every call, shown to operators.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Scene, Server, eventually, process::Titlecast, server::metrics,
};

const CHECK: [&str; 2] = ["--title-check", "true"];

/// What `/readyz` says of the title model, as soon as it says anything.
async fn title_model(server: &Server) -> String {
    eventually(async || {
        let (status, health) = server.get("/readyz").await;
        assert_eq!(
            (status, &health["status"]),
            (200, &json!("ready")),
            "titles are no condition"
        );
        let state = health["title_model"].as_str().unwrap().to_owned();
        (state != "unknown").then_some(state)
    })
    .await
}

fn unknown_model() -> Answer {
    let code = Some("model_not_found");
    Answer::error(404, "invalid_request_error", code, "No such model")
}

#[tokio::test]
async fn a_model_that_answers_shows_and_its_tokens_are_counted_for_no_user() {
    let mut scene = Scene::titles_with([], &CHECK).await;
    assert_eq!(title_model(&scene.server).await, "ok");
    assert_eq!(scene.title_calls(), 1);
    let request = &scene.model.title_requests()[0];
    assert!(
        request["messages"][1]["content"].as_str().unwrap().len() < 100,
        "tiny: {request}"
    );
    let page = scene.server.serve_metrics().await;
    let page = metrics(&page).await;
    assert!(page.contains("\ntitlecast_title_model_up 1\n"), "{page}");
    let stored = eventually(async || {
        let calls = "SELECT tenant_id, outcome, prompt_tokens FROM agent_title_calls";
        scene.rows.all(calls, []).await.pop()
    })
    .await;
    let tenant: String = stored.try_get("", "tenant_id").unwrap();
    let tokens: i64 = stored.try_get("", "prompt_tokens").unwrap();
    assert_eq!((tenant.as_str(), tokens), ("", 90));
    assert_eq!(scene.rows.count("agent_conversations").await, 0);
    scene.server.stop().await;
}

#[tokio::test]
async fn a_model_that_was_retired_shows_until_there_is_another() {
    let model = ModelServer::start().await;
    model.title(unknown_model());
    let mut server = Server::start_with(&model, &CHECK).await;
    let page = server.serve_metrics().await;
    assert_eq!(title_model(&server).await, "model_not_found");
    assert!(
        metrics(&page)
            .await
            .contains("\ntitlecast_title_model_up 0\n")
    );
    server.begin("Plan a trip to Kyoto").await;
    eventually(async || (title_model(&server).await == "ok").then_some(())).await;
    assert!(
        metrics(&page)
            .await
            .contains("\ntitlecast_title_model_up 1\n")
    );
    server.stop().await;
}

#[tokio::test]
async fn the_log_says_why_there_is_no_answer_and_what_to_do() {
    const KEY: &str = "sk-proj-a-key-that-nobody-may-read";
    let error = |status, code| Answer::error(status, "invalid_request_error", Some(code), KEY);
    let nowhere = "http://me:hunter2@127.0.0.1:1/v1";
    #[rustfmt::skip]
    let table: [(Option<Answer>, &[&str]); 8] = [
        (Some(error(401, "invalid_api_key")), &["unauthorized", "status=401", "invalid_api_key", "OPENAI_API_KEY"]),
        (Some(unknown_model()), &["model_not_found", "status=404", "gpt-6-luna", "TITLECAST_TITLE_MODEL"]),
        // No such path: the base URL is another's.
        (Some(Answer::Status(404, vec![], json!("nothing here"))), &["model_not_found", "no model API at this URL", "OPENAI_BASE_URL", "/v1"]),
        (Some(error(400, "context_length_exceeded")), &["invalid_request", "TITLECAST_TITLE_PARAMETERS"]),
        (Some(error(429, "insufficient_quota")), &["quota_exceeded", "billing"]),
        (Some(error(503, "overloaded")), &["unavailable", "status=503", "server error"]),
        (Some(Answer::Page("<html>")), &["rejected", "does not speak", "OPENAI_BASE_URL"]),
        (None, &["unavailable", "no connection", "OPENAI_BASE_URL"]),
    ];
    for (answer, parts) in table {
        let model = ModelServer::start().await;
        let url = match answer {
            Some(answer) => model.title(answer).url.as_str(),
            None => nowhere,
        };
        let mut serving = Titlecast::new(&["--listen", "127.0.0.1:0"])
            .env("OPENAI_BASE_URL", url)
            .env("OPENAI_API_KEY", KEY)
            .start();
        let line = serving.line("title model check failed").await;
        for part in [&["ERROR"], parts].concat() {
            assert!(line.contains(part), "{part}: {line}");
        }
        serving.terminate();
        let ended = serving.ended().await;
        assert_eq!(ended.code, Some(0), "it serves all the same");
        for secret in [KEY, "hunter2"] {
            assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn metrics_count_outcomes_calls_tokens_claims_and_the_breaker() {
    let refusal = Answer::Text("I'm sorry, but I can't help with that.");
    let code = Some("invalid_api_key");
    let unauthorized = Answer::error(401, "invalid_request_error", code, "Incorrect API key");
    let good = Answer::Text(ModelServer::TITLE);
    let mut scene = Scene::titles([refusal, good, unauthorized]).await;
    let page = scene.server.serve_metrics().await;
    let titled = scene.unharmed().await;
    scene.assert_ready(&titled).await;
    scene.turn(json!({ "message": Scene::MESSAGE })).await;
    let page = metrics(&page).await;
    let model = r#"tenant="local",model="openai/gpt-6-luna""#;
    for line in [
        r#"titlecast_title_generations_total{outcome="titled"} 1"#.to_owned(),
        r#"titlecast_title_generations_total{outcome="unauthorized"} 1"#.to_owned(),
        format!(r#"titlecast_title_calls_total{{{model},outcome="title"}} 1"#),
        format!(r#"titlecast_title_calls_total{{{model},outcome="rejected"}} 1"#),
        format!(r#"titlecast_title_calls_total{{{model},outcome="unauthorized"}} 1"#),
        format!(r#"titlecast_title_tokens_total{{{model},outcome="rejected",kind="prompt"}} 90"#),
        format!(r#"titlecast_title_tokens_total{{{model},outcome="title",kind="completion"}} 12"#),
        format!(r#"titlecast_title_tokens_total{{{model},outcome="title",kind="reasoning"}} 0"#),
        r#"titlecast_title_claims_total{by="message"} 2"#.to_owned(),
        "titlecast_title_duration_seconds_count 2".to_owned(),
        "titlecast_title_call_duration_seconds_count 3".to_owned(),
        "titlecast_title_breaker_open 1".to_owned(),
        "titlecast_title_model_up 0".to_owned(),
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} is missing: {page}"
        );
    }
    assert!(page.ends_with("# EOF\n"));
    scene.server.stop().await;
}

#[tokio::test]
async fn the_metrics_have_a_listener_of_their_own() {
    let mut server = Server::start(&ModelServer::start().await).await;
    let page = server.serve_metrics().await;
    let (status, _) = server.get("/metrics").await;
    assert_eq!(status, 404, "not where users are");
    let (status, refusal): (_, Value) =
        titlecast_testing::server::request(&page, "GET", "/healthz", None).await;
    assert_eq!((status, &refusal["code"]), (404, &json!("NOT_FOUND")));
    server.stop().await;
}

#[tokio::test]
async fn stats_tell_titles_failures_tokens_and_latency() {
    let refused = || Answer::Text("I'm sorry, but I can't help with that.");
    let mut scene = Scene::titles([Answer::Text(ModelServer::TITLE), refused(), refused()]).await;
    scene.unharmed().await;
    scene.unharmed().await;
    let page = scene.server.serve_metrics().await;
    let stats = |arguments: &'static [&'static str]| {
        let mut command = vec!["stats"];
        command.extend(arguments);
        let stats = Titlecast::new(&command).env("DATABASE_URL", &scene.server.database.url);
        async { stats.run().await.ok() }
    };
    let mut json: Value = serde_json::from_str(&stats(&["--json"]).await).unwrap();
    assert!(json["latency"]["max_ms"].take().is_i64());
    assert_eq!(
        json["titles"],
        json!([
            { "status": "failed", "source": "hint", "conversations": 1 },
            { "status": "ready", "source": "generated", "conversations": 1 },
        ])
    );
    assert_eq!(
        json["failures"],
        json!([{ "reason": "rejected", "conversations": 1 }])
    );
    assert_eq!(
        json["calls"],
        json!([
            { "model": "openai/gpt-6-luna", "outcome": "rejected", "calls": 2, "prompt_tokens": 180,
              "completion_tokens": 24, "reasoning_tokens": 0 },
            { "model": "openai/gpt-6-luna", "outcome": "title", "calls": 1, "prompt_tokens": 90,
              "completion_tokens": 12, "reasoning_tokens": 0 },
        ])
    );
    let replies = &json["replies"];
    assert_eq!(replies.as_array().map(Vec::len), Some(1), "{replies}");
    assert_eq!(replies[0]["replies"], 2, "{replies}");
    assert_eq!(replies[0]["agent"], "triage", "{replies}");
    assert!(replies[0]["prompt_tokens"].as_i64() > Some(0), "{replies}");
    let page = metrics(&page).await;
    assert!(
        page.contains("titlecast_reply_tokens_total{tenant=\"local\",agent=\"triage\""),
        "{page}"
    );
    let table = stats(&[]).await;
    for part in [
        "1  ready (generated)",
        "1  rejected",
        "90",
        "openai/gpt-6-luna, title",
        " ms",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let none: Value = serde_json::from_str(&stats(&["--json", "--tenant", "acme"]).await).unwrap();
    assert_eq!(
        none,
        json!({
            "titles": [], "failures": [], "waiting": { "conversations": 0, "oldest": null }, "calls": [],
            "replies": [], "latency": null
        })
    );
    scene.server.stop().await;
}
