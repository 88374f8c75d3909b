//! Recovers from crashes and outages: resumes titles whose lease expired, retries failed ones, republishes changes that
//! were committed and not published.
//!
//! Every process sweeps at startup and then periodically.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::{
    Inner,
    call_queue::Priority,
    due::{self, Rest},
    metrics::Trigger,
    task,
};
use crate::{
    db::{BadRow, Candidate, Fault, Keyset, TitleBacklog},
    error::Result,
    supervisor::Heartbeat,
};

/// How long the committing process has to record a publication before the sweep republishes the change.
const PUBLISH_GRACE: Duration = Duration::from_secs(5);

/// The time limit of a sweep. The next one starts with the rows that it did not reach.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(120);

/// The shortest pause between two sweeps, and the longest random delay after a lease expires: nodes that wait for the
/// same lease sweep at different times.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// Rows per read.
pub(super) const PAGE: u64 = 200;

/// Sweeps until `draining`: a process that is shutting down takes over no titles.
pub(super) async fn run(titles: &Arc<Inner>, heartbeat: &Heartbeat, draining: &CancellationToken) {
    loop {
        let swept = tokio::select! {
            swept = heartbeat.iteration(SWEEP_TIMEOUT, sweep(titles, heartbeat)) => swept,
            () = draining.cancelled() => return,
        };
        // Jitter: processes that start together must not keep sweeping together.
        let mut pause = titles
            .settings
            .sweep_every
            .mul_f64(0.75 + 0.5 * fastrand::f64());
        match swept {
            Ok((Rest::More, _)) => pause = Duration::ZERO,
            Ok((Rest::Nothing, Some(next))) => pause = pause.min(until_lease_end(titles, next)),
            Ok((Rest::Nothing, None)) => {}
            // The next sweep finds the remaining rows.
            Err(error) => error.log(),
        }
        titles.metrics.swept();
        tokio::select! {
            () = heartbeat.pause(pause) => {}
            () = titles.recovered.added() => {}
            () = draining.cancelled() => return,
        }
    }
}

/// The pause until a lease expires, whose holder may have died.
fn until_lease_end(titles: &Inner, lease_end: DateTime<Utc>) -> Duration {
    let left = (lease_end - titles.db.clock().now()).to_std();
    left.unwrap_or_default().max(MIN_PAUSE) + MIN_PAUSE.mul_f64(fastrand::f64())
}

/// Runs one sweep, page by page. Skips rows that cannot be read or stored. Returns whether titles are left, and when
/// the first running lease ends.
async fn sweep(
    titles: &Arc<Inner>,
    heartbeat: &Heartbeat,
) -> Result<(Rest, Option<DateTime<Utc>>)> {
    // A step that fails does not stop the others, unless the database is unavailable.
    let mut failed = Ok(());
    continue_unless_transient(&mut failed, republish(titles, heartbeat).await)?;
    continue_unless_transient(&mut failed, abandon_exhausted(titles, heartbeat).await)?;
    continue_unless_transient(&mut failed, titles.db.erase_former_titles().await)?;
    continue_unless_transient(&mut failed, titles.db.erase_left_metadata().await)?;
    continue_unless_transient(&mut failed, take_over_all(titles, heartbeat).await)?;
    continue_unless_transient(&mut failed, due::wake(titles, heartbeat).await)?;
    let tried = due::try_again(titles, heartbeat).await;
    let rest = continue_unless_transient(&mut failed, tried)?;
    continue_unless_transient(&mut failed, due::give_up(titles, heartbeat).await)?;
    continue_unless_transient(&mut failed, due::count(titles).await)?;
    failed?;
    let next = titles.db.next_lease_end().await?;
    Ok((rest.unwrap_or(Rest::Nothing), next))
}

fn continue_unless_transient<T>(failed: &mut Result<()>, swept: Result<T>) -> Result<Option<T>> {
    match swept {
        Err(error) if Fault::of_error(&error) != Some(Fault::Transient) => {
            *failed = Err(error);
            Ok(None)
        }
        swept => swept.map(Some),
    }
}

/// Publishes changes that were committed and have no publication record.
async fn republish(titles: &Inner, heartbeat: &Heartbeat) -> Result<()> {
    let mut after: Option<Keyset> = None;
    loop {
        let unpublished = titles
            .db
            .find_unpublished(PUBLISH_GRACE, after.as_ref(), PAGE)
            .await?;
        step_over(heartbeat, unpublished.bad);
        let mut published: Vec<_> = unpublished
            .rows
            .iter()
            .map(|row| (row.id, row.revision))
            .collect();
        titles.metrics.retold(published.len());
        for conversation in unpublished.rows {
            titles.events.publish(conversation);
        }
        step_over(heartbeat, titles.db.record_published(&mut published).await?);
        match unpublished.last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Marks titles as abandoned that were claimed too often without an outcome.
async fn abandon_exhausted(titles: &Inner, heartbeat: &Heartbeat) -> Result<()> {
    let mut after: Option<Keyset> = None;
    loop {
        let exhausted = titles
            .db
            .find_candidates(TitleBacklog::Exhausted, after.as_ref(), PAGE)
            .await?;
        step_over(heartbeat, exhausted.bad);
        for candidate in &exhausted.rows {
            match titles.db.abandon_title(candidate).await {
                Ok(Some(conversation)) => {
                    tracing::warn!(conversation.id = %conversation.id, "title abandoned: started too often without an outcome");
                    titles.metrics.abandoned();
                    titles.events.publish(conversation);
                }
                Ok(None) => {}
                Err(error) => step_over(heartbeat, [BadRow::of(candidate.id.0, error)?]),
            }
        }
        match exhausted.last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Takes over titles whose lease expired.
async fn take_over_all(titles: &Arc<Inner>, heartbeat: &Heartbeat) -> Result<()> {
    let mut after: Option<Keyset> = None;
    loop {
        let page = titles
            .db
            .find_candidates(TitleBacklog::Overdue, after.as_ref(), PAGE)
            .await?;
        step_over(heartbeat, page.bad);
        for candidate in &page.rows {
            // Also while no model admits calls: the title then fails, and waits for the next probe.
            if let Err(error) = take_over(titles, candidate).await {
                step_over(heartbeat, [BadRow::of(candidate.id.0, error)?]);
            }
        }
        match page.last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

pub(super) fn step_over(heartbeat: &Heartbeat, bad: impl IntoIterator<Item = BadRow>) {
    for BadRow { id, error } in bad {
        heartbeat.skip_row(id, &error);
    }
}

/// Takes over one title. Waits in the call queue before it claims, so that the lease does not run while it waits.
async fn take_over(titles: &Arc<Inner>, candidate: &Candidate) -> Result<()> {
    let Some(permit) = titles
        .calls
        .acquire(&candidate.owner, Priority::Background)
        .await
    else {
        return Ok(());
    };
    let lease = titles.settings.lease();
    let claim = titles
        .db
        .claim_candidate(candidate, TitleBacklog::Overdue, lease)
        .await?;
    if let Some(claim) = claim {
        titles.metrics.claimed(Trigger::Sweep);
        let resumed = task::run_admitted(titles.clone(), claim, permit);
        titles.tasks.spawn(resumed);
    }
    Ok(())
}
