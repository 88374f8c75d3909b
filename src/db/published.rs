//! The published revision: each conversation's row stores the newest revision that was published to its subscribers.
//!
//! An event is published after the commit, so a process can crash in between. The published revisions are recorded
//! later and in batches. A sweep republishes every revision that was committed and not recorded. Publishing is
//! idempotent, because events carry the revision.

use std::time::Duration;

use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};

use super::{
    BadRow, Database, Keyset, KeysetPage,
    entity::conversation::{Column, Entity},
    fault::is_of_row,
    pages::{beyond, read_page},
};
use crate::{
    conversation::{Conversation, ConversationId},
    error::Result,
};

/// The order of publication.
const ORDER: (Column, Column) = (Column::UpdatedAt, Column::Id);

impl Database {
    /// A page of the conversations of all owners, tombstones included, whose newest revision is not recorded as
    /// published.
    ///
    /// Oldest change first, starting after `after`. Skips changes younger than `settled`, which leaves the node that
    /// committed them time to publish.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_unpublished(
        &self,
        settled: Duration,
        after: Option<&Keyset>,
        limit: u64,
    ) -> Result<KeysetPage<Conversation>> {
        let select = Entity::find()
            .filter(Expr::col(Column::PublishedRevision).lt(Expr::col(Column::Revision)))
            .filter(Column::UpdatedAt.lt(self.now() - settled))
            .order_by_asc(Column::UpdatedAt)
            .order_by_asc(Column::Id)
            .limit(limit);
        let select = beyond(select, ORDER, after);
        read_page(&self.reader, select, ORDER, Conversation::try_from).await
    }

    /// Records published revisions. Ignores revisions ≤ the stored one.
    ///
    /// Uses one transaction, or one per row if a row fails. Returns the rows that failed.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database); some revisions may be recorded all the same.
    pub async fn record_published(
        &self,
        published: &mut [(ConversationId, i64)],
    ) -> Result<Vec<BadRow>> {
        // A fixed lock order prevents deadlocks between processes that record the same rows.
        published.sort_unstable();
        match self.record_all_published(published).await {
            // One transaction per row finds the row that failed.
            Err(error) if is_of_row(&error) => {}
            recorded => return recorded.map(|()| Vec::new()),
        }
        let mut bad = Vec::new();
        for one in published {
            if let Err(error) = self.record_all_published(std::slice::from_ref(one)).await {
                bad.push(BadRow::of(one.0.0, error)?);
            }
        }
        Ok(bad)
    }

    async fn record_all_published(&self, published: &[(ConversationId, i64)]) -> Result<()> {
        self.transaction(|tx| async move {
            for (id, revision) in published {
                Entity::update_many()
                    .col_expr(Column::PublishedRevision, Expr::val(*revision))
                    .filter(Column::Id.eq(*id))
                    .filter(Column::PublishedRevision.lt(*revision))
                    .exec(&tx)
                    .await?;
            }
            Ok((tx, ()))
        })
        .await
    }
}
