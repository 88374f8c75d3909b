//! Titles for conversations that never got one: those from before there were titles, and those whose title
//! failed.
//!
//! There is no list of what was done: a conversation that has its title is not found any more. So it can
//! be interrupted at any moment, run beside servers and by several at once, and a second run goes on where
//! the first one stopped. What somebody began and did not finish is waited for at the end, until its lease
//! is over. Nothing is told from here: the next sweep of any server sees that it was not, and tells it.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::{
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, Titles,
    metrics::Begun,
    prompt,
    source::{self, Source},
    task::{self, Ended},
    turns::Class,
};
use crate::{
    conversation::TitleFailure,
    db::{BadRow, Candidate, Place, Waiting},
    error::Result,
};

/// How many rows are read at once.
const PAGE: u64 = 100;

/// How often to look whether others have finished.
const LOOK: Duration = Duration::from_secs(1);

/// What a title's answer costs, in tokens, and what a prompt costs besides its message: rough, for an
/// estimate.
const ANSWER_TOKENS: u64 = 15;
const PROMPT_TOKENS: u64 = 140;

/// What to do, and how much of it.
#[derive(Clone, Debug)]
pub struct Backfill {
    /// Only this tenant's conversations.
    pub tenant: Option<String>,
    /// At most so many titles are begun.
    pub limit: Option<u64>,
    /// Only conversations that were begun since then.
    pub since: Option<DateTime<Utc>>,
    /// How many titles are begun in a minute.
    pub per_minute: u32,
    /// No title is begun after so many tokens.
    pub budget_tokens: Option<u64>,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Done {
    /// Titles that were stored.
    pub titled: u64,
    /// Conversations whose title failed; the rows say why.
    pub failed: u64,
    /// Conversations in which no message says anything.
    pub nothing_to_title: u64,
    /// Conversations that somebody else titled, renamed or deleted meanwhile.
    pub superseded: u64,
    /// Tokens that were paid for.
    pub tokens: u64,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to do.
    Finished,
    /// The limit is reached.
    Limit,
    /// The budget is used up.
    Budget,
    /// It was interrupted.
    Interrupted,
    /// The provider refuses calls for good.
    Refused(TitleFailure),
}

/// What a backfill would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Estimate {
    /// Titles that the model would be asked for.
    pub titles: u64,
    /// Titles that the name of a file gives, without a call.
    pub from_file_names: u64,
    /// Conversations in which no message says anything.
    pub nothing_to_title: u64,
    /// About so many tokens of input.
    pub prompt_tokens: u64,
    /// About so many tokens of output.
    pub completion_tokens: u64,
}

impl Backfill {
    fn untitled(&self) -> Waiting<'_> {
        Waiting::Untitled {
            since: self.since,
            tenant: self.tenant.as_deref(),
        }
    }
}

