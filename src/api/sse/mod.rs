//! The legacy SSE wire: events to frames, frames to a response.
//!
//! A frame is one `data: {json}` line and an empty line. Existing clients split the byte stream at empty lines, skip
//! lines that do not begin with `data: `, and parse the rest as JSON. So a frame has one data line, no CR, and none of
//! the characters at which some line readers split.

pub(super) mod chat;
mod frame;
pub(super) mod titles;

use std::{io, time::Duration};

use async_stream::stream;
use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::{Stream, StreamExt};
use graphql_transport::{chunked_stream, direct::Detach, stream_head};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PING: &[u8] = b": ping\n\n";

/// A response that streams frames, with a comment after each `keep_alive` without one. `cut` aborts the connection:
/// after a proper end of the body, clients would treat the text as complete.
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
    head(Body::from_stream(body))
}

/// Like [`response`], for a stream without an end of its own. Detaches the connection from the HTTP server if it allows
/// that, which frees the buffers for further requests.
fn long_lived(
    detach: Option<Detach>,
    frames: impl Stream<Item = Bytes> + Send + 'static,
    keep_alive: Duration,
) -> Response {
    match detach {
        Some(detach) => chunked_stream(detach, head(Body::empty()), frames, keep_alive, PING),
        None => response(frames, keep_alive, CancellationToken::new()),
    }
}

fn head(body: Body) -> Response {
    stream_head("text/event-stream", body)
}
