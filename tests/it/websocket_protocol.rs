//! `graphql-transport-ws`, rule by rule, as graphql-ws's PROTOCOL.md states them.

use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Server, eventually,
    raw_socket::{Heard, RawSocket},
    server::request,
};
use tokio_tungstenite::tungstenite::Message;

const ALL: &str = "subscription { conversationUpdated { id displayName titleStatus } }";

fn subscribe(id: &str, query: &str) -> Value {
    json!({ "type": "subscribe", "id": id, "payload": { "query": query } })
}

async fn rename_of_new(server: &Server, title: &str) -> String {
    let id = server.begin("Plan a trip to Kyoto").await;
    rename(server, &id, title).await;
    id
}

async fn rename(server: &Server, id: &str, title: &str) {
    let path = format!("/api/v1/conversations/{id}/title");
    let (status, _) = server
        .send("PATCH", &path, json!({ "display_name": title }))
        .await;
    assert_eq!(status, 200);
}

/// Waits until the server has taken all that was said so far.
async fn settle(socket: &mut RawSocket) {
    socket
        .say(json!({ "type": "ping", "payload": { "settle": true } }))
        .await;
    let pong = json!({ "type": "pong", "payload": { "settle": true } });
    while socket.message().await != pong {}
}

#[tokio::test]
async fn the_subprotocol_is_confirmed() {
    let server = Server::offline().await;
    let socket = RawSocket::open(&server.url, "graphql-transport-ws").await;
    assert_eq!(
        socket.headers["sec-websocket-protocol"],
        "graphql-transport-ws"
    );
}

#[tokio::test]
async fn the_clients_order_decides_between_subprotocols() {
    let server = Server::offline().await;
    let socket = RawSocket::open(&server.url, "graphql-ws, graphql-transport-ws").await;
    assert_eq!(socket.headers["sec-websocket-protocol"], "graphql-ws");
    let socket = RawSocket::open(&server.url, "x, graphql-transport-ws, graphql-ws").await;
    assert_eq!(
        socket.headers["sec-websocket-protocol"],
        "graphql-transport-ws"
    );
}

#[tokio::test]
async fn without_a_known_subprotocol_the_socket_is_closed_with_4406() {
    let server = Server::offline().await;
    let mut socket = RawSocket::open(&server.url, "").await;
    let closed = (4406, "Subprotocol not acceptable".to_owned());
    assert_eq!(socket.closed().await, closed);
}

#[tokio::test]
async fn connection_init_is_acknowledged_with_and_without_payload() {
    let server = Server::offline().await;
    for init in [
        json!({ "type": "connection_init" }),
        json!({ "type": "connection_init", "payload": { "a": 1 } }),
        json!({ "type": "connection_init", "payload": null }),
    ] {
        let mut socket = RawSocket::open(&server.url, "graphql-transport-ws").await;
        socket.say(init).await;
        assert_eq!(socket.message().await, json!({ "type": "connection_ack" }));
    }
}

#[tokio::test]
async fn a_second_connection_init_closes_with_4429() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    socket.say(json!({ "type": "connection_init" })).await;
    let closed = (4429, "Too many initialisation requests".to_owned());
    assert_eq!(socket.closed().await, closed);
}

#[tokio::test]
async fn no_connection_init_in_time_closes_with_4408() {
    let server = Server::offline().await;
    let mut socket = RawSocket::open(&server.url, "graphql-transport-ws").await;
    let closed = (4408, "Connection initialisation timeout".to_owned());
    assert_eq!(socket.closed().await, closed);
}

#[tokio::test]
async fn subscribing_before_the_acknowledgement_closes_with_4401() {
    let server = Server::offline().await;
    let mut socket = RawSocket::open(&server.url, "graphql-transport-ws").await;
    socket.say(subscribe("1", ALL)).await;
    assert_eq!(socket.closed().await, (4401, "Unauthorized".to_owned()));
}

#[tokio::test]
async fn ping_is_answered_at_any_time_with_its_payload() {
    let server = Server::offline().await;
    let mut socket = RawSocket::open(&server.url, "graphql-transport-ws").await;
    socket.say(json!({ "type": "ping" })).await;
    assert_eq!(socket.message().await, json!({ "type": "pong" }));
    socket
        .say(json!({ "type": "ping", "payload": { "a": [1] } }))
        .await;
    let pong = json!({ "type": "pong", "payload": { "a": [1] } });
    assert_eq!(socket.message().await, pong);
}

