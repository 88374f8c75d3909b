//! The order of title work: regeneration is rate-limited for each user and does not delay first titles. Titles wait
//! while a provider refuses all calls; the first answer releases them.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Rows, Scene, Server, eventually,
    server::request,
    titles::{decided, replied, send, settled, title_when},
};

const REGENERATE: &str =
    "mutation($id: ID!) { regenerateTitle(input: { id: $id }) { conversation { id } } }";

/// Many conversations' titles are asked for again at once.
#[tokio::test]
async fn a_flood_of_regenerations_is_refused_and_another_conversations_first_title_stays_fast() {
    let model = ModelServer::start().await;
    let settings = [
        "--title-concurrency",
        "2",
        "--title-changes-per-minute",
        "8",
    ];
    let server = Server::start_with(&model, &settings).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(settled(&server.url, &format!("Plan trip number {n} to Kyoto")).await);
    }
    let before = model.title_requests().len();
    model.delay(Duration::from_millis(500));
    let answers = join_all(
        ids.iter()
            .map(|id| server.graphql(REGENERATE, json!({ "id": id }))),
    )
    .await;
    let refused: Vec<&Value> = answers
        .iter()
        .filter(|answer| answer.get("errors").is_some())
        .collect();
    assert_eq!(refused.len(), 12, "{refused:?}");
    for answer in refused {
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "RATE_LIMITED", "{answer}");
        assert!(
            extensions["retryAfter"].as_u64().is_some_and(|s| s > 0),
            "{answer}"
        );
    }
    // The eight have one call at a time; the first title is not behind them.
    let id = send(
        &server.url,
        json!({ "text": "How do I prune an apple tree?" }),
    )
    .await;
    decided(&server.url, &id).await;
    let asked = model.title_requests().len() - before;
    assert!(asked < 7, "behind {asked} calls");
    server.stop().await;
}

#[tokio::test]
async fn a_provider_that_refuses_everybody_leaves_no_conversation_without_a_title() {
    let refusal = || Answer::error(401, "invalid_request_error", Some("invalid_api_key"), "No");
    let model = ModelServer::start().await;
    for _ in 0..64 {
        model.title(refusal());
    }
    let settings = [
        "--title-probe",
        "2s",
        "--title-sweep",
        "200ms",
        "--title-concurrency",
        "4",
    ];
    let server = Server::start_with(&model, &settings).await;
    let rows = Rows::of(&server.database).await;
    let ids = join_all((0..30).map(|n| {
        let text = format!("Plan trip number {n} to Kyoto");
        send(&server.url, json!({ "text": text }))
    }))
    .await;
    for id in &ids {
        replied(&server.url, id, 2).await;
    }
    let first = model.title_requests().len();
    assert!(
        // Four at once, and those that take the place of the first two refusals before the third opens the breaker.
        (1..=6).contains(&first),
        "{first} calls were made before the breaker opened"
    );
    for id in &ids {
        let shown = decided(&server.url, id).await;
        assert_eq!(shown["titleStatus"], "FAILED", "{shown}");
        assert!(shown["titleError"]["retryAt"].is_string(), "{shown}");
        let query = format!("{{ conversation(id: \"{id}\") {{ titleWaitsFor }} }}");
        assert_eq!(
            server.data(&query, json!({})).await["conversation"]["titleWaitsFor"],
            Value::Null
        );
    }
    // A probe now and then, one at a time.
    eventually(async || (model.title_requests().len() >= first + 2).then_some(())).await;
    eventually(async || {
        let calls = model.title_requests().len() as i64;
        (rows.count("agent_title_calls").await == calls).then_some(())
    })
    .await;
    model.forget();
    for id in &ids {
        let shown = title_when(&server.url, id, |now| now["titleStatus"] == "READY").await;
        assert_eq!(shown["displayName"], ModelServer::TITLE, "{shown}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_stream_does_not_wait_for_a_title_that_waits_for_the_provider() {
    let refusal = Answer::error(401, "invalid_request_error", Some("invalid_api_key"), "No");
    let model = ModelServer::start().await;
    model.title(refusal);
    let server = Server::start_with(&model, &["--title-grace", "10m"]).await;
    for _ in 0..2 {
        let body = json!({ "message": "Plan a trip to Kyoto in April" });
        let (status, answer) = request(&server.url, "POST", "/api/v1/chat", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(model.title_requests().len(), 1);
    server.stop().await;
}

async fn title_model(server: &Server) -> Value {
    server.get("/readyz").await.1["title_model"].clone()
}

#[tokio::test]
async fn malformed_answers_are_the_models_and_a_filter_or_a_length_the_messages() {
    let error = |code| Answer::error(400, "invalid_request_error", Some(code), "No");
    let filtered = Answer::Finished("Planning a Trip", "content_filter");
    #[rustfmt::skip]
    let table = [
        (vec![Answer::Page("<html>")], "malformed_answer"),
        (vec![Answer::Status(302, vec![("location", "/login")], json!({}))], "malformed_answer"),
        (vec![Answer::Status(200, vec![], json!({ "hello": "world" }))], "malformed_answer"),
        (vec![error("content_filter")], "ok"),
        (vec![error("context_length_exceeded")], "ok"),
        (vec![filtered, Answer::Finished("Planning a Trip", "content_filter")], "ok"),
        (vec![Answer::Text("I'm sorry, but I can't help with that."), Answer::Text("I can't help with that.")], "ok"),
    ];
    for (number, (answers, state)) in table.into_iter().enumerate() {
        let name = format!("row {number}");
        let scene = Scene::titles(answers).await;
        let id = scene.unharmed().await;
        let shown = scene.server.title(&id).await;
        assert_eq!(shown["titleError"]["code"], "REJECTED", "{name}: {shown}");
        assert_eq!(title_model(&scene.server).await, state, "{name}");
        // One success after restores.
        let id = scene.unharmed().await;
        assert_eq!(
            scene.server.title(&id).await["titleStatus"],
            "READY",
            "{name}"
        );
        assert_eq!(title_model(&scene.server).await, "ok", "{name}");
        scene.server.stop().await;
    }
}
