//! Regression tests for bugs reported against other servers and clients.

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::support::{Received, Server, Socket, within};

fn subscribe(id: &str, query: &str) -> Value {
    json!({ "type": "subscribe", "id": id, "payload": { "query": query } })
}

/// enisdenjo/graphql-ws#532: a subscription that started after its socket had closed was never released.
#[tokio::test]
async fn a_subscription_that_is_starting_ends_with_its_socket() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(subscribe("1", "subscription { stuck }")).await;
    server.subscribed(1).await;
    drop(socket);
    server.subscribed(0).await;
}

/// ghostdogpr/caliban#2973: two consecutive `subscribe` messages with the same id both ran.
#[tokio::test]
async fn an_id_is_taken_as_soon_as_its_subscribe_is_read() {
    let server = Server::start().await;
    for query in [
        "subscription { stuck }",
        "{ never }",
        "subscription { alone }",
    ] {
        let mut socket = Socket::ready(&server).await;
        socket.send(subscribe("1", query)).await;
        socket.send(subscribe("1", query)).await;
        assert_eq!(
            socket.closed().await,
            (4409, "Subscriber for 1 already exists".to_owned())
        );
    }
    server.subscribed(0).await;
}

/// apollographql/subscriptions-transport-ws#805: completed operations were kept until the socket closed.
#[tokio::test]
async fn completed_operations_do_not_count() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    for number in 0..300 {
        let id = number.to_string();
        socket.send(subscribe(&id, "{ __typename }")).await;
        assert_eq!(socket.message().await["type"], "next");
        assert_eq!(socket.message().await["type"], "complete");
    }
}

/// apollographql/subscriptions-transport-ws#765: subscriptions without an id could not be ended.
#[tokio::test]
async fn an_operation_has_an_id_in_the_older_protocol_too() {
    let server = Server::start().await;
    for id in [json!(null), json!(""), json!(1), json!([])] {
        let mut socket = Socket::open(&server, "graphql-ws").await;
        socket.send(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.message().await["type"], "connection_ack");
        assert_eq!(socket.message().await["type"], "ka");
        let payload = json!({ "query": "subscription { alone }" });
        socket
            .send(json!({ "type": "start", "id": id, "payload": payload }))
            .await;
        assert_eq!(socket.closed().await.0, 4400, "{id}");
    }
}

/// async-graphql/async-graphql#157: a `complete` for a stream that had ended panicked.
#[tokio::test]
async fn a_complete_after_the_end_is_ignored() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(subscribe("1", "subscription { two }")).await;
    for kind in ["next", "next", "complete"] {
        assert_eq!(socket.message().await["type"], kind);
    }
    for id in ["1", "never used"] {
        socket.send(json!({ "type": "complete", "id": id })).await;
    }
    socket.settle().await;
}

/// graphql-rust/juniper#721: ids were written into messages unescaped.
#[tokio::test]
async fn an_id_is_any_text() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    let long = "x".repeat(10_000);
    for id in ["\"}", "\\", "\n\0\u{2028}", "🙂", &long] {
        socket.send(subscribe(id, "subscription { two }")).await;
        for kind in ["next", "next", "complete"] {
            let message = socket.message().await;
            assert_eq!(
                (&message["type"], &message["id"]),
                (&json!(kind), &json!(id))
            );
        }
        socket.send(subscribe(id, "{ unknown }")).await;
        let message = socket.message().await;
        assert_eq!(
            (&message["type"], &message["id"]),
            (&json!("error"), &json!(id))
        );
    }
}

/// graphql-rust/juniper#1371: errors of a subscription's events were lost.
#[tokio::test]
async fn errors_of_single_events_arrive() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(subscribe("1", "subscription { errors }")).await;
    let mut messages = Vec::new();
    while messages
        .last()
        .is_none_or(|last: &Value| last["type"] == "next")
    {
        messages.push(socket.message().await);
    }
    let text = messages.iter().map(Value::to_string).collect::<String>();
    assert!(text.contains("of the stream"), "{text}");
}

