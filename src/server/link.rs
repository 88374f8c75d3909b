//! State that outlives hyper's part of a connection: its slots, its request phase, and its socket after a detach.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use axum::response::Response;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::{limits::ConnectionPermit, slots::Slot, wire::Wire};

/// What a connection and its requests tell each other, and what is held for as long as the connection
/// lives, upgraded or not.
#[derive(Debug)]
pub(super) struct Shared {
    /// How often a request or a pause has begun: odd while a request is served, from the end of its head
    /// to the end of its response.
    pub(super) transitions: AtomicU32,
    _permit: ConnectionPermit,
    /// Of the request that became a WebSocket, or has an endless response.
    upgraded: OnceLock<Slot<IpAddr>>,
    pub(super) detaching: Detaching,
}

impl Shared {
    pub(super) fn new(permit: ConnectionPermit) -> Arc<Self> {
        Arc::new(Self {
            transitions: AtomicU32::new(0),
            _permit: permit,
            upgraded: OnceLock::new(),
            detaching: Detaching::default(),
        })
    }

    /// Holds what the last request of the connection held.
    pub(super) fn keep(&self, slot: Slot<IpAddr>) {
        // A connection is upgraded once.
        let _ = self.upgraded.set(slot);
    }

    /// A request begins or ends; they come one at a time.
    pub(super) fn transition(&self) {
        self.transitions.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a request is served.
    pub(super) fn is_serving(&self) -> bool {
        is_serving(self.transitions.load(Ordering::Relaxed))
    }
}

pub(super) fn is_serving(transitions: u32) -> bool {
    transitions % 2 == 1
}

pub(super) type Run = Box<dyn FnOnce(Link) -> BoxFuture<'static, ()> + Send>;

/// What is left to do for a response.
#[derive(Clone)]
pub(super) struct Detached(pub(super) Arc<Mutex<Option<Run>>>);

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Detached").finish()
    }
}

/// A socket that is hyper's no more, and its place among the connections.
#[derive(Clone, Debug)]
pub struct Link {
    wire: Arc<Wire>,
    _shared: Arc<Shared>,
}

impl std::ops::Deref for Link {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl Link {
    pub(super) fn new(wire: Arc<Wire>, shared: Arc<Shared>) -> Self {
        Self {
            wire,
            _shared: shared,
        }
    }
}

/// How far a connection is with leaving hyper.
#[derive(Debug, Default)]
pub(super) struct Detaching {
    /// The response was given to hyper.
    is_wanted: AtomicBool,
    run: Mutex<Option<Detached>>,
    head_is_written: Notify,
}

impl Detaching {
    /// The response that comes is to be detached, if it says so.
    pub(super) fn begin<B>(&self, response: &Response<B>) -> bool {
        let Some(detached) = response.extensions().get::<Detached>() else {
            return false;
        };
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(detached.clone());
        self.is_wanted.store(true, Ordering::Release);
        true
    }

    /// Everything that hyper had was written. It gets a response and writes its head without flushing in
    /// between.
    pub(super) fn flushed(&self) {
        if self.is_wanted.load(Ordering::Acquire) {
            self.head_is_written.notify_one();
        }
    }

    /// What is left to do, once the head of such a response is written.
    pub(super) async fn ready(&self) -> Run {
        loop {
            self.head_is_written.notified().await;
            let detached = self
                .run
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let Some(Detached(run)) = detached else {
                continue;
            };
            if let Some(run) = run.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return run;
            }
        }
    }
}
