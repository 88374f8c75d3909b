//! Reply leases: renews the leases of this node's replies, checkpoints their text, and closes replies whose lease
//! expired because their node is gone.

use std::{collections::HashMap, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Chat, Inner};
use crate::{
    conversation::MessageId,
    db::{BadRow, Keyset, KeysetPage, RenewalOutcome, RunCheckpoint},
    error::Result,
    supervisor::Heartbeat,
};

/// The longest time between two checkpoints of a reply's text.
pub(super) const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(1_500);

/// How many expired replies one page holds.
const PAGE_SIZE: u64 = 100;

/// How many pages one round closes before it pauses. The next round continues after them.
const MAX_PAGES_PER_ROUND: u32 = 20;

/// How long closing one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Renews leases and checkpoints text until `closing`, for all replies of this node in one transaction.
pub(super) async fn renew(chat: &Chat, heartbeat: &Heartbeat, closing: &CancellationToken) {
    let every = CHECKPOINT_INTERVAL.min(chat.inner.settings.reply_lease / 4);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Checkpointed bytes and part changes per reply. A reply is first checkpointed at its second tick: most replies end
    // before it, so they cost no write.
    let mut checkpointed: HashMap<MessageId, (usize, u64)> = HashMap::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = closing.cancelled() => return,
        }
        let mut runs = chat.inner.events.runs();
        // A run whose row is not stored yet would look closed.
        runs.retain(|run| run.is_begun());
        let mut renewals = Vec::new();
        let mut lengths = HashMap::new();
        for run in &runs {
            if run.is_external() {
                // The session stores the text. The lease is renewed only for the time left since the program's last
                // write.
                let lease = chat.inner.external.lease_left(chat, run.ids().reply);
                renewals.extend(lease.map(|lease| RunCheckpoint {
                    turn: run.ids().turn,
                    fence: Some((chat.inner.events.node(), lease)),
                    written: None,
                    parts: None,
                }));
                continue;
            }
            let known = checkpointed.get(&run.ids().turn).copied();
            let mut checkpoint = (0, 0);
            if let Some((length, changes)) = known {
                let written = (run.length() > length).then(|| run.text());
                let parts = (run.changes() > changes).then(|| run.stored_parts());
                checkpoint = (
                    written.as_ref().map_or(length, String::len),
                    parts.as_ref().map_or(changes, |(_, changes)| *changes),
                );
                renewals.push(RunCheckpoint {
                    turn: run.ids().turn,
                    fence: None,
                    written,
                    parts: parts.map(|(parts, _)| parts),
                });
            }
            lengths.insert(run.ids().turn, checkpoint);
        }
        // Lock order: two nodes that renew the same rows must lock them in the same order.
        renewals.sort_unstable_by_key(|run| run.turn);
        if renewals.is_empty() {
            checkpointed = lengths;
            continue;
        }
        let lease = chat.inner.settings.reply_lease;
        // Abort a renewal after half a lease, so that the next one can still be in time.
        let renewal = chat.inner.db.renew_runs(&renewals, lease);
        match heartbeat.iteration(lease / 2, renewal).await {
            Ok(RenewalOutcome { stopped, bad }) => {
                checkpointed = lengths;
                for BadRow { id, error } in bad {
                    heartbeat.skip_row(id, &error);
                }
                let stopped = runs.iter().filter(|run| stopped.contains(&run.ids().turn));
                for run in stopped {
                    match run.is_external() {
                        // The reply was stopped, or another node has taken it over.
                        true => chat.inner.external.lost_lease(run.ids().reply),
                        false => run.stop(),
                    }
                }
            }
            // The next tick retries.
            Err(error) => error.log(),
        }
    }
}

/// Closes replies whose lease expired, until `draining`. A round pages through all of them, so a row that cannot be
/// closed does not block the rows after it.
pub(super) async fn close_expired(
    chat: &Chat,
    heartbeat: &Heartbeat,
    draining: &CancellationToken,
) {
    let lease = chat.inner.settings.reply_lease;
    let mut lost_database: Option<Instant> = None;
    let mut after: Option<Keyset> = None;
    let mut pages = 0;
    loop {
        // After a database outage, wait one lease before closing anything, so that live nodes can renew first.
        let is_settled = lost_database.is_none_or(|at| at.elapsed() > lease);
        let page = close_expired_page(chat, heartbeat, after, is_settled);
        let closed = tokio::select! {
            closed = heartbeat.iteration(PAGE_TIMEOUT, page) => closed,
            () = draining.cancelled() => return,
        };
        pages += 1;
        match closed {
            Ok(next) => {
                after = next;
                if after.is_some() && pages < MAX_PAGES_PER_ROUND {
                    continue;
                }
            }
            // Retry the same page after the pause.
            Err(error) => {
                error.log();
                lost_database = Some(Instant::now());
            }
        }
        pages = 0;
        let pause = (lease / 3).mul_f64(0.75 + 0.5 * fastrand::f64());
        tokio::select! {
            () = heartbeat.pause(pause) => {}
            () = draining.cancelled() => return,
        }
    }
}

/// Closes one page of expired replies with their checkpointed text, and skips rows that cannot be closed. Returns where
/// the next page begins.
async fn close_expired_page(
    chat: &Chat,
    heartbeat: &Heartbeat,
    after: Option<Keyset>,
    is_settled: bool,
) -> Result<Option<Keyset>> {
    let Inner { db, events, .. } = &*chat.inner;
    let KeysetPage { rows, bad, last } = db.find_dead_runs(after.as_ref(), PAGE_SIZE).await?;
    if !is_settled {
        return Ok(None);
    }
    for BadRow { id, error } in bad {
        heartbeat.skip_row(id, &error);
    }
    for expired in rows {
        // Still running on this node: its renewal is only late.
        if events
            .find_run(&expired.owner, expired.turn.reply_id)
            .is_some()
        {
            continue;
        }
        let redacts = chat.inner.titles.redacts(&expired.owner.tenant);
        match db.close_dead_run(&expired, redacts).await {
            Ok(closed) => {
                tracing::warn!(
                    conversation.id = %expired.turn.conversation_id,
                    "closed a reply whose lease expired: its node is gone"
                );
                closed
                    .into_iter()
                    .for_each(|conversation| events.publish(conversation));
            }
            Err(error) => {
                let BadRow { id, error } = BadRow::of(expired.turn.id.0, error)?;
                heartbeat.skip_row(id, &error);
            }
        }
    }
    Ok(last)
}
