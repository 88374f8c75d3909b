//! Writes one reply, in this order: read the history, call the model, append deltas, store the row, end the log.
//!
//! The row is stored before the log ends, so a reader that receives the end finds the row.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{Chat, stored_end::load_end};
use crate::{
    conversation::{Conversation, Message, Owner, Role, Usage},
    db::{Fault, FinishedReply, ReplyCost, ReplyState, Turn},
    error::{Error, Result, innermost},
    events::{ReplyEnd, ReplyLog, RunGuard, run::Outcome},
    llm::{
        self, Finish, ModelError, ModelErrorKind, ReplyChunk, ReplyRequest, ReplyStream, Speaker,
    },
    step::{Step, step},
    telemetry::{SPANS, span},
};

/// Model calls for one reply. After the first text there are no retries.
const MAX_ATTEMPTS: u32 = 3;

/// The delay before a retry if the provider sends no `retry-after`.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The longest `retry-after` that is honoured.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// How long storing the end is retried.
const STORE_DEADLINE: Duration = Duration::from_secs(60);

/// How long one attempt to store the end may take.
const STORE_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long storing may still take after the shutdown deadline.
const SHUTDOWN_STORE_GRACE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Written {
    text: String,
    response_id: Option<String>,
    usage: Option<Usage>,
}

/// Writes the reply to the message, stores it and ends its run. The span is a child of the caller's span, because it is
/// made when this function is called, not when the future is polled.
pub(super) fn run(
    chat: Chat,
    owner: Owner,
    turn: Turn,
    message: Message,
    run: RunGuard,
) -> impl Future<Output = ()> + Send + 'static {
    let id = turn.conversation_id;
    let span = tracing::info_span!(target: SPANS, "turn", conversation.id = %id);
    write_and_store(chat, owner, turn, message, run).instrument(span)
}

async fn write_and_store(chat: Chat, owner: Owner, turn: Turn, message: Message, run: RunGuard) {
    let started = Instant::now();
    let log = run.log();
    let mut written = Written::default();
    let deadline = started + chat.inner.settings.reply_deadline;
    let mut reason = None;
    // `written` outlives the write, so a stopped, aborted or late reply keeps its partial text.
    let outcome = tokio::select! {
        biased;
        () = log.stopped().cancelled() => Outcome::Incomplete,
        () = chat.inner.abort.cancelled() => Outcome::Incomplete,
        () = sleep_until(deadline) => Outcome::Incomplete,
        result = write(&chat, &owner, message, log, &mut written, started) => match result {
            Ok(Finish::Stop) => Outcome::Completed,
            Ok(finish) => {
                reason = Some(finish.into());
                Outcome::Incomplete
            }
            Err(error) => Outcome::Failed(error),
        },
    };
    if let Outcome::Failed(error) = &outcome {
        error.log();
    }
    let stored = tokio::select! {
        stored = store(&chat, &owner, &turn, &outcome, &written, started) => stored,
        // Readers receive SHUTTING_DOWN. Another node closes the reply when its lease expires.
        () = shutdown_grace_over(&chat) => Err(Error::ShuttingDown),
    };
    if let Some(usage) = written.usage {
        // Tokens were used even if the reply could not be stored.
        let agent = match &stored {
            Ok(Some(conversation)) => conversation.active_agent.as_str(),
            _ => "",
        };
        let model = chat.inner.model.chat_model();
        chat.inner.metrics.used(&owner.tenant, agent, model, usage);
    }
    let (text, outcome) = match stored {
        Ok(Some(conversation)) => {
            step(Step::ReplyCommitted, turn.conversation_id);
            chat.inner.events.publish(conversation);
            step(Step::ReplyPublished, turn.conversation_id);
            (written.text, outcome)
        }
        Ok(None) if written.text.is_empty() => (written.text, outcome),
        Ok(None) => match stored_by_another_node(&chat, &owner, &turn).await {
            Ok(Some(end)) => (end.text, end.outcome),
            // The conversation was deleted: the text is not stored, so the reply is not complete.
            Ok(None) if matches!(outcome, Outcome::Completed) => {
                (written.text, Outcome::Incomplete)
            }
            Ok(None) => (written.text, outcome),
            Err(error) => not_stored(written.text, error),
        },
        Err(error) => not_stored(written.text, error),
    };
    let ended: &'static str = match &outcome {
        Outcome::Completed => "completed",
        Outcome::Incomplete => "incomplete",
        Outcome::Failed(_) => "failed",
    };
    let span = Span::current();
    span.set_attribute("titlecast.outcome", ended);
    if let Outcome::Failed(error) = &outcome {
        span::failed(&span, error.code().as_str());
    }
    chat.inner.metrics.ended(ended, started.elapsed());
    tracing::info!(
        conversation.id = %turn.conversation_id,
        duration_ms = started.elapsed().as_millis() as u64,
        outcome = ended,
        reason,
        "reply ended"
    );
    log.end(ReplyEnd {
        text,
        response_id: written.response_id,
        usage: written.usage,
        outcome,
        reason,
    });
}

