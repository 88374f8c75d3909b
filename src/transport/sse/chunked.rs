//! A stream of events that is written to its socket, past hyper.

use std::{io::Write, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{COMPLETE, stream_head};
use crate::{
    server::{Link, MayDetach, detached},
    transport::{
        STALL,
        direct::{Backlog, Direct, Encode, Progress},
        expiry::{expired, sleep_until_opt},
        operation::{Event, Subscription},
        payload::Payload,
    },
};

/// What a chunked body ends with.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How long a stream lasts, and how it is kept alive.
pub(in crate::transport) struct StreamLimits<O> {
    /// When the caller's token is over.
    pub(in crate::transport) until: Option<Instant>,
    /// What is held for as long as there is the stream.
    pub(in crate::transport) open: O,
    /// How long it may be silent.
    pub(in crate::transport) keep_alive: Duration,
    /// How long the peer may take to take what it is sent.
    pub(in crate::transport) stall: Duration,
    /// The server ends: the stream breaks off.
    pub(in crate::transport) closing: CancellationToken,
}

/// A response that streams the events of this subscription.
pub(in crate::transport) fn write<O: Send + 'static>(
    allowed: MayDetach,
    subscription: Subscription,
    limits: StreamLimits<O>,
) -> Response {
    let response = stream_head("text/event-stream", Body::empty());
    detached(allowed, response, move |link| {
        stream(link, subscription, limits)
    })
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
    // Told before the body ends.
    let mut last = None;
    // An event that waits for room. The next one is not begun before it is written; one that was begun is finished
    // whatever the peer takes, so that it holds no database connection meanwhile.
    let mut held = None;
    loop {
        let silent = direct.said() + keep_alive;
        tokio::select! {
            // Not a proper end, after which clients would not come back.
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
            event = events.next(), if held.is_none() => held = Some(event),
            () = sleep_until(silent) => if direct.said() + keep_alive <= Instant::now() {
                direct.keep_alive();
            },
        }
        if !backlog.is_empty() {
            continue;
        }
        match held.take() {
            None => {}
            Some(Event::Next(payload)) => direct.say(&payload),
            Some(Event::Refused(payload)) => {
                last = Some(payload);
                break;
            }
            Some(Event::Completed) => break,
        }
    }
    // From here on nobody else writes.
    drop(events);
    if let Some(last) = last {
        direct.say(&last);
    }
    let mut end = Vec::new();
    chunk(&[COMPLETE], &mut end);
    end.extend_from_slice(LAST_CHUNK);
    link.write(&end);
    backlog.drain().await;
}

/// The same response with a body of its own: these pieces, a chunk each, and `keep_alive` after each silence of
/// `silence`. Each piece tells a state: of those that the peer does not take, the newest is sent.
pub fn chunked_stream(
    allowed: MayDetach,
    response: Response,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
    silence: Duration,
    keep_alive: &'static [u8],
) -> Response {
    detached(allowed, response, move |link| async move {
        let mut backlog = Backlog::new(link.clone(), STALL);
        let mut pieces = pin!(pieces);
        let mut newest = None;
        let mut is_over = false;
        loop {
            // Asked for whatever the peer takes: a stream that is not asked holds what it was doing.
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
            // A chunk of nothing would be the last.
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
    })
}

/// Each event a chunk of its own.
pub(super) struct Chunks;

impl Encode for Chunks {
    const KEEP_ALIVE: &[u8] = b"3\r\n:\n\n\r\n";

    fn encode(&self, payload: &Payload, bytes: &mut Vec<u8>) {
        // A payload is one line.
        chunk(&[b"event: next\ndata: ", &payload.json, b"\n\n"], bytes);
    }
}

/// Adds a chunk.
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
