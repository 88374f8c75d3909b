//! The events of the subscription `reply`.

use std::{future::ready, sync::Arc};

use async_graphql::{ComplexObject, Context, Enum, ID, SimpleObject, Union};
use futures_util::{Stream, StreamExt};

use super::{
    errors::Result,
    objects::{TokenUsage, cost_of},
    parts::MessagePart,
};
use crate::{
    chat::ReplyFollower,
    conversation::{MessageId, Part, Usage},
    error::Error,
    events::{Place, ReplyCursor, ReplyEnd, ReplyLogEvent, run::Outcome},
};

/// One event of a reply.
#[derive(Union)]
pub(super) enum ReplyEvent {
    SoFar(ReplySoFar),
    Delta(ReplyDelta),
    Part(ReplyPart),
    Reasoning(ReplyReasoning),
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
    /// With `parts: true`: the parts that you do not have, or that may have grown. Those of an index that you have replace
    /// yours; without `recovered` they are all parts.
    parts: Vec<IndexedPart>,
    /// The cursor after this text, for `after`.
    cursor: String,
}

/// A part with its number in the reply.
#[derive(SimpleObject)]
pub(super) struct IndexedPart {
    /// The number of the part. Numbers grow, with gaps.
    index: i32,
    /// The part.
    part: MessagePart,
}

/// A part that began or changed; only with `parts: true`. It replaces the part of the same index.
#[derive(SimpleObject)]
pub(super) struct ReplyPart {
    /// The id of the reply's message.
    message_id: ID,
    /// The number of the part.
    index: i32,
    /// The part.
    part: MessagePart,
    /// The cursor after this part, for `after`.
    cursor: String,
}

/// More reasoning; append it to the part of this index. Only with `parts: true`.
#[derive(SimpleObject)]
pub(super) struct ReplyReasoning {
    /// The id of the reply's message.
    message_id: ID,
    /// The number of the part.
    index: i32,
    /// The text to add.
    text: String,
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
#[graphql(complex)]
pub(super) struct ReplyEnded {
    #[graphql(skip)]
    reply: MessageId,
    #[graphql(skip)]
    known_usage: Option<Usage>,
    /// The id of the reply's message.
    message_id: ID,
    /// How it ended.
    outcome: ReplyOutcome,
    /// The full text, as stored.
    text: String,
    /// The model that wrote it; of a failed reply, the last model that was asked. Null if unknown.
    model: Option<String>,
    /// Why it failed; null if it did not.
    error: Option<ReplyError>,
    /// Why it is incomplete; null if it is not, or if the reason is unknown.
    reason: Option<IncompleteReason>,
}

/// Why a reply is incomplete.
#[derive(Clone, Copy, PartialEq, Eq, Enum, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub(super) enum IncompleteReason {
    /// It was stopped.
    Stopped,
    /// The model reached its token limit, or the text reached its maximum length.
    Length,
    /// The provider's content filter stopped it.
    ContentFilter,
    /// The model wrote no text: only reasoning, tool calls or the like.
    NoText,
    /// A part of the answer could not be read.
    Unreadable,
    /// The agent is external: another program writes its replies.
    ExternalAgent,
    /// The model stopped for another reason.
    Unknown,
}

#[ComplexObject]
impl ReplyEnded {
    /// The tokens of the reply, if the provider reported them.
    async fn usage(&self, ctx: &Context<'_>) -> Result<Option<TokenUsage>> {
        let usage = match self.known_usage {
            Some(usage) => Some(usage),
            None => cost_of(ctx, self.reply).await?.map(|(_, usage)| usage),
        };
        Ok(usage.map(TokenUsage::from))
    }
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

impl ReplyError {
    pub(super) fn of(error: &Error) -> Self {
        Self {
            code: error.code().as_str().into(),
            message: error.to_string(),
        }
    }
}

/// The events of a reply: snapshot, text, end; also parts, if the client requested them.
pub(super) fn events(
    reply: ReplyFollower,
    with_parts: bool,
) -> impl Stream<Item = ReplyEvent> + Send + 'static {
    let mut encoder = Encoder {
        reply: reply.reply_id,
        turn: reply.turn_id,
        place: Place::default(),
        with_parts,
    };
    reply
        .events
        .filter_map(move |event| ready(encoder.encode(event)))
}

