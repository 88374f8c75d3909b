//! One title: ask the model, judge the answer, store it if the claim still holds, tell.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{
    Inner,
    breaker::Pass,
    check::Blame,
    clean, language,
    prompt::{self, Another},
    source::{self, Source},
    turns::Class,
};
use crate::{
    conversation::{Title, TitleFailure, Usage},
    db::{TitleCall, TitleClaim},
    error::Result,
    llm::{Finish, ModelError, ModelErrorKind, TitleOutput, TitleRequest},
    step::{Step, step},
    telemetry::{SPANS, span},
    work,
};

/// Calls for one title: the first and one more try.
const ATTEMPTS: u32 = 2;

/// The first call's cap on visible and reasoning tokens together; a cut-off answer doubles it.
pub(super) const MAX_TOKENS: u32 = 512;

/// The longest wait for a thread that judges a title.
const JUDGE_LIMIT: Duration = Duration::from_secs(5);

/// The pause before the second call when the provider names none.
const PAUSE: Duration = Duration::from_millis(200);

/// How one title ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It is stored.
    Titled,
    /// It is stored that there is none.
    Failed(TitleFailure),
    /// No message says anything: the claim was given back.
    Nothing,
    /// A rename, a deletion or another process came first.
    Superseded,
    /// The provider refuses all calls: the claim was given back until it may be asked again.
    Waits,
    /// The database failed; the claim runs out.
    Unknown,
}

impl Ended {
    /// How it is counted.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Titled => "titled",
            Self::Failed(failure) => failure.as_str(),
            Self::Nothing => "nothing_to_title",
            Self::Superseded => "superseded",
            Self::Waits => "waits_for_provider",
            Self::Unknown => "database_failed",
        }
    }
}

/// Makes the title of one conversation, from the given source or from what is stored, and says what came
/// of it and how many tokens it cost. Every outcome ends here: the caller has nothing to handle. It is a part
/// of the trace of whoever calls, from the call on.
pub(super) fn run(
    titles: Arc<Inner>,
    claim: TitleClaim,
    source: Option<Source>,
    class: Class,
) -> impl Future<Output = (Ended, u64)> + Send + 'static {
    let span = tracing::info_span!(target: SPANS, "title", conversation.id = %claim.id);
    async move { make_and_store(&titles, &claim, source, class).await }.instrument(span)
}

async fn make_and_store(
    titles: &Inner,
    claim: &TitleClaim,
    source: Option<Source>,
    class: Class,
) -> (Ended, u64) {
    let waited = Instant::now();
    let Some(_turn) = titles.turns.take(&claim.owner, class).await else {
        // Too many wait: the sweep takes it when its lease is over.
        return (Ended::Unknown, 0);
    };
    let started = Instant::now();
    let mut calls = Vec::new();
    let ended = match attempt(titles, claim, source, started, &mut calls).await {
        Ok(ended) => ended,
        Err(error) => {
            error.log();
            Ended::Unknown
        }
    };
    report(titles, claim, &ended, started);
    titles.metrics.ended(&ended, waited.elapsed());
    (ended, calls.iter().map(TitleCall::tokens).sum())
}

