//! Conversations for `titlecast try`, which generates trial titles from their first messages. Reads only.

use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{
    Database, Keyset, KeysetPage,
    entity::conversation::{Column, Model},
    pages::read_page,
    scope::{active, behind},
};
use crate::{
    conversation::{ConversationId, Owner, TitleSource, TitleStatus},
    error::Result,
};

/// A conversation that gets a trial title.
#[derive(Clone, Debug)]
pub struct TrialRow {
    /// The conversation's owner.
    pub owner: Owner,
    /// The conversation.
    pub id: ConversationId,
    /// The agent that answers in it.
    pub agent: String,
    /// The title that the user set.
    pub manual_title: Option<String>,
}

impl Database {
    /// A page of the conversations of one tenant or of all, newest first, starting after `after`. Leaves out deleted
    /// conversations, those without an automatic title, and those that keep their texts only until they are titled.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_for_trial(
        &self,
        tenant: Option<&str>,
        after: Option<&Keyset>,
        limit: u64,
    ) -> Result<KeysetPage<TrialRow>> {
        let mut select = active()
            .filter(Column::TitleStatus.ne(TitleStatus::Skipped))
            .filter(Column::Retain.is_null())
            .order_by_desc(Column::CreatedAt)
            .order_by_desc(Column::Id)
            .limit(limit);
        if let Some(tenant) = tenant {
            select = select.filter(Column::TenantId.eq(tenant));
        }
        if let Some(Keyset { at, id }) = after {
            select = select.filter(behind(Column::CreatedAt, *at, ConversationId(*id)));
        }
        let order = (Column::CreatedAt, Column::Id);
        let row = |row: Model| {
            let is_manual = row.title_source == <&str>::from(TitleSource::Manual);
            Ok(TrialRow {
                owner: row.owner(),
                id: row.id,
                manual_title: row.display_name.filter(|_| is_manual),
                agent: row.active_agent,
            })
        };
        read_page(&self.reader, select, order, row).await
    }
}
