//! The end of a reply, read from its rows.

use chrono::{DateTime, Utc};

use super::{Chat, external::ABANDONED, reply::EXTERNAL};
use crate::{
    budget::until_day_after,
    conversation::{Message, MessageStatus, Owner, ReplyOutcome, Usage},
    db::{ReplyState, Turn},
    error::{Error, ErrorCode, Result},
    events::{ReplyEnd, run::Outcome},
    llm::Finish,
};

/// Reads the end of a reply from its rows.
pub(super) async fn load_end(chat: &Chat, owner: &Owner, turn: &Turn) -> Result<ReplyEnd> {
    let db = &chat.inner.db;
    let newer = db.find_turn(owner, turn.id).await?;
    let message = db.find_message(owner, turn.reply_id).await?;
    let usage = usage(chat, owner, turn).await?;
    Ok(ReplyEnd {
        usage,
        ..stored_end(newer.as_ref().unwrap_or(turn), message)
    })
}

/// The tokens of a reply that has ended, if the provider reported them.
pub(super) async fn usage(chat: &Chat, owner: &Owner, turn: &Turn) -> Result<Option<Usage>> {
    let costs = chat.inner.db.reply_costs(owner, &[turn.reply_id]).await?;
    Ok(costs.into_values().next().map(|(_, usage)| usage))
}

/// The end of a reply, from a row that was already read.
pub(super) fn stored_end(turn: &Turn, message: Option<Message>) -> ReplyEnd {
    // The turn stores a code that earlier versions know; the message stores the exact one.
    let exact = message
        .as_ref()
        .and_then(|message| message.failure.as_deref());
    let failure = exact.map(ErrorCode::named).or(turn.failure);
    let ended_at = message
        .as_ref()
        .map_or(turn.created_at, |message| message.created_at);
    let outcome = match (turn.reply, failure) {
        (ReplyState::Completed, _) => Outcome::Completed,
        (_, Some(code)) => Outcome::Failed(stored_error(code, ended_at)),
        (_, None) => match message.as_ref().and_then(|message| message.outcome) {
            Some(ReplyOutcome::Stopped) => Outcome::Stopped,
            _ => Outcome::Incomplete,
        },
    };
    let (text, model) = message
        .map(|message| (message.content, message.model))
        .unwrap_or_default();
    ReplyEnd {
        text,
        response_id: None,
        usage: None,
        model,
        outcome,
        reason: turn.reason.as_deref().map(stored_reason),
    }
}

/// The end of a reply, rebuilt from its message and its turn's reason, for a replay.
pub fn replayed_end(reply: Message, usage: Option<Usage>, reason: Option<&str>) -> ReplyEnd {
    let failure = reply.failure.as_deref().map(ErrorCode::named);
    let outcome = match (failure, reply.outcome, reply.status) {
        (Some(code), ..) => Outcome::Failed(stored_error(code, reply.created_at)),
        (None, Some(ReplyOutcome::Stopped), _) => Outcome::Stopped,
        (None, _, MessageStatus::Complete) => Outcome::Completed,
        (None, ..) => Outcome::Incomplete,
    };
    ReplyEnd {
        text: reply.content,
        response_id: None,
        usage,
        model: reply.model,
        outcome,
        reason: reason.map(stored_reason),
    }
}

/// Parses a stored reason; `unknown` if a newer version stored it.
fn stored_reason(stored: &str) -> &'static str {
    match [EXTERNAL, ABANDONED].iter().find(|known| **known == stored) {
        Some(known) => known,
        None => stored.parse().unwrap_or(Finish::Unknown).into(),
    }
}

/// The error for the stored code of a reply that ended at `ended_at`. Its cause was logged at that time.
pub fn stored_error(code: ErrorCode, ended_at: DateTime<Utc>) -> Error {
    let cause = "an earlier attempt failed; see its log entry".into();
    match code {
        ErrorCode::ModelRateLimited => Error::ModelRateLimited(cause),
        ErrorCode::ModelMisconfigured => Error::ModelMisconfigured(cause),
        ErrorCode::ModelUnavailable => Error::ModelUnavailable(cause),
        ErrorCode::ContextTooLong => Error::ContextTooLong(cause),
        ErrorCode::DatabaseUnavailable => Error::Database(cause),
        ErrorCode::BudgetExceeded => Error::BudgetExceeded {
            retry_after: until_day_after(ended_at, Utc::now()),
        },
        _ => Error::Internal(cause),
    }
}
