//! Health of the title models, by chain: one check at startup, then updated by every call.
//!
//! `/readyz` and the metrics show it, so that a retired model or a revoked key is seen before users miss titles.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Instant, timeout};

use super::{
    Inner,
    failure::{FailureCause, failure_of},
    prompt::{self, MAX_TOKENS},
};
use crate::{
    conversation::{ConversationId, TitleFailure, Usage},
    db::{NO_TENANT, TitleCall},
    llm::{CallIdentity, Chain, Model, ModelError, ModelErrorKind, Task, TitleModel, TitleRequest},
};

/// The message for which the check requests a title.
const MESSAGE: &str = "Plan a trip to Kyoto";

/// Whether the title model answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModelState {
    /// No call was made yet.
    #[default]
    Unknown,
    /// The last call was answered.
    Answers,
    /// The last call failed.
    Fails(TitleFailure),
    /// The answer did not follow the protocol: a web page, a redirect, events.
    Malformed,
    /// A 404 that names no model: the base URL is wrong.
    NoEndpoint,
    /// Several conversations in a row got answers, but no usable title.
    Useless,
}

impl ModelState {
    /// Whether the last call succeeded; `None` before the first one.
    pub fn is_up(self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Answers => Some(true),
            Self::Fails(_) | Self::Malformed | Self::NoEndpoint | Self::Useless => Some(false),
        }
    }

    /// `unknown`, `ok`, or the failure's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Answers => "ok",
            Self::Fails(failure) => failure.as_str(),
            Self::Malformed => "malformed_answer",
            Self::NoEndpoint => "no_endpoint",
            Self::Useless => "no_usable_answers",
        }
    }
}

/// This many different conversations in a row without a title make the model [`ModelState::Useless`].
const USELESS_AFTER: usize = 8;

/// The maximum number of chains whose health is kept. Chains of former configurations are dropped first.
const MAX_CHAINS: usize = 10_000;

/// The health of one chain of models.
#[derive(Clone, Debug)]
pub struct ChainHealth {
    /// The chain.
    pub chain: Chain,
    /// The state after its last call.
    pub state: ModelState,
    /// The model of that call; empty before the first one.
    pub model: String,
}

/// The health of each chain of the policies, by the names of its models.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<HashMap<Vec<String>, HealthState>>);

#[derive(Debug, Default)]
struct HealthState {
    state: ModelState,
    model: String,
    /// Conversations since the last title for which [`FailureCause::Message`] was recorded.
    without_title: HashSet<ConversationId>,
}

/// The key of a chain's health: the names of its models.
fn names(chain: &Chain) -> Vec<String> {
    let names = chain.models().iter().map(|model| model.name().to_string());
    names.collect()
}

