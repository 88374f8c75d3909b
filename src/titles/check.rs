//! Whether the title model answers: asked once at the start, and seen with every call after that. A model
//! that was retired or a key that was revoked shows on `/readyz` and in the metrics before anybody
//! wonders where the titles are.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Instant, timeout};

use super::{
    Inner, prompt,
    task::{MAX_TOKENS, failure_of},
};
use crate::{
    conversation::{ConversationId, TitleFailure, Usage},
    db::{NOBODY, TitleCall},
    llm::{ModelError, ModelErrorKind, TitleRequest},
};

/// What the check asks for a title of.
const MESSAGE: &str = "Plan a trip to Kyoto";

/// Whether the title model answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModelState {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// It has answered the last call.
    Answers,
    /// It has not.
    Fails(TitleFailure),
    /// What answered does not speak the protocol: a page, a redirect, events.
    Malformed,
    /// Nothing at the base URL knows models: a 404 that names none.
    NoEndpoint,
    /// It answers, but for several conversations in a row with nothing that can be a title.
    Useless,
}

impl ModelState {
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

/// Whose fault it is when a call brings no title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The message's: a filter, its length, or an answer that is no title.
    Message,
    /// The model's or its provider's.
    Model,
    /// The answer's form: what answers is no model.
    Answer,
    /// The base URL's.
    Url,
}

/// So many different conversations in a row without a title say something of the model, whatever each of them says.
const USELESS_AFTER: usize = 8;

/// What is known of the title model.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    state: ModelState,
    /// Conversations whose message was to blame, since the last title.
    in_vain: HashSet<ConversationId>,
}

impl Health {
    pub(super) fn state(&self) -> ModelState {
        self.lock().state
    }

    /// Learns from a call for a conversation. An answer that is no title is an answer, and one conversation's filter is
    /// no fault of the model; those of [`USELESS_AFTER`] conversations in a row are.
    pub(super) fn note(&self, id: ConversationId, outcome: Result<(), TitleFailure>, blame: Blame) {
        let mut known = self.lock();
        known.state = match (outcome, blame) {
            (Ok(()), _) => {
                known.in_vain.clear();
                ModelState::Answers
            }
            (Err(_), Blame::Message) => {
                if known.in_vain.len() < USELESS_AFTER {
                    known.in_vain.insert(id);
                }
                match known.in_vain.len() {
                    USELESS_AFTER.. => ModelState::Useless,
                    _ => ModelState::Answers,
                }
            }
            (Err(failure), Blame::Model) => ModelState::Fails(failure),
            (Err(_), Blame::Answer) => ModelState::Malformed,
            (Err(_), Blame::Url) => ModelState::NoEndpoint,
        };
    }

