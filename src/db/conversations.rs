//! Conversations: finding, listing, deleting.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};

use super::{
    Database, Page,
    claims::without_claim,
    cursor::ConversationCursor,
    entity::{
        conversation::{Column, Listed},
        message,
    },
    scope::{behind, change_of, changed, conversations_of},
    search, turns,
};
use crate::{
    conversation::{Conversation, ConversationId, ConversationStatus, Owner, text::without_nul},
    error::{Error, Result},
};

/// Selects the conversations of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationFilter {
    /// Only conversations that started with this agent.
    pub agent: Option<String>,
}

impl Database {
    /// The conversation with this id, if the owner has it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_conversation(
        &self,
        owner: &Owner,
        id: ConversationId,
    ) -> Result<Option<Conversation>> {
        conversations_of(owner)
            .filter(Column::Id.eq(id))
            .one(&self.reader)
            .await?
            .map(Conversation::try_from)
            .transpose()
    }

    /// The conversation with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have it; [`Error::Database`].
    pub async fn conversation(&self, owner: &Owner, id: ConversationId) -> Result<Conversation> {
        // Tests make a read panic, to check the error that the caller receives.
        fail::fail_point!("db.conversation");
        self.find_conversation(owner, id)
            .await?
            .ok_or_else(Error::no_conversation)
    }

    /// A page of the owner's conversations, newest activity first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn conversations(
        &self,
        owner: &Owner,
        filter: &ConversationFilter,
        after: Option<ConversationCursor>,
        limit: u64,
    ) -> Result<Page<Conversation>> {
        let mut select = conversations_of(owner)
            .order_by_desc(Column::LastMessageAt)
            .order_by_desc(Column::Id)
            .limit(limit + 1);
        if let Some(agent) = &filter.agent {
            // Stored names have no U+0000 either, because PostgreSQL rejects it.
            let agent = without_nul(agent.clone());
            select = select.filter(Column::AgentEntrypoint.eq(agent));
        }
        if let Some(after) = after {
            select = select.filter(behind(
                Column::LastMessageAt,
                after.last_message_at,
                after.id,
            ));
        }
        let rows = select.into_model::<Listed>().all(&self.reader).await?;
        let has_next = rows.len() as u64 > limit;
        let items = rows
            .into_iter()
            .take(limit as usize)
            .map(|Listed(row)| Conversation::try_from(row))
            .collect::<Result<_>>()?;
        Ok(Page {
            items,
            has_next,
            has_previous: after.is_some(),
        })
    }

    /// Deletes a conversation's messages and texts, and leaves a tombstone. Returns the tombstone.
    ///
    /// The tombstone keeps the id, so that a reply or a title in flight cannot recreate the conversation.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have it; [`Error::Database`].
    pub async fn delete_conversation(
        &self,
        owner: &Owner,
        id: ConversationId,
    ) -> Result<Conversation> {
        let deleted = self.transaction(|tx| async move {
            let none: Option<String> = None;
            let rows = without_claim(change_of(owner, id, self.now()))
                .col_expr(Column::Status, Expr::val(ConversationStatus::Deleted))
                .col_expr(Column::DisplayName, Expr::val(none.clone()))
                .col_expr(Column::TopicHint, Expr::val(none.clone()))
                .col_expr(Column::LastMessagePreview, Expr::val(none))
                .col_expr(Column::MessageCount, Expr::val(0))
                .exec_with_returning(&tx)
                .await?;
            let tombstone = changed(rows)?.ok_or_else(Error::no_conversation)?;
            message::Entity::delete_many()
                .filter(message::Column::ConversationId.eq(id))
                .exec(&tx)
                .await?;
            search::index::forget(&tx, id).await?;
            turns::clear_checkpoints(&tx, id).await?;
            Ok((tx, tombstone))
        });
        let tombstone = deleted.await?;
        self.schedule_erasure();
        Ok(tombstone)
    }
}
