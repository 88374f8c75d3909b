//! Replies that a program outside of the server writes: in steps, as an upload, on several nodes.

mod hostile;
mod nodes;
mod steps;
mod uploads;

use axum::body::Bytes;
use serde_json::{Value, json};
use titlecast_testing::{
    Server, TestDatabase,
    calls::{conversation_when, send_message},
    server::{client, request},
    within,
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::agents::Folder;

/// An agent whose replies come from outside.
const FILE: &str = "[agents.default]\nsource = \"external\"\n";

/// A server with an external agent, and the offline model for titles.
async fn serve(settings: &[&str]) -> Server {
    serve_on(TestDatabase::new().await, settings).await
}

async fn serve_on(database: TestDatabase, settings: &[&str]) -> Server {
    let folder = Folder::new().file("titlecast.toml", FILE);
    let path = folder.path("titlecast.toml");
    let arguments = [
        "--openai-base-url",
        "",
        "--openai-api-key",
        "",
        "--config",
        &path,
    ];
    Server::on(database, &[&arguments, settings].concat()).await
}

/// A conversation with one message, which waits for its reply.
async fn asked(url: &str) -> String {
    let sent = send_message(url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap().to_owned();
    conversation_when(url, &id, |now| now["titleStatus"] == "READY").await;
    id
}

/// Opens a reply; its id.
async fn open(url: &str, id: &str) -> String {
    let path = format!("/api/v1/conversations/{id}/replies");
    let (status, opened) = request(url, "POST", &path, Some(json!({}))).await;
    assert_eq!(status, 201, "{opened}");
    assert_eq!(opened["offset"], 0);
    opened["reply_id"].as_str().unwrap().to_owned()
}

/// One reply of one conversation, at one node.
struct Reply<'a> {
    url: &'a str,
    id: &'a str,
    reply: &'a str,
}

impl Reply<'_> {
    async fn post(&self, what: &str, body: Value) -> (u16, Value) {
        let Self { url, id, reply } = self;
        let path = format!("/api/v1/conversations/{id}/replies/{reply}/{what}");
        request(url, "POST", &path, Some(body)).await
    }

    async fn append(&self, offset: usize, text: &str) -> (u16, Value) {
        self.post("append", json!({ "offset": offset, "text": text }))
            .await
    }

    /// An append that must be stored.
    async fn appended(&self, offset: usize, text: &str) {
        let (status, answer) = self.append(offset, text).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["offset"], offset + text.len());
    }

    async fn finish(&self, outcome: &str) -> (u16, Value) {
        self.post("finish", json!({ "outcome": outcome })).await
    }

    async fn progress(&self) -> Value {
        let Self { url, id, reply } = self;
        let path = format!("/api/v1/conversations/{id}/replies/{reply}");
        let (status, answer) = request(url, "GET", &path, None).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// A refusal: its status and code.
#[track_caller]
fn refused((status, answer): (u16, Value)) -> (u16, String) {
    let code = answer["code"].as_str();
    let code = code.unwrap_or_else(|| panic!("{status} {answer}"));
    (status, code.to_owned())
}

/// An upload that the test writes.
struct Upload {
    bytes: Option<mpsc::UnboundedSender<Result<Bytes, std::io::Error>>>,
    answer: JoinHandle<Option<(u16, Value)>>,
}

impl Upload {
    /// Begins an upload with this query and content type.
    fn begin(url: &str, id: &str, query: &str, content_type: &str) -> Self {
        let (bytes, mut written) = mpsc::unbounded_channel();
        let body = futures_util::stream::poll_fn(move |cx| written.poll_recv(cx));
        let sending = client()
            .post(format!("{url}/api/v1/conversations/{id}/replies{query}"))
            .header("content-type", content_type)
            .body(reqwest::Body::wrap_stream(body))
            .send();
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        let answer = tokio::spawn(async move {
            let response = sending.await.ok()?;
            let status = response.status().as_u16();
            let text = response.text().await.ok()?;
            Some((status, serde_json::from_str(&text).unwrap()))
        });
        Self {
            bytes: Some(bytes),
            answer,
        }
    }

    fn write(&self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        // The server may have ended it.
        let _ = self.bytes.as_ref().unwrap().send(Ok(bytes));
    }

    /// One line of NDJSON.
    fn line(&self, line: Value) {
        self.write(format!("{line}\n").as_bytes());
    }

    fn text(&self, text: &str) {
        self.line(json!({ "type": "text", "text": text }));
    }

    /// Breaks the connection.
    async fn cut(self) {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        self.bytes.as_ref().unwrap().send(Err(broken)).unwrap();
        assert_eq!(within(self.answer).await.unwrap(), None);
    }

    /// Ends the body; the answer.
    async fn end(mut self) -> (u16, Value) {
        self.bytes = None;
        self.answer().await
    }

    /// The answer, which comes before the end of the body.
    async fn answer(self) -> (u16, Value) {
        within(self.answer).await.unwrap().unwrap()
    }
}

/// The outcomes and texts of the conversation's replies.
async fn replies(server: &Server, id: &str) -> Value {
    let query = "query ($id: ID!) { conversation(id: $id) {
        messages { nodes { role content outcome } }
    } }";
    let mut data = server.data(query, json!({ "id": id })).await;
    let nodes = data["conversation"]["messages"]["nodes"].take();
    let nodes = nodes.as_array().unwrap().iter();
    let replies = nodes.filter(|node| node["role"] == "ASSISTANT");
    replies
        .map(|node| json!([node["outcome"], node["content"]]))
        .collect()
}
