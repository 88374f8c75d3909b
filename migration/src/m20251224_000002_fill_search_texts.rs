//! Fills `agent_search_texts` on PostgreSQL while nodes of the previous version write `agent_search`, and then builds
//! its indexes, concurrently.
//!
//! Each batch is a transaction. It locks the rows that it copies, so that a deletion waits, and then deletes the copy
//! as well. After an interruption, the next run copies the missing rows.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, TransactionTrait, Value},
};

use crate::{
    progress,
    rerun::create_index,
    search_text::{LEXEMES, entry_of_marked},
};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Rows per batch: the whole table may not fit into memory.
const BATCH: i64 = 500;

const ROWS: &str = "
    SELECT id, conversation_id, message_id, body FROM agent_search
    WHERE id > $1 AND NOT EXISTS (SELECT FROM agent_search_texts AS copied WHERE copied.id = agent_search.id)
    ORDER BY id LIMIT $2 FOR SHARE";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if connection.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        fill(connection).await?;
        // No pending list: every search would read it, and words that carry an owner's mark gain little from batching.
        let words = format!("ON agent_search_texts USING gin ({LEXEMES}) WITH (fastupdate = off)");
        for (index, definition) in [
            ("agent_search_texts_words", words.as_str()),
            (
                "agent_search_texts_by_conversation",
                "ON agent_search_texts (conversation_id, message_id)",
            ),
            (
                "agent_search_texts_by_owner",
                "ON agent_search_texts (left(body, 4), id)",
            ),
        ] {
            create_index(manager, index, definition).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        // The preceding migration drops the table.
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

/// Copies the missing rows.
pub(crate) async fn fill(connection: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    progress::expect(progress::rows_of(connection, "agent_search").await?);
    let mut last = i64::MIN;
    while let Some(copied) = copy(connection, last).await? {
        last = copied;
    }
    Ok(())
}

/// Copies the next rows after an id. Returns the id of the last one; `None` at the end.
async fn copy(connection: &SchemaManagerConnection<'_>, after: i64) -> Result<Option<i64>, DbErr> {
    let tx = connection.begin().await?;
    let rows =
        Statement::from_sql_and_values(DbBackend::Postgres, ROWS, [after.into(), BATCH.into()]);
    let rows = tx.query_all_raw(rows).await?;
    let mut values: Vec<Value> = Vec::with_capacity(rows.len() * 4);
    let mut last = None;
    for row in &rows {
        let id: i64 = row.try_get("", "id")?;
        let conversation: uuid::Uuid = row.try_get("", "conversation_id")?;
        let message: Option<uuid::Uuid> = row.try_get("", "message_id")?;
        let body: String = row.try_get("", "body")?;
        last = Some(id);
        values.extend([
            id.into(),
            conversation.into(),
            message.into(),
            entry_of_marked(&body).into(),
        ]);
    }
    if last.is_some() {
        let places: Vec<String> = (0..rows.len())
            .map(|row| {
                let [id, conversation, message, body] = [1, 2, 3, 4].map(|place| 4 * row + place);
                format!("(${id}, ${conversation}, ${message}, ${body})")
            })
            .collect();
        // The trigger has already copied a new row.
        let insert = format!(
            "INSERT INTO agent_search_texts (id, conversation_id, message_id, body) VALUES {} \
             ON CONFLICT (id) DO NOTHING",
            places.join(", ")
        );
        let insert = Statement::from_sql_and_values(DbBackend::Postgres, insert, values);
        tx.execute_raw(insert).await?;
    }
    tx.commit().await?;
    progress::advance(rows.len() as u64);
    Ok(last)
}
