//! Asks a chain of models for one title: prompt, calls, cleaning, and one retry after an unusable answer.
//!
//! Independent of conversations, database and metrics: it reports to an [`Observer`]. `task` runs it for a claim;
//! `trial` runs it for `titlecast try`.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    clean::{self, Limits, Rejection},
    echo,
    failure::{FailureCause, cause_of, failure_of},
    keep, language,
    policy::TitlePolicy,
    prompt::{self, MAX_TOKENS, Regeneration},
    redact, shape,
};
use crate::{
    conversation::{Title, TitleFailure, Usage},
    db::TitleCall,
    llm::{
        CallIdentity, Finish, Model, ModelError, ModelErrorKind, Next, ProfileOverride, TitleModel,
        TitleOutput, TitleRequest, Walk, offline::Offline,
    },
    work,
};

/// The maximum number of unusable answers for one title: the first and one retry.
const UNUSABLE_ANSWERS: u32 = 2;

/// The longest wait for a worker thread that validates a title.
const JUDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The inputs of one title.
pub(super) struct Job<'a> {
    /// The policy. The walk goes through its models.
    pub(super) policy: &'a TitlePolicy,
    /// The user's message.
    pub(super) message: &'a str,
    /// The current title and the user's hint, if the title is regenerated.
    pub(super) regeneration: Regeneration<'a>,
    /// The caller on whose behalf the model is asked.
    pub(super) caller: CallIdentity,
    /// The operator's overrides of the models' parameters.
    pub(super) overrides: Arc<ProfileOverride>,
}

/// Receives events while a title is made.
pub(super) trait Observer: Send {
    /// One call ended. `why` is the human-readable reason why its answer is unusable; `None` for a title or a failed
    /// call.
    fn called(&mut self, call: TitleCall, cause: FailureCause, why: Option<&str>);

    /// A model whose breaker was open has answered.
    fn recovered(&mut self, model: &Model);

    /// Whether the model must be asked for another title, because the owner has this one already; called for at most
    /// one title.
    fn is_taken(&mut self, title: &Title) -> impl Future<Output = bool> + Send;
}

/// Why there is no title. The caller decides what happens to the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTitle {
    /// Permanent: the answers were unusable, or the message or the request was refused.
    Rejected(TitleFailure),
    /// Temporary, even if an operator must act: timeout, rate limit, connection, server, key, model, quota. The
    /// provider asks for no call within this time.
    Failed(TitleFailure, Duration),
    /// No call was made: no model admits one, and the first probe is due after this time.
    Refused(TitleFailure, Duration),
}

impl NoTitle {
    /// The reason.
    pub(super) fn failure(self) -> TitleFailure {
        match self {
            Self::Rejected(failure) | Self::Failed(failure, _) | Self::Refused(failure, _) => {
                failure
            }
        }
    }
}

/// Why an answer is unusable.
#[derive(Debug)]
struct Unusable {
    failure: TitleFailure,
    /// The human-readable reason.
    why: String,
    /// Whether it is a title over a limit of the policy.
    is_too_long: bool,
}

impl Unusable {
    fn new(failure: TitleFailure, why: impl Into<String>) -> Self {
        Self {
            failure,
            why: why.into(),
            is_too_long: false,
        }
    }
}

impl From<Rejection> for Unusable {
    fn from(rejection: Rejection) -> Self {
        tracing::debug!(why = %rejection, "title output rejected");
        Self {
            is_too_long: matches!(rejection, Rejection::TooLong | Rejection::TooManyWords),
            ..Self::new(TitleFailure::Rejected, rejection.to_string())
        }
    }
}

/// Walks the chain until a model answers with a title, for at most `deadline` from `started` on.
pub(super) async fn title(
    job: &Job<'_>,
    started: Instant,
    deadline: Duration,
    walk: &mut Walk,
    observer: &mut impl Observer,
) -> Result<Title, NoTitle> {
    let until = started + deadline;
    let (mut called, mut spare) = (Instant::now(), None);
    let making = walk_chain(job, until, walk, observer, &mut called, &mut spare);
    let made = timeout_at(until, making).await;
    let made = made.unwrap_or_else(|_| {
        let failure = TitleFailure::Timeout;
        let duration = called.elapsed();
        if let Some(model) = walk.entry() {
            let call = TitleCall {
                agent: job.caller.agent.clone(),
                model: model.name().to_string(),
                outcome: Err(failure),
                usage: Usage::default(),
                duration,
            };
            observer.called(call, FailureCause::Model, None);
        }
        // A model that was asked shortly before the deadline is not at fault.
        if duration >= deadline / 2 {
            walk.failed(&ModelError::new(ModelErrorKind::Timeout), Duration::ZERO);
        }
        Err(NoTitle::Failed(failure, Duration::ZERO))
    });
    // A duplicate title is better than none.
    match spare {
        Some(spare) => Ok(made.unwrap_or(spare)),
        None => made,
    }
}

