//! Conversations: finding and deleting. Lists are in `lists`.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{
    Act, Database,
    entity::{conversation::Column, message},
    removal,
    scope::{change_of, changed, conversations_of},
    search, turns,
};
use crate::{
    conversation::{Conversation, ConversationId, Owner, Rows},
    error::{Error, Result},
};

/// The maximum number of conversations in which [`Database::newest_titles`] looks for titles.
const MAX_SCANNED: u64 = 500;

impl Database {
    /// The conversation with this id, if it may be read.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_conversation(
        &self,
        rows: impl Into<Rows<'_>>,
        id: ConversationId,
    ) -> Result<Option<Conversation>> {
        conversations_of(rows)
            .filter(Column::Id.eq(id))
            .one(&self.reader)
            .await?
            .map(Conversation::try_from)
            .transpose()
    }

    /// The conversation with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it may not be read; [`Error::Database`].
    pub async fn conversation(
        &self,
        rows: impl Into<Rows<'_>>,
        id: ConversationId,
    ) -> Result<Conversation> {
        // Tests make a read panic, to check the error that the caller receives.
        fail::fail_point!("db.conversation");
        self.find_conversation(rows, id)
            .await?
            .ok_or_else(Error::no_conversation)
    }

    /// At most `limit` titles of the owner's other conversations, newest activity first. Examines the 500 newest
    /// conversations.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn newest_titles(
        &self,
        owner: &Owner,
        except: ConversationId,
        limit: usize,
    ) -> Result<Vec<String>> {
        let rows: Vec<(ConversationId, Option<String>)> = conversations_of(owner)
            .order_by_desc(Column::LastMessageAt)
            .order_by_desc(Column::Id)
            .limit(MAX_SCANNED)
            .select_only()
            .columns([Column::Id, Column::DisplayName])
            .into_tuple()
            .all(&self.reader)
            .await?;
        let others = rows.into_iter().filter(|(id, _)| *id != except);
        Ok(others.filter_map(|(_, title)| title).take(limit).collect())
    }

    /// Deletes a conversation's messages and texts, and leaves a tombstone. Returns the tombstone.
    ///
    /// The tombstone keeps the id, so that a reply or a title in flight cannot recreate the conversation. `actor`: the
    /// user who deletes it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner does not have it; [`Error::Database`].
    pub async fn delete_conversation(
        &self,
        owner: &Owner,
        id: ConversationId,
        actor: &str,
    ) -> Result<Conversation> {
        let deleted = self.transaction(|tx| async move {
            let rows = removal::tombstone(change_of(owner, id, self.now()))
                .exec_with_returning(&tx)
                .await?;
            let tombstone = changed(rows)?.ok_or_else(Error::no_conversation)?;
            message::Entity::delete_many()
                .filter(message::Column::ConversationId.eq(id))
                .exec(&tx)
                .await?;
            search::index::forget(&tx, id).await?;
            turns::clear_checkpoints(&tx, id).await?;
            self.record_act(&tx, (owner, actor), Act::Deleted, id)
                .await?;
            Ok((tx, tombstone))
        });
        let tombstone = deleted.await?;
        self.schedule_erasure();
        Ok(tombstone)
    }
}
