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
    events::{Read, ReplyEvent, ReplyLog, ReplyPlace, SoFar},
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
    pub events: BoxStream<'static, ReplyEvent>,
}

impl ReplyFollower {
    pub(super) fn running(run: Arc<ReplyLog>, after: Option<ReplyPlace>) -> Self {
        Self {
            message_id: run.of().message,
            reply_id: run.of().reply,
            is_remote: false,
            events: run.follow(after.map(byte_offset)).boxed(),
        }
    }

    pub(super) fn remote(
        chat: &Chat,
        owner: &Owner,
        turn: Turn,
        after: Option<ReplyPlace>,
    ) -> Self {
        Self {
            message_id: turn.message_id,
            reply_id: turn.reply_id,
            is_remote: true,
            events: remote::follow(chat, owner, turn, after.map(byte_offset)).boxed(),
        }
    }

    /// A reply that has ended.
    pub(super) fn stored(turn: &Turn, message: Option<Message>, after: Option<ReplyPlace>) -> Self {
        let end = stored_end(turn, message);
        let place = match after {
            Some(ReplyPlace::End) => Some(end.text.len()),
            after => after.map(byte_offset),
        };
        let read = Read::of(&end.text, place.unwrap_or_default(), true);
        let so_far = SoFar::new(read, place);
        let events = [ReplyEvent::SoFar(so_far), ReplyEvent::Ended(Arc::new(end))];
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
fn byte_offset(place: ReplyPlace) -> usize {
    match place {
        ReplyPlace::Behind(bytes) => bytes,
        ReplyPlace::End => usize::MAX,
    }
}
