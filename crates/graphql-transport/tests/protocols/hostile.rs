//! Clients that violate the protocols below GraphQL (HTTP, the handshake, frames), panics, and resolvers that never
//! return.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Received, Server, Socket, within};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const JSON: &str = "Content-Type: application/json\r\n";

fn handshake(keys: &[&str]) -> String {
    let keys = keys
        .iter()
        .map(|key| format!("Sec-WebSocket-Key: {key}\r\n"));
    format!(
        "GET /graphql HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n{}\r\n",
        keys.collect::<String>()
    )
}

/// The status of the response.
async fn status(server: &Server, request: &str) -> String {
    let mut stream = server.write(request.as_bytes()).await;
    let mut line = [0; 12];
    within(stream.read_exact(&mut line)).await.unwrap();
    String::from_utf8_lossy(&line[9..]).into_owned()
}

#[tokio::test]
async fn a_handshake_has_one_key_of_16_bytes() {
    let server = Server::start().await;
    assert_eq!(status(&server, &handshake(&[KEY])).await, "101");
    let wrong: [&[&str]; 7] = [
        &[],
        &[""],
        &["short"],
        &["dGhlIHNhbXBsZSBub25jZQ"],
        &["dGhlIHNhbXBsZSBub25jZSE5"],
        &["dGhlIHNhbXBsZSBub25j-Q=="],
        &[KEY, KEY],
    ];
    for keys in wrong {
        assert_eq!(status(&server, &handshake(keys)).await, "400", "{keys:?}");
    }
}

/// Sends raw frames after a handshake. Returns the code of the close frame that the server answers with.
async fn closed_with(server: &Server, frames: &[u8]) -> u16 {
    let mut stream = server.write(handshake(&[KEY]).as_bytes()).await;
    within(stream.write_all(frames)).await.unwrap();
    let mut bytes = Vec::new();
    // The server closes its side first, and resets the connection if it has not read everything.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let frame = &bytes[head.unwrap() + 4..];
    assert_eq!(frame[0], 0x88, "{frame:?}");
    u16::from_be_bytes([frame[2], frame[3]])
}

#[tokio::test]
async fn frames_that_break_rfc_6455_close_with_1002_and_texts_with_1007() {
    let server = Server::start().await;
    let long_ping = [b"\x89\xfe\0\x7e".as_slice(), &[0; 130]].concat();
    // The masked frames use an all-zero mask.
    let table: [(&str, &[u8], u16); 9] = [
        ("unmasked", b"\x81\x02{}", 1002),
        ("reserved bit", b"\xc1\x80\0\0\0\0", 1002),
        ("reserved opcode", b"\x83\x80\0\0\0\0", 1002),
        ("reserved control opcode", b"\x8b\x80\0\0\0\0", 1002),
        ("fragmented ping", b"\x09\x80\0\0\0\0", 1002),
        ("ping of 126 bytes", &long_ping, 1002),
        ("continuation of nothing", b"\x80\x80\0\0\0\0", 1002),
        (
            "text within a text",
            b"\x01\x80\0\0\0\0\x81\x80\0\0\0\0",
            1002,
        ),
        ("no UTF-8", b"\x81\x82\0\0\0\0\xc3\x28", 1007),
    ];
    for (name, frames, code) in table {
        assert_eq!(closed_with(&server, frames).await, code, "{name}");
    }
    let ends = server
        .post("application/json", &json!({ "query": "{ __typename }" }))
        .await;
    assert_eq!(ends.status(), 200);
}

#[tokio::test]
async fn a_flood_of_pings_does_not_keep_others_from_being_served() {
    let server = Server::start().await;
    let mut stream = server.write(handshake(&[KEY]).as_bytes()).await;
    let pings = b"\x89\x80\0\0\0\0".repeat(10_000);
    // The client never reads the pongs.
    let flood = tokio::spawn(async move { while stream.write_all(&pings).await.is_ok() {} });
    let mut socket = Socket::ready(&server).await;
    for _ in 0..10 {
        socket.settle().await;
    }
    // Without `connection_init`, the flood ends at the init timeout.
    within(flood).await.unwrap();
}

#[tokio::test]
async fn credentials_that_take_too_long_to_check_close_with_4408() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "graphql-transport-ws").await;
    let slow = json!({ "type": "connection_init", "payload": { "token": "slow" } });
    socket.send(slow).await;
    assert_eq!(socket.closed().await.0, 4408);
}

