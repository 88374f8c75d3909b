//! Hostile requests that are no documents.

use futures_util::{SinkExt, StreamExt};
use titlecast_testing::{server::client, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

const MUTATION: &str = "mutation { sendMessage(input: { text: \"x\" }) { replyId } }";

#[derive(Clone, Copy, Debug)]
pub(super) enum Hostile {
    LargeBody,
    LargeChunkedBody,
    LargeChat,
    TextPlain,
    MutationByGet,
    EvilOrigin,
    EvilSocket,
    LargeFrame,
    LargeHeaders,
    ManyHeaders,
    NoHttp,
    DeepJson,
}

impl Hostile {
    pub(super) const ALL: [Self; 12] = [
        Self::LargeBody,
        Self::LargeChunkedBody,
        Self::LargeChat,
        Self::TextPlain,
        Self::MutationByGet,
        Self::EvilOrigin,
        Self::EvilSocket,
        Self::LargeFrame,
        Self::LargeHeaders,
        Self::ManyHeaders,
        Self::NoHttp,
        Self::DeepJson,
    ];

    /// Sends it; the answer, which is a refusal.
    pub(super) async fn send(self, url: &str) -> String {
        let (answer, expected) = match self {
            Self::LargeBody => {
                let head = head("/graphql", "content-length: 41943040");
                (pour(url, &head, 40 * 1024 * 1024).await, "413 ")
            }
            Self::LargeChunkedBody => {
                // One chunk of 40 MB.
                let head = head("/graphql", "transfer-encoding: chunked") + "2800000\r\n";
                (pour(url, &head, 40 * 1024 * 1024).await, "413 ")
            }
            Self::LargeChat => {
                let head = head("/api/v1/chat", "content-length: 41943040");
                (pour(url, &head, 40 * 1024 * 1024).await, "413 ")
            }
            Self::TextPlain => {
                let body = serde_json::json!({ "query": MUTATION }).to_string();
                let request = client()
                    .post(format!("{url}/graphql"))
                    .header("content-type", "text/plain");
                (answer(request.body(body)).await, "415 ")
            }
            Self::MutationByGet => {
                let query: String = form_urlencoded::byte_serialize(MUTATION.as_bytes()).collect();
                let request = client().get(format!("{url}/graphql?query={query}"));
                (answer(request).await, "405 ")
            }
            Self::EvilOrigin => {
                let request = client()
                    .get(format!("{url}/graphql?query={{__typename}}"))
                    .header("origin", "https://evil.example");
                (answer(request).await, "403 ")
            }
            Self::EvilSocket => (evil_socket(url).await, "403 "),
            Self::LargeFrame => (large_frame(url).await, "1009 "),
            Self::LargeHeaders => {
                let head = format!(
                    "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}",
                    "y".repeat(200_000)
                );
                (pour(url, &head, 0).await, "431 ")
            }
            Self::ManyHeaders => {
                let head = format!(
                    "GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
                    "x: y\r\n".repeat(5_000)
                );
                (pour(url, &head, 0).await, "431 ")
            }
            Self::NoHttp => (pour(url, "\u{16}\u{3}\u{1} hello\r\n\r\n", 0).await, "400 "),
            Self::DeepJson => {
                let body = "[".repeat(60_000);
                let request = client()
                    .post(format!("{url}/graphql"))
                    .header("content-type", "application/json");
                (answer(request.body(body)).await, "400 ")
            }
        };
        // A connection that is closed while the client still sends may lose the answer.
        let is_refused = answer.is_empty() || answer.contains(expected);
        assert!(is_refused, "{self:?}: {answer}");
        answer
    }
}

fn head(path: &str, length: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
    )
}

async fn answer(request: reqwest::RequestBuilder) -> String {
    let response = within(request.send()).await.unwrap();
    let status = response.status().as_u16();
    format!("{status} {}", within(response.text()).await.unwrap())
}

/// Sends all of this, or as much as is accepted, and reads until the connection ends.
async fn pour(url: &str, head: &str, bytes: usize) -> String {
    let address = url.trim_start_matches("http://");
    let stream = within(TcpStream::connect(address)).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let pouring = async {
        writing.write_all(head.as_bytes()).await?;
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..bytes / piece.len() {
            writing.write_all(&piece).await?;
        }
        std::io::Result::Ok(())
    };
    let mut received = Vec::new();
    let listening = reading.read_to_end(&mut received);
    // Whichever way it ends, what was received counts.
    let _ = within(async { tokio::join!(pouring, listening) }).await;
    String::from_utf8_lossy(&received).into_owned()
}

async fn evil_socket(url: &str) -> String {
    let url = format!("{}/graphql", url.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    let origin = "https://evil.example".parse().unwrap();
    request.headers_mut().insert("origin", origin);
    let refusal = within(connect_async(request)).await.unwrap_err();
    refusal.to_string()
}

/// A frame of a mebibyte; the code that the socket is closed with.
async fn large_frame(url: &str) -> String {
    let url = format!("{}/graphql", url.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    let protocol = "graphql-transport-ws".parse().unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let (mut socket, _) = within(connect_async(request)).await.unwrap();
    let frame = Message::text("x".repeat(1024 * 1024));
    // It is closed while this is sent.
    let _ = within(socket.send(frame)).await;
    while let Some(Ok(message)) = within(socket.next()).await {
        if let Message::Close(Some(frame)) = message {
            return format!("{} {}", u16::from(frame.code), frame.reason);
        }
    }
    String::new()
}
