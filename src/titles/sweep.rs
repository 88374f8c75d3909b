//! What a crash left behind: titles that were begun and not finished, and changes that were committed and
//! not told. Looked for at the start and then again and again, by every process on the database.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;
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

/// How many rows are read at once.
const PAGE: u64 = 200;

/// Sweeps until `draining`: a process that is about to end takes nothing over.
pub(super) async fn run(titles: &Arc<Inner>, heartbeat: &Heartbeat, draining: &CancellationToken) {
    loop {
        let swept = tokio::select! {
            swept = heartbeat.iteration(SWEEP_TIME, sweep(titles)) => swept,
            () = draining.cancelled() => return,
        };
        // What is left is there the next time.
        if let Ok(Err(error)) = swept {
            error.log();
        }
        titles.metrics.swept();
        // Processes that were started together shall not sweep together for ever.
        let pause = titles
            .settings
            .sweep_every
            .mul_f64(0.75 + 0.5 * fastrand::f64());
        tokio::select! {
            () = sleep(pause) => {}
            () = titles.recovered.notified() => {}
            () = draining.cancelled() => return,
        }
    }
}

async fn sweep(titles: &Arc<Inner>) -> Result<()> {
    tell(titles).await?;
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
