//! The end of a reply, read from its rows.

use super::Chat;
use crate::{
    conversation::{Message, Owner},
    db::{ReplyState, Turn},
    error::{Error, ErrorCode, Result},
    events::{ReplyEnd, run::Outcome},
};

/// Reads the end of a reply from its rows.
pub(super) async fn load_end(chat: &Chat, owner: &Owner, turn: &Turn) -> Result<ReplyEnd> {
    let db = &chat.inner.db;
    let newer = db.find_turn(owner, turn.message_id).await?;
    let message = db.find_message(owner, turn.reply_id).await?;
    Ok(stored_end(newer.as_ref().unwrap_or(turn), message))
}

/// The end of a reply from a row that was read already.
pub(super) fn stored_end(turn: &Turn, message: Option<Message>) -> ReplyEnd {
    let outcome = match (turn.reply, turn.failure) {
        (ReplyState::Completed, _) => Outcome::Completed,
        (_, Some(code)) => Outcome::Failed(stored_error(code)),
        (_, None) => Outcome::Incomplete,
    };
    ReplyEnd {
        text: message.map(|message| message.content).unwrap_or_default(),
        response_id: None,
        usage: None,
        outcome,
        reason: None,
    }
}

/// The error for a stored code. Its cause was logged when it happened.
fn stored_error(code: ErrorCode) -> Error {
    let cause = "an earlier attempt failed; see its log entry".into();
    match code {
        ErrorCode::ModelRateLimited => Error::ModelRateLimited(cause),
        ErrorCode::ModelMisconfigured => Error::ModelMisconfigured(cause),
        ErrorCode::ModelUnavailable => Error::ModelUnavailable(cause),
        ErrorCode::DatabaseUnavailable => Error::Database(cause),
        _ => Error::Internal(cause),
    }
}