    /// Learns from the check at the start, whose message is ours: whatever fails is the model's.
    fn checked(&self, outcome: Result<(), (TitleFailure, ModelErrorKind)>) {
        self.lock().state = match outcome {
            Ok(()) => ModelState::Answers,
            Err((_, ModelErrorKind::Malformed)) => ModelState::Malformed,
            Err((_, ModelErrorKind::NoEndpoint)) => ModelState::NoEndpoint,
            Err((failure, _)) => ModelState::Fails(failure),
        };
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for one title, and says in the log what came of it.
pub(super) async fn run(titles: &Inner) {
    let request = TitleRequest {
        instruction: prompt::INSTRUCTION.to_owned(),
        input: prompt::delimited("message", MESSAGE),
        max_tokens: MAX_TOKENS,
        plain: false,
    };
    let started = Instant::now();
    let answer = timeout(titles.settings.deadline, titles.model.title(request)).await;
    let (outcome, usage) = match answer {
        Ok(Ok(output)) => (Ok(()), output.usage),
        Ok(Err(error)) => (Err((failure_of(&error), error)), None),
        Err(_) => {
            let error = ModelError::new(ModelErrorKind::Timeout);
            (Err((TitleFailure::Timeout, error)), None)
        }
    };
    let model = titles.model.title_model().to_owned();
    let duration_ms = started.elapsed().as_millis() as u64;
    match &outcome {
        Ok(()) => tracing::info!(model, duration_ms, "the title model answers"),
        Err((failure, error)) => tracing::error!(
            model,
            duration_ms,
            reason = failure.as_str(),
            status = error.status,
            code = error.code,
            "the title model does not answer: conversations will get no titles. {}",
            remedy(*failure, error)
        ),
    }
    let seen = outcome
        .as_ref()
        .copied()
        .map_err(|(failure, error)| (*failure, error.kind));
    titles.health.checked(seen);
    let call = TitleCall {
        model,
        outcome: outcome.map_err(|(failure, _)| failure),
        usage: usage.unwrap_or_default(),
        duration: started.elapsed(),
    };
    titles.metrics.called(NOBODY, &call);
    if call.usage != Usage::default()
        && let Err(error) = titles.db.store_title_call(call).await
    {
        error.log();
    }
}

/// What an operator does about a model that does not answer.
fn remedy(failure: TitleFailure, error: &ModelError) -> &'static str {
    match failure {
        TitleFailure::ModelNotFound if error.kind == ModelErrorKind::NoEndpoint => {
            "Nothing there knows models: mend --openai-base-url (OPENAI_BASE_URL), which often ends in /v1"
        }
        TitleFailure::Unauthorized => {
            "The provider refuses the key: check --openai-api-key (OPENAI_API_KEY), and that it is one of the \
             provider at --openai-base-url (OPENAI_BASE_URL)"
        }
        TitleFailure::ModelNotFound => {
            "The provider does not know the model: name one that it has with --title-model (TITLECAST_TITLE_MODEL), \
             or mend --openai-base-url (OPENAI_BASE_URL), which often ends in /v1"
        }
        TitleFailure::QuotaExceeded => {
            "The account's quota is used up: see the provider's billing, or use another key (OPENAI_API_KEY)"
        }
        TitleFailure::InvalidRequest => {
            "The provider takes the request for wrong: see what the model takes, and set --title-parameters \
             (TITLECAST_TITLE_PARAMETERS)"
        }
        TitleFailure::RateLimited => {
            "The provider has no time for this account: that passes, or its rate limit has to be raised"
        }
        TitleFailure::Unavailable if error.status.is_some() => {
            "The provider is in trouble: that passes, unless --openai-base-url (OPENAI_BASE_URL) is another's"
        }
        TitleFailure::Unavailable => {
            "There is no connection to the provider: check --openai-base-url (OPENAI_BASE_URL), and the way to it"
        }
        TitleFailure::Timeout => {
            "It took too long: raise --title-deadline (TITLECAST_TITLE_DEADLINE), or name a faster model with \
             --title-model (TITLECAST_TITLE_MODEL)"
        }
        TitleFailure::Rejected
        | TitleFailure::Truncated
        | TitleFailure::BudgetExceeded
        | TitleFailure::Abandoned
        | TitleFailure::Unknown => {
            "What answers does not speak OpenAI's Chat Completions: check --openai-base-url (OPENAI_BASE_URL)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_conversation_s_filter_is_not_the_model_s_but_those_of_many_are() {
        let health = Health::default();
        let id = ConversationId::new();
        for _ in 0..20 {
            health.note(id, Err(TitleFailure::Rejected), Blame::Message);
            assert_eq!(health.state(), ModelState::Answers);
        }
        for _ in 1..USELESS_AFTER {
            assert_eq!(health.state(), ModelState::Answers);
            health.note(
                ConversationId::new(),
                Err(TitleFailure::Truncated),
                Blame::Message,
            );
        }
        assert_eq!(health.state(), ModelState::Useless);
        health.note(id, Ok(()), Blame::Message);
        assert_eq!(health.state(), ModelState::Answers);
        health.note(id, Err(TitleFailure::Rejected), Blame::Answer);
        assert_eq!(health.state(), ModelState::Malformed);
        health.note(id, Err(TitleFailure::Timeout), Blame::Model);
        assert_eq!(health.state(), ModelState::Fails(TitleFailure::Timeout));
    }
}
