//! Runs one title claim: call the model, validate the answer, store it if the claim still holds, publish.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{
    Inner,
    breaker::Admission,
    call_queue::Priority,
    clean,
    failure::{FailureCause, cause_of, failure_of, is_final},
    language,
    prompt::{self, MAX_TOKENS, Regeneration},
    source::{self, Source},
};
use crate::{
    conversation::{Title, TitleFailure, Usage},
    db::{TitleCall, TitleClaim},
    error::Result,
    llm::{Finish, ModelErrorKind, TitleOutput, TitleRequest},
    step::{Step, step},
    telemetry::{SPANS, span},
    work,
};

/// The most calls for one title: the first and one retry.
const ATTEMPTS: u32 = 2;

/// The longest wait for a worker thread that validates a title.
const JUDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause before the retry when the provider sends no `Retry-After`.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The outcome of one claim.
#[derive(Debug)]
pub(super) enum TitleOutcome {
    /// The title is stored.
    Titled,
    /// The failure is stored.
    Failed(TitleFailure),
    /// No message has content: the claim was released.
    NothingToTitle,
    /// A rename, a deletion or another claim came first.
    Superseded,
    /// The provider refuses all calls: the title is deferred until the next probe.
    WaitsForProvider,
    /// Nothing is stored: the database failed or the call queue is full. The claim expires.
    Unknown,
}

impl TitleOutcome {
    /// The value of the metric's and the span's outcome.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Titled => "titled",
            Self::Failed(failure) => failure.as_str(),
            Self::NothingToTitle => "nothing_to_title",
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
    source: Option<Source>,
    priority: Priority,
) -> impl Future<Output = (TitleOutcome, u64)> + Send + 'static {
    let span = tracing::info_span!(target: SPANS, "title", conversation.id = %claim.id);
    async move { make_and_store(&titles, &claim, source, priority).await }.instrument(span)
}

async fn make_and_store(
    titles: &Inner,
    claim: &TitleClaim,
    source: Option<Source>,
    priority: Priority,
) -> (TitleOutcome, u64) {
    let waited = Instant::now();
    let Some(_permit) = titles.calls.acquire(&claim.owner, priority).await else {
        // The queue is full: the sweep resumes the title when its lease expires.
        return (TitleOutcome::Unknown, 0);
    };
    let started = Instant::now();
    let mut calls = Vec::new();
    let outcome = match attempt(titles, claim, source, started, &mut calls).await {
        Ok(outcome) => outcome,
        Err(error) => {
            error.log();
            TitleOutcome::Unknown
        }
    };
    report(titles, claim, &outcome, started);
    titles.metrics.finished(&outcome, waited.elapsed());
    (outcome, calls.iter().map(TitleCall::tokens).sum())
}

async fn attempt(
    titles: &Inner,
    claim: &TitleClaim,
    source: Option<Source>,
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
    let source = match source {
        Some(source) => Some(source),
        None => {
            let openers = titles.settings.openers;
            source::of_conversation(&titles.db, &claim.owner, claim.id, openers).await?
        }
    };
    let made = match source {
        Some(Source::Text(message)) => make_in_time(titles, claim, &message, started, calls).await,
        // A regeneration must differ from the file name, so the model makes it.
        Some(Source::Title(name)) if claim.previous.is_some() => {
            make_in_time(titles, claim, name.as_str(), started, calls).await
        }
        Some(Source::Title(title)) => Ok(title),
        None => {
            titles.db.release_claim(claim).await?;
            return Ok(TitleOutcome::NothingToTitle);
        }
    };
    step(Step::TitleAnswered, claim.id);
    let stored = match &made {
        Ok(title) => titles.db.store_generated_title(claim, title, calls).await?,
        Err(NoTitle::Deferred(time)) => titles.db.defer_title(claim, *time, calls).await?,
        Err(NoTitle::Failed(failure)) => {
            titles
                .db
                .store_title_failure(claim, *failure, calls)
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
        Err(NoTitle::Deferred(_)) => TitleOutcome::WaitsForProvider,
        Err(NoTitle::Failed(failure)) => TitleOutcome::Failed(failure),
    })
}

fn report(titles: &Inner, claim: &TitleClaim, outcome: &TitleOutcome, started: Instant) {
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
            let model = titles.model.title_model();
            tracing::warn!(conversation.id = %id, duration_ms, reason, model, "title generation failed");
        }
        TitleOutcome::NothingToTitle => {
            tracing::debug!(conversation.id = %id, "no message with a topic; no title generated")
        }
        TitleOutcome::Superseded => {
            tracing::info!(conversation.id = %id, duration_ms, "title superseded or conversation gone");
        }
        TitleOutcome::WaitsForProvider => {
            tracing::debug!(conversation.id = %id, "title deferred; the provider refuses calls");
        }
        // The error is already logged; the row stays pending.
        TitleOutcome::Unknown => {}
    }
}

/// Why an attempt made no title.
enum NoTitle {
    /// Generation failed.
    Failed(TitleFailure),
    /// The provider refuses all calls; retry after this time.
    Deferred(Duration),
}

impl From<TitleFailure> for NoTitle {
    fn from(failure: TitleFailure) -> Self {
        Self::Failed(failure)
    }
}

/// Calls the model within the deadline, unless the budget is used up or the breaker is open.
async fn make_in_time(
    titles: &Inner,
    claim: &TitleClaim,
    message: &str,
    started: Instant,
    calls: &mut Vec<TitleCall>,
) -> Result<Title, NoTitle> {
    titles.budget.check(&titles.db, &claim.owner.tenant).await?;
    if let Admission::RefusedFor(time) = titles.breaker.admit(started.into_std()) {
        return Err(NoTitle::Deferred(time));
    }
    let until = started + titles.settings.deadline;
    let mut call = Instant::now();
    let made = timeout_at(until, make(titles, claim, message, until, calls, &mut call)).await;
    made.unwrap_or_else(|_| {
        let failure = TitleFailure::Timeout;
        record(
            titles,
            claim,
            calls,
            Err(failure),
            None,
            call.elapsed(),
            FailureCause::Model,
        );
        Err(failure.into())
    })
}