/// Sets `called` to the start of each call, and `spare` to a title that is taken before the model is asked for another.
async fn walk_chain(
    job: &Job<'_>,
    until: Instant,
    walk: &mut Walk,
    observer: &mut impl Observer,
    called: &mut Instant,
    spare: &mut Option<Title>,
) -> Result<Title, NoTitle> {
    let mut request = TitleRequest {
        instruction: prompt::instruction(job.policy, job.regeneration, false),
        input: prompt::input(job.message, job.regeneration, None),
        max_tokens: MAX_TOKENS,
        limits: job.policy.limits().into(),
        plain: false,
        caller: job.caller.clone(),
        overrides: job.overrides.clone(),
    };
    let mut unusable = 0;
    // Why there is no title: the last failure that was not permanent, else the first one.
    let mut failed: Option<ModelErrorKind> = None;
    // The shortest time within which an entry's provider asks for no call.
    let mut wait: Option<Duration> = None;
    // Why a model rejects the request: a permanent failure.
    let mut rejected = None;
    request.plain = walk.wants_plain();
    while let Some(model) = walk.entry().cloned() {
        *called = Instant::now();
        let answer = model.title(request.clone()).await;
        let call = |outcome, usage: Option<Usage>| TitleCall {
            agent: job.caller.agent.clone(),
            model: model.name().to_string(),
            outcome,
            usage: usage.unwrap_or_default(),
            duration: called.elapsed(),
        };
        match answer {
            Ok(output) => {
                // Budgets need token counts, so estimate them if the provider reports none.
                let estimated = || prompt::estimated_usage(&request, &output.text);
                let usage = output.usage;
                let usage = usage.or_else(|| (!model.is_offline()).then(estimated));
                let call = call(Ok(()), usage);
                let judged = judge(&output, job, &request).await;
                let outcome = judged.as_ref().map(|_| ()).map_err(|no| no.failure);
                let why = judged.as_ref().err().map(|no| no.why.as_str());
                observer.called(TitleCall { outcome, ..call }, FailureCause::Message, why);
                if walk.answered() {
                    observer.recovered(&model);
                }
                unusable += 1;
                let is_over = !walk.unusable() || unusable == UNUSABLE_ANSWERS;
                let (failure, is_too_long) = match judged {
                    Ok(title) => {
                        let may_differ = job.policy.distinct && !is_over && spare.is_none();
                        if !may_differ || !observer.is_taken(&title).await {
                            return Ok(title);
                        }
                        request.instruction =
                            prompt::instruction(job.policy, job.regeneration, true);
                        request.input =
                            prompt::input(job.message, job.regeneration, Some(title.as_str()));
                        *spare = Some(title);
                        request.plain = false;
                        continue;
                    }
                    Err(Unusable {
                        failure,
                        is_too_long,
                        ..
                    }) => (failure, is_too_long),
                };
                if is_over {
                    return Err(NoTitle::Rejected(failure));
                }
                // Some servers leave the answer empty where they cannot apply a schema.
                request.plain = output.is_silent();
                if failure == TitleFailure::Truncated {
                    request.max_tokens *= 2;
                }
                if is_too_long {
                    request.instruction += &prompt::shorter(job.policy.limits());
                }
            }
            Err(error) => {
                let cause = cause_of(&error);
                let failure = match cause {
                    FailureCause::Message => TitleFailure::Rejected,
                    FailureCause::Model | FailureCause::Protocol | FailureCause::BaseUrl => {
                        failure_of(error.kind)
                    }
                };
                let next = walk.failed(&error, until.saturating_duration_since(Instant::now()));
                tracing::debug!(conversation.id = %job.caller.conversation, model = %model.name(), %error, ?next, "title call failed");
                observer.called(call(Err(failure), None), cause, None);
                if error.kind.is_final() {
                    warn_refused(&model, &error);
                }
                if cause == FailureCause::Message || error.kind == ModelErrorKind::InvalidRequest {
                    rejected = Some(failure);
                } else if failed.is_none() || !error.kind.is_final() {
                    failed = Some(error.kind);
                }
                if !matches!(next, Next::Retry(_)) {
                    let asked = error.retry_after.unwrap_or_default();
                    wait = Some(wait.map_or(asked, |known| known.min(asked)));
                }
                match next {
                    Next::Retry(pause) => {
                        request.plain = error.may_be_of_a_parameter();
                        sleep(pause).await;
                    }
                    Next::Entry => request.plain = walk.wants_plain(),
                    Next::Over => break,
                }
            }
        }
    }
    Err(match (failed, rejected) {
        (Some(kind), _) => NoTitle::Failed(failure_of(kind), wait.unwrap_or_default()),
        (None, Some(failure)) => NoTitle::Rejected(failure),
        (None, None) => {
            let failure = walk.refusal().map_or(TitleFailure::Unavailable, failure_of);
            NoTitle::Refused(failure, walk.refused_for())
        }
    })
}

