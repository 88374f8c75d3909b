//! Server-sent events and multipart subscriptions of the service. The protocols themselves, rule by rule:
//! `crates/graphql-transport/tests/protocols`.

use futures_util::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use titlecast_testing::{ModelServer, Server, eventually, server::client, within};

const ALL: &str = "subscription { conversationUpdated { id displayName } }";
const MULTIPART: &str =
    r#"multipart/mixed;boundary="graphql";subscriptionSpec="1.0",application/json"#;

/// A response being read in pieces that end with `mark`.
struct Pieces {
    status: u16,
    content_type: String,
    mark: &'static str,
    buffer: String,
    bytes: BoxStream<'static, reqwest::Result<axum::body::Bytes>>,
}

impl Pieces {
    async fn post(server: &Server, accept: &str, body: Value, mark: &'static str) -> Self {
        let request = client()
            .post(format!("{}/graphql", server.url))
            .header("content-type", "application/json")
            .header("accept", accept)
            .body(body.to_string());
        Self::of(request, mark).await
    }

    async fn of(request: reqwest::RequestBuilder, mark: &'static str) -> Self {
        let response = within(request.send()).await.unwrap();
        Self {
            status: response.status().as_u16(),
            content_type: response.headers()["content-type"]
                .to_str()
                .unwrap()
                .to_owned(),
            mark,
            buffer: String::new(),
            bytes: response.bytes_stream().boxed(),
        }
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((piece, rest)) = self.buffer.split_once(self.mark) {
                let (piece, rest) = (piece.to_owned(), rest.to_owned());
                self.buffer = rest;
                return Some(piece);
            }
            let bytes = within(self.bytes.next()).await?.unwrap();
            self.buffer.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// The next SSE event: its name and its data.
    async fn event(&mut self) -> Option<(String, String)> {
        let event = self.next().await?;
        let (name, data) = event.split_once('\n').unwrap();
        Some((
            name.strip_prefix("event: ").unwrap().to_owned(),
            data.strip_prefix("data: ").unwrap().to_owned(),
        ))
    }
}

async fn sse(server: &Server, query: &str) -> Pieces {
    Pieces::post(
        server,
        "text/event-stream",
        json!({ "query": query }),
        "\n\n",
    )
    .await
}

#[tokio::test]
async fn a_subscription_streams_next_events() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut stream = sse(&server, ALL).await;
    assert_eq!(
        (stream.status, stream.content_type.as_str()),
        (200, "text/event-stream")
    );
    eventually(async || (server.app.events().topic_count() == 1).then_some(())).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    within(async {
        loop {
            let (name, data) = stream.event().await.unwrap();
            assert_eq!(name, "next");
            let data: Value = serde_json::from_str(&data).unwrap();
            let conversation = &data["data"]["conversationUpdated"];
            assert_eq!(conversation["id"], id);
            if conversation["displayName"] == ModelServer::TITLE {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn closing_the_connection_ends_the_operation() {
    let server = Server::offline().await;
    let stream = sse(&server, ALL).await;
    eventually(async || (server.app.events().topic_count() == 1).then_some(())).await;
    drop(stream);
    eventually(async || (server.app.events().topic_count() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_shutdown_breaks_the_stream_off_so_that_clients_come_back() {
    let server = Server::offline().await;
    let mut stream = sse(&server, ALL).await;
    eventually(async || (server.app.events().topic_count() == 1).then_some(())).await;
    server.begin_stop();
    // A proper end would say that the operation is over.
    let end = within(stream.bytes.next()).await;
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    server.stop().await;
}

#[tokio::test]
async fn multipart_parts_are_whole_when_they_arrive() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let body = json!({ "query": ALL });
    let mut stream = Pieces::post(&server, MULTIPART, body, "\r\n--graphql").await;
    assert!(
        stream.content_type.starts_with("multipart/mixed"),
        "{}",
        stream.content_type
    );
    assert!(
        stream.content_type.contains("boundary=graphql"),
        "{}",
        stream.content_type
    );
    eventually(async || (server.app.events().topic_count() == 1).then_some(())).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    // Each part ends with the next delimiter, so the first event needs no second one to be read.
    let part = stream.next().await.unwrap();
    let (_, json) = part.split_once("\r\n\r\n").unwrap();
    let part: Value = serde_json::from_str(json).unwrap();
    assert_eq!(part["payload"]["data"]["conversationUpdated"]["id"], id);
}

#[tokio::test]
async fn an_event_is_one_line_whatever_the_text() {
    const TEXT: &str = "a\nb\r\nc\u{85}d\u{2028}e\u{2029}f é – 京 \"quoted\"";
    const WATCH: &str = "subscription ($id: ID!) {
        conversationUpdated(id: $id) { messages(first: 1) { nodes { content } } }
    }";
    let ends = ['\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin(TEXT).await;
    let body = json!({ "query": WATCH, "variables": { "id": id } });
    for (accept, mark, is_multipart) in [
        ("text/event-stream", "\n\n", false),
        (MULTIPART, "\r\n--graphql", true),
    ] {
        let mut stream = Pieces::post(&server, accept, body.clone(), mark).await;
        let event = match is_multipart {
            false => stream.event().await.unwrap().1,
            true => stream.next().await.unwrap(),
        };
        assert!(!event.contains(ends), "{accept}: {event:?}");
        let line = event.lines().find(|line| line.starts_with('{')).unwrap();
        let event: Value = serde_json::from_str(line).unwrap();
        let payload = event.get("payload").unwrap_or(&event);
        let nodes = &payload["data"]["conversationUpdated"]["messages"]["nodes"];
        assert_eq!(nodes[0]["content"], TEXT, "{accept}");
    }
    server.stop().await;
}
