//! WebSockets of the service. The protocols themselves, rule by rule: `crates/graphql-transport/tests/protocols`.

use std::time::Duration;

use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Server, eventually,
    raw_socket::{Frame, RawSocket},
    server::request,
};

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

/// RFC 6455, section 4.2.1: the base64 of 16 bytes.
#[tokio::test]
async fn a_handshake_needs_one_key_of_16_bytes() {
    let server = Server::offline().await;
    let client = titlecast_testing::server::client();
    let open = async |keys: &[&str]| {
        let mut request = client
            .get(format!("{}/graphql", server.url))
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "graphql-transport-ws");
        for key in keys {
            request = request.header("sec-websocket-key", *key);
        }
        request.send().await.unwrap().status()
    };
    let good = "dGhlIHNhbXBsZSBub25jZQ==";
    assert_eq!(open(&[good]).await, 101);
    let fifteen_bytes = "dGhlIHNhbXBsZSBub25j";
    let seventeen_bytes = "dGhlIHNhbXBsZSBub25jZSE=";
    let of_urls = "dGhlIHNhbXBsZSBub25j_-==";
    let without_padding = good.trim_end_matches('=');
    for keys in [
        &[][..],
        &[""],
        &["abc"],
        &["=="],
        &[fifteen_bytes],
        &[seventeen_bytes],
        &[of_urls],
        &[without_padding],
        &[good, good],
    ] {
        assert_eq!(open(keys).await, 400, "{keys:?}");
    }
}

#[tokio::test]
async fn the_older_subprotocol_sends_no_keep_alive_before_the_acknowledgement() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--keep-alive", "100ms"]).await;
    let mut socket = RawSocket::open(&server.url, "graphql-ws").await;
    // Several pings are due meanwhile.
    tokio::time::sleep(Duration::from_millis(500)).await;
    socket.say(json!({ "type": "connection_init" })).await;
    for expected in ["connection_ack", "ka", "ka"] {
        assert_eq!(socket.message().await["type"], expected);
    }
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
    while let Frame::Message(_) = socket.receive().await {}
}
