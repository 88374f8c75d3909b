//! The parts of replies beside their text.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, Order, QueryFilter, QuerySelect,
    QueryTrait,
    sea_query::{CaseStatement, Expr, ExprTrait, Query, WindowStatement},
};

use super::{
    Database, Turn,
    entity::reply_part::{Column, Entity, Model},
    guarded::Transaction,
    scope::parts_of,
};
use crate::{
    conversation::{MessageId, Part, Rows, part},
    error::{Error, Result},
};

/// The maximum size of the parts of one statement.
const MAX_BYTES: i64 = 4 * 1024 * 1024;

impl Database {
    /// The stored parts of several replies, at most 4 MiB together. A reply without parts gets no entry.
    ///
    /// # Errors
    /// [`Error::QueryTooLarge`]; [`Error::Database`].
    pub async fn reply_parts(
        &self,
        rows: impl Into<Rows<'_>>,
        replies: &[MessageId],
    ) -> Result<HashMap<MessageId, Vec<Part>>> {
        let rows = parts_of(rows)
            .filter(Column::ReplyId.is_in(replies.iter().copied()))
            .select_only()
            .columns([Column::ReplyId, Column::Parts])
            .into_query();
        let total = WindowStatement::new()
            .order_by(Column::ReplyId, Order::Asc)
            .to_owned();
        let summed = Query::select()
            .columns([Column::ReplyId, Column::Parts])
            .expr_window_as(Expr::cust("sum(octet_length(parts))"), total, "total_bytes")
            .from_subquery(rows, "found")
            .to_owned();
        // Beyond the limit the database does not send the parts.
        let parts = CaseStatement::new()
            .case(
                Expr::col("total_bytes").lte(MAX_BYTES),
                Expr::col(Column::Parts),
            )
            .finally("");
        let statement = Query::select()
            .columns([Column::ReplyId])
            .expr_as(parts, Column::Parts)
            .from_subquery(summed, "summed")
            .to_owned();
        let statement = self.reader.get_database_backend().build(&statement);
        let mut read = HashMap::new();
        for row in self.reader.query_all_raw(statement).await? {
            let json: String = row.try_get("", "parts")?;
            if json.is_empty() {
                return Err(Error::QueryTooLarge);
            }
            read.insert(row.try_get("", "reply_id")?, part::decode(&json));
        }
        Ok(read)
    }
}

/// Stores the parts of a reply, in the transaction that stores the reply.
pub(super) async fn insert(tx: &Transaction, turn: &Turn, parts: &[Part]) -> Result<()> {
    let Some(parts) = part::encode(parts) else {
        return Ok(());
    };
    let row = Model {
        reply_id: turn.reply_id,
        conversation_id: turn.conversation_id,
        message_id: turn.message_id,
        parts,
    };
    Entity::insert(row.into_active_model())
        .exec_without_returning(tx)
        .await?;
    Ok(())
}
