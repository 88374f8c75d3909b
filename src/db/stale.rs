//! Marks pooled connections as stale, so that the pool replaces them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sea_orm::DbErr;

use super::fault::{is_read_only, is_stale_plan};

/// The minimum time between two replacements of connections because the server is read-only.
const MIN_REPLACE_INTERVAL: Duration = Duration::from_secs(1);

/// The time at which the open connections were last found to be stale; the pool replaces them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct StaleConnections(Arc<Mutex<Option<Instant>>>);

impl StaleConnections {
    /// Marks all open connections as stale if the error would repeat on each: their prepared plans are older than the
    /// schema, or their server is no longer the primary.
    pub(super) fn mark_after(&self, error: &DbErr) {
        let mut marked = self.lock();
        let is_pause_over = marked.is_none_or(|at| at.elapsed() > MIN_REPLACE_INTERVAL);
        let why = if is_stale_plan(error) {
            "the schema changed under prepared statements"
        } else if is_read_only(error) && is_pause_over {
            "the server is read-only"
        } else {
            return;
        };
        *marked = Some(Instant::now());
        tracing::info!("{why}; replacing the connections to the database");
    }

    /// Marks all open connections as stale.
    pub(super) fn mark(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// Whether a connection of this age was open at the last mark.
    pub(super) fn covers(&self, age: Duration) -> bool {
        let marked = *self.lock();
        marked.is_some_and(|marked| age >= marked.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_were_open_at_a_change_of_the_schema_are_stale_and_new_ones_are_not() {
        let stale = StaleConnections::default();
        assert!(!stale.covers(Duration::from_secs(60)));
        stale.mark();
        assert!(stale.covers(Duration::from_secs(60)));
        assert!(!stale.covers(Duration::ZERO));
    }
}