/// Calls the model up to [`ATTEMPTS`] times; the caller enforces `until`. `call` is set to the start of each call.
async fn make(
    titles: &Inner,
    claim: &TitleClaim,
    message: &str,
    until: Instant,
    calls: &mut Vec<TitleCall>,
    call: &mut Instant,
) -> Result<Title, NoTitle> {
    let language = titles.settings.language.of(&claim.owner.tenant);
    let regeneration = Regeneration {
        previous: claim.previous.as_deref(),
        hint: claim.hint.as_deref(),
    };
    let mut request = TitleRequest {
        instruction: prompt::instruction(language, regeneration),
        input: prompt::input(message, regeneration),
        max_tokens: MAX_TOKENS,
        plain: false,
    };
    let mut attempt = 1;
    loop {
        *call = Instant::now();
        let answer = titles.model.title(request.clone()).await;
        let duration = call.elapsed();
        let (failure, pause) = match answer {
            Ok(output) => {
                let judged = judge(&output, message, language).await;
                let outcome = judged.as_ref().map(|_| ()).map_err(|failure| *failure);
                record(
                    titles,
                    claim,
                    calls,
                    outcome,
                    output.usage,
                    duration,
                    FailureCause::Message,
                );
                if titles.breaker.close() {
                    recovered(titles).await;
                }
                match judged {
                    Ok(title) => return Ok(title),
                    Err(failure) => (failure, Duration::ZERO),
                }
            }
            Err(error) => {
                tracing::debug!(conversation.id = %claim.id, attempt, %error, "title call failed");
                let cause = cause_of(&error);
                let failure = match cause {
                    FailureCause::Message => TitleFailure::Rejected,
                    FailureCause::Model | FailureCause::Protocol | FailureCause::BaseUrl => {
                        failure_of(&error)
                    }
                };
                record(titles, claim, calls, Err(failure), None, duration, cause);
                if is_final(error.kind) {
                    titles.breaker.open(failure, std::time::Instant::now());
                    tracing::warn!(
                        reason = failure.as_str(),
                        status = error.status,
                        model = titles.model.title_model(),
                        is_url_suspect = error.kind == ModelErrorKind::NoEndpoint,
                        "provider refuses title calls; titles are deferred and one call a minute probes it"
                    );
                    return Err(NoTitle::Deferred(titles.settings.probe_every));
                }
                request.plain = cause != FailureCause::Message && error.may_be_of_a_parameter();
                if !request.plain && !error.kind.is_transient() {
                    return Err(failure.into());
                }
                (failure, error.retry_after.unwrap_or(RETRY_PAUSE))
            }
        };
        // Fail now if the pause ends after the deadline.
        if attempt == ATTEMPTS || Instant::now() + pause >= until {
            return Err(failure.into());
        }
        if failure == TitleFailure::Truncated {
            request.max_tokens *= 2;
        }
        sleep(pause).await;
        attempt += 1;
    }
}

/// Records one call: health, budget, metrics, and the rows to store.
fn record(
    titles: &Inner,
    claim: &TitleClaim,
    calls: &mut Vec<TitleCall>,
    outcome: Result<(), TitleFailure>,
    usage: Option<Usage>,
    duration: Duration,
    cause: FailureCause,
) {
    let call = TitleCall {
        model: titles.model.title_model().to_owned(),
        outcome,
        usage: usage.unwrap_or_default(),
        duration,
    };
    titles.health.record(claim.id, call.outcome, cause);
    titles.budget.spend(&claim.owner.tenant, call.tokens());
    titles.metrics.called(&claim.owner.tenant, &call);
    calls.push(call);
}

async fn judge(
    output: &TitleOutput,
    message: &str,
    language: &language::TitleLanguage,
) -> Result<Title, TitleFailure> {
    match output.finish {
        // A truncated title is not usable.
        Finish::Length => return Err(TitleFailure::Truncated),
        Finish::ContentFilter | Finish::NoText | Finish::Unreadable | Finish::Unknown => {
            return Err(TitleFailure::Rejected);
        }
        Finish::Stop => {}
    }
    let (text, asked, language) = (output.text.clone(), message.to_owned(), language.clone());
    // Validation scans the whole message several times, so a long one goes to a worker thread.
    let judged = work::heavy_if(message.len(), JUDGE_TIMEOUT, move |_| {
        title_in(&text, &asked, &language)
    });
    judged.await.unwrap_or(Err(TitleFailure::Timeout))
}

fn title_in(
    output: &str,
    message: &str,
    language: &language::TitleLanguage,
) -> Result<Title, TitleFailure> {
    let title = clean::clean_for(output, message).map_err(|rejection| {
        tracing::debug!(%rejection, "title output rejected");
        TitleFailure::Rejected
    })?;
    if !language::fits(title.as_str(), message, language) {
        tracing::debug!("title output rejected: wrong script");
        return Err(TitleFailure::Rejected);
    }
    Ok(title)
}

/// Makes all deferred titles due, and wakes this node's sweep. Other nodes wait for their own probe.
async fn recovered(titles: &Inner) {
    tracing::info!("title model answers again; deferred titles are due");
    if let Err(error) = titles.db.wake_deferred_titles().await {
        error.log();
    }
    titles.recovered.notify_one();
}