/// async-graphql/async-graphql#1628: a stream that is always ready prevented `complete` from being read.
#[tokio::test]
async fn a_stream_that_is_always_ready_can_be_ended() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(subscribe("1", "subscription { greedy }")).await;
    assert_eq!(socket.message().await["type"], "next");
    socket.send(json!({ "type": "complete", "id": "1" })).await;
    server.subscribed(0).await;
    socket
        .send(json!({ "type": "ping", "payload": { "last": true } }))
        .await;
    loop {
        let message = socket.message().await;
        if message["type"] == "pong" {
            break;
        }
        assert_eq!(message["type"], "next");
    }
}

/// apollographql/subscriptions-transport-ws#451: a mutation sent after a subscription could be executed before it. The
/// test needs several threads, because a worker of such a runtime runs the newest task first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_start_in_the_order_of_their_messages() {
    let server = Server::start().await;
    for root in ["alone", "state", "events"] {
        for number in 0..20 {
            let mut socket = Socket::ready(&server).await;
            let mutation = format!(r#"mutation {{ publish(text: "{root} {number}") }}"#);
            socket
                .send_together([
                    subscribe("s", &format!("subscription {{ {root} }}")),
                    subscribe("m", &mutation),
                ])
                .await;
            let mut event = Value::Null;
            // Two of the three are the mutation's `next` and `complete`.
            for _ in 0..3 {
                let message = socket.message().await;
                if message["id"] == "s" {
                    event = message;
                }
            }
            assert_eq!(
                event["payload"]["data"][root],
                format!("{root} {number}"),
                "{event}"
            );
            socket.send(json!({ "type": "complete", "id": "s" })).await;
            server.subscribed(0).await;
        }
    }
}

/// apollographql/router#4837, apollo-server#7199: an empty `operationName` gave no result, and null was refused.
#[tokio::test]
async fn an_empty_operation_name_is_none() {
    let server = Server::start().await;
    for name in [json!(""), json!(null)] {
        let body = json!({ "query": "query A { __typename }", "operationName": name });
        let answer = server.post("application/json", &body).await.json().await;
        assert_eq!(answer["data"]["__typename"], "Query", "{name}");
        let mut socket = Socket::ready(&server).await;
        socket
            .send(json!({ "type": "subscribe", "id": "1", "payload": body }))
            .await;
        assert_eq!(
            socket.message().await["payload"]["data"]["__typename"],
            "Query"
        );
    }
}

/// ardatan/graphql-tools#5492: the head of a stream was only sent with its first event, so clients could not end it.
#[tokio::test]
async fn the_head_of_a_stream_does_not_wait_for_an_event() {
    let server = Server::start().await;
    let body = json!({ "query": "subscription { alone }" });
    for accept in ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
        let stream = server.post(accept, &body).await;
        assert_eq!(stream.status(), 200);
        server.subscribed(1).await;
        drop(stream);
        server.subscribed(0).await;
    }
}

/// sourcenetwork/defradb#3976: closing the server waited for its subscriptions.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_subscriptions() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(subscribe("1", "subscription { alone }")).await;
    let body = json!({ "query": "subscription { alone }" });
    let mut stream = server.post("text/event-stream", &body).await;
    let mut parts = server
        .post("multipart/mixed;subscriptionSpec=1.0", &body)
        .await;
    server.subscribed(3).await;
    within(server.shut_down()).await;
    assert_eq!(
        socket.receive().await,
        Received::Closed(1012, "Service restart".to_owned())
    );
    assert_eq!(stream.event().await, None);
    assert_eq!(parts.until("--graphql--").await, None);
}

/// enisdenjo/graphql-sse#22: a client did not notice that a stream was cut. HTTP/1.1 shows it: the last chunk is
/// missing.
#[tokio::test]
async fn a_stream_that_is_cut_has_no_last_chunk() {
    let server = Server::start().await;
    let body = json!({ "query": "subscription { alone }" }).to_string();
    let length = body.len();
    let request = format!(
        "POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAccept: text/event-stream\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = server.write(request.as_bytes()).await;
    server.subscribed(1).await;
    server.close();
    let mut text = String::new();
    // The read ends or fails with a reset, depending on the platform.
    let _ = within(stream.read_to_string(&mut text)).await;
    assert!(
        text.contains("chunked") && !text.ends_with("0\r\n\r\n"),
        "{text}"
    );
}