#[tokio::test]
async fn compressed_bodies_and_wrong_charsets_are_refused_with_415() {
    let server = Server::start().await;
    let body = json!({ "query": "{ __typename }" }).to_string();
    for (headers, status) in [
        (
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
            415,
        ),
        (
            "Content-Type: application/json\r\nContent-Encoding: identity\r\n",
            200,
        ),
        ("Content-Type: application/json; charset=utf-16\r\n", 415),
        ("Content-Type: application/json; charset=\"UTF-8\"\r\n", 200),
    ] {
        let answer = server.send("POST", "/graphql", headers, &body).await;
        assert_eq!(answer.status(), status, "{headers}");
    }
}

#[tokio::test]
async fn bodies_that_are_no_request_are_refused_with_400() {
    let server = Server::start().await;
    let nested = format!(
        "{{\"query\":{}1{}}}",
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    let bodies = [
        "",
        "null",
        "1",
        "\"{ __typename }\"",
        "[]",
        r#"[{"query":"{ __typename }"}]"#,
        "{}",
        "{\"query\":null}",
        r#"{"query":"{ __typename }","variables":[]}"#,
        r#"{"query":"{ __typename }","extensions":1}"#,
        "\u{feff}{}",
        &nested,
    ];
    for body in bodies {
        let answer = server.send("POST", "/graphql", JSON, body).await;
        assert_eq!(answer.status(), 400, "{:.60}", body);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let request = |text: &str| {
        let body = json!({ "query": format!("{{ echo(text: \"{text}\") }}") }).to_string();
        let length = body.len();
        format!("POST /graphql HTTP/1.1\r\nHost: a\r\n{JSON}Content-Length: {length}\r\n\r\n{body}")
    };
    let mut stream = server
        .write((request("first") + &request("second")).as_bytes())
        .await;
    let mut answers = String::new();
    while !answers.contains("second") {
        let mut bytes = [0; 1024];
        let read = within(stream.read(&mut bytes)).await.unwrap();
        assert_ne!(read, 0, "{answers}");
        answers.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(answers.find("first").unwrap() < answers.find("second").unwrap());
}

fn code(errors: &Value) -> &Value {
    &errors[0]["extensions"]["code"]
}

#[tokio::test]
async fn a_panic_ends_the_operation_with_an_error_on_every_wire() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    let queries = [
        ("subscription { panics(atStart: true) }", 0),
        ("subscription { panics(atStart: false) }", 1),
        ("subscription { sharedPanics(atStart: true) }", 0),
        ("subscription { sharedPanics(atStart: false) }", 1),
        ("subscription Panics { events }", 0),
        ("subscription Panics { alone }", 0),
    ];
    // Twice, because a cohort that panicked must not keep its key.
    for (query, events) in queries.iter().chain(&queries) {
        let mut payload = json!({ "query": query });
        if query.contains("Panics {") {
            payload["operationName"] = "Panics".into();
        }
        let subscribe = json!({ "type": "subscribe", "id": "1", "payload": payload });
        socket.send(subscribe).await;
        for _ in 0..*events {
            assert_eq!(socket.message().await["type"], "next", "{query}");
        }
        let error = socket.message().await;
        assert_eq!(error["type"], "error", "{query}");
        assert_eq!(code(&error["payload"]), "INTERNAL", "{query}");

        let mut stream = server.post("text/event-stream", &payload).await;
        for _ in 0..*events {
            assert!(stream.event().await.unwrap().1.contains("data"), "{query}");
        }
        let (_, data) = stream.event().await.unwrap();
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(code(&data["errors"]), "INTERNAL", "{query}");
        assert_eq!(stream.event().await.unwrap().0, "complete", "{query}");
    }
    let panics = server
        .post(
            "application/json",
            &json!({ "query": "{ element(index: 1) }" }),
        )
        .await;
    assert_eq!(panics.status(), 500);
    socket.settle().await;
}

#[tokio::test]
async fn a_resolver_that_never_ends_is_a_timeout() {
    let server = Server::start().await;
    let mut socket = Socket::ready(&server).await;
    let query = json!({ "query": "{ never }" });
    socket
        .send(json!({ "type": "subscribe", "id": "1", "payload": query }))
        .await;
    let answer = server.post("application/json", &query).await.json().await;
    assert_eq!(code(&answer["errors"]), "TIMEOUT", "{answer}");
    assert_eq!(
        code(&socket.message().await["payload"]["errors"]),
        "TIMEOUT"
    );
    assert_eq!(socket.message().await["type"], "complete");
    // A subscription that never starts does not block its socket, and ends with the socket.
    let stuck = json!({ "query": "subscription { stuck }" });
    socket
        .send(json!({ "type": "subscribe", "id": "1", "payload": stuck }))
        .await;
    server.subscribed(1).await;
    socket.settle().await;
    server.close();
    assert_eq!(
        socket.receive().await,
        Received::Closed(1012, "Service restart".to_owned())
    );
    server.subscribed(0).await;
}