async fn attempt(
    titles: &Inner,
    claim: &TitleClaim,
    source: Option<Source>,
    started: Instant,
    calls: &mut Vec<TitleCall>,
) -> Result<Ended> {
    step(Step::TitleClaimed, claim.id);
    // Whoever waited long for a permit may have lost the claim, or would lose it in the middle.
    let now = titles.db.clock().now();
    if !claim.lasts(titles.settings.least_lease(), now) {
        let renewed = titles
            .db
            .renew_claim(claim, titles.settings.lease())
            .await?;
        if renewed.is_none() {
            return Ok(Ended::Superseded);
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
        // A person who wants another one wants no copy of it.
        Some(Source::Title(name)) if claim.previous.is_some() => {
            make_in_time(titles, claim, name.as_str(), started, calls).await
        }
        Some(Source::Title(title)) => Ok(title),
        None => {
            titles.db.release_claim(claim).await?;
            return Ok(Ended::Nothing);
        }
    };
    step(Step::TitleAnswered, claim.id);
    let stored = match &made {
        Ok(title) => titles.db.store_generated_title(claim, title, calls).await?,
        Err(NoTitle::Waits(time)) => titles.db.defer_title(claim, *time, calls).await?,
        Err(NoTitle::Failed(failure)) => {
            titles
                .db
                .store_title_failure(claim, *failure, calls)
                .await?
        }
    };
    step(Step::TitleStored, claim.id);
    let Some(conversation) = stored else {
        return Ok(Ended::Superseded);
    };
    titles.events.publish(conversation);
    step(Step::TitleTold, claim.id);
    Ok(match made {
        Ok(_) => Ended::Titled,
        Err(NoTitle::Waits(_)) => Ended::Waits,
        Err(NoTitle::Failed(failure)) => Ended::Failed(failure),
    })
}

fn report(titles: &Inner, claim: &TitleClaim, ended: &Ended, started: Instant) {
    let id = claim.id;
    let duration_ms = started.elapsed().as_millis() as u64;
    let span = Span::current();
    span.set_attribute("titlecast.outcome", ended.outcome());
    if let Ended::Failed(_) | Ended::Unknown = ended {
        span::failed(&span, ended.outcome());
    }
    match ended {
        Ended::Titled => tracing::info!(conversation.id = %id, duration_ms, "title generated"),
        Ended::Failed(failure) => {
            let reason = failure.as_str();
            let model = titles.model.title_model();
            tracing::warn!(conversation.id = %id, duration_ms, reason, model, "no title");
        }
        Ended::Nothing => tracing::debug!(conversation.id = %id, "nothing to make a title from"),
        Ended::Superseded => {
            tracing::info!(conversation.id = %id, duration_ms, "title superseded or conversation gone");
        }
        Ended::Waits => {
            tracing::debug!(conversation.id = %id, "the title waits for the provider");
        }
        // The error was logged. The row stays pending, which is what it is.
        Ended::Unknown => {}
    }
}

/// Why there is no title.
enum NoTitle {
    /// It failed.
    Failed(TitleFailure),
    /// The provider refuses all calls; it may be asked again after this time.
    Waits(Duration),
}

impl From<TitleFailure> for NoTitle {
    fn from(failure: TitleFailure) -> Self {
        Self::Failed(failure)
    }
}

/// Asks the model, unless it is known that it would be for nothing.
async fn make_in_time(
    titles: &Inner,
    claim: &TitleClaim,
    message: &str,
    started: Instant,
    calls: &mut Vec<TitleCall>,
) -> Result<Title, NoTitle> {
    titles.budget.check(&titles.db, &claim.owner.tenant).await?;
    if let Pass::Wait(time) = titles.breaker.enter(started.into_std()) {
        return Err(NoTitle::Waits(time));
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
            Blame::Model,
        );
        Err(failure.into())
    })
}

/// Asks up to twice; the caller ends it at `until`. `call` is when the present call began.
async fn make(
    titles: &Inner,
    claim: &TitleClaim,
    message: &str,
    until: Instant,
    calls: &mut Vec<TitleCall>,
    call: &mut Instant,
) -> Result<Title, NoTitle> {
    let language = titles.settings.language.of(&claim.owner.tenant);
    let another = Another {
        previous: claim.previous.as_deref(),
        wish: claim.hint.as_deref(),
    };
    let mut request = TitleRequest {
        instruction: prompt::instruction(language, another),
        input: prompt::input(message, another),
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
                    Blame::Message,
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
                let blame = blame(&error);
                let failure = match blame {
                    Blame::Message => TitleFailure::Rejected,
                    Blame::Model | Blame::Answer | Blame::Url => failure_of(&error),
                };
                record(titles, claim, calls, Err(failure), None, duration, blame);
                if is_final(error.kind) {
                    titles.breaker.open(failure, std::time::Instant::now());
                    tracing::warn!(
                        reason = failure.as_str(),
                        status = error.status,
                        model = titles.model.title_model(),
                        is_url_suspect = error.kind == ModelErrorKind::NoEndpoint,
                        "the provider refuses title calls: titles wait, and one call a minute probes it"
                    );
                    return Err(NoTitle::Waits(titles.settings.probe_every));
                }
                request.plain = blame != Blame::Message && error.may_be_of_a_parameter();
                if !request.plain && !error.kind.is_transient() {
                    return Err(failure.into());
                }
                (failure, error.retry_after.unwrap_or(PAUSE))
            }
        };
        // A pause that the deadline does not leave room for is a wait for nothing.
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

