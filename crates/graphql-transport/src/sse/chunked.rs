//! Server-sent events written to the socket directly, in chunks, without hyper.

use std::{io::Write, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{COMPLETE, stream_head};
use crate::{
    STALL,
    direct::{Backlog, Detach, Direct, Encode, Link, Progress},
    expiry::{expired, sleep_until_opt},
    operation::{Event, Subscription},
    payload::Payload,
};

/// The end of a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Lifetime and keep-alive of a stream.
pub(crate) struct StreamLimits<O> {
    /// When the caller's token expires.
    pub(crate) until: Option<Instant>,
    /// A guard held for the lifetime of the stream.
    pub(crate) open: O,
    /// Interval of keep-alives on an idle stream.
    pub(crate) keep_alive: Duration,
    /// How long the peer may go without accepting a byte.
    pub(crate) stall: Duration,
    /// Cancelled at server shutdown: the stream is cut without a regular end.
    pub(crate) closing: CancellationToken,
}

/// Builds a detached response that streams a subscription's events.
pub(crate) fn write<O: Send + 'static>(
    detach: Detach,
    subscription: Subscription,
    limits: StreamLimits<O>,
) -> Response {
    let response = stream_head("text/event-stream", Body::empty());
    let body = move |link| stream(link, subscription, limits).boxed();
    detach(response, Box::new(body))
}

async fn stream<O>(link: Link, subscription: Subscription, limits: StreamLimits<O>) {
    let StreamLimits {
        until,
        open: _open,
        keep_alive,
        stall,
        closing,
    } = limits;
    let mut backlog = Backlog::new(link.clone(), stall);
    let direct = Arc::new(Direct::new(link.clone(), Chunks));
    let mut events = subscription.attach(direct.clone());
    // The payload to send before the body ends.
    let mut last = None;
    // An event that waits for room; the next one starts only after it is written. An event in progress is finished even
    // if the peer stalls, so that it does not hold a database connection.
    let mut pending = None;
    loop {
        let idle_until = direct.last_write() + keep_alive;
        tokio::select! {
            // Cut the stream: after a regular end, clients would not reconnect.
            () = closing.cancelled() => return,
            () = link.closed() => return,
            () = sleep_until_opt(until) => {
                last = Some(expired());
                break;
            }
            progress = backlog.progress() => match progress {
                Progress::FellBehind | Progress::Moved => {}
                Progress::CaughtUp => direct.catch_up(),
                Progress::Stalled | Progress::Gone => return,
            },
            event = events.next(), if pending.is_none() => pending = Some(event),
            () = sleep_until(idle_until) => if direct.last_write() + keep_alive <= Instant::now() {
                direct.keep_alive();
            },
        }
        if !backlog.is_empty() {
            continue;
        }
        match pending.take() {
            None => {}
            Some(Event::Next(payload)) => direct.send(&payload),
            Some(Event::Refused(payload)) => {
                last = Some(payload);
                break;
            }
            Some(Event::Completed) => break,
        }
    }
    // Detach the outlet, so that this task is the only writer.
    drop(events);
    if let Some(last) = last {
        direct.send(&last);
    }
    let mut end = Vec::new();
    chunk(&[COMPLETE], &mut end);
    end.extend_from_slice(LAST_CHUNK);
    link.write(&end);
    backlog.drain().await;
}

/// Gives the response a detached chunked body, one chunk per piece. After each idle `silence`, `keep_alive` is sent.
///
/// Each piece is a full state: if the peer falls behind, only the newest is sent.
pub fn chunked_stream(
    detach: Detach,
    response: Response,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
    silence: Duration,
    keep_alive: &'static [u8],
) -> Response {
    let body = move |link: Link| async move {
        let mut backlog = Backlog::new(link.clone(), STALL);
        let mut pieces = pin!(pieces);
        let mut newest = None;
        let mut is_over = false;
        loop {
            // Polled even if the peer stalls, because a stream that is not polled can hold resources.
            tokio::select! {
                () = link.closed() => return,
                progress = backlog.progress() => if matches!(progress, Progress::Stalled | Progress::Gone) {
                    return;
                },
                piece = timeout(silence, pieces.next()), if !is_over => match piece {
                    Ok(Some(piece)) => newest = Some(piece),
                    Ok(None) => is_over = true,
                    Err(_) if newest.is_none() => newest = Some(Bytes::from_static(keep_alive)),
                    Err(_) => {}
                },
            }
            if !backlog.is_empty() {
                continue;
            }
            // An empty chunk would end the body.
            if let Some(piece) = newest.take().filter(|piece| !piece.is_empty()) {
                let mut bytes = Vec::new();
                chunk(&[&piece], &mut bytes);
                link.write(&bytes);
            }
            if is_over {
                break;
            }
        }
        link.write(LAST_CHUNK);
        backlog.drain().await;
    };
    detach(response, Box::new(move |link| body(link).boxed()))
}

/// Encodes each event as one chunk.
pub(super) struct Chunks;

impl Encode for Chunks {
    const KEEP_ALIVE: &[u8] = b"3\r\n:\n\n\r\n";

    fn encode(&self, payload: &Payload, bytes: &mut Vec<u8>) {
        // A payload is one line.
        chunk(&[b"event: next\ndata: ", &payload.json, b"\n\n"], bytes);
    }
}

/// Appends a chunk.
fn chunk(parts: &[&[u8]], bytes: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    bytes.reserve(length + 20);
    // Writing to memory cannot fail.
    let _ = write!(bytes, "{length:x}\r\n");
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(b"\r\n");
}
