//! Events that make titles due early: models that answer again, by name, and changed budgets.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

use crate::llm::ModelName;

/// The models that answered after a failure, or for the first time, since the last sweep.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    // At most one entry per model.
    models: Mutex<Vec<ModelName>>,
    budgets: AtomicBool,
    added: Notify,
}

impl Recovery {
    /// Adds a model, and wakes the sweep.
    pub(super) fn add(&self, model: &ModelName) {
        let mut models = self.lock();
        if !models.contains(model) {
            models.push(model.clone());
        }
        self.added.notify_one();
    }

    /// Records that budgets may have changed, and wakes the sweep.
    pub(super) fn add_budgets(&self) {
        self.budgets.store(true, Ordering::Relaxed);
        self.added.notify_one();
    }

    /// Whether budgets may have changed; clears the record.
    pub(super) fn take_budgets(&self) -> bool {
        self.budgets.swap(false, Ordering::Relaxed)
    }

    /// Completes when something was added since the last wait.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    /// Removes and returns the models.
    pub(super) fn take(&self) -> Vec<ModelName> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ModelName>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
