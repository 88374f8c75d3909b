//! Counters of WebSockets and subscriptions, for metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A snapshot of the counters. Subscriptions that are not shared belong to no cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open WebSockets.
    pub sockets: u64,
    /// Current cohorts.
    pub cohorts: u64,
    /// Current members of all cohorts.
    pub members: u64,
    /// Events executed and serialised since the start.
    pub executions: u64,
    /// Events delivered to subscribers since the start, including those that lagging members lost.
    pub deliveries: u64,
    /// Events that lagging members lost since the start.
    pub lagged: u64,
}

/// Counters, shared by one or more endpoints. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Atomics>);

#[derive(Debug, Default)]
pub(super) struct Atomics {
    sockets: AtomicU64,
    pub(super) cohorts: AtomicU64,
    pub(super) members: AtomicU64,
    pub(super) executions: AtomicU64,
    pub(super) deliveries: AtomicU64,
    pub(super) lagged: AtomicU64,
}

impl Counters {
    /// Counts a WebSocket until the guard is dropped.
    pub(crate) fn socket(&self) -> impl Drop + Send + use<> {
        self.0.sockets.fetch_add(1, Ordering::Relaxed);
        Socket(self.0.clone())
    }

    /// Takes a snapshot.
    pub fn read(&self) -> Counts {
        let Atomics {
            sockets,
            cohorts,
            members,
            executions,
            deliveries,
            lagged,
        } = &*self.0;
        Counts {
            sockets: sockets.load(Ordering::Relaxed),
            cohorts: cohorts.load(Ordering::Relaxed),
            members: members.load(Ordering::Relaxed),
            executions: executions.load(Ordering::Relaxed),
            deliveries: deliveries.load(Ordering::Relaxed),
            lagged: lagged.load(Ordering::Relaxed),
        }
    }

    pub(super) fn all(&self) -> &Atomics {
        &self.0
    }
}

struct Socket(Arc<Atomics>);

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}
