//! What becomes of a reply and of a title, for each answer that a provider may give. `provider_answers.jsonl` has an
//! answer a line: what is sent, as bytes over a real socket, how the reply ends, what of its text is kept, and the
//! title: `ready`, or the failure that is stored.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use titlecast_testing::{Rows, Server, TestDatabase, assert_common_stream, eventually};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const ROWS: &str = include_str!("provider_answers.jsonl");

/// How many rows are tried at once, each on a server of its own.
const AT_ONCE: usize = 6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(default = "ok")]
    status: u16,
    /// The media type; none when empty.
    #[serde(default = "event_stream", rename = "type")]
    media_type: String,
    #[serde(default)]
    head: BTreeMap<String, String>,
    /// The data of events; in place of `body` and `hex`.
    #[serde(default)]
    events: Vec<Value>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    hex: String,
    /// The size of the chunks in which the body is sent.
    split: Option<usize>,
    /// The length that is announced, when it is not the body's.
    declared: Option<usize>,
    /// `completed`, `incomplete`, or `failed` and the code.
    reply: String,
    text: String,
    title: String,
}

fn ok() -> u16 {
    200
}

fn event_stream() -> String {
    "text/event-stream".to_owned()
}

impl Row {
    fn body(&self) -> Vec<u8> {
        if !self.hex.is_empty() {
            let digits = self.hex.as_bytes().chunks(2);
            let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
            return digits.map(byte).collect();
        }
        let event = |data: &Value| match data {
            Value::String(text) => format!("data: {text}\n\n"),
            data => format!("data: {data}\n\n"),
        };
        match self.events.is_empty() {
            true => self.body.clone().into_bytes(),
            false => self
                .events
                .iter()
                .map(event)
                .collect::<String>()
                .into_bytes(),
        }
    }

    fn head(&self, length: usize) -> String {
        let mut head = format!("HTTP/1.1 {} -\r\nconnection: close\r\n", self.status);
        if !self.media_type.is_empty() {
            head += &format!("content-type: {}\r\n", self.media_type);
        }
        for (name, value) in &self.head {
            head += &format!("{name}: {value}\r\n");
        }
        head += &match self.split {
            Some(_) => "transfer-encoding: chunked\r\n".to_owned(),
            None => format!("content-length: {}\r\n", self.declared.unwrap_or(length)),
        };
        head + "\r\n"
    }

    async fn answer(&self, mut connection: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(&mut connection);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).await?;
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).await?;
        let body = self.body();
        connection.set_nodelay(true)?;
        connection
            .write_all(self.head(body.len()).as_bytes())
            .await?;
        let Some(size) = self.split else {
            connection.write_all(&body).await?;
            return connection.shutdown().await;
        };
        for piece in body.chunks(size) {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            connection.write_all(&chunk).await?;
        }
        connection.write_all(b"0\r\n\r\n").await?;
        connection.shutdown().await
    }
}

/// A provider that answers everything with this.
async fn provider(row: Arc<Row>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "ends with its row")]
    let serving = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            // A client that had enough.
            let _ = row.answer(connection).await;
        }
    });
    (url, serving)
}

/// How the reply ended, its text, and the title or why there is none.
async fn outcome(row: &Arc<Row>) -> [String; 3] {
    let (url, serving) = provider(row.clone()).await;
    let settings = ["--openai-base-url", &url, "--title-grace", "10ms"];
    let server = Server::on(TestDatabase::new().await, &settings).await;
    let rows = Rows::of(&server.database).await;
    let body = json!({ "message": "Plan a trip to Kyoto in April" });
    let events = server.stream(body).await.rest().await;
    let terminal = assert_common_stream(&events);
    let how = terminal["raw_type"]
        .as_str()
        .unwrap()
        .replace("response.", "");
    let reply = match terminal["payload"]["code"].as_str() {
        Some(code) => format!("{how} {code}"),
        None => how,
    };
    let text = terminal["response_text"].as_str().unwrap().to_owned();
    let id = terminal["conversation_id"].as_str().unwrap();
    let title = eventually(async || title(&rows, id).await).await;
    server.stop().await;
    serving.abort();
    [reply, text, title]
}

/// The outcome of a title, once it is known: its status, or the stored failure.
async fn title(rows: &Rows, id: &str) -> Option<String> {
    let stored = rows.title(id).await;
    let is_known = stored.title_status != "pending";
    is_known.then(|| stored.title_failure.unwrap_or(stored.title_status))
}

/// Rows that are too long for a file.
fn long() -> [Row; 2] {
    let row = |name: &str, text: String, reply: &str, kept: String| Row {
        name: name.to_owned(),
        status: 200,
        media_type: event_stream(),
        head: BTreeMap::new(),
        events: vec![
            json!({ "choices": [{ "delta": { "content": text }, "finish_reason": "stop" }] }),
        ],
        body: String::new(),
        hex: String::new(),
        split: None,
        declared: None,
        reply: reply.to_owned(),
        text: kept,
        title: "rejected".to_owned(),
    };
    [
        row(
            "a reply over the limit in one event",
            "a".repeat(600_000),
            "incomplete",
            "a".repeat(512 * 1024),
        ),
        row(
            "an event of three megabytes",
            "a".repeat(3_200_000),
            "failed MODEL_UNAVAILABLE",
            String::new(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_of_a_provider_becomes_what_the_table_says() {
    if TestDatabase::is_on_server() {
        // Hundreds of servers, which no answer tells apart by their database.
        return;
    }
    let rows = ROWS.lines().map(|line| serde_json::from_str(line).unwrap());
    let rows: Vec<Arc<Row>> = rows.chain(long()).map(Arc::new).collect();
    assert!(rows.len() >= 120, "{}", rows.len());
    let tried = stream::iter(&rows)
        .map(async |row| {
            (
                row,
                tokio::time::timeout(Duration::from_secs(120), outcome(row)).await,
            )
        })
        .buffer_unordered(AT_ONCE);
    let wrong: Vec<String> = tried
        .filter_map(async |(row, found)| {
            let expected = [&row.reply, &row.text, &row.title].map(String::as_str);
            let Ok(found) = found else {
                return Some(format!("{}: no end", row.name));
            };
            let shown =
                |texts: [&str; 3]| texts.map(|text| text.chars().take(60).collect::<String>());
            let found = found.each_ref().map(String::as_str);
            (found != expected).then(|| {
                format!(
                    "{}: {:?} instead of {:?}",
                    row.name,
                    shown(found),
                    shown(expected)
                )
            })
        })
        .collect()
        .await;
    assert!(
        wrong.is_empty(),
        "{} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
