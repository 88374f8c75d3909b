//! Archive marks, pins and metadata of conversations. None touches `last_message_at`, by which lists are sorted.
//!
//! A request for the current state changes no row and keeps the revision.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, QueryFilter, QuerySelect, UpdateMany, sea_query::Expr};

use super::{
    Act, Database,
    entity::conversation::{Column, Entity},
    scope::{change_of, changed, conversations_of},
};
use crate::{
    conversation::{Conversation, ConversationId, Metadata, Owner},
    error::{Error, Result},
};

/// A conversation after a request to change it.
#[derive(Clone, Debug)]
pub enum Requested {
    /// The change was stored.
    Changed(Conversation),
    /// The conversation was already in the requested state.
    Unchanged(Conversation),
}

/// A change of metadata.
#[derive(Clone, Debug, Default)]
pub struct MetadataChange {
    /// The pairs to store; they replace pairs with the same keys.
    pub set: Metadata,
    /// The keys to remove.
    pub remove: Vec<String>,
}

impl Database {
    /// Archives or unarchives a conversation. `actor`: the user who requests it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner does not have the conversation; [`Error::Database`].
    pub async fn archive(
        &self,
        owner: &Owner,
        id: ConversationId,
        is_archived: bool,
        actor: &str,
    ) -> Result<Requested> {
        if !self.is_audited() {
            return self.mark(owner, id, Column::ArchivedAt, is_archived).await;
        }
        let act = match is_archived {
            true => Act::Archived,
            false => Act::Unarchived,
        };
        let marked = self.transaction(|tx| async move {
            let rows = self.marking(owner, id, Column::ArchivedAt, is_archived);
            let marked = changed(rows.exec_with_returning(&tx).await?)?;
            if marked.is_some() {
                self.record_act(&tx, (owner, actor), act, id).await?;
            }
            Ok((tx, marked))
        });
        self.requested(owner, id, marked.await?).await
    }

    /// Pins or unpins a conversation.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner does not have the conversation; [`Error::Database`].
    pub async fn pin(
        &self,
        owner: &Owner,
        id: ConversationId,
        is_pinned: bool,
    ) -> Result<Requested> {
        self.mark(owner, id, Column::PinnedAt, is_pinned).await
    }

    /// Stores the current time in an empty column, or clears the column.
    async fn mark(
        &self,
        owner: &Owner,
        id: ConversationId,
        column: Column,
        is_set: bool,
    ) -> Result<Requested> {
        let marking = self.marking(owner, id, column, is_set);
        let rows = marking.exec_with_returning(&self.writer).await?;
        self.requested(owner, id, changed(rows)?).await
    }

    /// The update of [`Self::mark`].
    fn marking(
        &self,
        owner: &Owner,
        id: ConversationId,
        column: Column,
        is_set: bool,
    ) -> UpdateMany<Entity> {
        let at = self.now();
        let time: Option<DateTime<Utc>> = is_set.then_some(at);
        let is_different = match is_set {
            true => column.is_null(),
            false => column.is_not_null(),
        };
        change_of(owner, id, at)
            .col_expr(column, Expr::val(time))
            .filter(is_different)
    }

    async fn requested(
        &self,
        owner: &Owner,
        id: ConversationId,
        changed: Option<Conversation>,
    ) -> Result<Requested> {
        match changed {
            Some(conversation) => Ok(Requested::Changed(conversation)),
            None => Ok(Requested::Unchanged(self.conversation(owner, id).await?)),
        }
    }

    /// Changes the metadata of a conversation.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if it would have too many pairs; [`Error::NotFound`] if the owner does not have the
    /// conversation; [`Error::Database`].
    pub async fn change_metadata(
        &self,
        owner: &Owner,
        id: ConversationId,
        change: &MetadataChange,
    ) -> Result<Requested> {
        let changing = self.transaction(|tx| async move {
            // Locks the row, because the new pairs depend on the stored ones. SQLite has one writer.
            let row = conversations_of(owner)
                .filter(Column::Id.eq(id))
                .lock_exclusive()
                .one(&tx)
                .await?;
            let before = Conversation::try_from(row.ok_or_else(Error::no_conversation)?)?;
            let metadata = before
                .metadata
                .changed(&change.set, &change.remove)
                .map_err(|invalid| Error::invalid_field("set", invalid.to_string()))?;
            if metadata == before.metadata {
                return Ok((tx, Requested::Unchanged(before)));
            }
            let rows = change_of(owner, id, self.now())
                .col_expr(Column::Metadata, Expr::val(metadata.stored()))
                .exec_with_returning(&tx)
                .await?;
            let after = changed(rows)?.ok_or_else(Error::no_conversation)?;
            Ok((tx, Requested::Changed(after)))
        });
        let requested = changing.await?;
        if let Requested::Changed(_) = requested {
            self.schedule_erasure();
        }
        Ok(requested)
    }

    /// Erases the metadata of conversations that the previous version deleted: that version does not clear it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn erase_left_metadata(&self) -> Result<()> {
        self.erase_of_deleted(Column::Metadata, UNERASED).await
    }
}

/// The condition of the partial index of these rows. A bound value would hide it from SQLite.
const UNERASED: &str = "status = 'deleted' AND metadata IS NOT NULL";
