//! One title: ask the model, judge the answer, store it if there is none yet, tell.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{Inner, clean, prompt};
use crate::{
    conversation::{Conversation, ConversationId, Owner, Title, TitleFailure},
    error::Result,
    llm::{Finish, ModelError, ModelErrorKind, TitleOutput, TitleRequest},
};

/// Calls for one title: the first and one more try.
const ATTEMPTS: u32 = 2;

/// The first call's cap on visible and reasoning tokens together; a cut-off answer doubles it.
const MAX_TOKENS: u32 = 512;

/// The pause before the second call when the provider names none.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes the title of one conversation. Every outcome ends here: the caller has nothing to wait for
/// and nothing to handle.
pub(super) async fn run(titles: &Inner, owner: &Owner, id: ConversationId, message: &str) {
    // The semaphore is never closed.
    let Ok(_permit) = titles.permits.acquire().await else {
        return;
    };
    let started = Instant::now();
    let made = match titles.breaker.refusal(started.into_std()) {
        Some(failure) => Err(failure),
        None => {
            let until = started + titles.settings.deadline;
            timeout_at(until, make(titles, id, message, until))
                .await
                .unwrap_or(Err(TitleFailure::Timeout))
        }
    };
    let duration_ms = started.elapsed().as_millis() as u64;
    match store(titles, owner, id, made).await {
        Ok(Some(conversation)) => {
            let failure = conversation.title_failure.map(TitleFailure::as_str);
            match failure {
                None => tracing::info!(conversation.id = %id, duration_ms, "title generated"),
                Some(reason) => {
                    tracing::warn!(conversation.id = %id, duration_ms, reason, "no title");
                }
            }
            titles.events.publish(conversation);
        }
        Ok(None) => {
            tracing::info!(conversation.id = %id, duration_ms, "title superseded or conversation gone");
        }
        // The row stays pending, which is what it is.
        Err(error) => error.log(),
    }
}

async fn store(
    titles: &Inner,
    owner: &Owner,
    id: ConversationId,
    made: Result<Title, TitleFailure>,
) -> Result<Option<Conversation>> {
    match made {
        Ok(title) => titles.db.store_generated_title(owner, id, &title).await,
        Err(failure) => titles.db.store_title_failure(owner, id, failure).await,
    }
}

/// Asks up to twice; the caller ends it at `until`.
async fn make(
    titles: &Inner,
    id: ConversationId,
    message: &str,
    until: Instant,
) -> Result<Title, TitleFailure> {
    let mut request = TitleRequest {
        instruction: prompt::INSTRUCTION,
        input: prompt::input(message),
        max_tokens: MAX_TOKENS,
    };
    let mut attempt = 1;
    loop {
        let (failure, pause) = match titles.model.title(request.clone()).await {
            Ok(output) => match judge(&output) {
                Ok(title) => return Ok(title),
                Err(failure) => (failure, Duration::ZERO),
            },
            Err(error) => {
                tracing::debug!(conversation.id = %id, attempt, %error, "title call failed");
                let failure = failure_of(&error);
                if is_final(error.kind) {
                    titles.breaker.open(failure, std::time::Instant::now());
                }
                if !error.kind.is_transient() {
                    return Err(failure);
                }
                (failure, error.retry_after.unwrap_or(PAUSE))
            }
        };
        // A pause that the deadline does not leave room for is a wait for nothing.
        if attempt == ATTEMPTS || Instant::now() + pause >= until {
            return Err(failure);
        }
        if failure == TitleFailure::Truncated {
            request.max_tokens *= 2;
        }
        sleep(pause).await;
        attempt += 1;
    }
}

fn judge(output: &TitleOutput) -> Result<Title, TitleFailure> {
    match output.finish {
        // Whatever came is cut off, and half a title is none.
        Finish::Length => Err(TitleFailure::Truncated),
        Finish::ContentFilter => Err(TitleFailure::Rejected),
        Finish::Stop => clean::clean(&output.text).map_err(|rejection| {
            tracing::debug!(%rejection, "title output rejected");
            TitleFailure::Rejected
        }),
    }
}

/// Whether the same call will fail for everyone until an operator acts.
fn is_final(kind: ModelErrorKind) -> bool {
    matches!(
        kind,
        ModelErrorKind::Unauthorized | ModelErrorKind::NotFound | ModelErrorKind::QuotaExceeded
    )
}

fn failure_of(error: &ModelError) -> TitleFailure {
    match error.kind {
        ModelErrorKind::Timeout => TitleFailure::Timeout,
        ModelErrorKind::RateLimited => TitleFailure::RateLimited,
        ModelErrorKind::QuotaExceeded => TitleFailure::QuotaExceeded,
        ModelErrorKind::Unauthorized => TitleFailure::Unauthorized,
        ModelErrorKind::NotFound => TitleFailure::ModelNotFound,
        ModelErrorKind::InvalidRequest => TitleFailure::InvalidRequest,
        ModelErrorKind::Malformed => TitleFailure::Rejected,
        ModelErrorKind::Connection | ModelErrorKind::Unavailable | ModelErrorKind::Interrupted => {
            TitleFailure::Unavailable
        }
    }
}
