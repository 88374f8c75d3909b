//! Traffic of real clients and proxies: unsupported upgrades, broken chunks, other spellings, and streams that must
//! pass.

use std::time::Duration;

use serde_json::{Value, json};
use titlecast_testing::{
    Events, ModelServer, Server, Step,
    legacy::post,
    raw_socket::RawSocket,
    replies::write,
    server::{client, request},
    sse::text,
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Sends bytes and reads up to this mark.
async fn exchange(stream: &mut TcpStream, sent: &str, mark: &str) -> String {
    within(stream.write_all(sent.as_bytes())).await.unwrap();
    let mut received = Vec::new();
    within(async {
        while !String::from_utf8_lossy(&received).contains(mark) {
            let length = stream.read_buf(&mut received).await.unwrap();
            assert_ne!(length, 0, "closed: {}", String::from_utf8_lossy(&received));
        }
    })
    .await;
    String::from_utf8(received).unwrap()
}

async fn connect(server: &Server) -> TcpStream {
    let address = server.url.trim_start_matches("http://");
    within(TcpStream::connect(address)).await.unwrap()
}

#[tokio::test]
async fn an_upgrade_that_is_not_spoken_is_ignored() {
    let server = Server::offline().await;
    let mut stream = connect(&server).await;
    for upgrade in [
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
        "Upgrade: h2c\r\n",
    ] {
        let head = format!("HTTP/1.1\r\nHost: localhost\r\n{upgrade}");
        let query = "query=%7B__typename%7D";
        let received = exchange(
            &mut stream,
            &format!("GET /graphql?{query} {head}\r\n"),
            "}}",
        )
        .await;
        assert!(received.starts_with("HTTP/1.1 200 "), "{received}");
        assert!(
            received.contains(r#"{"data":{"__typename":"Query"}}"#),
            "{received}"
        );
        let body = r#"{"query":"{__typename}"}"#;
        let length = body.len();
        let received = exchange(
            &mut stream,
            &format!(
                "POST /graphql {head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
            "}}",
        )
        .await;
        assert!(received.starts_with("HTTP/1.1 200 "), "{received}");
        let received = exchange(
            &mut stream,
            &format!("GET /api/v1/conversations {head}\r\n"),
            "}",
        )
        .await;
        assert!(received.starts_with("HTTP/1.1 200 "), "{received}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_malformed_and_not_too_large() {
    let server = Server::offline().await;
    for path in ["/graphql", "/api/v1/chat", "/api/v1/chat/stream"] {
        for (head, body) in [
            ("Transfer-Encoding: chunked", "zz\r\n{}\r\n"),
            ("Transfer-Encoding: chunked", "2\r\n{}x\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked", "-1\r\n{}\r\n"),
            ("Transfer-Encoding: chunked", "ffffffffffffffffff\r\n{}\r\n"),
        ] {
            let mut stream = connect(&server).await;
            let sent = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{head}\r\n\r\n{body}"
            );
            let received = exchange(&mut stream, &sent, "INVALID_JSON").await;
            assert!(
                received.starts_with("HTTP/1.1 400 "),
                "{path} {body:?}: {received}"
            );
        }
        // A peer that ends its side in the middle.
        let mut stream = connect(&server).await;
        let sent = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{{"
        );
        within(stream.write_all(sent.as_bytes())).await.unwrap();
        within(stream.shutdown()).await.unwrap();
        let mut received = String::new();
        within(stream.read_to_string(&mut received)).await.unwrap();
        assert!(
            received.is_empty() || received.starts_with("HTTP/1.1 400 "),
            "{received}"
        );
        // What is announced to be too large is.
        let mut stream = connect(&server).await;
        let sent = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
        );
        let received = exchange(&mut stream, &sent, "PAYLOAD_TOO_LARGE").await;
        assert!(received.starts_with("HTTP/1.1 413 "), "{received}");
    }
    server.stop().await;
}

#[tokio::test]
async fn streams_of_graphql_are_kept_alive_as_often_as_the_setting_says() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--keep-alive", "100ms"]).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let query = format!("subscription {{ conversationUpdated(id: \"{id}\") {{ id }} }}");
    let body = json!({ "query": query }).to_string();
    for (version, accept, mark) in [
        ("1.1", "text/event-stream", "\n:\n\n"),
        ("1.0", "text/event-stream", "\n:\n\n"),
        (
            "1.1",
            "multipart/mixed;subscriptionSpec=1.0",
            "\r\n{}\r\n--graphql\r\n",
        ),
    ] {
        let mut stream = connect(&server).await;
        let length = body.len();
        let sent = format!(
            "POST /graphql HTTP/{version}\r\nHost: localhost\r\nAccept: {accept}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let received = exchange(&mut stream, &sent, mark).await;
        let head = received.to_ascii_lowercase();
        assert!(
            head.contains("cache-control: no-cache, no-transform"),
            "{received}"
        );
    }
    let mut socket = connect(&server).await;
    let opening = "GET /graphql HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n";
    exchange(&mut socket, opening, "\r\n\r\n").await;
    // An empty ping.
    let mut frame = [0; 2];
    let asked = tokio::time::timeout(Duration::from_secs(2), socket.read_exact(&mut frame));
    asked.await.expect("a ping comes").unwrap();
    assert_eq!(frame, [0x89, 0]);
    server.stop().await;
}

#[tokio::test]
async fn the_last_event_id_may_stand_in_the_query_string() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let steps = model.live_reply();
    let body = json!({ "message": "Plan a trip to Kyoto", "context": { "auto_title": false } });
    let path = "/api/v1/chat/stream?ids=true";
    let mut events = Events::of(post(&server.url, path, body.clone())).await;
    let created = events.next().await.unwrap();
    write(&steps, "First we");
    events.next().await.unwrap();
    let place = events.last_id();
    drop(events);
    write(&steps, " take the train.");
    steps.send(Step::Finish).unwrap();
    let id = created["conversation_id"].as_str().unwrap();
    let resumed = format!("/api/v1/conversations/{id}/reply");
    for name in ["lastEventId", "last_event_id"] {
        let url = format!("{}{resumed}?{name}={place}", server.url);
        let events = Events::of(client().get(url)).await.rest().await;
        assert_eq!(events[0]["payload"], json!({ "recovered": true }), "{name}");
        assert_eq!(text(&events), " take the train.", "{name}");
        // The same request once more, after a cut.
        let path = format!("/api/v1/chat/stream?{name}={place}");
        let mut events = Events::of(post(&server.url, &path, body.clone())).await;
        assert_eq!(text(&events.rest().await), " take the train.", "{name}");
    }
    // The header, which is newer, goes before what the address was made with.
    let url = format!("{}{resumed}?lastEventId=none", server.url);
    let mut events = Events::of(client().get(url).header("last-event-id", &place)).await;
    assert_eq!(text(&events.rest().await), " take the train.");
    assert_eq!(model.reply_requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn characters_outside_of_the_basic_plane_may_be_escaped_in_a_document() {
    let server = Server::offline().await;
    for (escaped, character) in [
        (r"\uD83D\uDE00", "\u{1f600}"),
        (r"\ud83d\ude00", "\u{1f600}"),
        (r"\u{1F600}", "\u{1f600}"),
        (r"\u{1f600}\u00e9\u{e9}", "\u{1f600}éé"),
        (r"\u{22}\u{5C}\u{0A}", "\"\\\n"),
        (r"\\u{1F600}", r"\u{1F600}"),
    ] {
        let query = format!(
            "mutation {{ sendMessage(input: {{ text: \"a {escaped} b\" }}) {{ message {{ content }} }} }}"
        );
        let data = server.data(&query, json!({})).await;
        let content = &data["sendMessage"]["message"]["content"];
        assert_eq!(content, &json!(format!("a {character} b")), "{escaped}");
    }
    for escaped in [
        r"\uD83D",
        r"\uDE00\uD83D",
        r"\u{110000}",
        r"\u{D83D}",
        r"\u{}",
        r"\u{1F600",
    ] {
        let query = format!("{{ conversation(id: \"{escaped}\") {{ id }} }}");
        let answer = server.graphql(&query, json!({})).await;
        let code = &answer["errors"][0]["extensions"]["code"];
        assert_eq!(code, "GRAPHQL_PARSE_FAILED", "{escaped}: {answer}");
    }
    // What follows keeps its place.
    let query = "{ conversation(id: \"\\u{1F600}\\uD83D\\uDE00\") { id nothing } }";
    let answer = server.graphql(query, json!({})).await;
    let column = query.find("nothing").unwrap() + 1;
    assert_eq!(
        answer["errors"][0]["locations"][0]["column"], column,
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_whole_number_with_a_fraction_is_an_int_in_variables_and_none_in_a_document() {
    let server = Server::offline().await;
    let query = "query ($n: Int) { conversations(first: $n) { nodes { id } } }";
    for number in ["1.0", "1e0", "10E-1", "1"] {
        let body = format!(r#"{{"query":"{query}","variables":{{"n":{number}}}}}"#);
        let request = client()
            .post(format!("{}/graphql", server.url))
            .header("content-type", "application/json")
            .body(body);
        let response = within(request.send()).await.unwrap();
        let body = within(response.bytes()).await.unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            answer,
            json!({ "data": { "conversations": { "nodes": [] } } }),
            "{number}"
        );
    }
    for (query, variables) in [
        (query, json!({ "n": 1.5 })),
        (query, json!({ "n": 1e10 })),
        (
            "query ($n: Int = 1.0) { conversations(first: $n) { nodes { id } } }",
            json!({}),
        ),
        ("{ conversations(first: 1.0) { nodes { id } } }", json!({})),
    ] {
        let answer = server.graphql(query, variables.clone()).await;
        assert!(answer["errors"].is_array(), "{query} {variables}: {answer}");
    }
    server.stop().await;
}

/// Manifests as compilers of clients write them, and how their clients name a document.
#[tokio::test]
async fn manifests_of_all_compilers_are_read() {
    let model = ModelServer::start().await;
    let query = "{ __typename }";
    let hash = "5e734c30fb0a9aa5b0fc43b4fa9ac5c5d1b1a3ab1e2e1a2a4c0dc2a87d5b5ef1";
    let apollo = json!({
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": [{ "id": hash, "body": query, "name": "Q", "type": "query", "clientName": "web" }],
    });
    for (manifest, ids) in [
        (
            json!({ hash: query }),
            vec![hash.to_owned(), format!("sha256:{hash}")],
        ),
        (
            json!({ format!("sha256:{hash}"): query }),
            vec![hash.to_owned(), format!("sha256:{hash}")],
        ),
        (apollo, vec![hash.to_owned(), format!("sha256:{hash}")]),
        (
            json!({ "docs/typename": query }),
            vec!["docs/typename".to_owned()],
        ),
    ] {
        let path = std::env::temp_dir().join(format!("titlecast-{}.json", uuid::Uuid::now_v7()));
        std::fs::write(&path, manifest.to_string()).unwrap();
        let setting = path.display().to_string();
        let server = Server::start_with(&model, &["--trusted-documents", &setting]).await;
        std::fs::remove_file(&path).unwrap();
        for id in ids {
            let hashed =
                json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": id } } });
            for body in [json!({ "documentId": id }), hashed] {
                let (_, answer) = request(&server.url, "POST", "/graphql", Some(body)).await;
                assert_eq!(answer["data"]["__typename"], "Query", "{manifest} {id}");
            }
        }
        let mut socket = RawSocket::ready(&server.url).await;
        let payload = json!({ "query": query.replace(' ', "") });
        socket
            .say(json!({ "type": "subscribe", "id": "1", "payload": payload }))
            .await;
        let refused = socket.message().await;
        let code = &refused["payload"][0]["extensions"]["code"];
        assert_eq!(code, "PERSISTED_QUERY_REQUIRED", "{refused}");
        server.stop().await;
    }
}
