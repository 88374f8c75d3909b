//! Follows one reply: a running log of this node, a copy of another node's log, or a stored reply.

use std::sync::Arc;

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{Chat, remote, stored_end::stored_end};
use crate::{
    conversation::{Message, MessageId, Owner},
    db::Turn,
    events::{ReplyLog, ReplyLogEvent, ReplyOffset, ReplySlice, SoFar},
};

/// A reply for one reader.
pub struct ReplyFollower {
    /// The message that is replied to.
    pub message_id: MessageId,
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
            message_id: run.ids().message,
            reply_id: run.ids().reply,
            is_remote: false,
            events: run.follow(after.map(byte_offset)).boxed(),
        }
    }

    pub(super) fn remote(
        chat: &Chat,
        owner: &Owner,
        turn: Turn,
        after: Option<ReplyOffset>,
    ) -> Self {
        Self {
            message_id: turn.message_id,
            reply_id: turn.reply_id,
            is_remote: true,
            events: remote::follow(chat, owner, turn, after.map(byte_offset)).boxed(),
        }
    }

    /// A reply that has ended.
    pub(super) fn stored(
        turn: &Turn,
        message: Option<Message>,
        after: Option<ReplyOffset>,
    ) -> Self {
        let end = stored_end(turn, message);
        let offset = match after {
            Some(ReplyOffset::End) => Some(end.text.len()),
            after => after.map(byte_offset),
        };
        let read = ReplySlice::from_offset(&end.text, offset.unwrap_or_default(), true);
        let so_far = SoFar::new(read, offset);
        let events = [
            ReplyLogEvent::SoFar(so_far),
            ReplyLogEvent::Ended(Arc::new(end)),
        ];
        Self {
            message_id: turn.message_id,
            reply_id: turn.reply_id,
            is_remote: false,
            events: stream::iter(events).boxed(),
        }
    }
}

/// The offset in bytes. A reader whose cursor says `end` for an end that was never stored starts over: no text is
/// that long.
fn byte_offset(offset: ReplyOffset) -> usize {
    match offset {
        ReplyOffset::Bytes(bytes) => bytes,
        ReplyOffset::End => usize::MAX,
    }
}
