//! Apollo's multipart subscriptions, protocol version 1.0: one part per response, wrapped in `payload`; an empty object
//! is the heartbeat.

use std::time::Duration;

use async_stream::stream;
use axum::{body::Bytes, response::Response};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{payload::Payload, sse::streaming};

// Unquoted, because PyPI gql compares the text.
const CONTENT_TYPE: &str = "multipart/mixed; boundary=graphql; subscriptionSpec=1.0";

/// The first delimiter. Each part is sent with the delimiter that follows it; otherwise a client that waits for it
/// would receive every event one event late.
const OPENING: &[u8] = b"--graphql\r\n";
const DELIMITER: &[u8] = b"\r\n--graphql\r\n";
const CLOSING: &[u8] = b"Content-Type: application/json\r\n\r\n{}\r\n--graphql--\r\n";

/// Builds a response that streams payloads.
pub(super) fn respond(
    payloads: impl Stream<Item = Payload> + Send + 'static,
    keep_alive: Duration,
    closing: &CancellationToken,
) -> Response {
    let body = stream! {
        let mut payloads = std::pin::pin!(payloads);
        yield Bytes::from_static(OPENING);
        loop {
            match timeout(keep_alive, payloads.next()).await {
                Ok(Some(payload)) => yield part(&[b"{\"payload\":", &payload.json, b"}"]),
                Ok(None) => break,
                Err(_) => yield part(&[b"{}"]),
            }
        }
        yield Bytes::from_static(CLOSING);
    };
    streaming(CONTENT_TYPE, body, closing)
}

fn part(json: &[&[u8]]) -> Bytes {
    // With Content-Length, readers that look ahead for the delimiter (Python's aiohttp) complete a part without waiting
    // for the next one.
    let length_bytes: usize = json.iter().map(|piece| piece.len()).sum();
    let header =
        format!("Content-Type: application/json\r\nContent-Length: {length_bytes}\r\n\r\n");
    [&[header.as_bytes()], json, &[DELIMITER]]
        .concat()
        .concat()
        .into()
}
