//! Reads of rows that another node changed, tombstones included.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{BadRow, Database, entity::conversation::Column, pages::read_page, scope::rows_of};
use crate::{
    conversation::{Conversation, ConversationId, Rows},
    error::Result,
};

/// Rows per query.
const PAGE: u64 = 200;

impl Database {
    /// The row with this id, even a tombstone, if it may be read.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_row(
        &self,
        rows: impl Into<Rows<'_>>,
        id: ConversationId,
    ) -> Result<Option<Conversation>> {
        rows_of(rows)
            .filter(Column::Id.eq(id))
            .one(&self.reader)
            .await?
            .map(Conversation::try_from)
            .transpose()
    }

    /// A page of the readable rows, tombstones included, that changed at `since` or later, with the rows that cannot be
    /// decoded.
    ///
    /// Ordered by id, starting after `after`. A page without a readable row is the end.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn rows_changed_since(
        &self,
        rows: impl Into<Rows<'_>>,
        since: DateTime<Utc>,
        after: Option<ConversationId>,
    ) -> Result<(Vec<Conversation>, Vec<BadRow>)> {
        let rows = rows.into();
        let mut after = after.map(|id| id.0);
        let mut bad = Vec::new();
        loop {
            let mut select = rows_of(rows)
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
