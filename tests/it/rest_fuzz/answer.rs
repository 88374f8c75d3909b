//! Answers: read from the socket, and the invariants of every answer.

use serde_json::Value;
use strum::VariantArray;
use titlecast::{api::rest::status, error::ErrorCode};
use titlecast_testing::within;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::request::Request;

/// A whole answer; of a stream that never ends only the head.
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// Sends a request on a connection of its own.
    pub async fn to(request: &Request, url: &str) -> Self {
        let mut stream = within(TcpStream::connect(url.trim_start_matches("http://")))
            .await
            .unwrap();
        // What is refused early may be refused before all of it was read.
        let _ = within(stream.write_all(&request.to_bytes())).await;
        let goes_on = request.path.ends_with("/stream") && request.method == "GET";
        let mut bytes = Vec::new();
        let end = loop {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end.filter(|_| goes_on && bytes.starts_with(b"HTTP/1.0 200 ")) {
                // A frame may come in pieces.
                let body = &bytes[end + 4..];
                if body.is_empty() || body.ends_with(b"\n\n") {
                    break Some(end);
                }
            }
            // A reset after the answer, because of what was not read, takes nothing from it.
            match within(stream.read_buf(&mut bytes)).await {
                Ok(0) | Err(_) => break end,
                Ok(_) => {}
            }
        };
        let end =
            end.unwrap_or_else(|| panic!("no answer to {request:?}: {}", bytes.escape_ascii()));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let head = text(&bytes[..end]).to_ascii_lowercase();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: text(&bytes[end + 4..]),
        }
    }

    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    /// The events of a stream; an `id:` line may follow an event's own.
    pub fn events(&self) -> Vec<Value> {
        let lines = self.body.split('\n');
        let events = lines.filter_map(|line| line.strip_prefix("data: "));
        events
            .map(|json| serde_json::from_str(json).unwrap())
            .collect()
    }

    /// Nothing broke, and what is refused is refused as the contract says: by the four fields, of which one is a
    /// code that goes with the status.
    pub fn assert_sound(&self, request: &Request) {
        assert!(
            self.status < 500,
            "{request:?}: {} {}",
            self.status,
            self.body
        );
        if self.status < 400 || request.method == "HEAD" {
            return;
        }
        assert!(
            self.head.contains("content-type: application/json"),
            "{request:?}: {}",
            self.head
        );
        let error = self.json();
        let codes = ErrorCode::VARIANTS.iter();
        let mut codes = codes.filter(|code| status(**code).as_u16() == self.status);
        assert!(
            codes.any(|code| error["code"] == code.as_str()),
            "{request:?}: {} {error}",
            self.status
        );
        let text = error["message"].as_str().unwrap();
        assert!(!text.is_empty(), "{request:?}");
        assert_eq!(
            (&error["detail"], &error["error"]),
            (&error["message"], &error["message"]),
            "{request:?}"
        );
    }
}