fn warn_refused(model: &Model, error: &ModelError) {
    tracing::warn!(
        reason = failure_of(error.kind).as_str(),
        status = error.status,
        model = %model.name(),
        is_url_suspect = error.kind == ModelErrorKind::NoEndpoint,
        "the model refuses title calls; the next one of the chain is asked, or titles wait, and one call a minute probes it"
    );
}

/// The title in the answer to a request.
async fn judge(
    output: &TitleOutput,
    job: &Job<'_>,
    request: &TitleRequest,
) -> Result<Title, Unusable> {
    let rejected = |why| Err(Unusable::new(TitleFailure::Rejected, why));
    match output.finish {
        // A truncated title is not usable.
        Finish::Length => {
            let why = "cut off by the token limit";
            return Err(Unusable::new(TitleFailure::Truncated, why));
        }
        Finish::ContentFilter => return rejected("stopped by a content filter"),
        Finish::NoText => return rejected("no text"),
        Finish::Unreadable | Finish::Unknown => return rejected("incomplete"),
        Finish::Stop => {}
    }
    if let Some(previous) = job.regeneration.previous
        && keep::says_so(&output.text, previous, job.message)
    {
        let present = Title::new(previous).ok();
        let present = present.filter(|_| job.regeneration.may_stay());
        return present.map_or_else(|| rejected("it says that the title stays"), Ok);
    }
    let (text, message) = (output.text.clone(), job.message.to_owned());
    // The last line of the input states the task.
    let last = request.input.lines().last().unwrap_or_default();
    let rules = Rules::of(job.policy, format!("{}\n{last}", request.instruction));
    // Validation scans the whole message several times, so a long one goes to a worker thread.
    let judged = work::heavy_if(message.len(), JUDGE_TIMEOUT, move |_| {
        rules.title_in(&text, &message)
    });
    let late = |_| Err(Unusable::new(TitleFailure::Timeout, "no thread was free"));
    judged.await.unwrap_or_else(late)
}

/// The name of the model in the calls of extracted titles.
const EXTRACT: &str = "extract";

/// The title that the offline model extracts from the message, and the call to record. `None` if it is unusable too.
pub(super) async fn extracted(job: &Job<'_>) -> Option<(Title, TitleCall)> {
    let started = Instant::now();
    let request = TitleRequest {
        input: prompt::input(job.message, Regeneration::default(), None),
        limits: job.policy.limits().into(),
        ..TitleRequest::default()
    };
    let output = Offline::new(Duration::ZERO).title(request).await.ok()?;
    let title = judge(&output, job, &TitleRequest::default()).await.ok()?;
    let call = TitleCall {
        agent: job.caller.agent.clone(),
        model: EXTRACT.into(),
        outcome: Ok(()),
        usage: Usage::default(),
        duration: started.elapsed(),
    };
    Some((title, call))
}

/// The criteria for an answer: a policy without its models, and the instruction that was sent.
struct Rules {
    policy: TitlePolicy<()>,
    instruction: String,
}

impl Rules {
    fn of(policy: &TitlePolicy, instruction: String) -> Self {
        Self {
            policy: policy.clone().map_models(|_| ()),
            instruction,
        }
    }

    /// The title in a model's output, in the policy's form.
    fn title_in(&self, output: &str, message: &str) -> Result<Title, Unusable> {
        let Self {
            policy,
            instruction,
        } = self;
        let limits = policy.limits();
        let cleaned = clean::clean_for(output, message, limits);
        let cleaned = cleaned.and_then(|title| match policy.redact {
            true => redact::redacted(title, Some(message), limits),
            false => Ok(title),
        });
        let title = cleaned?;
        if echo::is_echo(title.as_str(), message, instruction, policy) {
            return Err(Rejection::Placeholder.into());
        }
        if !language::fits(title.as_str(), message, &policy.language) {
            let why = "another script than expected";
            tracing::debug!(why, "title output rejected");
            return Err(Unusable::new(TitleFailure::Rejected, why));
        }
        Ok(shaped(&title, message, policy, limits)?)
    }
}

fn shaped(
    title: &Title,
    message: &str,
    policy: &TitlePolicy<()>,
    limits: Limits,
) -> Result<Title, clean::Rejection> {
    let text = shape::shaped(title.as_str(), message, policy);
    limits.check(&text)?;
    Title::new(&text).map_err(|_| clean::Rejection::Empty)
}
