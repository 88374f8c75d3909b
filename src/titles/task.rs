//! Runs one title claim: make the title, store it if the claim still holds, publish.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{
    Inner,
    call_queue::{CallPermit, Priority},
    digest::{self, Digest},
    distinct, drift,
    failure::FailureCause,
    generate::{self, Job, Observer},
    policy::{Fallback, TitlePolicy},
    prompt::{self, Regeneration},
    retry::{self, Obstacle},
    source::{self, Found, Source},
};
use crate::{
    budget::{Exhausted, Reservation, Spender, midnight},
    conversation::{MessageId, Title, TitleFailure, TitleFrom},
    db::{Retry, TitleCall, TitleClaim},
    error::Result,
    llm::{CallIdentity, Chain, Model, Task},
    step::{Step, step},
    telemetry::{SPANS, span},
};

/// The number of the owner's newest titles that a new one is compared with.
const DISTINCT_AMONG: usize = 50;

/// The outcome of one claim.
#[derive(Debug)]
pub(super) enum TitleOutcome {
    /// The title is stored.
    Titled,
    /// The failure is stored.
    Failed(TitleFailure),
    /// No message has content: the claim was released.
    NothingToTitle,
    /// The subject has not moved: the current title stays.
    Unchanged,
    /// A rename, a deletion or another claim came first.
    Superseded,
    /// No model admits a call: the title waits for the next probe.
    WaitsForProvider,
    /// Nothing is stored, because the database failed or the call queue is full. The claim expires.
    Unknown,
}

impl TitleOutcome {
    /// The outcome's name in the metric and the span.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Titled => "titled",
            Self::Failed(failure) => failure.as_str(),
            Self::NothingToTitle => "nothing_to_title",
            Self::Unchanged => "unchanged",
            Self::Superseded => "superseded",
            Self::WaitsForProvider => "waits_for_provider",
            Self::Unknown => "database_failed",
        }
    }
}

/// Generates the title of one conversation from `source`, or from its stored messages. Returns the outcome and the
/// tokens spent. Every error is handled here.
///
/// The span is created at the call, so it is a child of the caller's span.
pub(super) fn run(
    titles: Arc<Inner>,
    claim: TitleClaim,
    source: Option<Found>,
    priority: Priority,
) -> impl Future<Output = (TitleOutcome, u64)> + Send + 'static {
    let span = tracing::info_span!(target: SPANS, "title", conversation.id = %claim.id);
    let generated = async move {
        let waited = Instant::now();
        let Some(_permit) = titles.calls.acquire(&claim.owner, priority).await else {
            // The queue is full: the sweep resumes the title when its lease expires.
            return (TitleOutcome::Unknown, 0);
        };
        make_and_store(&titles, &claim, source, waited).await
    };
    generated.instrument(span)
}

/// Like [`run`], with a permit that the caller has acquired.
pub(super) fn run_admitted(
    titles: Arc<Inner>,
    claim: TitleClaim,
    permit: CallPermit,
) -> impl Future<Output = (TitleOutcome, u64)> + Send + 'static {
    let span = tracing::info_span!(target: SPANS, "title", conversation.id = %claim.id);
    let generated = async move {
        let _permit = permit;
        make_and_store(&titles, &claim, None, Instant::now()).await
    };
    generated.instrument(span)
}

async fn make_and_store(
    titles: &Inner,
    claim: &TitleClaim,
    source: Option<Found>,
    waited: Instant,
) -> (TitleOutcome, u64) {
    let started = Instant::now();
    let mut calls = Vec::new();
    let outcome = match attempt(titles, claim, source, started, &mut calls).await {
        Ok(outcome) => outcome,
        Err(error) => {
            error.log();
            TitleOutcome::Unknown
        }
    };
    report(titles, claim, &calls, &outcome, started);
    titles.metrics.finished(&outcome, waited.elapsed());
    (outcome, calls.iter().map(TitleCall::tokens).sum())
}

