//! GraphQL over server-sent events, distinct connections mode (graphql-sse's PROTOCOL.md): an event
//! `next` for each response, `complete` at the end.

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

/// A comment, which clients pass over.
const KEEP_ALIVE: &[u8] = b":\n\n";
const COMPLETE: &[u8] = b"event: complete\ndata: \n\n";

/// A response that streams these payloads. Errors are events too: the status is 200 by now.
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

/// A response whose body is sent piece by piece.
pub(super) fn streaming(
    content_type: &'static str,
    body: impl Stream<Item = Bytes> + Send + 'static,
    closing: &CancellationToken,
) -> Response {
    // A stream that the server cuts short breaks off: a proper end would tell clients that the operation
    // is over, and they would not come back.
    let cut = closing.clone();
    let cut = stream::once(async move { cut.is_cancelled() })
        .filter_map(|is_cut| ready(is_cut.then(|| Err(io::ErrorKind::ConnectionAborted.into()))));
    let body = body
        .map(Ok::<_, io::Error>)
        .take_until(closing.clone().cancelled_owned())
        .chain(cut);
    stream_head(content_type, Body::from_stream(body))
}

/// A response whose body is sent piece by piece, with what clients and proxies have to know of that.
pub fn stream_head(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-transform"),
        ),
        // nginx holds a response back until its buffer is full, unless told not to.
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