impl Titles {
    /// How many conversations a backfill would find.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn count_untitled(&self, backfill: &Backfill) -> Result<u64> {
        self.inner.db.count_waiting(backfill.untitled()).await
    }

    /// What a backfill would do and what that would cost, without doing any of it.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn estimate_backfill(&self, backfill: &Backfill) -> Result<Estimate> {
        let (db, openers) = (&self.inner.db, self.inner.settings.openers);
        let waiting = backfill.untitled();
        let limit = backfill.limit.unwrap_or(u64::MAX);
        let mut estimate = Estimate::default();
        let mut after: Option<Place> = None;
        loop {
            let page = db.find_waiting(waiting, after.as_ref(), PAGE).await?;
            log_bad(page.bad);
            for candidate in &page.rows {
                let source = source::of_conversation(db, &candidate.owner, candidate.id, openers);
                let source = match source.await {
                    Ok(source) => source,
                    Err(error) => {
                        log_bad([BadRow::of(candidate.id.0, error)?]);
                        continue;
                    }
                };
                match source {
                    Some(Source::Text(text)) => {
                        estimate.titles += 1;
                        estimate.prompt_tokens += PROMPT_TOKENS + prompt::tokens_about(&text);
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

    /// Makes titles until there is nothing left to do, or no more may be done. `report` is told after each.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database); what was done until then is done.
    pub async fn backfill(
        &self,
        backfill: &Backfill,
        interrupt: &CancellationToken,
        report: impl FnMut(&Done),
    ) -> Result<(Done, End)> {
        let mut run = Run::new(&self.inner, backfill, interrupt, report);
        let end = run.everything().await;
        // Whatever happened, what is on its way is finished and counted.
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
    running: JoinSet<(Ended, u64)>,
    begun: u64,
    done: Done,
}

impl<'a, R: FnMut(&Done)> Run<'a, R> {
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
            begun: 0,
            done: Done::default(),
            titles,
            backfill,
            interrupt,
            report,
            pace,
        }
    }

    async fn everything(&mut self) -> Result<End> {
        let since = self.backfill.since;
        let tenant = self.backfill.tenant.as_deref();
        if let Some(end) = self.pass(self.backfill.untitled()).await? {
            return Ok(end);
        }
        self.join().await;
        // What others had begun when it was passed by: they have finished it, or it is taken over when
        // their lease has ended. What they begin from now on is theirs.
        let patience = Instant::now() + self.titles.settings.lease() + LOOK;
        loop {
            if let Some(end) = self.pass(Waiting::Interrupted { since, tenant }).await? {
                return Ok(end);
            }
            let is_over = Instant::now() > patience;
            if is_over || !self.titles.db.is_any_leased(since, tenant).await? {
                break;
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = self.interrupt.cancelled() => return Ok(End::Interrupted),
            }
        }
        Ok(End::Finished)
    }

    /// Waits for the titles that are on their way.
    async fn join(&mut self) {
        while let Some(result) = self.running.join_next().await {
            self.count(result);
        }
    }

    /// Once through all that wait; an end, unless that was the last of them.
    async fn pass(&mut self, waiting: Waiting<'_>) -> Result<Option<End>> {
        let mut after: Option<Place> = None;
        loop {
            let page = self
                .titles
                .db
                .find_waiting(waiting, after.as_ref(), PAGE)
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

    /// Begins one title in its turn; an end, if no more may be begun.
    async fn begin(&mut self, candidate: &Candidate, waiting: Waiting<'_>) -> Result<Option<End>> {
        let interrupt = self.interrupt;
        let turn = async {
            self.pace.tick().await;
            // What has ended is counted before anything is begun: the budget may be used up by it.
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
            () = turn => {}
            () = interrupt.cancelled() => return Ok(Some(End::Interrupted)),
        }
        if let Some(end) = self.end() {
            return Ok(Some(end));
        }
        let titles = self.titles.clone();
        let claim = titles
            .db
            .claim_waiting(candidate, waiting, titles.settings.lease());
        let claim = match claim.await {
            Ok(Some(claim)) => claim,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.step_over([BadRow::of(candidate.id.0, error)?]);
                return Ok(None);
            }
        };
        self.begun += 1;
        titles.metrics.claimed(Begun::Backfill);
        self.running
            .spawn(task::run(titles, claim, None, Class::Unasked));
        Ok(None)
    }

    /// Counts rows that cannot be read or claimed as failed: a run must not end at them.
    fn step_over(&mut self, bad: impl IntoIterator<Item = BadRow>) {
        self.done.failed += log_bad(bad);
    }

    fn end(&self) -> Option<End> {
        if self.backfill.limit.is_some_and(|limit| self.begun >= limit) {
            return Some(End::Limit);
        }
        let spent = |budget| self.done.tokens >= budget;
        if self.backfill.budget_tokens.is_some_and(spent) {
            return Some(End::Budget);
        }
        let refusal = self.titles.breaker.refusal(std::time::Instant::now());
        refusal.map(End::Refused)
    }

    fn count(&mut self, result: Result<(Ended, u64), tokio::task::JoinError>) {
        let (ended, tokens) = match result {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a title's task ended by itself");
                (Ended::Unknown, 0)
            }
        };
        self.done.tokens = self.done.tokens.saturating_add(tokens);
        match ended {
            Ended::Titled => self.done.titled += 1,
            Ended::Failed(_) | Ended::Unknown | Ended::Waits => self.done.failed += 1,
            Ended::Nothing => self.done.nothing_to_title += 1,
            Ended::Superseded => self.done.superseded += 1,
        }
        (self.report)(&self.done);
    }
}

/// Logs rows that cannot be read or stored, and returns how many they are.
fn log_bad(bad: impl IntoIterator<Item = BadRow>) -> u64 {
    let mut rows = 0;
    for BadRow { id, error } in bad {
        let cause = std::error::Error::source(&error);
        tracing::error!(conversation.id = %id, error.cause = cause, "a conversation cannot be read or stored");
        rows += 1;
    }
    rows
}