async fn attempt(
    titles: &Inner,
    claim: &TitleClaim,
    source: Option<Found>,
    started: Instant,
    calls: &mut Vec<TitleCall>,
) -> Result<TitleOutcome> {
    step(Step::TitleClaimed, claim.id);
    // After a long wait in the queue the claim may be lost, or would expire during the calls.
    let now = titles.db.clock().now();
    if !claim.lasts(titles.settings.min_lease_left(), now) {
        let renewed = titles
            .db
            .renew_claim(claim, titles.settings.lease())
            .await?;
        if renewed.is_none() {
            return Ok(TitleOutcome::Superseded);
        }
    }
    let policy = titles.policy(&claim.owner.tenant, &claim.agent);
    let source = match source {
        Some(source) => Some(source),
        None => source::of_conversation(&titles.db, &claim.owner, claim.id, &policy).await?,
    };
    let Some(found) = source else {
        titles.db.release_claim(claim, &[]).await?;
        return Ok(TitleOutcome::NothingToTitle);
    };
    let digest = match claim.from {
        TitleFrom::FirstMessage => None,
        TitleFrom::Conversation | TitleFrom::Drift => {
            Some(digest::of_conversation(&titles.db, claim, &found).await?)
        }
    };
    let Found { source, message } = found;
    let made = match (digest, source) {
        (Some(Digest { text, asked }), _) => {
            let text = Text {
                message,
                asked: &asked,
                digest: Some(&text),
            };
            make_in_time(titles, claim, &policy, text, started, calls).await
        }
        (None, Source::Text(asked)) => {
            let text = Text::of_message(message, &asked);
            make_in_time(titles, claim, &policy, text, started, calls).await
        }
        // A regeneration must differ from the file name, so the model makes it.
        (None, Source::Title(name)) if claim.previous.is_some() => {
            let text = Text::of_message(message, name.as_str());
            make_in_time(titles, claim, &policy, text, started, calls).await
        }
        (None, Source::Title(title)) => Ok(title),
    };
    if claim.from == TitleFrom::Drift {
        return store_refresh(titles, claim, made, calls).await;
    }
    step(Step::TitleAnswered, claim.id);
    let stored = match &made {
        Ok(title) => titles.db.store_generated_title(claim, title, calls).await?,
        Err(NoTitle { failure, retry, .. }) => {
            let db = &titles.db;
            db.store_title_failure(claim, *failure, *retry, calls)
                .await?
        }
    };
    step(Step::TitleStored, claim.id);
    let Some(conversation) = stored else {
        return Ok(TitleOutcome::Superseded);
    };
    titles.events.publish(conversation);
    step(Step::TitlePublished, claim.id);
    Ok(match made {
        Ok(_) => TitleOutcome::Titled,
        Err(NoTitle {
            obstacle: Some(Obstacle::Refusal(_)),
            ..
        }) => TitleOutcome::WaitsForProvider,
        Err(NoTitle { failure, .. }) => TitleOutcome::Failed(failure),
    })
}

/// Stores a title that was made because the subject may have moved, if it did. Otherwise the current title stays, and
/// no error is shown: the user did not ask for another one.
async fn store_refresh(
    titles: &Inner,
    claim: &TitleClaim,
    made: Result<Title, NoTitle>,
    calls: &[TitleCall],
) -> Result<TitleOutcome> {
    let previous = claim.previous.as_deref().unwrap_or_default();
    let title = match made {
        Ok(title) if drift::has_moved(previous, title.as_str()) => title,
        Ok(_) => {
            titles.db.release_claim(claim, calls).await?;
            return Ok(TitleOutcome::Unchanged);
        }
        Err(NoTitle { failure, .. }) => {
            titles.db.release_claim(claim, calls).await?;
            return Ok(TitleOutcome::Failed(failure));
        }
    };
    match titles
        .db
        .store_generated_title(claim, &title, calls)
        .await?
    {
        Some(conversation) => {
            titles.events.publish(conversation);
            Ok(TitleOutcome::Titled)
        }
        None => Ok(TitleOutcome::Superseded),
    }
}

