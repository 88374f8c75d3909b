//! Retention: removes what is older than its tenant's limits, in small steps with pauses, until nothing is left to do.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::Chat;
use crate::{
    conversation::retention::Retentions,
    db::{BadRow, Prune, PrunePlace, Pruned},
    error::Result,
    supervisor::Heartbeat,
};

/// The pause between two passes over all conversations.
const INTERVAL: Duration = Duration::from_secs(15 * 60);

/// How often the loop checks for a changed configuration.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// The time limit of one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// The pause after a step, as a multiple of its duration: a pass takes a twentieth of the time of one connection, and
/// of SQLite's writer. At a fifth, the slowest messages sent meanwhile took up to 1.4 times as long.
const PAUSE_FACTOR: u32 = 19;

/// The maximum number of conversations in a step, so that a message that waits for a step waits only a few
/// milliseconds.
const PAGE: u64 = 10;

/// The shortest pause after a step.
const MIN_PAUSE: Duration = Duration::from_millis(5);

impl Chat {
    /// Replaces the retention limits.
    pub fn replace_retentions(&self, retentions: Retentions) {
        let current = self.inner.retentions.write();
        *current.unwrap_or_else(PoisonError::into_inner) = retentions;
    }

    /// The retention limits in force.
    fn retentions(&self) -> Retentions {
        let current = self.inner.retentions.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Prunes in passes until `closing`. After an error the pass restarts.
pub(super) async fn keep_pruning(chat: &Chat, heartbeat: &Heartbeat, closing: &CancellationToken) {
    let mut place = PrunePlace::default();
    let mut passed: Option<(Instant, Retentions)> = None;
    let pruning = async {
        loop {
            let retentions = chat.retentions();
            let is_due = passed
                .as_ref()
                .is_none_or(|(at, with)| at.elapsed() >= INTERVAL || *with != retentions);
            let began = Instant::now();
            let step = async {
                match is_due && !retentions.are_off() {
                    true => step(chat, &retentions, &mut place).await,
                    false => Ok(None),
                }
            };
            let pause = match heartbeat.iteration(STEP_TIMEOUT, step).await {
                Ok(Some(pruned)) => {
                    take(chat, heartbeat, pruned);
                    (began.elapsed() * PAUSE_FACTOR).max(MIN_PAUSE)
                }
                Ok(None) => {
                    if is_due {
                        passed = Some((Instant::now(), retentions));
                    }
                    place = PrunePlace::default();
                    LOOK_INTERVAL
                }
                // The heartbeat counts the error.
                Err(_) => {
                    place = PrunePlace::default();
                    LOOK_INTERVAL
                }
            };
            heartbeat.pause(pause).await;
        }
    };
    closing.run_until_cancelled(pruning).await;
}

async fn step(
    chat: &Chat,
    retentions: &Retentions,
    place: &mut PrunePlace,
) -> Result<Option<Pruned>> {
    let titles = &chat.inner.titles;
    let redacts = |tenant: &str| titles.redacts(tenant);
    let prune = Prune {
        retentions,
        redacts: &redacts,
        is_dry: false,
        page: PAGE,
    };
    chat.inner.db.prune_next(&prune, place).await
}

fn take(chat: &Chat, heartbeat: &Heartbeat, pruned: Pruned) {
    chat.inner.metrics.pruned(&pruned.removed);
    for conversation in pruned.changed {
        chat.inner.events.publish(conversation);
    }
    for BadRow { id, error } in pruned.bad {
        heartbeat.skip_row(id, &error);
    }
}
