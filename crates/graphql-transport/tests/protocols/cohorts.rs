//! Identical subscriptions share one execution, on every wire.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Server, Socket, within};

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
        // The stream's caller has another scope.
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

/// The number at the start of a text; `None` for the error that ends the subscription.
fn number(event: &Value) -> Option<usize> {
    let Some(text) = event["data"]["events"].as_str() else {
        let error = event["errors"].get(0).unwrap_or(&event[0]);
        assert_eq!(error["extensions"]["code"], "LAGGED", "{event}");
        return None;
    };
    text.split(' ').next()?.parse().ok()
}

#[tokio::test]
async fn nothing_is_delivered_between_a_lost_event_and_the_error() {
    let query = "subscription { events }";
    for over_sse in [false, true] {
        let server = Server::start().await;
        let (mut socket, mut stream) = (None, None);
        match over_sse {
            false => socket = Some(subscriber(&server, "a", query).await),
            true => {
                let body = json!({ "query": query });
                stream = Some(server.post("text/event-stream", &body).await);
            }
        }
        server.subscribed(1).await;
        let mut published = 0;
        let padding = "x".repeat(60_000);
        let mut publish = async || {
            server.publish(&format!("{published} {padding}"));
            published += 1;
            settled(&server, published).await;
        };
        // The subscriber does not read.
        while server.counts().lagged == 0 {
            publish().await;
        }
        // The subscriber resumes reading while further events are published.
        let mut expected = 0;
        loop {
            let event = match (&mut socket, &mut stream) {
                (Some(socket), _) => socket.message().await["payload"].take(),
                (_, Some(stream)) => {
                    serde_json::from_str(&stream.event().await.unwrap().1).unwrap()
                }
                _ => unreachable!(),
            };
            let Some(number) = number(&event) else {
                break;
            };
            assert_eq!(number, expected, "over SSE: {over_sse}");
            expected += 1;
            publish().await;
        }
        assert!(expected > 0);
    }
}

/// Waits until the cohort has executed this many events or has ended.
async fn settled(server: &Server, events: usize) {
    within(async {
        while server.counts().cohorts > 0 && server.counts().executions < events as u64 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
