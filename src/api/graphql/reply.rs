//! The events of the subscription `reply`.

use std::sync::Arc;

use async_graphql::{Enum, ID, SimpleObject, Union};
use futures_util::{Stream, StreamExt};

use crate::{
    chat::ReplyFollower,
    events::{self, ReplyCursor, ReplyEnd, run::Outcome},
};

/// One step of a reply.
#[derive(Union)]
pub(super) enum ReplyEvent {
    SoFar(ReplySoFar),
    Delta(ReplyDelta),
    Ended(ReplyEnded),
}

/// What had been written when the subscription began; always the first event, possibly empty. Comes
/// again, not recovered, should what was told be more than what was kept.
#[derive(SimpleObject)]
pub(super) struct ReplySoFar {
    /// The id that the reply's message has, or will have.
    message_id: ID,
    /// The text: what follows `after` when `recovered` is true, to be put behind what there is; else
    /// all of it, in place of what there is.
    text: String,
    /// Whether the text goes on where `after` was.
    recovered: bool,
    /// The place behind the text, for `after`.
    cursor: String,
}

/// More text, to be put behind what there is.
#[derive(SimpleObject)]
pub(super) struct ReplyDelta {
    /// The id that the reply's message will have.
    message_id: ID,
    /// The text to add.
    text: String,
    /// The place behind the text, for `after`.
    cursor: String,
}

/// The end of the reply; always the last event.
#[derive(SimpleObject)]
pub(super) struct ReplyEnded {
    /// The id of the reply's message.
    message_id: ID,
    /// How it ended.
    outcome: ReplyOutcome,
    /// The whole text, as stored; empty when nothing was written, and then no message is stored.
    text: String,
    /// Why it failed; null when it did not.
    error: Option<ReplyError>,
}

/// How a reply ended.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum ReplyOutcome {
    /// It is whole.
    Completed,
    /// It was stopped or ran into a limit.
    Incomplete,
    /// It broke; the text is what had come until then.
    Failed,
}

/// Why a reply failed.
#[derive(SimpleObject)]
pub(super) struct ReplyError {
    /// One of the codes that errors carry in `extensions.code`.
    code: String,
    /// What happened, for people.
    message: String,
}

/// The events of a reply: snapshot, deltas, end.
pub(super) fn events(reply: ReplyFollower) -> impl Stream<Item = ReplyEvent> + Send + 'static {
    let message_id = ID::from(reply.reply_id.to_string());
    let cursor = move |length| ReplyCursor::at(reply.message_id, length).to_string();
    reply.events.map(move |event| {
        let message_id = message_id.clone();
        match event {
            events::ReplyEvent::SoFar(so_far) => ReplyEvent::SoFar(ReplySoFar {
                message_id,
                text: so_far.text.as_ref().to_owned(),
                recovered: so_far.recovered,
                cursor: cursor(so_far.length),
            }),
            events::ReplyEvent::Delta(delta) => ReplyEvent::Delta(ReplyDelta {
                message_id,
                text: delta.text.as_ref().to_owned(),
                cursor: cursor(delta.length),
            }),
            events::ReplyEvent::Ended(end) => ReplyEvent::Ended(ended(message_id, end)),
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
