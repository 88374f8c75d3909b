//! Following a reply, whether it is being written here, elsewhere, or was written long ago.

use std::sync::Arc;

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{Chat, elsewhere};
use crate::{
    conversation::{Message, MessageId, Owner},
    db::{ReplyState, Turn},
    error::{Error, ErrorCode, Result},
    events::{Read, ReplyEnd, ReplyEvent, ReplyLog, ReplyPlace, SoFar, run::Outcome},
};

/// A reply for one reader.
pub struct ReplyFollower {
    /// The message that is replied to.
    pub message_id: MessageId,
    /// The id that the reply's message has, or will have.
    pub reply_id: MessageId,
    /// Whether another node writes it: it goes on when this one ends.
    pub is_elsewhere: bool,
    /// What there is, what follows, and the end.
    pub events: BoxStream<'static, ReplyEvent>,
}

impl ReplyFollower {
    pub(super) fn running(run: Arc<ReplyLog>, after: Option<ReplyPlace>) -> Self {
        Self {
            message_id: run.of().message,
            reply_id: run.of().reply,
            is_elsewhere: false,
            events: run.follow(after.map(bytes)).boxed(),
        }
    }

    pub(super) fn elsewhere(
        chat: &Chat,
        owner: &Owner,
        turn: Turn,
        after: Option<ReplyPlace>,
    ) -> Self {
        Self {
            message_id: turn.message_id,
            reply_id: turn.reply_id,
            is_elsewhere: true,
            events: elsewhere::follow(chat, owner, turn, after.map(bytes)).boxed(),
        }
    }

    /// A reply that is over.
    pub(super) fn stored(turn: &Turn, message: Option<Message>, after: Option<ReplyPlace>) -> Self {
        let end = stored_end(turn, message);
        let place = match after {
            Some(ReplyPlace::End) => Some(end.text.len()),
            after => after.map(bytes),
        };
        let read = Read::of(&end.text, place.unwrap_or_default(), true);
        let so_far = SoFar::new(read, place);
        let events = [ReplyEvent::SoFar(so_far), ReplyEvent::Ended(Arc::new(end))];
        Self {
            message_id: turn.message_id,
            reply_id: turn.reply_id,
            is_elsewhere: false,
            events: stream::iter(events).boxed(),
        }
    }
}

/// Whoever has heard of an end that was not stored is told how it ended after all.
fn bytes(place: ReplyPlace) -> usize {
    match place {
        ReplyPlace::Behind(bytes) => bytes,
        ReplyPlace::End => usize::MAX,
    }
}

/// How a reply ended, by its rows.
pub(super) async fn stored(chat: &Chat, owner: &Owner, turn: &Turn) -> Result<ReplyEnd> {
    let db = &chat.inner.db;
    let now = db.find_turn(owner, turn.message_id).await?;
    let message = db.find_message(owner, turn.reply_id).await?;
    Ok(stored_end(now.as_ref().unwrap_or(turn), message))
}

fn stored_end(turn: &Turn, message: Option<Message>) -> ReplyEnd {
    let outcome = match (turn.reply, turn.failure) {
        (ReplyState::Completed, _) => Outcome::Completed,
        (_, Some(code)) => Outcome::Failed(failed_before(code)),
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

/// The error that a stored code stands for; its cause was logged when it happened.
fn failed_before(code: ErrorCode) -> Error {
    let cause = "an earlier attempt failed; see its log entry".into();
    match code {
        ErrorCode::ModelRateLimited => Error::ModelRateLimited(cause),
        ErrorCode::ModelMisconfigured => Error::ModelMisconfigured(cause),
        ErrorCode::ModelUnavailable => Error::ModelUnavailable(cause),
        ErrorCode::DatabaseUnavailable => Error::Database(cause),
        _ => Error::Internal(cause),
    }
}
