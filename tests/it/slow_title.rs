//! A title model that takes its time: the reply does not notice, its stream ends after the grace, and
//! other subscribers still receive the title when it comes.
//!
//! The title's answer is held back by the test, so every statement about "while it is on its way" is
//! one about order, not about a clock.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, Events, ModelServer, Rows, Server, assert_common_stream, eventually,
    server::client,
    sse::{text, titles},
    within,
};

const ONE: &str = "subscription ($id: ID!) {
    conversationUpdated(id: $id) { displayName titleStatus }
}";
const LIST: &str = "subscription { conversationUpdated { id displayName titleStatus } }";

#[tokio::test]
async fn a_slow_title_delays_neither_the_first_byte_nor_the_last_token_of_the_reply() {
    let model = ModelServer::start().await;
    let (title, gate) = Answer::held(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    model.title(title);
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;

    let mut stream = server
        .stream(json!({ "message": "Plan a trip to Kyoto" }))
        .await;
    let mut events = vec![stream.next().await.unwrap()];
    assert_eq!(events[0]["raw_type"], "response.created");
    let id = events[0]["conversation_id"].as_str().unwrap().to_owned();
    while text(&events) != ModelServer::REPLY.concat() {
        events.push(stream.next().await.unwrap());
    }
    let last_token = Instant::now();
    eventually(async || (!model.title_requests().is_empty()).then_some(())).await;
    assert_eq!(rows.title(&id).await.title_status, "pending");

    // The end comes without the title as soon as the grace is over.
    events.extend(stream.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed");
    assert_eq!(terminal.get("display_name"), None);
    assert_eq!(titles(&events), [""; 0]);
    assert!(last_token.elapsed() < Duration::from_secs(10));
    assert_eq!(rows.title(&id).await.title_status, "pending");
    assert_eq!(rows.messages(&id).await.len(), 2);

    gate.send(()).unwrap();
    let stored = rows.decided_title(&id).await;
    assert_eq!(stored.display_name.as_deref(), Some(ModelServer::TITLE));
    assert_eq!(model.title_requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_title_that_comes_behind_the_end_of_the_stream_reaches_everyone_else() {
    let model = ModelServer::start().await;
    let (title, gate) = Answer::held(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    model.title(title);
    let server = Server::start_with(&model, &["--title-grace", "1ms"]).await;
    let id = server.begin("Plan a trip to Kyoto").await;

    let mut socket = server.socket().await;
    let one = socket.subscribe(ONE, json!({ "id": id })).await;
    let present = socket.next(&one).await.unwrap();
    assert_eq!(
        present["data"]["conversationUpdated"]["titleStatus"],
        "PENDING"
    );
    let mut others = server.socket().await;
    let list = others.subscribe(LIST, json!({})).await;
    others.settled().await;
    let title_stream = client().get(format!("{}/api/v1/conversations/{id}/stream", server.url));
    let mut legacy = Events::of(title_stream).await;

    gate.send(()).unwrap();
    let expected = json!({ "displayName": ModelServer::TITLE, "titleStatus": "READY" });
    let payload = socket.next(&one).await.unwrap();
    assert_eq!(payload["data"]["conversationUpdated"], expected);
    let expected = json!({ "id": id, "displayName": ModelServer::TITLE, "titleStatus": "READY" });
    let payload = others.next(&list).await.unwrap();
    assert_eq!(payload["data"]["conversationUpdated"], expected);
    let event = legacy.next().await.unwrap();
    assert_eq!(event["kind"], "conversation.title.generated");
    assert_eq!(event["display_name"], ModelServer::TITLE);
    let (_, history) = server.get(&format!("/api/v1/conversations/{id}")).await;
    assert_eq!(history["display_name"], ModelServer::TITLE);
    server.stop().await;
}

#[tokio::test]
async fn a_title_within_the_grace_comes_before_the_end() {
    let model = ModelServer::start().await;
    let (title, gate) = Answer::held(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    model.title(title);
    let server = Server::start_with(&model, &["--title-grace", "15s"]).await;
    let mut stream = server
        .stream(json!({ "message": "Plan a trip to Kyoto" }))
        .await;
    let mut events: Vec<Value> = Vec::new();
    while text(&events) != ModelServer::REPLY.concat() {
        events.push(stream.next().await.unwrap());
    }
    let id = events[0]["conversation_id"].as_str().unwrap();
    let rows = Rows::of(&server.database).await;
    // The reply is stored, and still the stream is open.
    eventually(async || (rows.messages(id).await.len() == 2).then_some(())).await;
    gate.send(()).unwrap();
    events.extend(stream.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(titles(&events), [ModelServer::TITLE]);
    assert_eq!(terminal["display_name"], ModelServer::TITLE);
    server.stop().await;
}

#[tokio::test]
async fn a_second_message_does_not_wait_for_the_title_of_the_first() {
    let model = ModelServer::start().await;
    let (title, gate) = Answer::held(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    model.title(title);
    let server = Server::start_with(&model, &["--title-grace", "1ms"]).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let body = json!({ "message": "And to Nara", "conversation_id": id });
    let events = server.stream(body).await.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["response_text"], ModelServer::REPLY.concat());
    let rows = Rows::of(&server.database).await;
    assert_eq!(rows.title(&id).await.title_status, "pending");

    gate.send(()).unwrap();
    let stored = rows.decided_title(&id).await;
    assert_eq!(stored.display_name.as_deref(), Some(ModelServer::TITLE));
    assert_eq!(model.title_requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_rename_wins_over_a_title_that_is_on_its_way() {
    let model = ModelServer::start().await;
    let (title, gate) = Answer::held(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    model.title(title);
    let mut server = Server::start_with(&model, &["--title-grace", "1ms"]).await;
    let rows = Rows::of(&server.database).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let path = format!("/api/v1/conversations/{id}/title");
    let body = json!({ "display_name": "Our holiday" });
    assert_eq!(within(server.send("PATCH", &path, body)).await.0, 200);

    gate.send(()).unwrap();
    server.end().await;
    let stored = rows.title(&id).await;
    assert_eq!(stored.display_name.as_deref(), Some("Our holiday"));
    assert_eq!(stored.title_source, "manual");
    assert_eq!(stored.title_generated_at, None);
}
