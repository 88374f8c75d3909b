//! One reply: history, model, deltas, row, end. In that order: no reader hears the end before the row
//! is stored.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{Chat, follow::stored};
use crate::{
    conversation::{Conversation, Message, Owner, Role, Usage},
    db::{Fault, ReplyCost, ReplyOutcome, ReplyState, Turn},
    error::{Error, Result, innermost},
    events::{ReplyEnd, ReplyLog, RunGuard, run::Outcome},
    llm::{
        self, Finish, ModelError, ModelErrorKind, ReplyChunk, ReplyRequest, ReplyStream, Speaker,
    },
    step::{Step, step},
    telemetry::{SPANS, span},
};

/// Calls for one reply: the first and two more, none once text has come.
const ATTEMPTS: u32 = 3;

/// The pause before another call when the provider names none, and the longest one it may name.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long storing the end is tried, and how long one try may take.
const STORE_FOR: Duration = Duration::from_secs(60);
const STORE_WITHIN: Duration = Duration::from_secs(15);

/// How long a server that has no time left tries still.
const LAST_TRY: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Written {
    text: String,
    response_id: Option<String>,
    usage: Option<Usage>,
}

/// Writes the reply to the message, stores it and ends its run. It is a part of the trace of
/// whoever calls, from the call on.
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
    // Whatever cuts the writing short, what was written until then is there.
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
        // Whoever reads is told so, and another process closes it.
        () = out_of_time(&chat) => Err(Error::ShuttingDown),
    };
    if let Some(usage) = written.usage {
        // A reply that could not be stored has cost the same.
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
        Ok(None) => match kept(&chat, &owner, &turn).await {
            Ok(Some(end)) => (end.text, end.outcome),
            // Deleted: what was written is nowhere, so it is not complete.
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
        // It is all that there is.
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
        // Some models take no conversation that begins with their own words.
        .skip_while(|message| message.role == Role::Assistant)
        .map(|message| llm::Turn {
            speaker: match message.role {
                Role::User => Speaker::User,
                Role::Assistant => Speaker::Assistant,
            },
            text: with_files(message),
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
        if !is_worth_it || attempt == ATTEMPTS {
            return Err(client_error(failed));
        }
        tracing::debug!(conversation.id = %id, attempt, error = %failed, "reply call failed");
        sleep(failed.retry_after.unwrap_or(PAUSE).min(LONGEST_PAUSE)).await;
        attempt += 1;
    }
}

/// What a message says to the model: its text, and what is attached to it by name.
fn with_files(message: Message) -> String {
    let mut text = message.content;
    for file in &message.attachments {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("[attached: {}]", file.name));
    }
    text
}

/// Copies one stream of the model into the log.
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

/// Stores the end, again and again while the database is away or the server is busy. An end whose rows the database refuses
/// in every form is refused the next time too.
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
    let outcome = ReplyOutcome {
        state,
        text,
        failure,
    };
    let give_up = Instant::now() + STORE_FOR;
    let mut pause = Duration::from_millis(100);
    loop {
        let storing = chat.inner.db.finish_reply(owner, turn, outcome, cost);
        let stored = match timeout(STORE_WITHIN, storing).await {
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
                    "reply not stored yet"
                );
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            result => return result,
        }
    }
}

async fn out_of_time(chat: &Chat) {
    chat.inner.abort.cancelled().await;
    sleep(LAST_TRY).await;
}

/// What another node stored, which took this one for dead; `None` when the conversation is gone.
async fn kept(chat: &Chat, owner: &Owner, turn: &Turn) -> Result<Option<ReplyEnd>> {
    match chat
        .inner
        .db
        .conversation(owner, turn.conversation_id)
        .await
    {
        Ok(_) => stored(chat, owner, turn).await.map(Some),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn not_stored(text: String, error: Error) -> (String, Outcome) {
    error.log();
    (text, Outcome::Failed(error))
}

/// What a failed call means to the person who waits for the reply.
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
