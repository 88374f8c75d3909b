//! The legacy SSE wire: events to frames, frames to a response.
//!
//! A frame is one `data: {json}` line and an empty one. Known clients cut the byte stream at the empty
//! line, skip what does not begin with `data: ` and parse the rest as JSON, so nothing may break that:
//! no second line in a frame, no CR, and none of the characters that some line readers split at.

pub(super) mod chat;
mod frame;
pub(super) mod titles;

use std::{io, time::Duration};

use async_stream::stream;
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PING: &[u8] = b": ping\n\n";

/// A response that streams frames, with a comment after each silence of `keep_alive`. At `cut` it breaks
/// off: after a proper end clients take what they have for all.
fn response(
    frames: impl Stream<Item = Bytes> + Send + 'static,
    keep_alive: Duration,
    cut: CancellationToken,
) -> Response {
    let body = stream! {
        let mut frames = std::pin::pin!(frames);
        loop {
            let next = cut.run_until_cancelled(timeout(keep_alive, frames.next()));
            match next.await {
                Some(Ok(Some(frame))) => yield Ok(frame),
                Some(Ok(None)) => break,
                Some(Err(_)) => yield Ok(Bytes::from_static(PING)),
                None => {
                    yield Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                    break;
                }
            }
        }
    };
    let mut response = Response::new(Body::from_stream(body));
    *response.headers_mut() = HeaderMap::from_iter([
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // nginx holds a response back until its buffer is full, unless told not to.
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ]);
    response
}
