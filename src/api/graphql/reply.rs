//! The events of the subscription `reply`.

use std::sync::Arc;

use async_graphql::{Enum, ID, SimpleObject, Union};
use futures_util::{Stream, StreamExt};

use crate::{
    chat::ReplyFollower,
    events::{self, ReplyCursor, ReplyEnd, run::Outcome},
};

/// One event of a reply.
#[derive(Union)]
pub(super) enum ReplyEvent {
    SoFar(ReplySoFar),
    Delta(ReplyDelta),
    Ended(ReplyEnded),
}

/// The text when the subscription began; always the first event, possibly empty. Sent again, with `recovered: false`,
/// if the stored text differs from the text that was sent.
#[derive(SimpleObject)]
pub(super) struct ReplySoFar {
    /// The id of the reply's message, assigned before it is stored.
    message_id: ID,
    /// The text. If `recovered` is true: the text after `after`; append it. Else the full text; it replaces what you
    /// have.
    text: String,
    /// Whether the text continues at `after`.
    recovered: bool,
    /// The cursor after this text, for `after`.
    cursor: String,
}

/// More text; append it.
#[derive(SimpleObject)]
pub(super) struct ReplyDelta {
    /// The id of the reply's message, assigned before it is stored.
    message_id: ID,
    /// The text to add.
    text: String,
    /// The cursor after this text, for `after`.
    cursor: String,
}

/// The end of the reply; always the last event.
#[derive(SimpleObject)]
pub(super) struct ReplyEnded {
    /// The id of the reply's message.
    message_id: ID,
    /// How it ended.
    outcome: ReplyOutcome,
    /// The full text, as stored. If it is empty, no message is stored.
    text: String,
    /// Why it failed; null if it did not.
    error: Option<ReplyError>,
}

/// How a reply ended.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum ReplyOutcome {
    /// The text is complete.
    Completed,
    /// The reply was stopped or reached a limit.
    Incomplete,
    /// The reply failed; the text is what was written up to then.
    Failed,
}

/// Why a reply failed.
#[derive(SimpleObject)]
pub(super) struct ReplyError {
    /// One of the codes that errors carry in `extensions.code`.
    code: String,
    /// A description for people.
    message: String,
}

/// The events of a reply: snapshot, deltas, end.
pub(super) fn events(reply: ReplyFollower) -> impl Stream<Item = ReplyEvent> + Send + 'static {
    let message_id = ID::from(reply.reply_id.to_string());
    let cursor = move |length| ReplyCursor::at(reply.message_id, length).to_string();
    reply.events.map(move |event| {
        let message_id = message_id.clone();
        match event {
            events::ReplyLogEvent::SoFar(so_far) => ReplyEvent::SoFar(ReplySoFar {
                message_id,
                text: so_far.text.as_ref().to_owned(),
                recovered: so_far.recovered,
                cursor: cursor(so_far.length),
            }),
            events::ReplyLogEvent::Delta(delta) => ReplyEvent::Delta(ReplyDelta {
                message_id,
                text: delta.text.as_ref().to_owned(),
                cursor: cursor(delta.length),
            }),
            events::ReplyLogEvent::Ended(end) => ReplyEvent::Ended(ended(message_id, end)),
        }
    })
}

fn ended(message_id: ID, end: Arc<ReplyEnd>) -> ReplyEnded {
    let (outcome, error) = match &end.outcome {
        Outcome::Completed => (ReplyOutcome::Completed, None),
        Outcome::Incomplete => (ReplyOutcome::Incomplete, None),
        Outcome::Failed(error) => {
            let error = ReplyError {
                code: error.code().as_str().into(),
                message: error.to_string(),
            };
            (ReplyOutcome::Failed, Some(error))
        }
    };
    ReplyEnded {
        message_id,
        outcome,
        text: end.text.clone(),
        error,
    }
}
