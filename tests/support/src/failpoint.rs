//! Holds one title between two of its steps (`src/step.rs`) until the test releases it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::within;

/// Holds the first task that reaches a step of a conversation's title; later tasks continue. The test needs a
/// multi-threaded runtime, because a held title blocks its thread. Dropping the hold releases the title and removes the
/// failpoint.
pub struct Hold {
    name: String,
    arrived: UnboundedReceiver<()>,
    /// Dropped to release the title.
    _gate: mpsc::Sender<()>,
}

impl Hold {
    /// Holds the title of this conversation at a step (`claimed`, `answered`, `stored`, `published`). The conversation
    /// must not have been started yet.
    pub fn at(step: &str, conversation: &str) -> Self {
        Self::named(&format!("titles.{step}"), conversation)
    }

    /// Holds at any step, given its full name.
    pub fn named(step: &str, conversation: &str) -> Self {
        let name = format!("{step} {conversation}");
        let (arrival, arrived) = unbounded_channel();
        let (gate, opened) = mpsc::channel::<()>();
        let (opened, is_taken) = (Mutex::new(opened), AtomicBool::new(false));
        fail::cfg_callback(&name, move || {
            if !is_taken.swap(true, Ordering::SeqCst) {
                // Fails if the test has ended.
                let _ = arrival.send(());
                // Nothing is ever sent, so `recv` returns when the gate is dropped. The tasks waiting for this thread
                // move to another one.
                #[expect(clippy::disallowed_methods, reason = "the test holds this thread")]
                tokio::task::block_in_place(|| {
                    let _ = opened.lock().unwrap_or_else(PoisonError::into_inner).recv();
                });
            }
        })
        .unwrap();
        Self {
            name,
            arrived,
            _gate: gate,
        }
    }

    /// Waits until a task is held.
    pub async fn reached(&mut self) {
        within(self.arrived.recv()).await.unwrap();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        fail::remove(&self.name);
    }
}
