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
    db::{BadRow, Candidate, Fault, Place, Waiting},
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
            swept = heartbeat.iteration(SWEEP_TIME, sweep(titles, heartbeat)) => swept,
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

/// Goes through all that is left behind, page by page. A row that cannot be read or stored is stepped over. Returns when
/// the first lease ends of those that still run.
async fn sweep(titles: &Arc<Inner>, heartbeat: &Heartbeat) -> Result<Option<DateTime<Utc>>> {
    // What fails for one of them need not fail for the others, unless the database is away.
    let mut failed = Ok(());
    go_on(&mut failed, tell(titles, heartbeat).await)?;
    go_on(&mut failed, abandon(titles, heartbeat).await)?;
    go_on(&mut failed, take_over_all(titles, heartbeat).await)?;
    failed?;
    titles.db.next_lease_end().await
}

fn go_on(failed: &mut Result<()>, swept: Result<()>) -> Result<()> {
    match swept {
        Err(error) if Fault::of_error(&error) != Some(Fault::Transient) => {
            *failed = Err(error);
            Ok(())
        }
        swept => swept,
    }
}

/// Publishes changes that were committed and not published.
async fn tell(titles: &Inner, heartbeat: &Heartbeat) -> Result<()> {
    let mut after: Option<Place> = None;
    loop {
        let untold = titles.db.find_untold(SETTLED, after.as_ref(), PAGE).await?;
        step_over(heartbeat, untold.bad);
        let mut told: Vec<_> = untold
            .rows
            .iter()
            .map(|row| (row.id, row.revision))
            .collect();
        titles.metrics.retold(told.len());
        for conversation in untold.rows {
            titles.events.publish(conversation);
        }
        step_over(heartbeat, titles.db.note_told(&mut told).await?);
        match untold.last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Gives up titles that were begun again and again.
async fn abandon(titles: &Inner, heartbeat: &Heartbeat) -> Result<()> {
    let mut after: Option<Place> = None;
    loop {
        let hopeless = titles
            .db
            .find_waiting(Waiting::Hopeless, after.as_ref(), PAGE)
            .await?;
        step_over(heartbeat, hopeless.bad);
        for candidate in &hopeless.rows {
            match titles.db.abandon_title(candidate).await {
                Ok(Some(conversation)) => {
                    tracing::warn!(conversation.id = %conversation.id, "title abandoned");
                    titles.metrics.abandoned();
                    titles.events.publish(conversation);
                }
                Ok(None) => {}
                Err(error) => step_over(heartbeat, [BadRow::of(candidate.id.0, error)?]),
            }
        }
        match hopeless.last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Takes over the titles that others began.
async fn take_over_all(titles: &Arc<Inner>, heartbeat: &Heartbeat) -> Result<()> {
    let mut after: Option<Place> = None;
    loop {
        let page = titles
            .db
            .find_waiting(Waiting::Overdue, after.as_ref(), PAGE)
            .await?;
        step_over(heartbeat, page.bad);
        for candidate in &page.rows {
            // While the provider refuses, one row a minute is its probe, and the others stay as they are.
            let pass = titles.breaker.look(Instant::now());
            if let Pass::Wait(_) = pass {
                return Ok(());
            }
            if let Err(error) = take_over(titles, candidate).await {
                // Another row is the probe.
                step_over(heartbeat, [BadRow::of(candidate.id.0, error)?]);
                continue;
            }
            if pass == Pass::Probe {
                return Ok(());
            }
        }
        match page.last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

fn step_over(heartbeat: &Heartbeat, bad: impl IntoIterator<Item = BadRow>) {
    for BadRow { id, error } in bad {
        heartbeat.step_over(id, &error);
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
