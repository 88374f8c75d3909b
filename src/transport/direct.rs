//! Events that are written straight to the socket of a subscriber, and what becomes of those that it does
//! not take.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    cohort::{Delivery, Outlet},
    expiry::sleep_until_opt,
    payload::Payload,
};
use crate::server::Link;

/// How much may wait for a peer, in bytes, before it counts as behind.
const MOST_WAITING: usize = 64 * 1024;

/// How an event is written.
pub(super) trait Encode: Send + Sync + 'static {
    /// What is said after a silence; nothing where the transport sees to that.
    const KEEP_ALIVE: &[u8] = b"";

    /// Adds the bytes on the wire to an empty buffer.
    fn encode(&self, payload: &Payload, bytes: &mut Vec<u8>);
}

/// One subscription, and the socket that its events go to.
pub(super) struct Direct<E> {
    link: Link,
    encode: E,
    state: Mutex<State>,
}

struct State {
    is_over: bool,
    /// The newest state, which there was no room for.
    newest: Option<Payload>,
    /// When something was said last.
    said: Instant,
}

impl<E> fmt::Debug for Direct<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl<E: Encode> Direct<E> {
    pub(super) fn new(link: Link, encode: E) -> Self {
        let state = State {
            is_over: false,
            newest: None,
            said: Instant::now(),
        };
        Self {
            link,
            encode,
            state: Mutex::new(state),
        }
    }

    /// Writes an event, whatever waits.
    pub(super) fn say(&self, payload: &Payload) {
        let mut bytes = Vec::new();
        self.encode.encode(payload, &mut bytes);
        self.link.write(&bytes);
        self.note(&mut self.lock());
    }

    /// Tells what there was no room for; there is now.
    pub(super) fn catch_up(&self) {
        let mut state = self.lock();
        if let Some(newest) = state.newest.take() {
            let mut bytes = Vec::new();
            self.encode.encode(&newest, &mut bytes);
            self.link.write(&bytes);
            self.note(&mut state);
        }
    }

    /// Says that there is nothing new.
    pub(super) fn keep_alive(&self) {
        self.link.write(E::KEEP_ALIVE);
        self.note(&mut self.lock());
    }

    /// When something was said last.
    pub(super) fn said(&self) -> Instant {
        self.lock().said
    }

    fn note(&self, state: &mut State) {
        // Asking for the time is a part of what a delivery costs.
        if !E::KEEP_ALIVE.is_empty() {
            state.said = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Encode> Outlet for Direct<E> {
    fn deliver(&self, payload: &Payload, is_state: bool, buffer: &mut Vec<u8>) -> Delivery {
        buffer.clear();
        self.encode.encode(payload, buffer);
        let mut state = self.lock();
        if state.is_over {
            return Delivery::Taken;
        }
        // A state that waits behind others is old when it is read: the newest is written once there is room.
        let max_pending = if is_state { 1 } else { MOST_WAITING };
        if self.link.write_unless_behind(max_pending, buffer) {
            state.newest = None;
            self.note(&mut state);
            return Delivery::Taken;
        }
        if !is_state {
            return Delivery::Lost;
        }
        match state.newest.replace(payload.clone()) {
            Some(_) => Delivery::Skipped,
            None => Delivery::Taken,
        }
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.is_over = true;
        state.newest = None;
    }
}

/// Sends on what a socket did not take, and notices when its peer takes nothing any more.
pub(super) struct Backlog {
    link: Link,
    /// How long the peer may take to take anything.
    stall: Duration,
    /// Since when it has taken nothing.
    stalled: Option<Instant>,
}

/// What came of a backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is one.
    FellBehind,
    /// Some of it was taken.
    Moved,
    /// All of it was.
    CaughtUp,
    /// Nothing was, for too long.
    Stalled,
    /// The connection is gone.
    Gone,
}

impl Backlog {
    pub(super) fn new(link: Link, stall: Duration) -> Self {
        Self {
            link,
            stall,
            stalled: None,
        }
    }

    /// Whether nothing waits, so that more may be said.
    pub(super) fn is_empty(&self) -> bool {
        self.stalled.is_none()
    }

    /// Waits for something to happen to it. Nothing is lost when it is not waited for.
    pub(super) async fn progress(&mut self) -> Progress {
        let Some(since) = self.stalled else {
            self.link.fell_behind().await;
            self.stalled = Some(Instant::now());
            return Progress::FellBehind;
        };
        let flushed = tokio::select! {
            biased;
            flushed = self.link.flush_some() => flushed,
            () = sleep_until_opt(Some(since + self.stall)) => return Progress::Stalled,
        };
        match flushed {
            Ok(0) => {
                self.stalled = None;
                Progress::CaughtUp
            }
            Ok(_) => {
                self.stalled = Some(Instant::now());
                Progress::Moved
            }
            Err(_) => Progress::Gone,
        }
    }

    /// Waits until nothing waits, or the peer takes nothing.
    pub(super) async fn drain(mut self) {
        self.stalled = Some(Instant::now());
        while self.progress().await == Progress::Moved {}
    }
}
