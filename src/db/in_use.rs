//! Counts the connections in use of a pool.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// Counts the connections in use, from their acquisition until the pool's own test at their release. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct InUse(Arc<AtomicU32>);

/// A connection during its release. Drop decrements the count.
pub(super) struct ReleaseGuard(InUse);

impl InUse {
    /// Counts an acquired connection.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// Starts the release of a connection.
    pub(super) fn release(&self) -> ReleaseGuard {
        ReleaseGuard(self.clone())
    }

    /// Resets the count to 0.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::SeqCst);
    }

    /// Whether both count the connections of the same pool.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The number of connections in use.
    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for ReleaseGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}
