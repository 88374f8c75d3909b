//! Identical subscriptions share one execution, on every wire.

use serde_json::{Value, json};

use crate::support::{Server, Socket};

async fn subscriber(server: &Server, token: &str, query: &str) -> Socket {
    let mut socket = Socket::open(server, "graphql-transport-ws").await;
    let init = json!({ "type": "connection_init", "payload": { "token": token } });
    socket.send(init).await;
    assert_eq!(socket.message().await["type"], "connection_ack");
    socket
        .send(json!({ "type": "subscribe", "id": "1", "payload": { "query": query } }))
        .await;
    socket.settle().await;
    socket
}

async fn received(socket: &mut Socket) -> Value {
    socket.message().await["payload"]["data"].take()
}

#[tokio::test]
async fn one_execution_serves_all_subscribers_of_a_scope() {
    let server = Server::start().await;
    for root in ["state", "events"] {
        let query = format!("subscription {{ {root} }}");
        let mut sockets = Vec::new();
        for _ in 0..3 {
            sockets.push(subscriber(&server, "a", &query).await);
        }
        let mut stream = server
            .post("text/event-stream", &json!({ "query": query }))
            .await;
        // The caller of the stream has another scope.
        server.subscribed(2).await;
        assert_eq!(server.publish("text"), 2);
        for socket in &mut sockets {
            assert_eq!(received(socket).await[root], "text");
        }
        assert!(stream.event().await.unwrap().1.contains("text"));
        drop((sockets, stream));
        server.subscribed(0).await;
    }
}

#[tokio::test]
async fn a_scope_receives_nothing_of_another() {
    let server = Server::start().await;
    let query = "subscription { state }";
    let _a = subscriber(&server, "a", query).await;
    let _b = subscriber(&server, "b", query).await;
    let _alias = subscriber(&server, "a", "subscription { x: state }").await;
    server.subscribed(3).await;
    assert_eq!(server.counts().cohorts, 3);
}

#[tokio::test]
async fn a_late_subscriber_of_a_state_receives_the_last_one_at_once() {
    let server = Server::start().await;
    let query = "subscription { state }";
    let mut early = subscriber(&server, "a", query).await;
    server.publish("text");
    assert_eq!(received(&mut early).await["state"], "text");
    let mut late = Socket::open(&server, "graphql-transport-ws").await;
    late.send(json!({ "type": "connection_init", "payload": { "token": "a" } }))
        .await;
    late.message().await;
    late.send(json!({ "type": "subscribe", "id": "1", "payload": { "query": query } }))
        .await;
    assert_eq!(received(&mut late).await["state"], "text");
    assert_eq!(server.counts().cohorts, 1);
}
