//! Backfill: generates titles for conversations without one (imported, older than titles, or failed).
//!
//! Stateless: a conversation that has a title is not selected again. A run can be interrupted and repeated, also beside
//! servers and other runs. At its end it waits for titles that other processes have claimed, until their leases expire.
//! It publishes nothing: the next sweep of any server finds the unpublished changes and publishes them.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, Titles,
    call_queue::Priority,
    failure::failure_of,
    metrics::Trigger,
    prompt,
    source::{self, Source},
    task::{self, TitleOutcome},
};
use crate::{
    conversation::TitleFailure,
    db::{BadRow, Candidate, Keyset, TitleBacklog},
    error::Result,
    llm::{Admission, Task},
};

/// Rows per read.
const PAGE: u64 = 100;

/// The pause between checks of other processes' leases.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Estimated tokens of an answer, and of a prompt without its message.
const ANSWER_TOKENS: u64 = 15;
const PROMPT_TOKENS: u64 = 140;

/// The scope and the limits of a run.
#[derive(Clone, Debug)]
pub struct Backfill {
    /// Only this tenant's conversations.
    pub tenant: Option<String>,
    /// The maximum number of titles to start.
    pub limit: Option<u64>,
    /// Only conversations created since this time.
    pub since: Option<DateTime<Utc>>,
    /// Titles started per minute.
    pub per_minute: u32,
    /// Starts no more titles once this many tokens are spent.
    pub budget_tokens: Option<u64>,
}

/// The counts of a run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Titles stored.
    pub titled: u64,
    /// Conversations whose title failed. The row stores the reason.
    pub failed: u64,
    /// Conversations without a message with content.
    pub nothing_to_title: u64,
    /// Conversations that were titled by another process, renamed or deleted in the meantime.
    pub superseded: u64,
    /// Tokens spent.
    pub tokens: u64,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// No conversation is left.
    Finished,
    /// The limit is reached.
    Limit,
    /// The budget is used up.
    Budget,
    /// The run was interrupted.
    Interrupted,
    /// The provider refuses all calls.
    Refused(TitleFailure),
}

/// The estimated work and cost of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Estimate {
    /// Titles that need a model call.
    pub titles: u64,
    /// Titles made from file names, without a call.
    pub from_file_names: u64,
    /// Conversations without a message with content.
    pub nothing_to_title: u64,
    /// Estimated tokens of input.
    pub prompt_tokens: u64,
    /// Estimated tokens of output.
    pub completion_tokens: u64,
}

impl Backfill {
    fn untitled(&self) -> TitleBacklog<'_> {
        TitleBacklog::Untitled {
            since: self.since,
            tenant: self.tenant.as_deref(),
        }
    }
}

impl Titles {
    /// The number of conversations that a backfill would find.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn count_untitled(&self, backfill: &Backfill) -> Result<u64> {
        self.inner.db.count_candidates(backfill.untitled()).await
    }

    /// Estimates a backfill without calling the model or changing a row.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn estimate_backfill(&self, backfill: &Backfill) -> Result<Estimate> {
        let db = &self.inner.db;
        let waiting = backfill.untitled();
        let limit = backfill.limit.unwrap_or(u64::MAX);
        let mut estimate = Estimate::default();
        let mut after: Option<Keyset> = None;
        loop {
            let page = db.find_candidates(waiting, after.as_ref(), PAGE).await?;
            log_bad(page.bad);
            for candidate in &page.rows {
                let Candidate { owner, agent, .. } = candidate;
                let policy = self.inner.policy(&owner.tenant, agent);
                let source = source::of_conversation(db, owner, candidate.id, &policy);
                let source = match source.await {
                    Ok(source) => source,
                    Err(error) => {
                        log_bad([BadRow::of(candidate.id.0, error)?]);
                        continue;
                    }
                };
                match source.map(|found| found.source) {
                    Some(Source::Text(text)) => {
                        estimate.titles += 1;
                        estimate.prompt_tokens += PROMPT_TOKENS + prompt::estimated_tokens(&text);
                        estimate.completion_tokens += ANSWER_TOKENS;
                    }
                    Some(Source::Title(_)) => estimate.from_file_names += 1,
                    None => estimate.nothing_to_title += 1,
                }
                if estimate.titles + estimate.from_file_names == limit {
                    return Ok(estimate);
                }
            }
            match page.last {
                Some(last) => after = Some(last),
                None => return Ok(estimate),
            }
        }
    }

    /// Generates titles until none is left or a limit is reached. Calls `report` after each title.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database); titles stored before the error stay.
    pub async fn backfill(
        &self,
        backfill: &Backfill,
        interrupt: &CancellationToken,
        report: impl FnMut(&Totals),
    ) -> Result<(Totals, StopReason)> {
        let mut run = Run::new(&self.inner, backfill, interrupt, report);
        let end = run.run_to_end().await;
        // Finish and count the titles in flight, also after an error.
        run.join().await;
        Ok((run.done, end?))
    }
}

struct Run<'a, R> {
    titles: &'a Arc<Inner>,
    backfill: &'a Backfill,
    interrupt: &'a CancellationToken,
    report: R,
    pace: Interval,
    running: JoinSet<(TitleOutcome, u64)>,
    started: u64,
    done: Totals,
}

impl<'a, R: FnMut(&Totals)> Run<'a, R> {
    fn new(
        titles: &'a Arc<Inner>,
        backfill: &'a Backfill,
        interrupt: &'a CancellationToken,
        report: R,
    ) -> Self {
        let mut pace = interval(Duration::from_secs(60) / backfill.per_minute.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            running: JoinSet::new(),
            started: 0,
            done: Totals::default(),
            titles,
            backfill,
            interrupt,
            report,
            pace,
        }
    }

