//! Replies outlive their process: each node notes what it has written of its replies and that it lives, and
//! closes the replies of those that do so no more.

use std::{collections::HashMap, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Chat, Inner};
use crate::{
    conversation::MessageId,
    db::{BadRow, Found, Kept, Place, Renewed},
    error::Result,
    supervisor::Heartbeat,
};

/// The longest that anything written stays unnoted.
const NOTE_EVERY: Duration = Duration::from_millis(1_500);

/// How many dead replies are read at once.
const PAGE: u64 = 100;

/// How many pages are gone through before a pause; the next round goes on behind them.
const MOST_PAGES: u32 = 20;

/// How long closing a page of them may take.
const PAGE_TIME: Duration = Duration::from_secs(60);

/// Notes until `closing` what is written here, all of it in one transaction.
pub(super) async fn note(chat: &Chat, heartbeat: &Heartbeat, closing: &CancellationToken) {
    let every = NOTE_EVERY.min(chat.inner.settings.reply_lease / 4);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // How much of each reply was noted. One that was not here at the last tick costs nothing yet: most
    // are over by the next.
    let mut noted: HashMap<MessageId, usize> = HashMap::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = closing.cancelled() => return,
        }
        let mut runs = chat.inner.events.runs();
        // One without a row yet would look as if somebody had closed it.
        runs.retain(|run| run.is_begun());
        let mut kept = Vec::new();
        let mut lengths = HashMap::new();
        for run in &runs {
            let known = noted.get(&run.of().message).copied();
            let mut length = 0;
            if let Some(known) = known {
                let written = (run.length() > known).then(|| run.text());
                length = written.as_ref().map_or(known, String::len);
                kept.push(Kept {
                    message: run.of().message,
                    written,
                });
            }
            lengths.insert(run.of().message, length);
        }
        // Two nodes that note the same rows take their locks in the same order.
        kept.sort_unstable_by_key(|run| run.message);
        if kept.is_empty() {
            noted = lengths;
            continue;
        }
        let lease = chat.inner.settings.reply_lease;
        // A renewal that takes longer than half a lease is given up, so that the next one can still be in time.
        let renewal = chat.inner.db.keep_runs(&kept, lease);
        match heartbeat.iteration(lease / 2, renewal).await {
            Ok(Renewed { stopped, bad }) => {
                noted = lengths;
                for BadRow { id, error } in bad {
                    heartbeat.skip_row(id, &error);
                }
                let stopped = runs
                    .iter()
                    .filter(|run| stopped.contains(&run.of().message));
                stopped.for_each(|run| run.stop());
            }
            // What was not noted is noted the next time.
            Err(error) => error.log(),
        }
    }
}

/// Closes until `draining` what others left open. A round goes from page to page through all that is overdue, so what
/// cannot be closed keeps nothing behind it from being closed.
pub(super) async fn close_dead(chat: &Chat, heartbeat: &Heartbeat, draining: &CancellationToken) {
    let lease = chat.inner.settings.reply_lease;
    let mut lost_database: Option<Instant> = None;
    let mut after: Option<Place> = None;
    let mut pages = 0;
    loop {
        // After the database was gone, its nodes need a moment to say that they live.
        let is_settled = lost_database.is_none_or(|at| at.elapsed() > lease);
        let page = close_page(chat, heartbeat, after, is_settled);
        let closed = tokio::select! {
            closed = heartbeat.iteration(PAGE_TIME, page) => closed,
            () = draining.cancelled() => return,
        };
        pages += 1;
        match closed {
            Ok(next) => {
                after = next;
                if after.is_some() && pages < MOST_PAGES {
                    continue;
                }
            }
            // The same page again, later.
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

/// Closes a page of them, with what was noted of each, and steps over those that cannot be closed. Returns where the next
/// page begins.
async fn close_page(
    chat: &Chat,
    heartbeat: &Heartbeat,
    after: Option<Place>,
    is_settled: bool,
) -> Result<Option<Place>> {
    let Inner { db, events, .. } = &*chat.inner;
    let Found { rows, bad, last } = db.find_dead_runs(after.as_ref(), PAGE).await?;
    if !is_settled {
        return Ok(None);
    }
    for BadRow { id, error } in bad {
        heartbeat.skip_row(id, &error);
    }
    for dead in rows {
        // One of ours is late, as its machine was: it lives.
        if events.find_run(&dead.owner, dead.turn.reply_id).is_some() {
            continue;
        }
        match db.close_dead_run(&dead).await {
            Ok(closed) => {
                tracing::warn!(
                    conversation.id = %dead.turn.conversation_id,
                    "closed a reply: its node is gone"
                );
                closed
                    .into_iter()
                    .for_each(|conversation| events.publish(conversation));
            }
            Err(error) => {
                let BadRow { id, error } = BadRow::of(dead.turn.message_id.0, error)?;
                heartbeat.skip_row(id, &error);
            }
        }
    }
    Ok(last)
}
