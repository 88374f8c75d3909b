//! What other nodes changed: rows that are read because somebody said so, tombstones too.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{BadRow, Database, entity::conversation::Column, pages::read_page, scope::rows_of};
use crate::{
    conversation::{Conversation, ConversationId, Owner},
    error::Result,
};

/// How many rows are read at once.
const PAGE: u64 = 200;

impl Database {
    /// The row with this id, a tombstone too, if the owner has it.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_row(
        &self,
        owner: &Owner,
        id: ConversationId,
    ) -> Result<Option<Conversation>> {
        rows_of(owner)
            .filter(Column::Id.eq(id.0))
            .one(&self.reader)
            .await?
            .map(Conversation::try_from)
            .transpose()
    }

    /// The owner's rows, tombstones too, that changed at this time or later, in the order of their ids:
    /// a page of those behind `after`, and those that cannot be read. No row that can be read: the end.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn rows_changed_since(
        &self,
        owner: &Owner,
        since: DateTime<Utc>,
        after: Option<ConversationId>,
    ) -> Result<(Vec<Conversation>, Vec<BadRow>)> {
        let mut after = after.map(|id| id.0);
        let mut bad = Vec::new();
        loop {
            let mut select = rows_of(owner)
                .filter(Column::UpdatedAt.gte(since))
                .order_by_asc(Column::Id)
                .limit(PAGE);
            if let Some(after) = after {
                select = select.filter(Column::Id.gt(after));
            }
            let order = (Column::UpdatedAt, Column::Id);
            let page = read_page(&self.reader, select, order, Conversation::try_from).await?;
            bad.extend(page.bad);
            match page.last {
                Some(last) if page.rows.is_empty() => after = Some(last.id),
                _ => return Ok((page.rows, bad)),
            }
        }
    }
}
