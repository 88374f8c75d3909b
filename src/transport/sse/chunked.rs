//! A stream of events that is written to its socket, past hyper.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{COMPLETE, KEEP_ALIVE, head};
use crate::{
    server::{Link, MayDetach, detached},
    transport::{
        direct::{Backlog, Direct, Encode, Progress},
        expiry::{expired, reached},
        operation::{Event, Subscription},
        payload::Payload,
    },
};

/// What a chunked body ends with.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How long a stream lasts, and how it is kept alive.
pub(in crate::transport) struct Bounds<O> {
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
    bounds: Bounds<O>,
) -> Response {
    let response = head("text/event-stream", Body::empty());
    detached(allowed, response, move |link| {
        stream(link, subscription, bounds)
    })
}

async fn stream<O>(link: Link, subscription: Subscription, bounds: Bounds<O>) {
    let Bounds {
        until,
        open: _open,
        keep_alive,
        stall,
        closing,
    } = bounds;
    let mut backlog = Backlog::new(link.clone(), stall);
    let direct = Arc::new(Direct::new(link.clone(), Chunks));
    let mut events = subscription.attach(direct.clone());
    // Told before the body ends.
    let mut last = None;
    loop {
        let silent = direct.said() + keep_alive;
        tokio::select! {
            // Not a proper end, after which clients would not come back.
            () = closing.cancelled() => return,
            () = link.closed() => return,
            () = reached(until) => {
                last = Some(expired());
                break;
            }
            progress = backlog.progress() => match progress {
                Progress::FellBehind | Progress::Moved => {}
                Progress::CaughtUp => direct.catch_up(),
                Progress::Stalled | Progress::Gone => return,
            },
            event = events.next(), if backlog.is_empty() => match event {
                Event::Next(payload) => direct.say(&payload),
                Event::Refused(payload) => {
                    last = Some(payload);
                    break;
                }
                Event::Completed => break,
            },
            () = sleep_until(silent) => if direct.said() + keep_alive <= Instant::now() {
                direct.keep_alive();
            },
        }
    }
    // From here on nobody else writes.
    drop(events);
    if let Some(last) = last {
        direct.say(&last);
    }
    link.write(&chunk(COMPLETE));
    link.write(LAST_CHUNK);
    backlog.drain().await;
}

/// Each event a chunk of its own.
pub(super) struct Chunks;

impl Encode for Chunks {
    fn encode(&self, payload: &Payload) -> Vec<u8> {
        // A payload is one line.
        let parts: [&[u8]; 3] = [b"event: next\ndata: ", &payload.json, b"\n\n"];
        chunk_of(&parts)
    }

    fn keep_alive(&self) -> Vec<u8> {
        chunk(KEEP_ALIVE)
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    chunk_of(&[bytes])
}

fn chunk_of(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut chunk = Vec::with_capacity(length + 20);
    chunk.extend_from_slice(format!("{length:x}\r\n").as_bytes());
    for part in parts {
        chunk.extend_from_slice(part);
    }
    chunk.extend_from_slice(b"\r\n");
    chunk
}
