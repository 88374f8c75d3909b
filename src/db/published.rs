//! What was told: each conversation remembers the newest revision that its subscribers were told of.
//!
//! An event is told after the commit, so a process can die in between. Telling is noted here later and in
//! batches; what was committed and not noted is told again by a sweep. To be told twice does no harm:
//! events carry the revision.

use std::time::Duration;

use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};

use super::{
    Database, commit,
    entity::conversation::{Column, Entity},
};
use crate::{
    conversation::{Conversation, ConversationId},
    error::Result,
};

impl Database {
    /// Conversations of all owners, tombstones too, whose newest revision was not noted as told although
    /// it is `settled` old: time enough for whoever committed it.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_untold(&self, settled: Duration, limit: u64) -> Result<Vec<Conversation>> {
        let rows = Entity::find()
            .filter(Expr::col(Column::PublishedRevision).lt(Expr::col(Column::Revision)))
            .filter(Column::UpdatedAt.lt(self.now() - settled))
            .order_by_asc(Column::UpdatedAt)
            .limit(limit)
            .all(&self.reader)
            .await?;
        rows.into_iter().map(Conversation::try_from).collect()
    }

    /// Notes that these revisions were told. Older news changes nothing.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database); nothing was noted then.
    pub async fn note_told(&self, told: &mut [(ConversationId, i64)]) -> Result<()> {
        // Two processes that note the same rows take their locks in the same order.
        told.sort_unstable();
        let tx = self.begin().await?;
        for (id, revision) in told {
            Entity::update_many()
                .col_expr(Column::PublishedRevision, Expr::val(*revision))
                .filter(Column::Id.eq(id.0))
                .filter(Column::PublishedRevision.lt(*revision))
                .exec(&tx)
                .await?;
        }
        commit(tx).await?;
        Ok(())
    }
}
