//! The search index: one row per conversation title and per message, with its words
//! ([`search_text`](crate::search_text)); FTS5 over it on SQLite, a generated `tsvector` on PostgreSQL.
//!
//! Both databases get the same rows by the same statements, and differ only in the lookup. PostgreSQL uses the
//! dictionary `simple`, which does no stemming and has no stop words.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, DbErr},
};

use crate::{
    progress,
    search_text::{capped, words},
};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const SQLITE: &str = "
    CREATE TABLE agent_search (
        id INTEGER PRIMARY KEY,
        conversation_id uuid_text NOT NULL REFERENCES agent_conversations (id) ON DELETE CASCADE,
        message_id uuid_text,
        body text NOT NULL
    );
    CREATE VIRTUAL TABLE agent_search_words USING fts5 (
        body, content = 'agent_search', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 0'
    );
    CREATE TRIGGER agent_search_inserted AFTER INSERT ON agent_search BEGIN
        INSERT INTO agent_search_words (rowid, body) VALUES (new.id, new.body);
    END;
    CREATE TRIGGER agent_search_deleted AFTER DELETE ON agent_search BEGIN
        INSERT INTO agent_search_words (agent_search_words, rowid, body) VALUES ('delete', old.id, old.body);
    END;
    CREATE TRIGGER agent_search_updated AFTER UPDATE ON agent_search BEGIN
        INSERT INTO agent_search_words (agent_search_words, rowid, body) VALUES ('delete', old.id, old.body);
        INSERT INTO agent_search_words (rowid, body) VALUES (new.id, new.body);
    END;";

const DROP_SQLITE: &str =
    "DROP TABLE IF EXISTS agent_search_words; DROP TABLE IF EXISTS agent_search;";

const POSTGRES: &str = "
    CREATE TABLE agent_search (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        conversation_id uuid NOT NULL REFERENCES agent_conversations (id) ON DELETE CASCADE,
        message_id uuid,
        body text NOT NULL,
        words tsvector NOT NULL GENERATED ALWAYS AS (to_tsvector('simple', body)) STORED
    );
    CREATE INDEX agent_search_words ON agent_search USING gin (words);";

const BOTH: &str =
    "CREATE INDEX agent_search_by_conversation ON agent_search (conversation_id, message_id)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let tables = match connection.get_database_backend() {
            DbBackend::Postgres => POSTGRES,
            _ => {
                // Rebuilds the index that a killed process may have left incomplete.
                connection.execute_unprepared(DROP_SQLITE).await?;
                SQLITE
            }
        };
        connection.execute_unprepared(tables).await?;
        connection.execute_unprepared(BOTH).await?;
        for table in ["agent_conversations", "agent_messages"] {
            progress::expect(progress::rows_of(connection, table).await?);
        }
        index_titles(manager).await?;
        index_messages(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let drop = match connection.get_database_backend() {
            DbBackend::Postgres => "DROP TABLE agent_search",
            _ => DROP_SQLITE,
        };
        connection.execute_unprepared(drop).await?;
        Ok(())
    }
}

/// Rows per batch: the whole table may not fit into memory.
const BATCH: u64 = 500;

/// Indexes the titles (or hints) of existing conversations.
async fn index_titles(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    let mut after: Option<uuid::Uuid> = None;
    loop {
        let mut select = Query::select()
            .columns(["id", "display_name", "topic_hint"])
            .from("agent_conversations")
            .and_where(Expr::col("status").eq("active"))
            .order_by("id", Order::Asc)
            .limit(BATCH)
            .to_owned();
        if let Some(after) = after {
            select.and_where(Expr::col("id").gt(after));
        }
        let rows = connection.query_all(&select).await?;
        let mut insert = Query::insert()
            .into_table("agent_search")
            .columns(["conversation_id", "body"])
            .to_owned();
        for row in &rows {
            let id: uuid::Uuid = row.try_get("", "id")?;
            let title: Option<String> = row.try_get("", "display_name")?;
            let hint: Option<String> = row.try_get("", "topic_hint")?;
            let body = capped(&words(&title.or(hint).unwrap_or_default()));
            insert.values_panic([id.into(), body.into()]);
            after = Some(id);
        }
        if !write(manager, &insert, rows.len()).await? {
            return Ok(());
        }
    }
}

/// Indexes existing messages.
async fn index_messages(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    let mut after: Option<uuid::Uuid> = None;
    loop {
        let mut select = Query::select()
            .columns(["id", "conversation_id", "content"])
            .from("agent_messages")
            .order_by("id", Order::Asc)
            .limit(BATCH)
            .to_owned();
        if let Some(after) = after {
            select.and_where(Expr::col("id").gt(after));
        }
        let rows = connection.query_all(&select).await?;
        let mut insert = Query::insert()
            .into_table("agent_search")
            .columns(["conversation_id", "message_id", "body"])
            .to_owned();
        for row in &rows {
            let id: uuid::Uuid = row.try_get("", "id")?;
            let conversation: uuid::Uuid = row.try_get("", "conversation_id")?;
            let content: String = row.try_get("", "content")?;
            let body = capped(&words(&content));
            insert.values_panic([conversation.into(), id.into(), body.into()]);
            after = Some(id);
        }
        if !write(manager, &insert, rows.len()).await? {
            return Ok(());
        }
    }
}

/// Writes a batch. Returns whether another may follow.
async fn write(
    manager: &SchemaManager<'_>,
    insert: &InsertStatement,
    rows: usize,
) -> Result<bool, DbErr> {
    if rows > 0 {
        manager.get_connection().execute(insert).await?;
        progress::advance(rows as u64);
    }
    Ok(rows as u64 == BATCH)
}
