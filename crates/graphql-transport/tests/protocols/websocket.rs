//! `graphql-transport-ws`, by graphql-ws's PROTOCOL.md, and the older `graphql-ws` (subscriptions-transport-ws).

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Received, Server, Socket};

const ALONE: &str = "subscription { alone }";

fn subscribe(id: &str, query: &str) -> Value {
    json!({ "type": "subscribe", "id": id, "payload": { "query": query } })
}

#[tokio::test]
async fn the_first_known_subprotocol_of_the_client_is_confirmed() {
    let server = Server::start().await;
    for (offered, chosen) in [
        ("graphql-transport-ws", "graphql-transport-ws"),
        ("graphql-ws, graphql-transport-ws", "graphql-ws"),
        (
            "x, graphql-transport-ws, graphql-ws",
            "graphql-transport-ws",
        ),
    ] {
        let socket = Socket::open(&server, offered).await;
        assert_eq!(socket.headers["sec-websocket-protocol"], chosen);
    }
}

#[tokio::test]
async fn without_a_known_subprotocol_the_socket_is_closed_with_4406() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "").await;
    let closed = (4406, "Subprotocol not acceptable".to_owned());
    assert_eq!(socket.closed().await, closed);
}

#[tokio::test]
async fn connection_init_is_acknowledged_with_and_without_payload() {
    let server = Server::start().await;
    for init in [
        json!({ "type": "connection_init" }),
        json!({ "type": "connection_init", "payload": { "a": 1 } }),
        json!({ "type": "connection_init", "payload": null }),
    ] {
        let mut socket = Socket::open(&server, "graphql-transport-ws").await;
        socket.send(init).await;
        assert_eq!(socket.message().await, json!({ "type": "connection_ack" }));
    }
}

#[tokio::test]
async fn refused_credentials_close_with_4401() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "graphql-transport-ws").await;
    socket
        .send(json!({ "type": "connection_init", "payload": { "token": "wrong" } }))
        .await;
    assert_eq!(socket.closed().await.0, 4401);
}

#[tokio::test]
async fn a_second_connection_init_closes_with_4429() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(json!({ "type": "connection_init" })).await;
    let closed = (4429, "Too many initialisation requests".to_owned());
    assert_eq!(socket.closed().await, closed);
}

#[tokio::test]
async fn no_connection_init_in_time_closes_with_4408() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "graphql-transport-ws").await;
    let closed = (4408, "Connection initialisation timeout".to_owned());
    assert_eq!(socket.closed().await, closed);
}

#[tokio::test]
async fn subscribing_before_the_acknowledgement_closes_with_4401() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "graphql-transport-ws").await;
    socket.send(subscribe("1", ALONE)).await;
    assert_eq!(socket.closed().await, (4401, "Unauthorized".to_owned()));
}

#[tokio::test]
async fn ping_is_answered_at_any_time_with_its_payload() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "graphql-transport-ws").await;
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.message().await, json!({ "type": "pong" }));
    socket
        .send(json!({ "type": "ping", "payload": { "a": [1] } }))
        .await;
    let pong = json!({ "type": "pong", "payload": { "a": [1] } });
    assert_eq!(socket.message().await, pong);
}

#[tokio::test]
async fn an_unsolicited_pong_is_accepted() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "graphql-transport-ws").await;
    socket.send(json!({ "type": "pong" })).await;
    socket.send(json!({ "type": "pong", "payload": {} })).await;
    socket.settle().await;
}

#[tokio::test]
async fn an_invalid_message_closes_with_4400_and_a_reason() {
    let server = Server::start().await;
    for invalid in [
        "",
        "not json",
        "[]",
        "1",
        "{}",
        r#"{"type":1}"#,
        r#"{"type":"unknown"}"#,
        r#"{"type":"next","id":"1","payload":{}}"#,
        r#"{"type":"connection_init","payload":"text"}"#,
        r#"{"type":"ping","payload":[]}"#,
        r#"{"type":"subscribe","payload":{"query":"{ __typename }"}}"#,
        r#"{"type":"subscribe","id":1,"payload":{"query":"{ __typename }"}}"#,
        r#"{"type":"subscribe","id":"","payload":{"query":"{ __typename }"}}"#,
        r#"{"type":"subscribe","id":"1"}"#,
        r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#,
        r#"{"type":"complete"}"#,
    ] {
        let mut socket = Socket::ready(&server).await;
        socket.send_frame(Message::text(invalid)).await;
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 4400, "{invalid}");
        let is_reason = !reason.is_empty() && reason.len() <= 123;
        assert!(is_reason, "{invalid}: {reason}");
    }
}

#[tokio::test]
async fn a_binary_message_closes_with_4400() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send_frame(Message::binary(vec![1, 2])).await;
    assert_eq!(socket.closed().await.0, 4400);
}

#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    let long = format!("{{ __typename # {} }}", "x".repeat(65 * 1024));
    socket.send(subscribe("1", &long)).await;
    assert_eq!(socket.closed().await.0, 1009);
}

#[tokio::test]
async fn a_query_or_mutation_gets_one_next_and_complete() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    for (query, data) in [
        ("{ echo(text: \"a\") }", json!({ "echo": "a" })),
        (
            "mutation { publish(text: \"b\") }",
            json!({ "publish": "b" }),
        ),
    ] {
        socket.send(subscribe("q", query)).await;
        let next = json!({ "type": "next", "id": "q", "payload": { "data": data } });
        assert_eq!(socket.message().await, next);
        let complete = json!({ "type": "complete", "id": "q" });
        assert_eq!(socket.message().await, complete);
    }
}

