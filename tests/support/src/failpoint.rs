//! Holding one title between two of its steps (`src/step.rs`), until the test lets it go.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::within;

/// Holds the first task that takes a step of a conversation's title; later ones continue. The test
/// needs a runtime of several threads: a held title keeps its own. Dropped, it lets go and is gone.
pub struct Hold {
    name: String,
    arrived: UnboundedReceiver<()>,
    /// Dropped to release the title.
    _gate: mpsc::Sender<()>,
}

impl Hold {
    /// At this step (`claimed`, `answered`, `stored`, `published`) of this conversation, which is not begun yet.
    pub fn at(step: &str, conversation: &str) -> Self {
        Self::named(&format!("titles.{step}"), conversation)
    }

    /// At any step, by its whole name.
    pub fn named(step: &str, conversation: &str) -> Self {
        let name = format!("{step} {conversation}");
        let (arrival, arrived) = unbounded_channel();
        let (gate, opened) = mpsc::channel::<()>();
        let (opened, is_taken) = (Mutex::new(opened), AtomicBool::new(false));
        fail::cfg_callback(&name, move || {
            if !is_taken.swap(true, Ordering::SeqCst) {
                // The test may have ended.
                let _ = arrival.send(());
                // An error is the end of the wait: nothing is ever sent. The tasks that wait for this
                // thread move to another one.
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
