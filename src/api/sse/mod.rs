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
    response::Response,
};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    server::MayDetach,
    transport::{chunked_stream, stream_head},
};

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
    head(Body::from_stream(body))
}

/// The same for a stream that lasts for as long as somebody listens: where the connection allows it, without what
/// a server keeps for the next request.
fn lasting(
    allowed: Option<MayDetach>,
    frames: impl Stream<Item = Bytes> + Send + 'static,
    keep_alive: Duration,
) -> Response {
    match allowed {
        Some(allowed) => chunked_stream(allowed, head(Body::empty()), frames, keep_alive, PING),
        None => response(frames, keep_alive, CancellationToken::new()),
    }
}

fn head(body: Body) -> Response {
    stream_head("text/event-stream", body)
}
