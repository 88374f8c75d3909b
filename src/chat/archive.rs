//! Archives and pins conversations, and stores the metadata that an application attaches to them.
//!
//! A request that changes nothing publishes nothing.

use super::Chat;
use crate::{
    conversation::{Conversation, ConversationId, Owner},
    db::{MetadataChange, Requested},
    error::Result,
};

impl Chat {
    /// Archives or unarchives a conversation. New messages do not unarchive it. `actor`: the user who does it, for the
    /// audit log.
    ///
    /// # Errors
    /// [`NotFound`](crate::error::Error::NotFound) if the owner has no such conversation;
    /// [`Database`](crate::error::Error::Database).
    pub async fn archive(
        &self,
        owner: &Owner,
        id: ConversationId,
        is_archived: bool,
        actor: &str,
    ) -> Result<Conversation> {
        let requested = self.inner.db.archive(owner, id, is_archived, actor);
        let requested = requested.await?;
        Ok(self.published(requested, "conversation archived or brought back"))
    }

    /// Pins a conversation, or removes the pin.
    ///
    /// # Errors
    /// As [`Self::archive`].
    pub async fn pin(
        &self,
        owner: &Owner,
        id: ConversationId,
        is_pinned: bool,
    ) -> Result<Conversation> {
        let requested = self.inner.db.pin(owner, id, is_pinned).await?;
        Ok(self.published(requested, "conversation pinned or unpinned"))
    }

    /// Changes the metadata of a conversation.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::error::Error::InvalidInput) if the conversation would have too many pairs; those of
    /// [`Self::archive`].
    pub async fn change_metadata(
        &self,
        owner: &Owner,
        id: ConversationId,
        change: &MetadataChange,
    ) -> Result<Conversation> {
        let requested = self.inner.db.change_metadata(owner, id, change).await?;
        Ok(self.published(requested, "metadata changed"))
    }

    fn published(&self, requested: Requested, event: &str) -> Conversation {
        match requested {
            Requested::Changed(conversation) => {
                tracing::info!(conversation.id = %conversation.id, "{event}");
                self.inner.events.publish(conversation.clone());
                conversation
            }
            Requested::Unchanged(conversation) => conversation,
        }
    }
}