#[tokio::test]
async fn a_subscription_that_ends_gets_complete() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(subscribe("2", "subscription { two }")).await;
    for number in [1, 2] {
        assert_eq!(socket.message().await["payload"]["data"]["two"], number);
    }
    assert_eq!(
        socket.message().await,
        json!({ "type": "complete", "id": "2" })
    );
}

#[tokio::test]
async fn an_invalid_document_gets_error_and_nothing_else() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    for query in ["{ unknown }", "{ not closed", "subscription { unknown }"] {
        socket.send(subscribe("e", query)).await;
        let error = socket.message().await;
        assert_eq!(
            (&error["type"], &error["id"]),
            (&json!("error"), &json!("e"))
        );
        assert!(error["payload"][0]["message"].is_string(), "{error}");
        assert!(
            error["payload"][0]["extensions"]["code"].is_string(),
            "{error}"
        );
        socket.settle().await;
    }
}

#[tokio::test]
async fn a_panic_of_a_resolver_is_an_error() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(subscribe("p", "{ element(index: 1) }")).await;
    let error = socket.message().await;
    assert_eq!(
        error["payload"][0]["extensions"]["code"], "INTERNAL",
        "{error}"
    );
    socket.settle().await;
}

#[tokio::test]
async fn a_duplicate_id_closes_with_4409() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(subscribe("1", ALONE)).await;
    socket.send(subscribe("1", ALONE)).await;
    let closed = (4409, "Subscriber for 1 already exists".to_owned());
    assert_eq!(socket.closed().await, closed);
}

#[tokio::test]
async fn an_id_is_free_again_after_its_operation() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    for _ in 0..3 {
        socket.send(subscribe("1", "{ __typename }")).await;
        assert_eq!(socket.message().await["type"], "next");
        assert_eq!(socket.message().await["type"], "complete");
    }
    socket.send(subscribe("1", ALONE)).await;
    socket.send(json!({ "type": "complete", "id": "1" })).await;
    socket.send(subscribe("1", "{ __typename }")).await;
    assert_eq!(socket.message().await["type"], "next");
}

#[tokio::test]
async fn the_clients_complete_ends_the_operation_without_an_answer() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(subscribe("1", ALONE)).await;
    server.subscribed(1).await;
    socket.send(json!({ "type": "complete", "id": "1" })).await;
    server.subscribed(0).await;
    server.publish("not delivered");
    // If the operation were still running, its event would arrive before the pong.
    socket.settle().await;
    socket
        .send(json!({ "type": "complete", "id": "never started" }))
        .await;
    socket.settle().await;
}

#[tokio::test]
async fn operations_run_concurrently_and_keep_their_ids() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    socket.send(subscribe("a", ALONE)).await;
    socket.send(subscribe("b", ALONE)).await;
    server.subscribed(2).await;
    socket.send(subscribe("c", "{ __typename }")).await;
    for _ in 0..2 {
        assert_eq!(socket.message().await["id"], "c");
    }
    server.publish("text");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let next = socket.message().await;
        assert_eq!(next["payload"]["data"]["alone"], "text");
        ids.push(next["id"].as_str().unwrap().to_owned());
    }
    ids.sort();
    assert_eq!(ids, ["a", "b"]);
}

#[tokio::test]
async fn operations_over_the_limit_are_refused_one_by_one() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    for number in 0..=100 {
        socket.send(subscribe(&number.to_string(), ALONE)).await;
    }
    let refused = socket.message().await;
    assert_eq!(
        (&refused["type"], &refused["id"]),
        (&json!("error"), &json!("100"))
    );
    socket.settle().await;
}

#[tokio::test]
async fn a_shutdown_closes_with_1012() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    server.close();
    assert_eq!(socket.closed().await.0, 1012);
}

#[tokio::test]
async fn a_disconnected_subscriber_is_unsubscribed() {
    let server = Server::start().await;
    for query in [ALONE, "subscription { state }", "subscription { events }"] {
        let mut socket = Socket::ready(&server).await;
        socket.send(subscribe("1", query)).await;
        server.subscribed(1).await;
        assert_eq!(server.counts().sockets, 1);
        drop(socket);
        server.subscribed(0).await;
    }
}

#[tokio::test]
async fn the_older_subprotocol_carries_every_kind_of_operation() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "graphql-ws").await;
    let start =
        |id: &str, query: &str| json!({ "type": "start", "id": id, "payload": { "query": query } });
    socket
        .send(json!({ "type": "connection_init", "payload": {} }))
        .await;
    assert_eq!(socket.message().await["type"], "connection_ack");
    assert_eq!(socket.message().await["type"], "ka");
    socket.send(start("1", "{ __typename }")).await;
    assert_eq!(socket.message().await["type"], "data");
    assert_eq!(socket.message().await["type"], "complete");
    socket.send(start("2", "{ unknown }")).await;
    let error = socket.message().await;
    assert_eq!(error["type"], "error");
    assert!(error["payload"]["message"].is_string(), "{error}");
    socket.send(start("3", ALONE)).await;
    server.subscribed(1).await;
    server.publish("text");
    assert_eq!(socket.message().await["payload"]["data"]["alone"], "text");
    // A second `start` with the id of a running operation replaces it.
    socket.send(start("3", "subscription { state }")).await;
    server.subscribed(1).await;
    socket.send(json!({ "type": "stop", "id": "3" })).await;
    assert_eq!(
        socket.message().await,
        json!({ "type": "complete", "id": "3" })
    );
    server.subscribed(0).await;
    socket.send(json!({ "type": "connection_terminate" })).await;
    assert!(matches!(socket.receive().await, Received::Closed(1000, _)));
}
