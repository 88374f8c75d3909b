//! Whether the title model answers: asked once at the start, and seen with every call after that. A model
//! that was retired or a key that was revoked shows on `/readyz` and in the metrics before anybody
//! wonders where the titles are.

use std::sync::{Mutex, PoisonError};

use tokio::time::{Instant, timeout};

use super::{
    Inner, prompt,
    task::{MAX_TOKENS, failure_of},
};
use crate::{
    conversation::{TitleFailure, Usage},
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
}

impl ModelState {
    /// `unknown`, `ok`, or the failure's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Answers => "ok",
            Self::Fails(failure) => failure.as_str(),
        }
    }
}

/// What is known of the title model.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<ModelState>);

impl Health {
    pub(super) fn state(&self) -> ModelState {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from a call. An answer that is no title is an answer.
    pub(super) fn note(&self, call: &TitleCall) {
        let state = match call.outcome {
            Ok(()) | Err(TitleFailure::Rejected | TitleFailure::Truncated) => ModelState::Answers,
            Err(failure) => ModelState::Fails(failure),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Asks for one title, and says in the log what came of it.
pub(super) async fn run(titles: &Inner) {
    let request = TitleRequest {
        instruction: prompt::INSTRUCTION.to_owned(),
        input: prompt::delimited("message", MESSAGE),
        max_tokens: MAX_TOKENS,
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
            remedy(*failure, error.status)
        ),
    }
    let call = TitleCall {
        model,
        outcome: outcome.map_err(|(failure, _)| failure),
        usage: usage.unwrap_or_default(),
        duration: started.elapsed(),
    };
    titles.health.note(&call);
    titles.metrics.called(NOBODY, &call);
    if call.usage != Usage::default()
        && let Err(error) = titles.db.store_title_call(call).await
    {
        error.log();
    }
}

/// What an operator does about a model that does not answer.
fn remedy(failure: TitleFailure, status: Option<u16>) -> &'static str {
    match failure {
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
        TitleFailure::Unavailable if status.is_some() => {
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
        | TitleFailure::Abandoned => {
            "What answers does not speak OpenAI's Chat Completions: check --openai-base-url (OPENAI_BASE_URL)"
        }
    }
}
