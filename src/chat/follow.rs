//! Following a reply, whether it is being written or was written long ago.

use std::sync::Arc;

use futures_util::{StreamExt, stream::BoxStream};

use crate::{
    conversation::{Message, MessageId},
    db::{ReplyState, Turn},
    error::{Error, ErrorCode},
    events::{ReplyEnd, ReplyEvent, ReplyLog, run::Outcome},
};

/// A reply for one reader: what is there, and what follows up to and with the end.
pub struct ReplyFollower {
    /// The id that the reply's message has, or will have.
    pub reply_id: MessageId,
    /// The text so far.
    pub so_far: String,
    /// What follows.
    pub events: BoxStream<'static, ReplyEvent>,
}

impl ReplyFollower {
    pub(super) fn running(run: Arc<ReplyLog>) -> Self {
        let reply_id = run.reply();
        let mut watch = run.watch();
        Self {
            reply_id,
            so_far: std::mem::take(&mut watch.so_far),
            events: watch.events().boxed(),
        }
    }

    /// A reply that no run of this process writes. One that the row calls running was cut off by the
    /// end of its process: it is incomplete.
    pub(super) fn stored(turn: &Turn, message: Option<Message>) -> Self {
        let text = message.map(|message| message.content).unwrap_or_default();
        let outcome = match (turn.reply, turn.failure) {
            (ReplyState::Completed, _) => Outcome::Completed,
            (_, Some(code)) => Outcome::Failed(failed_before(code)),
            (_, None) => Outcome::Incomplete,
        };
        let end = ReplyEnd {
            text: text.clone(),
            response_id: None,
            usage: None,
            outcome,
        };
        let end = ReplyEvent::Ended(Arc::new(end));
        Self {
            reply_id: turn.reply_id,
            so_far: text,
            events: futures_util::stream::iter([end]).boxed(),
        }
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
