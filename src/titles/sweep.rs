//! What a crash left behind: titles that were begun and not finished, and changes that were committed and
//! not told. Looked for at the start and then again and again, by every process on the database.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::{Inner, breaker::Pass, metrics::Begun, task, turns::Class};
use crate::{
    db::{Candidate, Fault, Waiting},
    error::Result,
    supervisor::Heartbeat,
};

/// How long whoever committed a change has to note that it was told.
const SETTLED: Duration = Duration::from_secs(5);

/// How long one sweep may take; what it did not reach is first in the next one.
const SWEEP_TIME: Duration = Duration::from_secs(120);

/// The shortest pause between two sweeps, and the longest that one comes after the end of a lease: nodes that wait for
/// the same one come one after the other.
const SOONEST: Duration = Duration::from_secs(1);

/// How many rows are read at once.
const PAGE: u64 = 200;

/// Sweeps until `draining`: a process that is about to end takes nothing over.
pub(super) async fn run(titles: &Arc<Inner>, heartbeat: &Heartbeat, draining: &CancellationToken) {
    loop {
        let swept = tokio::select! {
            swept = heartbeat.iteration(SWEEP_TIME, sweep(titles)) => swept,
            () = draining.cancelled() => return,
        };
        // Processes that were started together shall not sweep together for ever.
        let mut pause = titles
            .settings
            .sweep_every
            .mul_f64(0.75 + 0.5 * fastrand::f64());
        match swept {
            Ok(Some(lease_end)) => pause = pause.min(until(titles, lease_end)),
            Ok(None) => {}
            // What is left is there the next time.
            Err(error) => error.log(),
        }
        titles.metrics.swept();
        tokio::select! {
            () = heartbeat.pause(pause) => {}
            () = titles.recovered.notified() => {}
            () = draining.cancelled() => return,
        }
    }
}

/// How long to wait for the end of a lease, whose holder may have died.
fn until(titles: &Inner, lease_end: DateTime<Utc>) -> Duration {
    let left = (lease_end - titles.db.clock().now()).to_std();
    left.unwrap_or_default().max(SOONEST) + SOONEST.mul_f64(fastrand::f64())
}

/// Returns when the first lease ends of those that still run.
async fn sweep(titles: &Arc<Inner>) -> Result<Option<DateTime<Utc>>> {
    tell(titles).await?;
    take_over_overdue(titles).await?;
    titles.db.next_lease_end().await
}

async fn take_over_overdue(titles: &Arc<Inner>) -> Result<()> {
    for conversation in titles.db.abandon_titles(PAGE).await? {
        tracing::warn!(conversation.id = %conversation.id, "title abandoned");
        titles.metrics.abandoned();
        titles.events.publish(conversation);
    }
    let mut after: Option<Candidate> = None;
    loop {
        let page = titles
            .db
            .find_waiting(Waiting::Overdue, after.as_ref(), PAGE)
            .await?;
        for candidate in &page {
            // While the provider refuses, one row a minute is its probe, and the others stay as they are.
            let pass = titles.breaker.look(Instant::now());
            if let Pass::Wait(_) = pass {
                return Ok(());
            }
            match take_over(titles, candidate).await {
                Err(error) if Fault::of_error(&error) == Some(Fault::Transient) => {
                    return Err(error);
                }
                // The fault of this row: the others can be taken over.
                Err(error) => error.log(),
                Ok(()) => {}
            }
            if pass == Pass::Probe {
                return Ok(());
            }
        }
        match page.into_iter().last() {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Tells what nobody was told.
async fn tell(titles: &Inner) -> Result<()> {
    loop {
        let untold = titles.db.find_untold(SETTLED, PAGE).await?;
        if untold.is_empty() {
            return Ok(());
        }
        let mut told: Vec<_> = untold.iter().map(|row| (row.id, row.revision)).collect();
        titles.metrics.retold(told.len());
        for conversation in untold {
            titles.events.publish(conversation);
        }
        // At once, or the next page would be the same.
        titles.db.note_told(&mut told).await?;
    }
}

/// Makes a title that somebody else began. Waits for its turn first: a claim is not taken for later.
async fn take_over(titles: &Arc<Inner>, candidate: &Candidate) -> Result<()> {
    let Some(turn) = titles.turns.take(&candidate.owner, Class::Unasked).await else {
        return Ok(());
    };
    let lease = titles.settings.lease();
    let claim = titles
        .db
        .claim_waiting(candidate, Waiting::Overdue, lease)
        .await?;
    drop(turn);
    if let Some(claim) = claim {
        titles.metrics.claimed(Begun::Sweep);
        titles
            .tasks
            .spawn(task::run(titles.clone(), claim, None, Class::Unasked));
    }
    Ok(())
}
