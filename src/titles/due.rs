//! Tries failed titles again when they are due, as fast as breakers, budgets and the call queue allow.
//!
//! While no model is known to answer, one title is the probe and the others wait unclaimed. A probe's answer makes all
//! titles due that wait for its model.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::time::timeout_at;

use super::{
    Inner,
    call_queue::Priority,
    metrics::Trigger,
    policy::Fallback,
    sweep::{PAGE, step_over},
    task,
};
use crate::{
    db::{BadRow, Candidate, Keyset, StatsFilter, WaitsFor},
    error::Result,
    llm::{Admission, Chain, ModelName, Task},
    supervisor::Heartbeat,
};

/// How long one sweep retries titles. Other work of the sweep follows, and the next sweep continues.
const SLICE: Duration = Duration::from_secs(45);

/// Whether a sweep left titles that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing is due, or the titles that are due wait for a probe.
    Nothing,
    /// More titles are due.
    More,
}

/// How many titles a sweep may try now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// All titles.
    All,
    /// One title, which shows whether a model answers.
    One,
    /// None until the next probe.
    None,
}

fn pace(chain: &Chain) -> Pace {
    match chain.peek(Task::Title, Instant::now()) {
        Admission::Allowed if chain.is_proven(Task::Title) => Pace::All,
        Admission::Allowed | Admission::Probe => Pace::One,
        Admission::RefusedFor(_) => Pace::None,
    }
}

/// Makes titles due if their model answers again, page by page. Their next try counts like any other.
pub(super) async fn wake(titles: &Inner, heartbeat: &Heartbeat) -> Result<()> {
    if titles.recovered.take_budgets() {
        let woken = wake_all(titles, heartbeat, WaitsFor::Budget, |_| true).await;
        if woken.is_err() {
            titles.recovered.add_budgets();
        }
        woken?;
    }
    let models = titles.recovered.take();
    if models.is_empty() {
        return Ok(());
    }
    let waits = |candidate: &Candidate| {
        let chain = titles.chain_of(&candidate.owner, &candidate.agent);
        let mut asked = chain.models().iter();
        asked.any(|model| models.contains(model.name()))
    };
    let woken = wake_all(titles, heartbeat, WaitsFor::Model, waits).await;
    if woken.is_err() {
        for model in &models {
            titles.recovered.add(model);
        }
    }
    woken
}

