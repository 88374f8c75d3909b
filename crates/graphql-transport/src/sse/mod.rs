//! GraphQL over server-sent events, in distinct connections mode (graphql-sse's PROTOCOL.md): a `next` event per
//! response, `complete` at the end.

use std::{future::ready, io, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::payload::Payload;

mod chunked;

pub use self::chunked::chunked_stream;
pub(super) use self::chunked::{StreamLimits, write};

/// An SSE comment, which clients ignore.
const KEEP_ALIVE: &[u8] = b":\n\n";
const COMPLETE: &[u8] = b"event: complete\ndata: \n\n";

/// Builds a response that streams payloads. Errors are sent as events, because the status is already 200.
pub(super) fn respond(
    payloads: impl Stream<Item = Payload> + Send + 'static,
    keep_alive: Duration,
    closing: &CancellationToken,
) -> Response {
    let body = async_stream::stream! {
        let mut payloads = std::pin::pin!(payloads);
        loop {
            match timeout(keep_alive, payloads.next()).await {
                Ok(Some(payload)) => yield next(&payload),
                Ok(None) => break,
                Err(_) => yield Bytes::from_static(KEEP_ALIVE),
            }
        }
        yield Bytes::from_static(COMPLETE);
    };
    streaming("text/event-stream", body, closing)
}

/// Builds a response from a stream of body chunks.
pub(super) fn streaming(
    content_type: &'static str,
    body: impl Stream<Item = Bytes> + Send + 'static,
    closing: &CancellationToken,
) -> Response {
    // On shutdown the body ends with an error. After a regular end, clients would consider the operation complete and
    // not reconnect.
    let cut = closing.clone();
    let cut = stream::once(async move { cut.is_cancelled() })
        .filter_map(|is_cut| ready(is_cut.then(|| Err(io::ErrorKind::ConnectionAborted.into()))));
    let body = body
        .map(Ok::<_, io::Error>)
        .take_until(closing.clone().cancelled_owned())
        .chain(cut);
    stream_head(content_type, Body::from_stream(body))
}

/// Builds the head of a streamed response, with headers that disable caching and buffering in proxies.
pub fn stream_head(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-transform"),
        ),
        // Turns off nginx's response buffering.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ]);
    response
}

fn next(payload: &Payload) -> Bytes {
    // A payload is one line.
    [b"event: next\ndata: ".as_slice(), &payload.json, b"\n\n"]
        .concat()
        .into()
}
