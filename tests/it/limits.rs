//! Limits per user: messages per minute and concurrent streams. Without tokens, limits per address, with this machine
//! exempt.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Server,
    auth::{GUARDED, claims, signed},
    eventually,
    raw_socket::{Frame, RawSocket},
    server::{client, metrics},
    within,
};

const SEND: &str = "mutation ($key: String) {
    sendMessage(input: { text: \"Hello\", idempotencyKey: $key }) { replyId }
}";

async fn guarded(model: &ModelServer, settings: &[&str]) -> Server {
    Server::start_with(model, &[&GUARDED, settings].concat()).await
}

/// A message as a client sends it: `headers` identify its user.
struct Sender<'a> {
    server: &'a Server,
    headers: &'a [(&'static str, String)],
}

impl Sender<'_> {
    fn with_headers(&self, mut request: RequestBuilder) -> RequestBuilder {
        for (name, value) in self.headers {
            request = request.header(*name, value);
        }
        request
    }

    async fn post(&self, path: &str, body: Value, key: Option<&str>) -> Response {
        let request = client().post(format!("{}{path}", self.server.url));
        let mut request = self
            .with_headers(request)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(body.to_string());
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        within(request.send()).await.unwrap()
    }

    /// Over the legacy route without streaming.
    async fn chat(&self, key: Option<&str>) -> Response {
        let body = json!({ "message": "Hello" });
        self.post("/api/v1/chat", body, key).await
    }

    async fn mutation(&self, key: Option<&str>) -> Value {
        let body = json!({ "query": SEND, "variables": { "key": key } });
        let response = self.post("/graphql", body, None).await;
        within(response.json()).await.unwrap()
    }

    /// `GET …/stream`, or what else streams.
    async fn stream(&self, path: &str) -> Response {
        let request = client().get(format!("{}{path}", self.server.url));
        let request = self.with_headers(request);
        let request = request.header("accept", "text/event-stream");
        within(request.send()).await.unwrap()
    }
}