async fn write(
    chat: &Chat,
    owner: &Owner,
    message: Message,
    log: &ReplyLog,
    written: &mut Written,
    started: Instant,
) -> Result<Finish> {
    let id = message.conversation_id;
    let history = match message.is_first() {
        // No earlier messages to read.
        true => vec![message],
        false => {
            let budget = chat.inner.settings.history_budget_chars;
            chat.inner
                .db
                .history(owner, id, message.position, budget)
                .await?
        }
    };
    let history = history
        .into_iter()
        // Some models reject a history that begins with an assistant message.
        .skip_while(|message| message.role == Role::Assistant)
        .map(|message| llm::ChatMessage {
            speaker: match message.role {
                Role::User => Speaker::User,
                Role::Assistant => Speaker::Assistant,
            },
            text: prompt_text(message),
        })
        .collect();
    let request = ReplyRequest { history };
    let mut attempt = 1;
    loop {
        let failed = match chat.inner.model.reply(request.clone()).await {
            Ok(stream) => match copy(chat, stream, log, written, started).await {
                Ok(finish) => return Ok(finish),
                Err(error) => error,
            },
            Err(error) => error,
        };
        let is_worth_it = failed.is_worth_another_try() && written.text.is_empty();
        if !is_worth_it || attempt == MAX_ATTEMPTS {
            return Err(client_error(failed));
        }
        tracing::debug!(conversation.id = %id, attempt, error = %failed, "reply call failed");
        sleep(
            failed
                .retry_after
                .unwrap_or(RETRY_DELAY)
                .min(MAX_RETRY_DELAY),
        )
        .await;
        attempt += 1;
    }
}

/// A message as the model sees it: the text, and the names of the attachments.
fn prompt_text(message: Message) -> String {
    let mut text = message.content;
    for file in &message.attachments {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("[attached: {}]", file.name));
    }
    text
}

/// Copies one model stream into the log.
async fn copy(
    chat: &Chat,
    mut stream: ReplyStream,
    log: &ReplyLog,
    written: &mut Written,
    started: Instant,
) -> Result<Finish, ModelError> {
    while let Some(chunk) = stream.next().await {
        match chunk? {
            ReplyChunk::Started { response_id, .. } => written.response_id = Some(response_id),
            ReplyChunk::Usage(usage) => written.usage = Some(usage),
            ReplyChunk::Delta(delta) => {
                if written.text.is_empty() {
                    chat.inner.metrics.first_text(started.elapsed());
                }
                written.text.push_str(&delta);
                log.append(&delta);
            }
            ReplyChunk::Finished(finish) => return Ok(finish),
        }
    }
    Err(ModelError::new(ModelErrorKind::Interrupted))
}

/// Stores the end, and retries while the database is unavailable or busy. A row that the database rejects is not
/// retried: it would be rejected again.
async fn store(
    chat: &Chat,
    owner: &Owner,
    turn: &Turn,
    outcome: &Outcome,
    written: &Written,
    started: Instant,
) -> Result<Option<Conversation>> {
    let text = written.text.as_str();
    let cost = written.usage.map(|usage| ReplyCost {
        model: chat.inner.model.chat_model(),
        usage,
    });
    let (state, failure) = match outcome {
        Outcome::Completed => (ReplyState::Completed, None),
        Outcome::Incomplete => (ReplyState::Incomplete, None),
        Outcome::Failed(error) if text.is_empty() => (ReplyState::Failed, Some(error.code())),
        Outcome::Failed(error) => (ReplyState::Incomplete, Some(error.code())),
    };
    let outcome = FinishedReply {
        state,
        text,
        failure,
    };
    let give_up = Instant::now() + STORE_DEADLINE;
    let mut pause = Duration::from_millis(100);
    loop {
        let storing = chat.inner.db.finish_reply(owner, turn, outcome, cost);
        let stored = match timeout(STORE_ATTEMPT_TIMEOUT, storing).await {
            Ok(stored) => stored,
            Err(late) => Err(Error::Database(late.into())),
        };
        match stored {
            Err(error)
                if Fault::of_error(&error) != Some(Fault::Row)
                    && Instant::now() + pause < give_up
                    && !chat.inner.abort.is_cancelled() =>
            {
                tracing::warn!(
                    conversation.id = %turn.conversation_id,
                    duration_ms = started.elapsed().as_millis() as u64,
                    error.cause = %innermost(&error),
                    "cannot store the reply yet; retrying"
                );
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            result => return result,
        }
    }
}

/// Completes when the shutdown deadline and the grace for a last attempt are over.
async fn shutdown_grace_over(chat: &Chat) {
    chat.inner.abort.cancelled().await;
    sleep(SHUTDOWN_STORE_GRACE).await;
}

/// The end that another node stored after this node's lease expired; `None` if the conversation was deleted.
async fn stored_by_another_node(
    chat: &Chat,
    owner: &Owner,
    turn: &Turn,
) -> Result<Option<ReplyEnd>> {
    match chat
        .inner
        .db
        .conversation(owner, turn.conversation_id)
        .await
    {
        Ok(_) => load_end(chat, owner, turn).await.map(Some),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn not_stored(text: String, error: Error) -> (String, Outcome) {
    error.log();
    (text, Outcome::Failed(error))
}

/// The client-facing error for a failed model call.
fn client_error(error: ModelError) -> Error {
    match error.kind {
        ModelErrorKind::RateLimited => Error::ModelRateLimited(Box::new(error)),
        ModelErrorKind::Unauthorized
        | ModelErrorKind::NotFound
        | ModelErrorKind::NoEndpoint
        | ModelErrorKind::QuotaExceeded
        | ModelErrorKind::InvalidRequest => Error::ModelMisconfigured(Box::new(error)),
        ModelErrorKind::Timeout
        | ModelErrorKind::Connection
        | ModelErrorKind::Unavailable
        | ModelErrorKind::Malformed
        | ModelErrorKind::Interrupted => Error::ModelUnavailable(Box::new(error)),
    }
}
