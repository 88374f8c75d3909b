//! The feed of changed conversations: the events of `conversationsChanged` and the pages of `conversationChanges`.

use async_graphql::{Enum, SimpleObject, Union};

use super::objects::Conversation;
use crate::{
    api::feed::FeedEvent,
    db::{ChangeKind, FeedChange, cursor::Cursor},
};

/// One event of the feed of the caller's conversations.
#[derive(Union)]
pub(super) enum ConversationFeedEvent {
    Ready(FeedReady),
    Change(ConversationChange),
    Reset(FeedReset),
}

/// The subscription has begun: every change after this cursor follows. Without `after`, read the list of conversations
/// when this arrives, then apply the changes.
#[derive(SimpleObject)]
pub(super) struct FeedReady {
    /// The position, for `after`; equal to `after` if that was given.
    cursor: String,
}

/// The changes between `after` and this cursor are unknown: `after` is not a cursor of this feed, or it is older than the
/// deletions that the server still stores. Discard the list, read it again, then apply the changes that follow.
#[derive(SimpleObject)]
pub(super) struct FeedReset {
    /// The position, for `after`: every change after it follows.
    cursor: String,
}

/// The newest state of a conversation that changed. Several changes may arrive as one.
#[derive(SimpleObject)]
pub(super) struct ConversationChange {
    /// What happened.
    kind: ConversationChangeKind,
    /// The conversation; of a deleted one, its tombstone: id, status and times.
    conversation: Conversation,
    /// The position after this change, for `after`.
    cursor: String,
}

/// What happened to a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "ChangeKind")]
pub(super) enum ConversationChangeKind {
    /// The conversation was created since the client was last up to date. The client may have it already, from its list
    /// or from an earlier page.
    Created,
    /// The conversation changed in any way.
    Updated,
    /// The conversation was deleted. The client may not know it, if it was created meanwhile.
    Deleted,
}

/// A page of the feed of the caller's conversations.
#[derive(SimpleObject)]
pub(super) struct ConversationChangePage {
    /// The conversations that changed after `after`, ordered by their newest changes, each once.
    pub(super) changes: Vec<ConversationChange>,
    /// The position after this page, for `after`.
    pub(super) cursor: String,
    /// Whether more changes follow now.
    pub(super) has_more: bool,
    /// Whether the changes since `after` are unknown: discard the list, read it again, and continue from `cursor`.
    pub(super) reset: bool,
}

impl From<FeedChange> for ConversationChange {
    fn from(change: FeedChange) -> Self {
        Self {
            kind: change.kind.into(),
            conversation: change.conversation.into(),
            cursor: change.cursor.encode(),
        }
    }
}

impl From<FeedEvent> for ConversationFeedEvent {
    fn from(event: FeedEvent) -> Self {
        match event {
            FeedEvent::Ready(at) => Self::Ready(FeedReady {
                cursor: at.encode(),
            }),
            FeedEvent::Reset(at) => Self::Reset(FeedReset {
                cursor: at.encode(),
            }),
            FeedEvent::Change(change) => Self::Change((*change).into()),
        }
    }
}