#[tokio::test]
async fn an_unasked_pong_is_taken() {
    let server = Server::offline().await;
    let mut socket = RawSocket::open(&server.url, "graphql-transport-ws").await;
    socket.say(json!({ "type": "pong" })).await;
    socket.say(json!({ "type": "pong", "payload": {} })).await;
    settle(&mut socket).await;
}

#[tokio::test]
async fn what_is_no_message_closes_with_4400_and_a_reason() {
    let server = Server::offline().await;
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
        let mut socket = RawSocket::ready(&server.url).await;
        socket.say_text(invalid).await;
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 4400, "{invalid}");
        assert!(
            !reason.is_empty() && reason.len() <= 123,
            "{invalid}: {reason}"
        );
    }
}

#[tokio::test]
async fn a_binary_message_closes_with_4400() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    socket.send(Message::binary(vec![1, 2])).await;
    assert_eq!(socket.closed().await.0, 4400);
}

#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    let long = format!("{{ __typename # {} }}", "x".repeat(65 * 1024));
    socket.say(subscribe("1", &long)).await;
    assert_eq!(socket.closed().await.0, 1009);
}

#[tokio::test]
async fn a_query_gets_one_next_and_complete() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    socket.say(subscribe("q", "{ __typename }")).await;
    let next =
        json!({ "type": "next", "id": "q", "payload": { "data": { "__typename": "Query" } } });
    assert_eq!(socket.message().await, next);
    assert_eq!(
        socket.message().await,
        json!({ "type": "complete", "id": "q" })
    );
}

#[tokio::test]
async fn a_mutation_gets_one_next_and_complete() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    let query = r#"mutation { sendMessage(input: { text: "Plan a trip" }) { replyId } }"#;
    socket.say(subscribe("m", query)).await;
    let next = socket.message().await;
    assert!(
        next["payload"]["data"]["sendMessage"]["replyId"].is_string(),
        "{next}"
    );
    assert_eq!(
        socket.message().await,
        json!({ "type": "complete", "id": "m" })
    );
}

#[tokio::test]
async fn a_document_that_does_not_hold_gets_error_and_nothing_more() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    for query in ["{ unknown }", "{ not closed", "subscription { unknown }"] {
        socket.say(subscribe("e", query)).await;
        let error = socket.message().await;
        assert_eq!(error["type"], "error", "{error}");
        assert_eq!(error["id"], "e");
        assert!(error["payload"][0]["message"].is_string(), "{error}");
        assert!(
            error["payload"][0]["extensions"]["code"].is_string(),
            "{error}"
        );
        // Nothing follows, and the id is free: the next one would close the socket otherwise.
        settle(&mut socket).await;
    }
}

#[tokio::test]
async fn a_second_operation_with_a_running_ones_id_closes_with_4409() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    socket.say(subscribe("1", ALL)).await;
    socket.say(subscribe("1", ALL)).await;
    let closed = (4409, "Subscriber for 1 already exists".to_owned());
    assert_eq!(socket.closed().await, closed);
}

#[tokio::test]
async fn an_id_is_free_again_when_its_operation_is_over() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    for _ in 0..3 {
        socket.say(subscribe("1", "{ __typename }")).await;
        assert_eq!(socket.message().await["type"], "next");
        assert_eq!(socket.message().await["type"], "complete");
    }
    socket.say(subscribe("1", ALL)).await;
    socket.say(json!({ "type": "complete", "id": "1" })).await;
    socket.say(subscribe("1", "{ __typename }")).await;
    assert_eq!(socket.message().await["type"], "next");
}

#[tokio::test]
async fn complete_of_the_client_ends_the_operation_without_an_answer() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let mut socket = RawSocket::ready(&server.url).await;
    socket.say(subscribe("1", ALL)).await;
    settle(&mut socket).await;
    socket.say(json!({ "type": "complete", "id": "1" })).await;
    settle(&mut socket).await;
    rename(&server, &id, "Not heard").await;
    // Were anything said about the operation, it would come before the pong.
    socket.say(json!({ "type": "ping" })).await;
    assert_eq!(socket.message().await, json!({ "type": "pong" }));
}

