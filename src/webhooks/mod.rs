//! Webhooks: announces changes of conversations to external receivers, at least once and in order per conversation.
//!
//! The database queues the events (`db/webhooks`). Any node sends them: it claims a conversation's queue, sends its
//! events one after the other, and removes each that the receiver accepted. docs/webhooks.md is the contract with
//! receivers.
//!
//! - `hook`: a configured webhook, its client, and the state of its receiver on this node
//! - `addresses`: which addresses may be reached
//! - `payload`, `signature`: what is sent, and how a receiver verifies it
//! - `send`: one exchange; `lane`: the events of one conversation
//! - `dispatch`: the loop that claims, registers and cleans up
//! - `metrics`: for operators

mod addresses;
mod dispatch;
mod hook;
mod lane;
mod metrics;
mod payload;
mod send;
mod signature;

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    hook::{EventKind, Hook, WebhookSettings},
    metrics::Metrics,
    signature::{InvalidKey, SigningKey},
};
use crate::{
    db::Database,
    supervisor::{Loop, Supervisor},
};

/// The webhooks in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Database,
    hooks: RwLock<Arc<Vec<Arc<Hook>>>>,
    tasks: TaskTracker,
    /// Cancelled at the start of a shutdown: no further event is sent.
    draining: CancellationToken,
    /// Cancelled at the end of a shutdown: requests in flight are aborted, and another node sends their events when the
    /// claim expires.
    closing: CancellationToken,
    /// Wakes the loop: a slot became free while events wait, or the configuration changed.
    wake: Notify,
    metrics: Metrics,
}

impl Webhooks {
    /// Creates the service with these webhooks. Sends nothing before [`Self::start_loop`].
    pub fn new(
        db: Database,
        hooks: Vec<Arc<Hook>>,
        tasks: TaskTracker,
        draining: CancellationToken,
        closing: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            db,
            hooks: RwLock::new(Arc::new(hooks)),
            tasks,
            draining,
            closing,
            wake: Notify::new(),
            metrics: Metrics::default(),
        }))
    }

    /// Starts the loop that sends events.
    pub fn start_loop(&self, loops: &Supervisor) {
        let inner = self.0.clone();
        loops.spawn(Loop::Webhooks, inner.draining.clone(), move |heartbeat| {
            let inner = inner.clone();
            async move { dispatch::run(&inner, &heartbeat).await }
        });
    }

    /// The webhooks in force now.
    pub fn current(&self) -> Arc<Vec<Arc<Hook>>> {
        self.0.current()
    }

    /// Replaces the webhooks. Requests in flight are completed.
    pub fn replace(&self, hooks: Vec<Arc<Hook>>) {
        let mut current = self.0.hooks.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(hooks);
        drop(current);
        self.0.metrics.forget_backlogs();
        self.0.wake.notify_one();
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The problems of each webhook as readable text: `crm: 3 parked`. `None` without webhooks.
    pub fn complaints(&self) -> Option<Vec<String>> {
        let hooks = self.current();
        let complaints = hooks.iter().filter_map(|hook| hook.complaint()).collect();
        (!hooks.is_empty()).then_some(complaints)
    }
}

impl Inner {
    fn current(&self) -> Arc<Vec<Arc<Hook>>> {
        let hooks = self.hooks.read().unwrap_or_else(PoisonError::into_inner);
        hooks.clone()
    }
}