fn report(
    titles: &Inner,
    claim: &TitleClaim,
    calls: &[TitleCall],
    outcome: &TitleOutcome,
    started: Instant,
) {
    let id = claim.id;
    let duration_ms = started.elapsed().as_millis() as u64;
    let span = Span::current();
    span.set_attribute("titlecast.outcome", outcome.as_str());
    if let TitleOutcome::Failed(_) | TitleOutcome::Unknown = outcome {
        span::failed(&span, outcome.as_str());
    }
    match outcome {
        TitleOutcome::Titled => {
            tracing::info!(conversation.id = %id, duration_ms, "title generated")
        }
        TitleOutcome::Failed(failure) => {
            let reason = failure.as_str();
            let last = calls.last().map(|call| call.model.as_str());
            let first = || {
                titles
                    .chain_of(&claim.owner, &claim.agent)
                    .first()
                    .name()
                    .to_string()
            };
            let model = last.map_or_else(first, str::to_owned);
            tracing::warn!(conversation.id = %id, duration_ms, reason, model, "title generation failed");
        }
        TitleOutcome::NothingToTitle => {
            tracing::debug!(conversation.id = %id, "no message with a topic; no title generated")
        }
        TitleOutcome::Unchanged => {
            tracing::debug!(conversation.id = %id, duration_ms, "the subject has not moved; the title stays");
        }
        TitleOutcome::Superseded => {
            tracing::info!(conversation.id = %id, duration_ms, "title superseded or conversation gone");
        }
        TitleOutcome::WaitsForProvider => {
            tracing::debug!(conversation.id = %id, "no model admits a call; the title is tried again after the next probe");
        }
        // The error is already logged; the row stays pending.
        TitleOutcome::Unknown => {}
    }
}

/// The text that a title is made from.
#[derive(Clone, Copy)]
struct Text<'a> {
    /// The first message with content.
    message: MessageId,
    /// The user's text.
    asked: &'a str,
    /// The digest of the conversation, if the title is made from the whole of it.
    digest: Option<&'a str>,
}

impl<'a> Text<'a> {
    fn of_message(message: MessageId, asked: &'a str) -> Self {
        Self {
            message,
            asked,
            digest: None,
        }
    }
}

/// Why an attempt made no title.
struct NoTitle {
    failure: TitleFailure,
    /// What the next try waits for; `None` if the failure is permanent.
    obstacle: Option<Obstacle>,
    /// The next try; `None` if there is none.
    retry: Option<Retry>,
}

impl NoTitle {
    fn new(
        titles: &Inner,
        claim: &TitleClaim,
        policy: &TitlePolicy,
        (failure, obstacle): (TitleFailure, Option<Obstacle>),
    ) -> Self {
        let now = titles.db.clock().now();
        let retry = obstacle.and_then(|obstacle| retry::next(claim, obstacle, now, policy.retry));
        Self {
            failure,
            obstacle,
            retry,
        }
    }
}

/// What the next try waits for; `None` if the failure is permanent.
fn obstacle_of(no: generate::NoTitle) -> Option<Obstacle> {
    match no {
        generate::NoTitle::Rejected(_) => None,
        generate::NoTitle::Failed(_, wait) => Some(Obstacle::Failure(wait)),
        generate::NoTitle::Refused(_, time) => Some(Obstacle::Refusal(time)),
    }
}

/// Reserves the tokens of a title in the budgets of today (UTC): the tenant's, and the agent's for its titles.
async fn reserve<'t>(
    titles: &'t Inner,
    tenant: &str,
    agent: &str,
    tokens: u64,
) -> Result<Vec<Reservation<'t>>, Obstacle> {
    let policies = titles.policies();
    let since = midnight(titles.db.clock().now());
    let mut reserved = Vec::new();
    for (agent, limit) in [
        (None, policies.of_tenant(tenant).budget),
        (Some(agent), policies.budget_of_agent(agent)),
    ] {
        let Some(limit) = limit else {
            continue;
        };
        let query = titles.db.title_tokens(tenant, agent, since);
        let spender = Spender::new(tenant, agent);
        let reservation = titles.budget.reserve(spender, limit, since, tokens, query);
        reserved.push(reservation.await.map_err(|exhausted| match exhausted {
            Exhausted::UsedUp => Obstacle::Budget,
            Exhausted::InFlight => Obstacle::BudgetInFlight(titles.settings.deadline),
        })?);
    }
    Ok(reserved)
}