fn user(name: &str) -> [(&'static str, String); 1] {
    [(
        "authorization",
        format!("Bearer {}", signed(&claims("acme", name))),
    )]
}

/// The seconds after which to try again, as the header says.
#[track_caller]
fn retry_after(response: &Response) -> u64 {
    let header = response.headers().get("retry-after").unwrap();
    header.to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_user_sends_so_many_messages_a_minute_whichever_way() {
    let model = ModelServer::start().await;
    let mut server = guarded(&model, &["--messages-per-minute", "3"]).await;
    let metrics_url = server.serve_metrics().await;
    let headers = user("ada");
    let ada = Sender {
        server: &server,
        headers: &headers,
    };
    assert_eq!(ada.chat(Some("first")).await.status(), 200);
    assert_eq!(ada.mutation(None).await.get("errors"), None);
    let body = json!({ "message": "Hello" });
    let streamed = ada.post("/api/v1/chat/stream", body.clone(), None).await;
    assert_eq!(streamed.status(), 200);
    within(streamed.text()).await.unwrap();
    let before = server.database.census_at_rest().await;
    let calls = model.reply_requests().len();

    for path in ["/api/v1/chat", "/api/v1/chat/stream"] {
        let refused = ada.post(path, body.clone(), None).await;
        assert_eq!(refused.status(), 429, "{path}");
        let seconds = retry_after(&refused);
        assert!((1..=20).contains(&seconds), "{seconds}");
        let answer: Value = within(refused.json()).await.unwrap();
        assert_eq!(answer["code"], "RATE_LIMITED");
        let text = format!("too many messages; try again in {seconds} s");
        for name in ["detail", "error", "message"] {
            assert_eq!(answer[name], text);
        }
    }
    let answer = ada.mutation(None).await;
    let extensions = &answer["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "RATE_LIMITED", "{answer}");
    let seconds = extensions["retryAfter"].as_u64().unwrap();
    assert!((1..=20).contains(&seconds), "{seconds}");
    assert_eq!(ada.chat(Some("unknown")).await.status(), 429);

    // A retry is no other message; the same key for something else is still distinguished.
    assert_eq!(ada.chat(Some("first")).await.status(), 200);
    let other = json!({ "message": "Something else" });
    let reused = ada.post("/api/v1/chat", other, Some("first")).await;
    assert_eq!(reused.status(), 409);

    assert_eq!(server.database.census().await, before);
    assert_eq!(model.reply_requests().len(), calls);
    let headers = user("grace");
    let grace = Sender {
        server: &server,
        headers: &headers,
    };
    assert_eq!(grace.chat(None).await.status(), 200);
    assert_eq!(
        grace.chat(Some("first")).await.status(),
        200,
        "the same key of another user is independent"
    );
    let page = metrics(&metrics_url).await;
    assert!(
        page.contains("\ntitlecast_refused_messages_total 4\n"),
        "{page}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_user_has_so_many_streams_and_sockets_open() {
    const WATCH: &str = "/graphql?query=subscription%7BconversationUpdated%7Bid%7D%7D";
    let model = ModelServer::start().await;
    let mut server = guarded(&model, &["--streams-per-user", "2"]).await;
    let metrics_url = server.serve_metrics().await;
    let headers = user("ada");
    let ada = Sender {
        server: &server,
        headers: &headers,
    };
    let sent: Value = within(ada.chat(None).await.json()).await.unwrap();
    let id = sent["conversation_id"].as_str().unwrap();
    let title_stream = format!("/api/v1/conversations/{id}/stream");
    let reply_stream = format!("/api/v1/conversations/{id}/reply");
    let open = async |headers: &[(&'static str, String)]| {
        let mut socket = RawSocket::open_with(&server.url, "graphql-transport-ws", headers).await;
        socket.say(json!({ "type": "connection_init" })).await;
        let received = socket.receive().await;
        (socket, received)
    };
    let ack = Frame::Message(json!({ "type": "connection_ack" }));

    let first = ada.stream(&title_stream).await;
    assert_eq!(first.status(), 200);
    let (socket, received) = open(&headers).await;
    assert_eq!(received, ack);
    for path in [title_stream.as_str(), &reply_stream, WATCH] {
        let refused = ada.stream(path).await;
        assert_eq!(refused.status(), 429, "{path}");
        assert_eq!(retry_after(&refused), 5, "{path}");
        let answer = within(refused.text()).await.unwrap();
        assert!(answer.contains("RATE_LIMITED"), "{path}: {answer}");
    }
    assert_eq!(ada.chat(None).await.status(), 429);
    let (_, received) = open(&headers).await;
    assert_eq!(received, Frame::Closed(1013, "Try again later".into()));
    let (_, received) = open(&user("grace")).await;
    assert_eq!(received, ack, "another user");
    // What is over at once is no stream.
    let list = ada.stream("/api/v1/conversations").await;
    assert_eq!(list.status(), 200);

    drop(first);
    let second =
        eventually(async || Some(ada.stream(WATCH).await).filter(|answer| answer.status() == 200))
            .await;
    assert_eq!(ada.stream(WATCH).await.status(), 429);
    drop(socket);
    eventually(async || (open(&headers).await.1 == ack).then_some(())).await;
    drop(second);
    let page = metrics(&metrics_url).await;
    let refused = page
        .lines()
        .find_map(|line| line.strip_prefix("titlecast_refused_streams_total "));
    assert!(refused.unwrap().parse::<u32>().unwrap() >= 5, "{page}");
    server.stop().await;
}

#[tokio::test]
async fn without_tokens_an_address_is_counted_and_this_machine_is_not() {
    let model = ModelServer::start().await;
    let settings = [
        "--messages-per-minute",
        "1",
        "--streams-per-user",
        "1",
        "--connections-per-address",
        "3",
        "--trusted-proxies",
        "10.0.0.0/8",
    ];
    let server = Server::start_with(&model, &settings).await;
    let here = Sender {
        server: &server,
        headers: &[],
    };
    let mut sockets = Vec::new();
    for _ in 0..5 {
        assert_eq!(here.chat(None).await.status(), 200);
        sockets.push(RawSocket::ready(&server.url).await);
    }
    let from = |addresses: &str| [("x-forwarded-for", addresses.to_owned())];
    let headers = from("192.0.2.1, 10.1.2.3");
    let there = Sender {
        server: &server,
        headers: &headers,
    };
    assert_eq!(there.chat(None).await.status(), 200);
    let refused = there.chat(None).await;
    assert_eq!(
        (refused.status().as_u16(), retry_after(&refused)),
        (429, 60)
    );
    for same in ["2001:db8::1", "2001:db8::2"] {
        let headers = from(same);
        let there = Sender {
            server: &server,
            headers: &headers,
        };
        let status = there.chat(None).await.status();
        assert_eq!(status == 200, same.ends_with('1'), "{same}: {status}");
    }
    server.stop().await;
}

#[tokio::test]
async fn sockets_behind_a_proxy_count_for_their_address_until_they_close() {
    let model = ModelServer::start().await;
    let settings = ["--connections-per-address", "2"];
    let mut server = Server::start_with(&model, &settings).await;
    let metrics_url = server.serve_metrics().await;
    let headers = [("x-forwarded-for", "192.0.2.1".to_owned())];
    let open = || RawSocket::open_with(&server.url, "graphql-transport-ws", &headers);
    let (first, _second) = (open().await, open().await);
    let there = Sender {
        server: &server,
        headers: &headers,
    };
    let answer = there.mutation(None).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "RATE_LIMITED");
    let refused = there.chat(None).await;
    assert_eq!((refused.status().as_u16(), retry_after(&refused)), (429, 5));
    let page = metrics(&metrics_url).await;
    for line in [
        "titlecast_refused_of_address_total 2",
        "titlecast_connections 2",
    ] {
        assert!(page.contains(&format!("\n{line}\n")), "{page}");
    }
    drop(first);
    eventually(async || (there.chat(None).await.status() == 200).then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_waits_for_the_last_word_of_its_sockets() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(RawSocket::ready(&server.url).await);
    }
    let begun = std::time::Instant::now();
    server.end().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    for socket in &mut sockets {
        assert_eq!(socket.closed().await.0, 1012);
    }
}
