//! Removal of conversations and of messages, several at once: shared by deletion, retention and erasure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    Statement, UpdateMany, Value,
    sea_query::{Expr, LockType},
};
use serde::Serialize;

use super::{
    Database,
    claims::without_claim,
    entity::conversation::{Column, Entity, Model},
    guarded::Transaction,
    scope::{active, changed},
    search,
    titles::without_former,
    turns,
};
use crate::{
    conversation::{Conversation, ConversationId, ConversationStatus, MessageId},
    error::Result,
};

/// How many rows of each table were removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Removed(pub BTreeMap<&'static str, u64>);

impl Removed {
    /// Counts rows of a table.
    pub fn add(&mut self, table: &'static str, rows: u64) {
        if rows > 0 {
            *self.0.entry(table).or_default() += rows;
        }
    }

    /// Adds the counts of another removal.
    pub fn extend(&mut self, other: &Self) {
        for (table, rows) in &other.0 {
            self.add(table, *rows);
        }
    }

    /// The number of removed rows of a table.
    pub fn of(&self, table: &str) -> u64 {
        self.0.get(table).copied().unwrap_or_default()
    }
}

impl Database {
    /// The number that a statement selects as `n`.
    pub(super) async fn count_rows(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<u64> {
        let backend = self.reader.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        let row = self.reader.query_one_raw(statement).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get("", "n"))?;
        Ok(count.unsigned_abs())
    }
}

/// Turns rows into tombstones: clears all texts and the columns that only lists use.
pub(super) fn tombstone(update: UpdateMany<Entity>) -> UpdateMany<Entity> {
    let none: Option<String> = None;
    let no_time: Option<DateTime<Utc>> = None;
    without_former(without_claim(update), false)
        .col_expr(Column::Status, Expr::val(ConversationStatus::Deleted))
        .col_expr(Column::DisplayName, Expr::val(none.clone()))
        .col_expr(Column::TopicHint, Expr::val(none.clone()))
        .col_expr(Column::LastMessagePreview, Expr::val(none.clone()))
        .col_expr(Column::Metadata, Expr::val(none))
        .col_expr(Column::ArchivedAt, Expr::val(no_time))
        .col_expr(Column::PinnedAt, Expr::val(no_time))
        .col_expr(Column::MessageCount, Expr::val(0))
}

/// Locks these conversations in the order of their ids, as every transaction that updates several does. Returns those
/// that are not tombstones.
pub(super) async fn lock(tx: &Transaction, ids: &[ConversationId]) -> Result<Vec<ConversationId>> {
    Ok(active()
        .filter(Column::Id.is_in(ids.iter().copied()))
        .order_by_asc(Column::Id)
        .lock(LockType::NoKeyUpdate)
        .select_only()
        .column(Column::Id)
        .into_tuple()
        .all(tx)
        .await?)
}

/// Deletes conversations as their users would, and returns the tombstones.
pub(super) async fn entomb(
    tx: &Transaction,
    ids: &[ConversationId],
    at: DateTime<Utc>,
    removed: &mut Removed,
) -> Result<Vec<Conversation>> {
    let ids = lock(tx, ids).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let change = Entity::update_many()
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .col_expr(Column::UpdatedAt, Expr::val(at))
        .filter(Column::Id.is_in(ids.iter().copied()));
    let rows = tombstone(change).exec_with_returning(tx).await?;
    for id in &ids {
        turns::clear_checkpoints(tx, *id).await?;
    }
    remove_contents(tx, &ids, removed).await?;
    rows.into_iter().map(Conversation::try_from).collect()
}

/// Removes the messages of conversations, and the rows that belong to them.
pub(super) async fn remove_contents(
    tx: &Transaction,
    ids: &[ConversationId],
    removed: &mut Removed,
) -> Result<()> {
    const PARTS: &str =
        "message_id IN (SELECT id FROM agent_messages WHERE conversation_id IN (…))";
    const OF_CONVERSATION: &str = "conversation_id IN (…)";
    let ids: Vec<Value> = ids.iter().map(|id| (*id).into()).collect();
    // Foreign keys would remove the rows too, but nothing would count them.
    for (table, rows) in [
        ("agent_search_texts", OF_CONVERSATION),
        ("agent_reply_parts", PARTS),
        ("agent_message_versions", OF_CONVERSATION),
        ("agent_messages", OF_CONVERSATION),
    ] {
        delete(tx, table, rows, &ids, removed).await?;
    }
    Ok(())
}

/// Deletes the rows of a table that meet a condition, in which `…` is replaced by all values and `$1` by the first one.
pub(super) async fn delete(
    tx: &Transaction,
    table: &'static str,
    rows: &str,
    values: &[Value],
    removed: &mut Removed,
) -> Result<()> {
    let places: Vec<String> = (1..=values.len())
        .map(|place| format!("${place}"))
        .collect();
    let sql = format!("DELETE FROM {table} WHERE {rows}").replace('…', &places.join(", "));
    let values = values.iter().cloned();
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    removed.add(table, tx.execute_raw(statement).await?.rows_affected());
    Ok(())
}

/// The displayed columns of a conversation after its first messages were removed.
pub(super) struct Rest {
    /// Whether no message is left.
    pub(super) is_empty: bool,
    /// The hint, if it has no title.
    pub(super) hint: Option<String>,
}

/// Removes the first messages of a conversation whose row is locked, and clears the row's columns that show their
/// texts. Returns the row.
///
/// The others keep their positions, because cursors contain them. The row keeps its count, which numbers the next
/// message.
pub(super) async fn remove_first(
    tx: &Transaction,
    row: &Model,
    first: &[MessageId],
    rest: &Rest,
    at: DateTime<Utc>,
    removed: &mut Removed,
) -> Result<Option<Conversation>> {
    let ids: Vec<Value> = first.iter().map(|id| (*id).into()).collect();
    for (table, rows) in [
        // The conversation is the first column of this table's index.
        (
            "agent_search_texts",
            "conversation_id IN (SELECT conversation_id FROM agent_messages WHERE id = $1) AND message_id IN (…)",
        ),
        ("agent_reply_parts", "message_id IN (…)"),
        ("agent_message_versions", "message_id IN (…)"),
        ("agent_messages", "id IN (…)"),
    ] {
        delete(tx, table, rows, &ids, removed).await?;
    }
    // The hint is the beginning of the first message.
    let hint = row.display_name.clone().or_else(|| rest.hint.clone());
    let preview = row.last_message_preview.clone();
    let preview = preview.filter(|_| !rest.is_empty);
    let rows = Entity::update_many()
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .col_expr(Column::UpdatedAt, Expr::val(at))
        .col_expr(Column::TopicHint, Expr::val(hint))
        .col_expr(Column::LastMessagePreview, Expr::val(preview))
        .filter(Column::Id.eq(row.id))
        .exec_with_returning(tx)
        .await?;
    let conversation = changed(rows)?;
    if let Some(conversation) = &conversation
        && row.display_name.is_none()
    {
        search::index::index_title(tx, conversation).await?;
    }
    Ok(conversation)
}