/// Counts one call, wherever calls are counted.
fn record(
    titles: &Inner,
    claim: &TitleClaim,
    calls: &mut Vec<TitleCall>,
    outcome: Result<(), TitleFailure>,
    usage: Option<Usage>,
    duration: Duration,
    blame: Blame,
) {
    let call = TitleCall {
        model: titles.model.title_model().to_owned(),
        outcome,
        usage: usage.unwrap_or_default(),
        duration,
    };
    titles.health.note(claim.id, call.outcome, blame);
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
        // Whatever came is cut off, and half a title is none.
        Finish::Length => return Err(TitleFailure::Truncated),
        Finish::ContentFilter | Finish::NoText | Finish::Unreadable | Finish::Unknown => {
            return Err(TitleFailure::Rejected);
        }
        Finish::Stop => {}
    }
    let (text, asked, language) = (output.text.clone(), message.to_owned(), language.clone());
    // The title is held against all of the message, in several passes.
    let judged = work::heavy_if(message.len(), JUDGE_LIMIT, move |_| {
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
        tracing::debug!("title output rejected: in another script than it should be");
        return Err(TitleFailure::Rejected);
    }
    Ok(title)
}

/// Makes all titles due that wait for the provider. Those of other nodes wait for their own probes, or are found due.
async fn recovered(titles: &Inner) {
    tracing::info!("the title model answers again: titles that waited for it are due");
    if let Err(error) = titles.db.wake_deferred_titles().await {
        error.log();
    }
    titles.recovered.notify_one();
}

/// Whose fault a failed call is. A content filter and an overlong context are the message's.
fn blame(error: &ModelError) -> Blame {
    const OF_THE_MESSAGE: [&str; 9] = [
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "string_above_max_length",
        "responsibleaipolicyviolation",
        "moderation_blocked",
        "safety",
        "invalid_prompt",
        "request_too_large",
    ];

    let code = error
        .code
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match error.kind {
        ModelErrorKind::InvalidRequest
            if OF_THE_MESSAGE.contains(&code.as_str()) || error.status == Some(413) =>
        {
            Blame::Message
        }
        ModelErrorKind::Malformed => Blame::Answer,
        ModelErrorKind::NoEndpoint => Blame::Url,
        _ => Blame::Model,
    }
}

/// Whether the same call will fail for everyone until an operator acts.
fn is_final(kind: ModelErrorKind) -> bool {
    matches!(
        kind,
        ModelErrorKind::Unauthorized
            | ModelErrorKind::NotFound
            | ModelErrorKind::NoEndpoint
            | ModelErrorKind::QuotaExceeded
    )
}

pub(super) fn failure_of(error: &ModelError) -> TitleFailure {
    match error.kind {
        ModelErrorKind::Timeout => TitleFailure::Timeout,
        ModelErrorKind::RateLimited => TitleFailure::RateLimited,
        ModelErrorKind::QuotaExceeded => TitleFailure::QuotaExceeded,
        ModelErrorKind::Unauthorized => TitleFailure::Unauthorized,
        ModelErrorKind::NotFound | ModelErrorKind::NoEndpoint => TitleFailure::ModelNotFound,
        ModelErrorKind::InvalidRequest => TitleFailure::InvalidRequest,
        ModelErrorKind::Malformed => TitleFailure::Rejected,
        ModelErrorKind::Connection | ModelErrorKind::Unavailable | ModelErrorKind::Interrupted => {
            TitleFailure::Unavailable
        }
    }
}