/// Makes the title within the deadline, unless the budget is used up or every breaker is open. After a permanent
/// failure, the offline model makes it if the policy says so.
async fn make_in_time(
    titles: &Inner,
    claim: &TitleClaim,
    policy: &TitlePolicy,
    text: Text<'_>,
    started: Instant,
    calls: &mut Vec<TitleCall>,
) -> Result<Title, NoTitle> {
    let tenant = &claim.owner.tenant;
    let agent = titles.answering(tenant, &claim.agent);
    let job = Job {
        policy,
        message: text.asked,
        regeneration: Regeneration {
            previous: claim.previous.as_deref(),
            hint: claim.hint.as_deref(),
            digest: text.digest,
        },
        caller: CallIdentity {
            tenant: tenant.clone(),
            user: claim.owner.user.clone(),
            conversation: claim.id.to_string(),
            message: text.message.to_string(),
            agent: agent.clone(),
            task: Task::Title,
        },
        overrides: titles.settings.parameters.clone(),
    };
    let mut record = Record {
        titles,
        claim,
        chain: &policy.models,
        calls,
    };
    let tokens = prompt::estimated_call_tokens(text.digest.unwrap_or(text.asked));
    let failed = match reserve(titles, tenant, &agent, tokens).await {
        Err(obstacle) => (TitleFailure::BudgetExceeded, Some(obstacle)),
        // Held until the calls have ended and are counted.
        Ok(_reserved) => {
            let mut walk = policy.models.walk(Task::Title);
            let deadline = titles.settings.deadline;
            let made = generate::title(&job, started, deadline, &mut walk, &mut record).await;
            match made {
                Ok(title) => return Ok(title),
                Err(no) => (no.failure(), obstacle_of(no)),
            }
        }
    };
    let no = NoTitle::new(titles, claim, policy, failed);
    // An existing title stays.
    let is_extracted = policy.fallback == Fallback::Extract && claim.previous.is_none();
    if !is_extracted || no.retry.is_some() {
        return Err(no);
    }
    let (title, call) = generate::extracted(&job).await.ok_or(no)?;
    titles.metrics.called(tenant, &call);
    record.calls.push(call);
    Ok(title)
}

/// Records the calls for one claim: health, budget, metrics, and the rows to store.
struct Record<'a> {
    titles: &'a Inner,
    claim: &'a TitleClaim,
    chain: &'a Chain,
    calls: &'a mut Vec<TitleCall>,
}

impl Observer for Record<'_> {
    fn called(&mut self, call: TitleCall, cause: FailureCause, _: Option<&str>) {
        let Self { titles, claim, .. } = self;
        let tenant = &claim.owner.tenant;
        let answered = (self.chain, call.model.as_str());
        titles
            .health
            .record(answered, claim.id, call.outcome, cause);
        let agent = Some(call.agent.as_str());
        titles.budget.spend(tenant, agent, call.tokens());
        titles.metrics.called(tenant, &call);
        self.calls.push(call);
    }

    fn recovered(&mut self, model: &Model) {
        recovered(self.titles, model);
    }

    async fn is_taken(&mut self, title: &Title) -> bool {
        let Self { titles, claim, .. } = self;
        let newest = titles
            .db
            .newest_titles(&claim.owner, claim.id, DISTINCT_AMONG)
            .await;
        match newest {
            Ok(newest) => distinct::is_among(title.as_str(), &newest),
            // Use the title: if the database is unavailable, storing it reports that.
            Err(error) => {
                error.log();
                false
            }
        }
    }
}

/// Wakes the sweep, which makes the titles due that wait for this model. Other nodes find them due as well.
fn recovered(titles: &Inner, model: &Model) {
    tracing::info!(model = %model.name(), "title model answers; titles that wait for it are due");
    titles.recovered.add(model.name());
}