/// Encodes the events for one reader and tracks its position.
struct Encoder {
    reply: MessageId,
    turn: MessageId,
    place: Place,
    with_parts: bool,
}

impl Encoder {
    /// Returns `None` for an event that the client did not request.
    fn encode(&mut self, event: ReplyLogEvent) -> Option<ReplyEvent> {
        let message_id = ID::from(self.reply.to_string());
        Some(match event {
            ReplyLogEvent::Snapshot(snapshot) => {
                let parts = snapshot.parts.iter().filter(|_| self.with_parts);
                let parts: Vec<IndexedPart> = parts.map(|part| part.as_ref().into()).collect();
                let last = snapshot.parts.last().filter(|_| self.with_parts);
                let last = last.map(|part| part.index);
                self.place = Place {
                    bytes: snapshot.length,
                    part: last.or(self.place.part.filter(|_| snapshot.recovered)),
                };
                ReplyEvent::SoFar(ReplySoFar {
                    message_id,
                    text: snapshot.text.as_ref().to_owned(),
                    recovered: snapshot.recovered,
                    parts,
                    cursor: self.cursor(),
                })
            }
            ReplyLogEvent::Delta(delta) => {
                self.place.bytes = delta.length;
                ReplyEvent::Delta(ReplyDelta {
                    message_id,
                    text: delta.text.as_ref().to_owned(),
                    cursor: self.cursor(),
                })
            }
            ReplyLogEvent::Part(part) if self.with_parts => {
                self.place.part = self.place.part.max(Some(part.index));
                let IndexedPart { index, part } = part.as_ref().into();
                ReplyEvent::Part(ReplyPart {
                    message_id,
                    index,
                    part,
                    cursor: self.cursor(),
                })
            }
            ReplyLogEvent::Reasoning(delta) if self.with_parts => {
                ReplyEvent::Reasoning(ReplyReasoning {
                    message_id,
                    index: index(delta.index),
                    text: delta.text.as_ref().to_owned(),
                    cursor: self.cursor(),
                })
            }
            ReplyLogEvent::Part(_) | ReplyLogEvent::Reasoning(_) => return None,
            ReplyLogEvent::Ended(end) => ReplyEvent::Ended(ended(self.reply, end)),
        })
    }

    fn cursor(&self) -> String {
        ReplyCursor::at(self.turn, self.place).to_string()
    }
}

impl From<&Part> for IndexedPart {
    fn from(part: &Part) -> Self {
        Self {
            index: index(part.index),
            part: part.content.clone().into(),
        }
    }
}

fn index(index: usize) -> i32 {
    // A reply has at most a few hundred parts.
    index.try_into().unwrap_or(i32::MAX)
}

fn ended(reply: MessageId, end: Arc<ReplyEnd>) -> ReplyEnded {
    let (outcome, error) = match &end.outcome {
        Outcome::Completed => (ReplyOutcome::Completed, None),
        Outcome::Stopped | Outcome::Incomplete => (ReplyOutcome::Incomplete, None),
        Outcome::Failed(error) => (ReplyOutcome::Failed, Some(ReplyError::of(error))),
    };
    ReplyEnded {
        reply,
        known_usage: end.usage,
        message_id: reply.to_string().into(),
        outcome,
        text: end.text.clone(),
        model: end.model.clone(),
        error,
        reason: end
            .incomplete_reason()
            .map(|reason| reason.parse().unwrap_or(IncompleteReason::Unknown)),
    }
}