impl Health {
    /// The health of these chains, each once.
    pub(super) fn of<'c>(&self, chains: impl IntoIterator<Item = &'c Chain>) -> Vec<ChainHealth> {
        let known = self.lock();
        let mut found: Vec<(Vec<String>, ChainHealth)> = Vec::new();
        for chain in chains {
            let names = names(chain);
            if found.iter().any(|(same, _)| *same == names) {
                continue;
            }
            let (state, model) = known.get(&names).map_or_else(Default::default, |health| {
                (health.state, health.model.clone())
            });
            let chain = chain.clone();
            found.push((
                names,
                ChainHealth {
                    chain,
                    state,
                    model,
                },
            ));
        }
        found.into_iter().map(|(_, health)| health).collect()
    }

    /// Updates the health of a chain after a call of one of its models.
    fn change(&self, chain: &Chain, model: &str, change: impl FnOnce(&mut HealthState)) {
        let mut known = self.lock();
        let names = names(chain);
        if known.len() >= MAX_CHAINS && !known.contains_key(&names) {
            known.clear();
        }
        let health = known.entry(names).or_default();
        health.model = model.to_owned();
        change(health);
    }

    /// Records a call for a conversation. An unusable answer counts as answered, unless [`USELESS_AFTER`] conversations
    /// in a row got one.
    pub(super) fn record(
        &self,
        (chain, model): (&Chain, &str),
        id: ConversationId,
        outcome: Result<(), TitleFailure>,
        cause: FailureCause,
    ) {
        self.change(chain, model, |health| health.record(id, outcome, cause));
    }

    /// Records the startup check. Its message is fixed, so every failure is the model's.
    fn record_check(
        &self,
        (chain, model): (&Chain, &str),
        outcome: Result<(), (TitleFailure, ModelErrorKind)>,
    ) {
        let state = match outcome {
            Ok(()) => ModelState::Answers,
            Err((_, ModelErrorKind::Malformed)) => ModelState::Malformed,
            Err((_, ModelErrorKind::NoEndpoint)) => ModelState::NoEndpoint,
            Err((failure, _)) => ModelState::Fails(failure),
        };
        self.change(chain, model, |health| health.state = state);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<String>, HealthState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HealthState {
    fn record(
        &mut self,
        id: ConversationId,
        outcome: Result<(), TitleFailure>,
        cause: FailureCause,
    ) {
        self.state = match (outcome, cause) {
            (Ok(()), _) => {
                self.without_title.clear();
                ModelState::Answers
            }
            (Err(_), FailureCause::Message) => {
                if self.without_title.len() < USELESS_AFTER {
                    self.without_title.insert(id);
                }
                match self.without_title.len() {
                    USELESS_AFTER.. => ModelState::Useless,
                    _ => ModelState::Answers,
                }
            }
            (Err(failure), FailureCause::Model) => ModelState::Fails(failure),
            (Err(_), FailureCause::Protocol) => ModelState::Malformed,
            (Err(_), FailureCause::BaseUrl) => ModelState::NoEndpoint,
        };
    }
}

/// Asks the models of the chain in order until one answers or fails temporarily, and logs the result.
pub(super) async fn run(titles: &Inner) {
    let chain = titles.policies().default_policy().models.clone();
    let mut refused: Vec<(&Model, ModelErrorKind)> = Vec::new();
    for model in chain.models() {
        let error = match ask(titles, &chain, model).await {
            Ok(()) => {
                titles.recovered.add(model.name());
                break;
            }
            Err(error) => error,
        };
        if !error.is_final() {
            return;
        }
        refused.push((model, error));
    }
    // Open their breakers, so that titles go directly to the model that answers. If none answers, the next title tries
    // all.
    if refused.len() < chain.models().len() {
        for (model, error) in refused {
            model.open(Task::Title, error, std::time::Instant::now());
        }
    }
}

/// Asks one model.
///
/// # Errors
/// The kind of failure.
async fn ask(titles: &Inner, chain: &Chain, model: &Model) -> Result<(), ModelErrorKind> {
    let request = TitleRequest {
        instruction: prompt::INSTRUCTION.to_owned(),
        input: prompt::delimited("message", MESSAGE),
        max_tokens: MAX_TOKENS,
        caller: CallIdentity {
            task: Task::Title,
            ..CallIdentity::default()
        },
        overrides: titles.settings.parameters.clone(),
        ..TitleRequest::default()
    };
    let started = Instant::now();
    let answer = timeout(titles.settings.deadline, model.title(request)).await;
    let (outcome, usage) = match answer {
        Ok(Ok(output)) => (Ok(()), output.usage),
        Ok(Err(error)) => (Err((failure_of(error.kind), error)), None),
        Err(_) => {
            let error = ModelError::new(ModelErrorKind::Timeout);
            (Err((TitleFailure::Timeout, error)), None)
        }
    };
    let name = model.name();
    let duration_ms = started.elapsed().as_millis() as u64;
    match &outcome {
        Ok(()) => tracing::info!(model = %name, duration_ms, "title model check passed"),
        Err((failure, error)) => tracing::error!(
            model = %name,
            duration_ms,
            reason = failure.as_str(),
            status = error.status,
            code = error.code,
            "title model check failed; this model writes no titles. {}",
            remedy(*failure, error)
        ),
    }
    let seen = outcome
        .as_ref()
        .copied()
        .map_err(|(failure, error)| (*failure, error.kind));
    titles.health.record_check((chain, &name.to_string()), seen);
    let call = TitleCall {
        agent: String::new(),
        model: name.to_string(),
        outcome: outcome.as_ref().copied().map_err(|(failure, _)| *failure),
        usage: usage.unwrap_or_default(),
        duration: started.elapsed(),
    };
    titles.metrics.called(NO_TENANT, &call);
    if call.usage != Usage::default()
        && let Err(error) = titles.db.store_title_call(call).await
    {
        error.log();
    }
    seen.map_err(|(_, kind)| kind)
}

/// The operator's remedy for a failed check.
fn remedy(failure: TitleFailure, error: &ModelError) -> &'static str {
    match failure {
        TitleFailure::ModelNotFound if error.kind == ModelErrorKind::NoEndpoint => {
            "There is no model API at this URL: correct --openai-base-url (OPENAI_BASE_URL), which often ends in /v1"
        }
        TitleFailure::Unauthorized => {
            "The provider refuses the key: check --openai-api-key (OPENAI_API_KEY), and that it belongs to the \
             provider at --openai-base-url (OPENAI_BASE_URL)"
        }
        TitleFailure::ModelNotFound => {
            "The provider does not know the model: set --title-model (TITLECAST_TITLE_MODEL) to one that it offers, or \
             correct --openai-base-url (OPENAI_BASE_URL), which often ends in /v1"
        }
        TitleFailure::QuotaExceeded => {
            "The account's quota is used up: check the provider's billing, or use another key (OPENAI_API_KEY)"
        }
        TitleFailure::InvalidRequest => {
            "The provider rejects the request: check which parameters the model accepts, and set --title-parameters \
             (TITLECAST_TITLE_PARAMETERS)"
        }
        TitleFailure::RateLimited => {
            "The account's rate limit is exceeded: wait, or raise the limit with the provider"
        }
        TitleFailure::Unavailable if error.status.is_some() => {
            "The provider reports a server error: wait, and check --openai-base-url (OPENAI_BASE_URL)"
        }
        TitleFailure::Unavailable => {
            "There is no connection to the provider: check --openai-base-url (OPENAI_BASE_URL), the proxy and the network"
        }
        TitleFailure::Timeout => {
            "The model took too long: raise --title-deadline (TITLECAST_TITLE_DEADLINE), or set --title-model \
             (TITLECAST_TITLE_MODEL) to a faster one"
        }
        TitleFailure::Rejected
        | TitleFailure::Truncated
        | TitleFailure::BudgetExceeded
        | TitleFailure::Abandoned
        | TitleFailure::Unknown => {
            "The server does not speak OpenAI's Chat Completions API: check --openai-base-url (OPENAI_BASE_URL)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_answers_fail_the_model_only_after_many_conversations() {
        let mut health = HealthState::default();
        let id = ConversationId::new();
        for _ in 0..20 {
            health.record(id, Err(TitleFailure::Rejected), FailureCause::Message);
            assert_eq!(health.state, ModelState::Answers);
        }
        for _ in 1..USELESS_AFTER {
            assert_eq!(health.state, ModelState::Answers);
            health.record(
                ConversationId::new(),
                Err(TitleFailure::Truncated),
                FailureCause::Message,
            );
        }
        assert_eq!(health.state, ModelState::Useless);
        health.record(id, Ok(()), FailureCause::Message);
        assert_eq!(health.state, ModelState::Answers);
        health.record(id, Err(TitleFailure::Rejected), FailureCause::Protocol);
        assert_eq!(health.state, ModelState::Malformed);
        health.record(id, Err(TitleFailure::Timeout), FailureCause::Model);
        assert_eq!(health.state, ModelState::Fails(TitleFailure::Timeout));
    }
}
