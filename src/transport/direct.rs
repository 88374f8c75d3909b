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
    expiry::reached,
    payload::Payload,
};
use crate::server::Link;

/// How much may wait for a peer, in bytes, before it counts as behind.
const MOST_WAITING: usize = 64 * 1024;

/// How an event is written.
pub(super) trait Encode: Send + Sync + 'static {
    /// The bytes on the wire.
    fn encode(&self, payload: &Payload) -> Vec<u8>;

    /// What is said after a silence; nothing where the transport sees to that.
    fn keep_alive(&self) -> Vec<u8> {
        Vec::new()
    }
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
        self.write(&mut self.lock(), payload);
    }

    /// Tells what there was no room for; there is now.
    pub(super) fn catch_up(&self) {
        let mut state = self.lock();
        if let Some(newest) = state.newest.take() {
            self.write(&mut state, &newest);
        }
    }

    /// Says that there is nothing new.
    pub(super) fn keep_alive(&self) {
        let mut state = self.lock();
        state.said = Instant::now();
        self.link.write(&self.encode.keep_alive());
    }

    /// When something was said last.
    pub(super) fn said(&self) -> Instant {
        self.lock().said
    }

    fn write(&self, state: &mut State, payload: &Payload) {
        state.said = Instant::now();
        self.link.write(&self.encode.encode(payload));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Encode> Outlet for Direct<E> {
    fn deliver(&self, payload: &Payload, is_state: bool) -> Delivery {
        let mut state = self.lock();
        if state.is_over {
            return Delivery::Taken;
        }
        if self.link.waiting() < MOST_WAITING {
            state.newest = None;
            self.write(&mut state, payload);
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
        let sent_on = tokio::select! {
            biased;
            sent_on = self.link.send_on() => sent_on,
            () = reached(Some(since + self.stall)) => return Progress::Stalled,
        };
        match sent_on {
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
