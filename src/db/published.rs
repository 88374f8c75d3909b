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
    BadRow, Database, Found, Place, commit,
    entity::conversation::{Column, Entity},
    fault::is_of_row,
    guarded::transact,
    pages::{beyond, read_page},
};
use crate::{
    conversation::{Conversation, ConversationId},
    error::Result,
};

/// The order in which they are told.
const ORDER: (Column, Column) = (Column::UpdatedAt, Column::Id);

impl Database {
    /// Conversations of all owners, tombstones too, whose newest revision was not noted as told although
    /// it is `settled` old: time enough for the node that committed it. The oldest change first, behind a place.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_untold(
        &self,
        settled: Duration,
        after: Option<&Place>,
        limit: u64,
    ) -> Result<Found<Conversation>> {
        let select = Entity::find()
            .filter(Expr::col(Column::PublishedRevision).lt(Expr::col(Column::Revision)))
            .filter(Column::UpdatedAt.lt(self.now() - settled))
            .order_by_asc(Column::UpdatedAt)
            .order_by_asc(Column::Id)
            .limit(limit);
        let select = beyond(select, ORDER, after);
        read_page(&self.reader, select, ORDER, Conversation::try_from).await
    }

    /// Notes that these revisions were told. Older news changes nothing. All in one transaction, or each in its own when a
    /// row refuses it; returns such rows.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database); not all were noted then.
    pub async fn note_told(&self, told: &mut [(ConversationId, i64)]) -> Result<Vec<BadRow>> {
        // Two processes that note the same rows take their locks in the same order.
        told.sort_unstable();
        match self.note_all_told(told).await {
            // Which row it is shows when each is noted by itself.
            Err(error) if is_of_row(&error) => {}
            noted => return noted.map(|()| Vec::new()),
        }
        let mut bad = Vec::new();
        for one in told {
            if let Err(error) = self.note_all_told(std::slice::from_ref(one)).await {
                bad.push(BadRow::of(one.0.0, error)?);
            }
        }
        Ok(bad)
    }

    async fn note_all_told(&self, told: &[(ConversationId, i64)]) -> Result<()> {
        transact(|| async {
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
        })
        .await
    }
}
