//! What title models write, sent through the server: each output beside the message that it answers.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Server,
    titles::{replied, send, settled},
};

/// One case of each kind, and all of the corpora beside the project. The rules' own tests have the others.
const OWN: &str = include_str!("../corpus/title-kinds.jsonl");
const EVERY: usize = 8;

#[tokio::test]
async fn outputs_of_title_models_become_titles_or_nothing() {
    let shared = format!(
        "{}/../shared/corpus/title-outputs-2.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    let shared = std::fs::read_to_string(shared).unwrap_or_else(|_| {
        eprintln!("skipped: there is no ../shared/corpus/title-outputs-2.jsonl");
        String::new()
    });
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let cases = OWN.lines().step_by(EVERY).chain(shared.lines());
    let mut count = 0;
    for line in cases {
        count += 1;
        let case: Value = serde_json::from_str(line).unwrap();
        let output: &'static str = case["output"].as_str().unwrap().to_owned().leak();
        for _ in 0..=usize::from(case["title"].is_null()) {
            model.title(Answer::Text(output));
        }
        let id = settled(&server.url, case["message"].as_str().unwrap()).await;
        let shown = server.title(&id).await;
        assert_eq!(shown["displayName"], case["title"], "{case}: {shown}");
    }
    eprintln!("{count} outputs");
    assert!(count >= 30, "{count}");
}

#[tokio::test]
async fn an_opener_says_that_it_waits_unless_openers_are_switched_off() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for (message, waits) in [
        ("hi", json!("MESSAGE")),
        ("test", json!("MESSAGE")),
        ("Hello, how are you?", json!("MESSAGE")),
        ("say hello", json!("MESSAGE")),
        ("who are you?", Value::Null),
        ("Can you help me?", Value::Null),
    ] {
        let id = send(&server.url, json!({ "text": message })).await;
        replied(&server.url, &id, 2).await;
        let query = format!("{{ conversation(id: \"{id}\") {{ titleWaitsFor }} }}");
        let answer = server.data(&query, json!({})).await;
        assert_eq!(answer["conversation"]["titleWaitsFor"], waits, "{message}");
    }
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--title-openers", "false"]).await;
    let id = settled(&server.url, "hi").await;
    assert_eq!(server.title(&id).await["displayName"], ModelServer::TITLE);
}
