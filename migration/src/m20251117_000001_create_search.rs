//! The search index: one row for each conversation's title and for each message, holding its words
//! ([`search_text`](crate::search_text)); FTS5 over it on SQLite, a generated `tsvector` on PostgreSQL.
//!
//! Both get the same rows by the same statements, and differ in how they look them up. PostgreSQL uses the dictionary
//! `simple`, which neither stems nor drops words of any one language.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, DbErr},
};

use crate::search_text::words;

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
            _ => SQLITE,
        };
        connection.execute_unprepared(tables).await?;
        connection.execute_unprepared(BOTH).await?;
        index_titles(manager).await?;
        index_messages(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if connection.get_database_backend() == DbBackend::Sqlite {
            connection
                .execute_unprepared("DROP TABLE agent_search_words")
                .await?;
        }
        connection
            .execute_unprepared("DROP TABLE agent_search")
            .await?;
        Ok(())
    }
}

/// How many rows are read at once: what exists may not fit into memory.
const BATCH: u64 = 500;

/// Indexes the titles (or hints) of what exists.
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
        for row in &rows {
            let id: uuid::Uuid = row.try_get("", "id")?;
            let title: Option<String> = row.try_get("", "display_name")?;
            let hint: Option<String> = row.try_get("", "topic_hint")?;
            let body = words(&title.or(hint).unwrap_or_default());
            connection
                .execute(
                    Query::insert()
                        .into_table("agent_search")
                        .columns(["conversation_id", "body"])
                        .values_panic([id.into(), body.into()]),
                )
                .await?;
            after = Some(id);
        }
        if (rows.len() as u64) < BATCH {
            return Ok(());
        }
    }
}

/// Indexes the messages that exist.
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
        for row in &rows {
            let id: uuid::Uuid = row.try_get("", "id")?;
            let conversation: uuid::Uuid = row.try_get("", "conversation_id")?;
            let content: String = row.try_get("", "content")?;
            connection
                .execute(
                    Query::insert()
                        .into_table("agent_search")
                        .columns(["conversation_id", "message_id", "body"])
                        .values_panic([conversation.into(), id.into(), words(&content).into()]),
                )
                .await?;
            after = Some(id);
        }
        if (rows.len() as u64) < BATCH {
            return Ok(());
        }
    }
}
