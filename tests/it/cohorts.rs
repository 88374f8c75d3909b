//! Subscribers that ask the same share one execution, and nothing else.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{GraphqlSocket, ModelServer, Server, eventually, server::request};

const ONE: &str =
    "subscription ($id: ID!) { conversationUpdated(id: $id) { displayName revision } }";
const ALL: &str = "subscription { conversationUpdated { id displayName } }";

async fn rename(url: &str, id: &str, title: &str) {
    let path = format!("/api/v1/conversations/{id}/title");
    let body = Some(json!({ "display_name": title }));
    assert_eq!(request(url, "PATCH", &path, body).await.0, 200);
}

fn title(payload: &Value) -> &Value {
    &payload["data"]["conversationUpdated"]["displayName"]
}

#[tokio::test]
async fn many_subscribers_are_one_topic_and_all_get_every_change() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut socket = server.socket().await;
        let operation = socket.subscribe(ONE, json!({ "id": id })).await;
        let present = socket.next(&operation).await.unwrap();
        assert_eq!(title(&present), ModelServer::TITLE);
        sockets.push((socket, operation));
    }
    let before = server.app.database().statement_count();
    for round in 0..3 {
        let name = format!("Round {round}");
        rename(&server.url, &id, &name).await;
        for (socket, operation) in &mut sockets {
            assert_eq!(title(&socket.next(operation).await.unwrap()), name.as_str());
        }
    }
    // Two statements a rename, none for the ten subscribers, who would make thirty more. Background loops make a few.
    let statements = server.app.database().statement_count() - before;
    assert!((6..30).contains(&statements), "{statements}");
    drop(sockets);
    eventually(async || (server.app.events().topic_count() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_late_joiner_gets_the_newest_state_first() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let mut early = server.socket().await;
    let first = early.subscribe(ONE, json!({ "id": id })).await;
    early.next(&first).await.unwrap();
    rename(&server.url, &id, "Newest").await;
    assert_eq!(title(&early.next(&first).await.unwrap()), "Newest");
    let mut late = server.socket().await;
    let second = late.subscribe(ONE, json!({ "id": id })).await;
    assert_eq!(title(&late.next(&second).await.unwrap()), "Newest");
}

#[tokio::test]
async fn the_same_text_of_another_owner_is_another_cohort() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let other = server
        .serve(Owner {
            tenant: "local".into(),
            user: "other".into(),
        })
        .await;
    let mut mine = server.socket().await;
    let mut theirs = GraphqlSocket::connect(&other).await;
    let (a, b) = (
        mine.subscribe(ALL, json!({})).await,
        theirs.subscribe(ALL, json!({})).await,
    );
    mine.settled().await;
    theirs.settled().await;
    let id = server.begin("Mine").await;
    let body = Some(json!({ "message": "Theirs" }));
    let (status, answer) = request(&other, "POST", "/api/v1/chat", body).await;
    assert_eq!(status, 200);
    let first = theirs.next(&b).await.unwrap();
    assert_eq!(
        first["data"]["conversationUpdated"]["id"],
        answer["conversation_id"]
    );
    let first = mine.next(&a).await.unwrap();
    assert_eq!(first["data"]["conversationUpdated"]["id"], id);
}

#[tokio::test]
async fn other_variables_are_another_cohort() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (a, b) = (
        server.begin("One trip").await,
        server.begin("Another trip").await,
    );
    rename(&server.url, &a, "A").await;
    rename(&server.url, &b, "B").await;
    let mut socket = server.socket().await;
    let first = socket.subscribe(ONE, json!({ "id": a })).await;
    assert_eq!(title(&socket.next(&first).await.unwrap()), "A");
    let mut socket = server.socket().await;
    let second = socket.subscribe(ONE, json!({ "id": b })).await;
    assert_eq!(title(&socket.next(&second).await.unwrap()), "B");
}
