//! What sockets and subscriptions do, for operators.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What sockets and subscriptions have done; those that run alone are in no cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// WebSockets that are open.
    pub sockets: u64,
    /// Cohorts there are.
    pub cohorts: u64,
    /// Members there are in all of them.
    pub members: u64,
    /// Events that were executed and serialised since the start.
    pub executions: u64,
    /// Events that subscribers were given since the start.
    pub deliveries: u64,
    /// Events that members lost because they fell behind, since the start.
    pub lagged: u64,
}

/// What is counted, by one endpoint or by several that share it. Cheap to clone.
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
    /// Counts a WebSocket until what is returned is dropped.
    pub(in crate::transport) fn socket(&self) -> impl Drop + Send + use<> {
        self.0.sockets.fetch_add(1, Ordering::Relaxed);
        Socket(self.0.clone())
    }

    /// How the counts stand.
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