async fn wake_all(
    titles: &Inner,
    heartbeat: &Heartbeat,
    cause: WaitsFor,
    waits: impl Fn(&Candidate) -> bool,
) -> Result<()> {
    let mut after: Option<Keyset> = None;
    loop {
        let page = titles
            .db
            .find_waiting_titles(cause, after.as_ref(), PAGE)
            .await?;
        step_over(heartbeat, page.bad);
        let due = page.rows.iter().filter(|one| waits(one));
        let due: Vec<_> = due.map(|one| one.id).collect();
        if !due.is_empty() {
            titles.db.make_titles_due(due).await?;
        }
        match page.last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Tries the titles that are due, longest due first.
pub(super) async fn try_again(titles: &Arc<Inner>, heartbeat: &Heartbeat) -> Result<Rest> {
    let end = tokio::time::Instant::now() + SLICE;
    let mut after: Option<Keyset> = None;
    // The first models of the chains whose probe is in flight.
    let mut probed: Vec<ModelName> = Vec::new();
    loop {
        let may_try = |chain: &Chain, probed: &[ModelName]| match pace(chain) {
            Pace::All => true,
            Pace::One => !probed.contains(chain.first().name()),
            Pace::None => false,
        };
        // Tenants and agents may have their own chains, so one chain may answer while another does not.
        if !titles
            .policies()
            .models()
            .any(|chain| may_try(chain, &probed))
        {
            return Ok(Rest::Nothing);
        }
        let page = titles.db.find_due_titles(after.as_ref(), PAGE).await?;
        step_over(heartbeat, page.bad);
        for candidate in &page.rows {
            let chain = titles.chain_of(&candidate.owner, &candidate.agent);
            if !may_try(&chain, &probed) {
                continue;
            }
            let pace = pace(&chain);
            // New conversations go first: the queue serves this one when it has a permit to spare.
            let permit = titles.calls.acquire(&candidate.owner, Priority::Background);
            let permit = match timeout_at(end, permit).await {
                Ok(Some(permit)) => permit,
                // The queue is full: the next sweep tries again.
                Ok(None) => return Ok(Rest::Nothing),
                Err(_) => return Ok(Rest::More),
            };
            match begin(titles, candidate, permit).await {
                Ok(true) if pace == Pace::One => probed.push(chain.first().name().clone()),
                Ok(_) => {}
                Err(error) => step_over(heartbeat, [BadRow::of(candidate.id.0, error)?]),
            }
            if tokio::time::Instant::now() >= end {
                return Ok(Rest::More);
            }
        }
        match page.last {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    probe(titles, heartbeat, probed, end).await?;
    Ok(Rest::Nothing)
}

/// Whether one title of a chain should be tried early: a probe is due, or no model of the chain was asked since it was
/// configured.
fn wants_probe(chain: &Chain) -> bool {
    match chain.peek(Task::Title, Instant::now()) {
        Admission::Probe => true,
        Admission::Allowed => {
            let mut models = chain.models().iter();
            models.all(|model| model.is_unknown(Task::Title))
        }
        Admission::RefusedFor(_) => false,
    }
}

/// For each chain that needs a probe and has none in flight, tries the next title early: its answer makes the others
/// due.
async fn probe(
    titles: &Arc<Inner>,
    heartbeat: &Heartbeat,
    mut probed: Vec<ModelName>,
    end: tokio::time::Instant,
) -> Result<()> {
    let mut after: Option<Keyset> = None;
    loop {
        let is_due = |chain: &Chain, probed: &[ModelName]| {
            wants_probe(chain) && !probed.contains(chain.first().name())
        };
        if !titles
            .policies()
            .models()
            .any(|chain| is_due(chain, &probed))
        {
            return Ok(());
        }
        let page = titles
            .db
            .find_waiting_titles(WaitsFor::Model, after.as_ref(), PAGE)
            .await?;
        step_over(heartbeat, page.bad);
        for candidate in &page.rows {
            let chain = titles.chain_of(&candidate.owner, &candidate.agent);
            if !is_due(&chain, &probed) {
                continue;
            }
            let permit = titles.calls.acquire(&candidate.owner, Priority::Background);
            let Ok(Some(permit)) = timeout_at(end, permit).await else {
                return Ok(());
            };
            match begin(titles, candidate, permit).await {
                Ok(true) => probed.push(chain.first().name().clone()),
                Ok(false) => {}
                Err(error) => step_over(heartbeat, [BadRow::of(candidate.id.0, error)?]),
            }
        }
        match page.last {
            Some(last) if tokio::time::Instant::now() < end => after = Some(last),
            _ => return Ok(()),
        }
    }
}

/// Begins the next try of one title. Returns false if the title no longer waits.
async fn begin(
    titles: &Arc<Inner>,
    candidate: &Candidate,
    permit: super::call_queue::CallPermit,
) -> Result<bool> {
    let lease = titles.settings.lease();
    let Some((conversation, claim)) = titles.db.claim_retry(candidate, lease).await? else {
        return Ok(false);
    };
    titles.metrics.claimed(Trigger::Retry);
    titles.events.publish(conversation);
    let trying = task::run_admitted(titles.clone(), claim, permit);
    titles.tasks.spawn(trying);
    Ok(true)
}

/// Gives up the titles whose retry period is over while none of their models admits calls. If the policy says so, the
/// offline model makes the title: a last try, which no model admits, falls back to it.
pub(super) async fn give_up(titles: &Arc<Inner>, heartbeat: &Heartbeat) -> Result<()> {
    let end = tokio::time::Instant::now() + SLICE;
    let policies = titles.policies();
    if policies.models().all(|chain| pace(chain) != Pace::None) {
        return Ok(());
    }
    let now = titles.db.clock().now();
    let before = now - policies.shortest_retry();
    let mut after: Option<Keyset> = None;
    loop {
        let page = titles
            .db
            .find_long_waiting_titles(before, after.as_ref(), PAGE)
            .await?;
        step_over(heartbeat, page.bad);
        for candidate in &page.rows {
            let policy = titles.policy(&candidate.owner.tenant, &candidate.agent);
            let is_over = |(since, _): (DateTime<Utc>, _)| since + policy.retry <= now;
            if pace(&policy.models) != Pace::None || !candidate.retry.is_some_and(is_over) {
                continue;
            }
            if policy.fallback == Fallback::Extract && !candidate.has_title {
                let permit = titles.calls.acquire(&candidate.owner, Priority::Background);
                // The queue is full: the next sweep continues.
                let Ok(Some(permit)) = timeout_at(end, permit).await else {
                    return Ok(());
                };
                if let Err(error) = begin(titles, candidate, permit).await {
                    step_over(heartbeat, [BadRow::of(candidate.id.0, error)?]);
                }
                continue;
            }
            match titles.db.give_title_up(candidate).await {
                Ok(Some(conversation)) => {
                    tracing::warn!(conversation.id = %conversation.id, "title abandoned: no model answered within the retry period (`retry`)");
                    titles.events.publish(conversation);
                }
                Ok(None) => {}
                Err(error) => step_over(heartbeat, [BadRow::of(candidate.id.0, error)?]),
            }
        }
        match page.last {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Counts the titles that wait, for the metrics.
pub(super) async fn count(titles: &Inner) -> Result<()> {
    let waiting = titles.db.waiting_titles(&StatsFilter::default()).await?;
    let oldest = titles.db.oldest_waiting_for_a_model().await?;
    let age = oldest.map(|oldest| titles.db.clock().now() - oldest);
    titles.metrics.waiting(waiting.conversations, age);
    Ok(())
}
