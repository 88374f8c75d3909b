//! Tests the client over a real socket, against a server that sends scripted chunks and records the requests. It writes
//! HTTP by hand, since a server library would not send most of these responses.

mod chains;
mod clocks;
mod ends;
mod replies;
mod responses;
mod titles;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{Provider, ProviderSettings, Wire};
use crate::llm::{Model, TitleRequest};

const KEY: &str = "test-key-that-must-not-be-shown";

/// One response: pieces of bytes with a pause before each. The connection closes after the last.
type Script = Vec<(Duration, Vec<u8>)>;

/// One recorded request.
struct RecordedRequest {
    head: String,
    body: Value,
}

struct Server {
    base_url: String,
    requests: mpsc::Receiver<RecordedRequest>,
}

impl Server {
    /// Starts a server that sends these responses, one per connection, and then refuses connections.
    fn start(responses: impl IntoIterator<Item = Script>) -> Self {
        let responses: Vec<Script> = responses.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}/v1/", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || {
            for response in responses {
                let (connection, _) = listener.accept().unwrap();
                let _ = sender.send(receive(&connection));
                send(connection, response);
            }
        });
        Self { base_url, requests }
    }

    fn model(&self, model: &str) -> Arc<Model> {
        self.model_with(model, Some(KEY), Duration::from_secs(5))
    }

    fn model_with_short_timeouts(&self) -> Arc<Model> {
        self.model_with("local", Some(KEY), Duration::from_millis(150))
    }

    /// Settings for this server: no key, timeouts of 5 s.
    fn settings(&self) -> ProviderSettings {
        let timeout = Duration::from_secs(5);
        ProviderSettings {
            base_url: self.base_url.clone(),
            first_event: timeout,
            idle: timeout,
            connect: timeout,
            ..ProviderSettings::default()
        }
    }

    fn model_with(&self, model: &str, key: Option<&str>, idle: Duration) -> Arc<Model> {
        let settings = ProviderSettings {
            api_key: key.map(str::to_owned),
            first_event: idle,
            idle,
            ..self.settings()
        };
        Provider::new(settings).unwrap().model(model)
    }

    /// The model `local` at a server with the Responses API.
    fn responses(&self) -> Arc<Model> {
        let settings = ProviderSettings {
            wire: Wire::Responses,
            ..self.settings()
        };
        Provider::new(settings).unwrap().model("local")
    }

    /// All requests so far.
    fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.try_iter().collect()
    }
}

fn receive(connection: &TcpStream) -> RecordedRequest {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let mut body = vec![0; length.lines().next().unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    RecordedRequest {
        head,
        body: serde_json::from_slice(&body).unwrap(),
    }
}

fn send(mut connection: TcpStream, response: Script) {
    connection.set_nodelay(true).unwrap();
    for (pause, piece) in response {
        thread::sleep(pause);
        // The client may have closed the connection.
        if connection.write_all(&piece).is_err() {
            return;
        }
    }
}

/// A response in one piece.
fn response(status: u16, headers: &str, body: &str) -> Script {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} -\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    );
    vec![(Duration::ZERO, text.into_bytes())]
}

fn json(status: u16, body: &str) -> Script {
    response(status, "content-type: application/json\r\n", body)
}

/// A stream in chunked encoding, sent chunk by chunk. Without `whole` it is cut off.
fn events(pieces: &[&[u8]], whole: bool) -> Script {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut script = vec![(Duration::ZERO, head.as_bytes().to_vec())];
    for piece in pieces {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        script.push((Duration::from_millis(5), chunk));
    }
    if whole {
        script.push((Duration::ZERO, b"0\r\n\r\n".to_vec()));
    }
    script
}

fn title_request() -> TitleRequest {
    TitleRequest {
        instruction: "Name the topic.".to_owned(),
        input: "<message>\nplan a trip\n</message>".to_owned(),
        max_tokens: 512,
        ..TitleRequest::default()
    }
}
