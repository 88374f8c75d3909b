//! Requests made at random, near the contract of the legacy routes: each is answered, none breaks anything,
//! what is refused has its code, and what is accepted can be read again.

mod answer;
mod request;

use std::collections::BTreeMap;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, TestRunner},
};
use serde_json::Value;
use titlecast_testing::{ModelServer, Server, assert_common_stream};
use uuid::Uuid;

use self::{
    answer::Answer,
    request::{Known, Request},
};

const REQUESTS: usize = 1_500;

/// How many ids there are for them: half of conversations, half not used yet.
const IDS: usize = 40;

#[tokio::test]
async fn whatever_is_asked_is_answered_and_what_is_accepted_can_be_read() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let requests = request::request(known(&server).await);
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    let mut answers = BTreeMap::new();
    for _ in 0..REQUESTS {
        let request = requests.new_tree(&mut runner).unwrap().current();
        let answer = Answer::to(&request, &server.url).await;
        answer.assert_sound(&request);
        if accepted(&server, &request, &answer).await {
            *answers.entry(0).or_default() += 1;
        }
        *answers.entry(answer.status).or_insert(0) += 1;
    }
    // A fuzz that never gets past the first check finds nothing.
    eprintln!("answers by status (0: accepted and read again): {answers:?}");
    for (status, least) in [
        (0, 100),
        (200, 200),
        (400, 20),
        (404, 50),
        (405, 20),
        (415, 5),
        (422, 100),
    ] {
        assert!(
            answers.get(&status) >= Some(&least),
            "{status}: {answers:?}"
        );
    }
    assert_eq!(server.get("/readyz").await.0, 200);
    server.stop().await;
}

/// Conversations, and cursors of every kind that the routes hand out.
async fn known(server: &Server) -> Known {
    let mut ids = Vec::new();
    for _ in 0..IDS / 2 {
        ids.push(server.begin("Plan a trip to Kyoto").await);
    }
    let mut cursors = Vec::new();
    for path in [
        "/api/v1/conversations?limit=1".to_owned(),
        "/api/v1/conversations/search?q=kyoto&limit=1".to_owned(),
        format!("/api/v1/conversations/{}/messages?limit=1", ids[0]),
    ] {
        let page = server.get(&path).await.1;
        cursors.push(page["next_cursor"].as_str().unwrap().to_owned());
    }
    ids.extend((0..IDS / 2).map(|_| Uuid::new_v4().to_string()));
    Known { ids, cursors }
}

/// Reads again what a request reported as changed; returns whether it changed anything.
async fn accepted(server: &Server, request: &Request, answer: &Answer) -> bool {
    let body = || lenient_json::from_client::<Value>(&request.body).unwrap();
    match (
        request.method.as_str(),
        request.path.as_str(),
        answer.status,
    ) {
        ("POST", "/api/v1/chat", 200) => {
            assert_said(
                server,
                &answer.json()["conversation_id"],
                &body()["message"],
            )
            .await;
        }
        ("POST", "/api/v1/chat/stream", 200) => {
            let events = answer.events();
            assert_common_stream(&events);
            // A stream that is taken up again says nothing new.
            if !request
                .headers
                .iter()
                .any(|(name, _)| name == "last-event-id")
            {
                assert_said(server, &events[0]["conversation_id"], &body()["message"]).await;
            }
        }
        ("PATCH", path, 200) => {
            let renamed = answer.json();
            let (status, page) = server.get(path.trim_end_matches("/title")).await;
            assert_eq!(
                (status, &page["display_name"]),
                (200, &renamed["display_name"]),
                "{request:?}"
            );
            let characters = renamed["display_name"].as_str().unwrap().chars().count();
            assert!((1..=128).contains(&characters), "{request:?}: {renamed}");
        }
        ("DELETE", path, 204) => assert_eq!(server.get(path).await.0, 404, "{request:?}"),
        _ => return false,
    }
    true
}

/// The message is in the conversation as it was sent, but for U+0000, which PostgreSQL cannot store.
async fn assert_said(server: &Server, id: &Value, message: &Value) {
    let path = format!("/api/v1/conversations/{}", id.as_str().unwrap());
    let (status, page) = server.get(&path).await;
    assert_eq!(status, 200, "{id}");
    let message = message.as_str().unwrap().replace('\0', "");
    let messages = page["messages"].as_array().unwrap();
    let is_there = |said: &Value| said["role"] == "user" && said["content"] == message;
    assert!(
        messages.iter().any(is_there),
        "{message:?} is not in {page}"
    );
}