    async fn run_to_end(&mut self) -> Result<StopReason> {
        let since = self.backfill.since;
        let tenant = self.backfill.tenant.as_deref();
        if let Some(end) = self.claim_all(self.backfill.untitled()).await? {
            return Ok(end);
        }
        self.join().await;
        // Titles that other processes claimed during the scan: wait until they are done, or take them over when their
        // leases expire. Claims made from now on are left to those processes.
        let leases_end = Instant::now() + self.titles.settings.lease() + POLL_INTERVAL;
        loop {
            if let Some(end) = self
                .claim_all(TitleBacklog::Interrupted { since, tenant })
                .await?
            {
                return Ok(end);
            }
            let is_over = Instant::now() > leases_end;
            if is_over || !self.titles.db.is_any_leased(since, tenant).await? {
                break;
            }
            tokio::select! {
                () = sleep(POLL_INTERVAL) => {}
                () = self.interrupt.cancelled() => return Ok(StopReason::Interrupted),
            }
        }
        Ok(StopReason::Finished)
    }

    /// Waits for the titles in flight.
    async fn join(&mut self) {
        while let Some(result) = self.running.join_next().await {
            self.count(result);
        }
    }

    /// Starts every title in `waiting`, in one scan. Returns `None` after the last one.
    async fn claim_all(&mut self, waiting: TitleBacklog<'_>) -> Result<Option<StopReason>> {
        let mut after: Option<Keyset> = None;
        loop {
            let page = self
                .titles
                .db
                .find_candidates(waiting, after.as_ref(), PAGE)
                .await?;
            self.step_over(page.bad);
            for candidate in &page.rows {
                if let Some(end) = self.begin(candidate, waiting).await? {
                    return Ok(Some(end));
                }
            }
            match page.last {
                Some(last) => after = Some(last),
                None => return Ok(None),
            }
        }
    }

    /// Starts one title at the configured pace. Returns a reason if the run has to stop.
    async fn begin(
        &mut self,
        candidate: &Candidate,
        waiting: TitleBacklog<'_>,
    ) -> Result<Option<StopReason>> {
        let interrupt = self.interrupt;
        let ready = async {
            self.pace.tick().await;
            // Count finished titles first: they may have used up the budget.
            while let Some(result) = self.running.try_join_next() {
                self.count(result);
            }
            while self.running.len() >= self.titles.settings.max_in_flight {
                let Some(result) = self.running.join_next().await else {
                    break;
                };
                self.count(result);
            }
        };
        tokio::select! {
            () = ready => {}
            () = interrupt.cancelled() => return Ok(Some(StopReason::Interrupted)),
        }
        if let Some(end) = self.stop_reason() {
            return Ok(Some(end));
        }
        let titles = self.titles.clone();
        let claim = titles
            .db
            .claim_candidate(candidate, waiting, titles.settings.lease());
        let claim = match claim.await {
            Ok(Some(claim)) => claim,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.step_over([BadRow::of(candidate.id.0, error)?]);
                return Ok(None);
            }
        };
        self.started += 1;
        titles.metrics.claimed(Trigger::Backfill);
        self.running
            .spawn(task::run(titles, claim, None, Priority::Background));
        Ok(None)
    }

    /// Counts rows that cannot be read or claimed as failed, and continues.
    fn step_over(&mut self, bad: impl IntoIterator<Item = BadRow>) {
        self.done.failed += log_bad(bad);
    }

    fn stop_reason(&self) -> Option<StopReason> {
        if self
            .backfill
            .limit
            .is_some_and(|limit| self.started >= limit)
        {
            return Some(StopReason::Limit);
        }
        let spent = |budget| self.done.tokens >= budget;
        if self.backfill.budget_tokens.is_some_and(spent) {
            return Some(StopReason::Budget);
        }
        // While a probe is due, the next title is the probe.
        let refusal = match self.titles.peek() {
            Admission::RefusedFor(_) => {
                let policies = self.titles.policies();
                policies.default_policy().models.refusal(Task::Title)
            }
            Admission::Allowed | Admission::Probe => None,
        };
        refusal.map(|kind| StopReason::Refused(failure_of(kind)))
    }

    fn count(&mut self, result: Result<(TitleOutcome, u64), tokio::task::JoinError>) {
        let (outcome, tokens) = match result {
            Ok(finished) => finished,
            Err(error) => {
                tracing::error!(%error, "title task failed");
                (TitleOutcome::Unknown, 0)
            }
        };
        self.done.tokens = self.done.tokens.saturating_add(tokens);
        match outcome {
            TitleOutcome::Titled => self.done.titled += 1,
            TitleOutcome::Failed(_) | TitleOutcome::Unknown | TitleOutcome::WaitsForProvider => {
                self.done.failed += 1
            }
            TitleOutcome::NothingToTitle => self.done.nothing_to_title += 1,
            TitleOutcome::Superseded | TitleOutcome::Unchanged => self.done.superseded += 1,
        }
        (self.report)(&self.done);
    }
}

/// Logs rows that cannot be read or stored. Returns their number.
fn log_bad(bad: impl IntoIterator<Item = BadRow>) -> u64 {
    let mut rows = 0;
    for BadRow { id, error } in bad {
        let cause = std::error::Error::source(&error);
        tracing::error!(conversation.id = %id, error.cause = cause, "a conversation cannot be read or stored; skipped");
        rows += 1;
    }
    rows
}
