//! A reply being written, as the subscription `reply` tells it.

use std::sync::Arc;

use async_graphql::{Enum, ID, SimpleObject, Union};
use futures_util::{Stream, StreamExt, stream};

use crate::{
    chat::ReplyFollower,
    events::{self, ReplyEnd, run::Outcome},
};

/// One step of a reply.
#[derive(Union)]
pub(super) enum ReplyEvent {
    SoFar(ReplySoFar),
    Delta(ReplyDelta),
    Ended(ReplyEnded),
}

/// What had been written when the subscription began; always the first event, possibly empty.
#[derive(SimpleObject)]
pub(super) struct ReplySoFar {
    /// The id that the reply's message has, or will have.
    message_id: ID,
    /// The text so far.
    text: String,
}

/// More text, to be put behind what there is.
#[derive(SimpleObject)]
pub(super) struct ReplyDelta {
    /// The id that the reply's message will have.
    message_id: ID,
    /// The text to add.
    text: String,
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

/// The reply so far, its deltas, its end.
pub(super) fn events(reply: ReplyFollower) -> impl Stream<Item = ReplyEvent> + Send + 'static {
    let message_id = ID::from(reply.reply_id.to_string());
    let so_far = ReplyEvent::SoFar(ReplySoFar {
        message_id: message_id.clone(),
        text: reply.so_far,
    });
    let following = reply.events.map(move |event| match event {
        events::ReplyEvent::Delta(text) => ReplyEvent::Delta(ReplyDelta {
            message_id: message_id.clone(),
            text: text.as_ref().to_owned(),
        }),
        events::ReplyEvent::Ended(end) => ReplyEvent::Ended(ended(message_id.clone(), end)),
    });
    stream::iter([so_far]).chain(following)
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
