//! The task of a session: ends the reply when it is stopped, late or abandoned, stores checkpoints during uploads, and
//! gives the reply up when the node shuts down.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::session::{Session, end, release, settle};
use crate::{chat::Chat, chat::leases::CHECKPOINT_INTERVAL, events::run::Outcome};

/// The end reason of a reply that its program abandoned.
pub(in crate::chat) const ABANDONED: &str = "lease_expired";

/// The pause after a failed database read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Keeps a session until it has ended or another node runs the reply. `cut_off` completes when the reply is stopped,
/// its time is over, or the server aborts.
pub(super) async fn keep(
    chat: Chat,
    session: Arc<Session>,
    cut_off: impl Future<Output = Outcome> + Send,
) {
    let mut cut_off = std::pin::pin!(cut_off);
    let inner = &chat.inner;
    let lease = inner.settings.external_lease;
    loop {
        let is_held = session.log().is_held();
        let left = session.lease_left(lease);
        tokio::select! {
            biased;
            outcome = &mut cut_off => {
                let writing = session.writing_at_last().await;
                match inner.abort.is_cancelled() {
                    true => release(&chat, &session, writing),
                    // `end` has already logged any error and delivered it to readers.
                    false => drop(end(&chat, &session, writing, outcome, None).await),
                }
                return;
            }
            () = session.suspected(), if !is_held => {
                match settle(&chat, &session, session.writing_at_last().await).await {
                    Ok(_) => return,
                    Err(error) => {
                        error.log();
                        sleep(RETRY_PAUSE).await;
                    }
                }
            }
            () = inner.external.drained(), if !is_held => {
                let writing = session.writing_at_last().await;
                // No checkpoint is needed: each request stores what it wrote before it is answered.
                return release(&chat, &session, writing);
            }
            () = session.over() => return,
            () = session.changed() => {}
            () = sleep(CHECKPOINT_INTERVAL.min(lease / 4)), if is_held => {
                if let Err(error) = session.checkpoint(&chat, "").await {
                    // The next checkpoint stores the text.
                    error.log();
                }
            }
            () = sleep(left), if !is_held => {
                let writing = session.writing_at_last().await;
                if writing.is_none() {
                    return;
                }
                // A request may have written meanwhile.
                if session.lease_left(lease).is_zero() && !session.log().is_held() {
                    drop(end(&chat, &session, writing, Outcome::Incomplete, Some(ABANDONED)).await);
                    return;
                }
            }
        }
    }
}