#[tokio::test]
async fn complete_for_an_unknown_id_is_passed_over() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    socket
        .say(json!({ "type": "complete", "id": "never" }))
        .await;
    settle(&mut socket).await;
}

#[tokio::test]
async fn operations_run_side_by_side_and_keep_their_ids() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut socket = RawSocket::ready(&server.url).await;
    socket.say(subscribe("a", ALL)).await;
    socket.say(subscribe("b", ALL)).await;
    socket.say(subscribe("c", "{ __typename }")).await;
    let mut ids = Vec::new();
    while ids.len() < 2 {
        ids.push(socket.message().await["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids, ["c", "c"]);
    let id = rename_of_new(&server, "Heard twice").await;
    let (mut a, mut b) = (0, 0);
    while a + b < 2 {
        let next = socket.message().await;
        if next["payload"]["data"]["conversationUpdated"]["displayName"] == "Heard twice" {
            assert_eq!(next["payload"]["data"]["conversationUpdated"]["id"], id);
            match next["id"].as_str() {
                Some("a") => a += 1,
                _ => b += 1,
            }
        }
    }
    assert_eq!((a, b), (1, 1));
}

#[tokio::test]
async fn more_operations_than_a_socket_may_have_are_refused_one_by_one() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    for number in 0..=100 {
        socket.say(subscribe(&number.to_string(), ALL)).await;
    }
    let refused = socket.message().await;
    assert_eq!(
        (&refused["type"], &refused["id"]),
        (&json!("error"), &json!("100"))
    );
    settle(&mut socket).await;
}

#[tokio::test]
async fn a_shutdown_closes_with_1012_so_that_clients_come_back() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    socket.say(subscribe("1", ALL)).await;
    settle(&mut socket).await;
    server.begin_stop();
    assert_eq!(socket.closed().await.0, 1012);
    server.stop().await;
}

#[tokio::test]
async fn a_subscriber_that_leaves_leaves_nothing_behind() {
    let server = Server::offline().await;
    let mut socket = RawSocket::ready(&server.url).await;
    socket.say(subscribe("1", ALL)).await;
    settle(&mut socket).await;
    eventually(async || (server.app.events().topic_count() == 1).then_some(())).await;
    drop(socket);
    eventually(async || (server.app.events().topic_count() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_foreign_page_cannot_open_a_socket() {
    let server = Server::offline().await;
    let client = titlecast_testing::server::client();
    let response = client
        .get(format!("{}/graphql", server.url))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("origin", "https://evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
}

#[tokio::test]
async fn the_older_subprotocol_carries_a_subscription() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut socket = RawSocket::open(&server.url, "graphql-ws").await;
    socket
        .say(json!({ "type": "connection_init", "payload": {} }))
        .await;
    assert_eq!(socket.message().await["type"], "connection_ack");
    assert_eq!(socket.message().await["type"], "ka");
    socket
        .say(json!({ "type": "start", "id": "1", "payload": { "query": "{ __typename }" } }))
        .await;
    assert_eq!(socket.message().await["type"], "data");
    assert_eq!(socket.message().await["type"], "complete");
    socket
        .say(json!({ "type": "start", "id": "2", "payload": { "query": "{ unknown }" } }))
        .await;
    let error = socket.message().await;
    assert_eq!(error["type"], "error");
    assert!(error["payload"]["message"].is_string(), "{error}");
    socket
        .say(json!({ "type": "start", "id": "3", "payload": { "query": ALL } }))
        .await;
    let query = json!({ "query": "{ __typename }" });
    assert_eq!(
        request(&server.url, "POST", "/graphql", Some(query))
            .await
            .0,
        200
    );
    rename_of_new(&server, "Heard").await;
    while socket.message().await["payload"]["data"]["conversationUpdated"]["displayName"] != "Heard"
    {
    }
    socket.say(json!({ "type": "stop", "id": "3" })).await;
    socket.say(json!({ "type": "connection_terminate" })).await;
    while let Heard::Message(_) = socket.hear().await {}
}
