//! Follows one reply: a running log of this node, a copy of another node's log, or a stored reply.

use std::sync::Arc;

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{Chat, remote, stored_end::stored_end};
use crate::{
    conversation::{Message, MessageId, Owner, Part, Usage},
    db::Turn,
    events::{Place, ReplyEnd, ReplyLog, ReplyLogEvent, ReplyOffset, ReplySlice, ReplySnapshot},
};

/// A reply for one reader.
pub struct ReplyFollower {
    /// The turn's id, which the reply's cursors contain.
    pub turn_id: MessageId,
    /// The id of the reply's message, assigned before it is stored.
    pub reply_id: MessageId,
    /// Whether another node writes it, so that it continues after this node stops.
    pub is_remote: bool,
    /// A snapshot, deltas, and the end.
    pub events: BoxStream<'static, ReplyLogEvent>,
}

impl ReplyFollower {
    pub(super) fn running(run: Arc<ReplyLog>, after: Option<ReplyOffset>) -> Self {
        Self {
            turn_id: run.ids().turn,
            reply_id: run.ids().reply,
            is_remote: false,
            events: run.follow(after.map(place)).boxed(),
        }
    }

    pub(super) fn remote(
        chat: &Chat,
        owner: &Owner,
        turn: Turn,
        after: Option<ReplyOffset>,
    ) -> Self {
        Self {
            turn_id: turn.id,
            reply_id: turn.reply_id,
            is_remote: true,
            events: remote::follow(chat, owner, turn, after.map(place)).boxed(),
        }
    }

    /// A reply that has ended, with its stored parts and token usage.
    pub(super) fn stored(
        turn: &Turn,
        message: Option<Message>,
        (parts, usage): (Vec<Part>, Option<Usage>),
        after: Option<ReplyOffset>,
    ) -> Self {
        let end = ReplyEnd {
            usage,
            ..stored_end(turn, message)
        };
        let after = match after {
            Some(ReplyOffset::End) => Some(Place {
                bytes: end.text.len(),
                part: Some(usize::MAX),
            }),
            after => after.map(place),
        };
        let read = ReplySlice::from_offset(&end.text, after.unwrap_or_default().bytes, true);
        let parts = parts.into_iter().map(Arc::new).collect();
        let snapshot = ReplySnapshot::new(read, parts, after);
        let events = [
            ReplyLogEvent::Snapshot(snapshot),
            ReplyLogEvent::Ended(Arc::new(end)),
        ];
        Self {
            turn_id: turn.id,
            reply_id: turn.reply_id,
            is_remote: false,
            events: stream::iter(events).boxed(),
        }
    }
}

/// Converts an offset to a position in the log. The cursor `end` of an end that was never stored starts over, because
/// no text is that long.
fn place(offset: ReplyOffset) -> Place {
    match offset {
        ReplyOffset::At(place) => place,
        ReplyOffset::End => Place::bytes(usize::MAX),
    }
}
