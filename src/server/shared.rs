//! State that outlives hyper's part of a connection: its slots, its request phase, and its socket after detaching.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use axum::response::Response;
use graphql_transport::direct::WriteBody;
use tokio::sync::Notify;

use super::{limits::ConnectionPermit, slots::Slot};

/// State shared by a connection and its requests. Lives until the socket closes, upgraded or not.
#[derive(Debug)]
pub(super) struct Shared {
    /// Counts starts and ends of requests. Odd while a request is served, from the end of its head to the end of its
    /// response.
    pub(super) transitions: AtomicU32,
    _permit: ConnectionPermit,
    /// The slot of a request that became a WebSocket or a detached response.
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

    /// Holds the slot of the connection's last request until the connection closes.
    pub(super) fn hold_slot(&self, slot: Slot<IpAddr>) {
        // A connection is upgraded at most once.
        let _ = self.upgraded.set(slot);
    }

    /// Records the start or end of a request. A connection's requests are sequential.
    pub(super) fn transition(&self) {
        self.transitions.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a request is being served.
    pub(super) fn is_serving(&self) -> bool {
        is_serving(self.transitions.load(Ordering::Relaxed))
    }
}

pub(super) fn is_serving(transitions: u32) -> bool {
    transitions % 2 == 1
}

/// Response extension: the function that writes the detached body.
#[derive(Clone)]
pub(super) struct Detached(pub(super) Arc<Mutex<Option<WriteBody>>>);

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Detached").finish()
    }
}

/// Progress of detaching a connection from hyper.
#[derive(Debug, Default)]
pub(super) struct Detaching {
    /// Whether a detached response has been handed to hyper.
    is_wanted: AtomicBool,
    run: Mutex<Option<Detached>>,
    head_is_written: Notify,
}

impl Detaching {
    /// Prepares to detach if the response requests it. Returns whether it does.
    pub(super) fn begin<B>(&self, response: &Response<B>) -> bool {
        let Some(detached) = response.extensions().get::<Detached>() else {
            return false;
        };
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(detached.clone());
        self.is_wanted.store(true, Ordering::Release);
        true
    }

    /// Called when hyper has flushed its buffer. hyper writes the whole head of a response before flushing.
    pub(super) fn flushed(&self) {
        if self.is_wanted.load(Ordering::Acquire) {
            self.head_is_written.notify_one();
        }
    }

    /// Waits until the head of a detached response has been written. Returns the function that writes its body.
    pub(super) async fn ready(&self) -> WriteBody {
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
