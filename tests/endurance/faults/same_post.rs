//! The same message many times at once, and different ones into the same conversation.

use futures_util::future::join_all;
use serde_json::json;
use titlecast_testing::{
    Events, ModelServer, Node, Rows, TestDatabase, assert_common_stream, at_length, legacy::post,
    titles::new_id,
};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// This many identical concurrent requests, spread over this many nodes.
async fn identical(requests: usize, nodes: usize) {
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let model = ModelServer::start().await;
    // No process is presumed dead, however slow the machine is.
    let settings = ["--reply-lease", "60s"];
    let mut running = Vec::new();
    for _ in 0..nodes {
        running.push(Node::start(&database.url, &model.url, &settings).await);
    }
    let began = std::time::Instant::now();
    let streams = join_all((0..requests).map(|number| {
        let url = running[number % nodes].url.clone();
        async move {
            let request = post(&url, "/api/v1/chat/stream", json!({ "message": MESSAGE }));
            let request = request.header("idempotency-key", "one-key");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 200);
            Events::from(response).rest().await
        }
    }))
    .await;
    eprintln!(
        "{requests} requests, {nodes} node(s): {:.1?}",
        began.elapsed()
    );
    for events in &streams {
        let terminal = assert_common_stream(events);
        assert_eq!(terminal["raw_type"], "response.completed", "{terminal}");
        assert_eq!(
            terminal["conversation_id"],
            streams[0][0]["conversation_id"]
        );
        assert_eq!(terminal["response_text"], ModelServer::REPLY.concat());
    }
    let id = streams[0][0]["conversation_id"].as_str().unwrap();
    rows.decided_title(id).await;
    assert_eq!(database.row_counts().await, [1, 2, 1]);
    assert_eq!(model.reply_requests().len(), 1);
    assert_eq!(model.title_requests().len(), 1);
    for node in running {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_hundred_times_the_same_is_one_turn() {
    identical(100, 1).await;
}

#[tokio::test]
async fn a_hundred_times_the_same_on_two_nodes_is_one_turn() {
    identical(100, 2).await;
}

#[tokio::test]
#[ignore = "a thousand connections: just shows"]
async fn a_thousand_times_the_same_is_one_turn() {
    identical(at_length(1_000), 1).await;
}

#[tokio::test]
#[ignore = "a thousand connections: just shows"]
async fn a_thousand_times_the_same_on_two_nodes_is_one_turn() {
    identical(at_length(1_000), 2).await;
}

#[tokio::test]
async fn messages_into_one_conversation_at_once_are_turns_in_an_order() {
    const MESSAGES: usize = 12;
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let model = ModelServer::start().await;
    let nodes = [
        Node::start(&database.url, &model.url, &[]).await,
        Node::start(&database.url, &model.url, &[]).await,
    ];
    // They all begin it.
    let id = new_id();
    let streams = join_all((0..MESSAGES).map(|number| {
        let url = &nodes[number % 2].url;
        let body = json!({ "message": format!("Message {number}"), "conversation_id": id });
        async move { Events::post(url, body).await.rest().await }
    }))
    .await;
    for events in &streams {
        let terminal = assert_common_stream(events);
        assert_eq!(terminal["raw_type"], "response.completed", "{terminal}");
        assert_eq!(terminal["conversation_id"], *id);
    }
    rows.decided_title(&id).await;
    let count = MESSAGES as i64;
    assert_eq!(database.row_counts().await, [1, 2 * count, count]);
    assert_eq!(model.reply_requests().len(), MESSAGES);
    // One of them is the first.
    assert_eq!(model.title_requests().len(), 1);
    let messages = rows.messages(&id).await;
    for number in 0..MESSAGES {
        let text = format!("Message {number}");
        let stored = messages
            .iter()
            .filter(|(role, _, said)| role == "user" && *said == text);
        assert_eq!(stored.count(), 1);
    }
    let places = "SELECT DISTINCT position FROM agent_messages WHERE position BETWEEN 1 AND $1";
    assert_eq!(
        rows.all(places, [(2 * count).into()]).await.len(),
        2 * MESSAGES
    );
    for node in nodes {
        node.stop().await;
    }
}
