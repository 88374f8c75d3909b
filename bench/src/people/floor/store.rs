//! The floor's statements: those of `turn/statements.rs`, for first messages and later ones.

use std::time::Duration;

use chrono::Utc;
use serde::Deserialize;
use sqlx::{
    Row,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use uuid::Uuid;

use super::model::{Message, NAME};
use crate::{
    Result,
    seed::search_text::{capped, entry_of_marked, marked, owner_mark, words as words_of},
    turn::{CONNECTIONS, statements as sql},
};

const TENANT: &str = "acme";
const AGENT: &str = "triage";

/// The leases of a title and of a reply: Titlecast's defaults.
const TITLE_LEASE: Duration = Duration::from_secs(30);
const REPLY_LEASE: Duration = Duration::from_secs(15);

/// The most messages that the model receives.
const HISTORY: i64 = 40;

/// A stored message whose reply is to be written.
#[derive(Clone)]
pub struct Begun {
    pub conversation: Uuid,
    /// The number of messages in the conversation, including this one.
    pub messages: i64,
    message: Uuid,
    reply: Uuid,
    /// The claim of the title.
    token: Uuid,
}

/// The token counts that a model reports.
#[derive(Clone, Copy, Deserialize)]
pub struct Usage {
    prompt_tokens: i64,
    completion_tokens: i64,
}

pub enum Store {
    Sqlite {
        writer: sqlx::SqlitePool,
        reader: sqlx::SqlitePool,
    },
    Postgres(sqlx::PgPool),
}

/// Calls the same function for either database.
macro_rules! either {
    ($store:expr, $pool:ident, $function:ident($($argument:expr),*)) => {
        match $store {
            Store::Sqlite { $pool, .. } => sqlite::$function($pool, $($argument),*).await,
            Store::Postgres(pool) => postgres::$function(pool, $($argument),*).await,
        }
    };
}

impl Store {
    pub async fn open(url: &str) -> Result<Self> {
        if !url.starts_with("sqlite:") {
            let options: PgConnectOptions = url.parse()?;
            let pool = PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .test_before_acquire(false)
                .connect_with(options)
                .await?;
            return Ok(Self::Postgres(pool));
        }
        let options: SqliteConnectOptions = url.parse()?;
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let pool = async |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .test_before_acquire(false)
                .connect_with(options.clone())
                .await
        };
        Ok(Self::Sqlite {
            writer: pool(1).await?,
            reader: pool(CONNECTIONS).await?,
        })
    }

    /// Stores a message, in a new conversation if none is named.
    pub async fn accept(&self, user: &str, to: Option<Uuid>, text: &str) -> Result<Begun> {
        either!(self, writer, accept(user, to, text))
    }

    /// The messages before this one.
    pub async fn history(&self, user: &str, begun: &Begun) -> Result<Vec<Message>> {
        either!(self, reader, history(user, begun))
    }

    /// Stores the reply. Returns the number of messages that the conversation has now.
    pub async fn store_reply(
        &self,
        user: &str,
        begun: &Begun,
        text: &str,
        usage: Usage,
    ) -> Result<i64> {
        either!(self, writer, store_reply(user, begun, text, usage))
    }

    pub async fn store_title(
        &self,
        user: &str,
        begun: &Begun,
        title: &str,
        usage: Usage,
    ) -> Result<i64> {
        either!(self, writer, store_title(user, begun, title, usage))
    }
}

/// Defines the functions for one database. sqlx has separate types for each.
macro_rules! on {
    ($module:ident, $database:ty, $begin:literal, $entry:expr) => {
        mod $module {
            use super::*;

            type Pool = sqlx::Pool<$database>;

            fn indexed(user: &str, text: &str) -> String {
                let entry: fn(String) -> String = $entry;
                entry(marked(&owner_mark(TENANT, user), &capped(&words_of(text))))
            }

            pub async fn accept(
                pool: &Pool,
                user: &str,
                to: Option<Uuid>,
                text: &str,
            ) -> Result<Begun> {
                let mut tx = pool.begin_with($begin).await?;
                let at = Utc::now();
                let begun = Begun {
                    conversation: to.unwrap_or_else(id),
                    messages: 1,
                    message: id(),
                    reply: id(),
                    token: id(),
                };
                let hint: String = text.chars().take(50).collect();
                let preview: String = text.chars().take(120).collect();
                let conversation = match to {
                    None => sqlx::query(sql::INSERT_CONVERSATION)
                        .bind(begun.conversation)
                        .bind(TENANT)
                        .bind(user)
                        .bind(&hint)
                        .bind(AGENT)
                        .bind(AGENT)
                        .bind("active")
                        .bind(1_i64)
                        .bind(&preview)
                        .bind(at)
                        .bind(at)
                        .bind(at)
                        .bind("hint")
                        .bind("pending")
                        .bind(1_i64)
                        .bind(begun.token)
                        .bind(at + TITLE_LEASE)
                        .bind(1_i32)
                        .bind(0_i64),
                    Some(conversation) => sqlx::query(sql::COUNT_REPLY)
                        .bind(1_i64)
                        .bind(at)
                        .bind(1_i64)
                        .bind(&preview)
                        .bind(at)
                        .bind(conversation)
                        .bind(TENANT)
                        .bind(user)
                        .bind("active"),
                };
                let conversation = conversation.fetch_one(&mut *tx).await?;
                let messages: i64 = conversation.try_get("message_count")?;
                sqlx::query(sql::INSERT_MESSAGE)
                    .bind(begun.message)
                    .bind(begun.conversation)
                    .bind(messages)
                    .bind("user")
                    .bind(text)
                    .bind("complete")
                    .bind(at)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(sql::INSERT_TURN)
                    .bind(begun.message)
                    .bind(begun.conversation)
                    .bind(begun.reply)
                    .bind(TENANT)
                    .bind(user)
                    .bind("running")
                    .bind(at)
                    .bind(Uuid::max())
                    .bind(at + REPLY_LEASE)
                    .bind(false)
                    .execute(&mut *tx)
                    .await?;
                let index = match to {
                    None => sqlx::query(sql::INDEX_MESSAGE_AND_TITLE)
                        .bind(begun.conversation)
                        .bind(begun.message)
                        .bind(indexed(user, text))
                        .bind(begun.conversation)
                        .bind(None::<Uuid>)
                        .bind(indexed(user, &hint)),
                    Some(_) => sqlx::query(sql::INDEX_REPLY)
                        .bind(begun.conversation)
                        .bind(begun.message)
                        .bind(indexed(user, text)),
                };
                index.execute(&mut *tx).await?;
                tx.commit().await?;
                Ok(Begun { messages, ..begun })
            }

            pub async fn history(pool: &Pool, user: &str, begun: &Begun) -> Result<Vec<Message>> {
                let rows = sqlx::query(sql::HISTORY)
                    .bind("active")
                    .bind(TENANT)
                    .bind(user)
                    .bind(begun.conversation)
                    .bind(begun.messages)
                    .bind(HISTORY)
                    .fetch_all(pool)
                    .await?;
                let message = |row: &<$database as sqlx::Database>::Row| -> Result<Message> {
                    let role = match row.try_get::<&str, _>("role")? {
                        "user" => "user",
                        _ => "assistant",
                    };
                    Ok(Message::new(role, row.try_get("content")?))
                };
                rows.iter().rev().map(message).collect()
            }

            pub async fn store_reply(
                pool: &Pool,
                user: &str,
                begun: &Begun,
                text: &str,
                usage: Usage,
            ) -> Result<i64> {
                let mut tx = pool.begin_with($begin).await?;
                let at = Utc::now();
                let preview: String = text.chars().take(120).collect();
                let conversation = sqlx::query(sql::COUNT_REPLY)
                    .bind(1_i64)
                    .bind(at)
                    .bind(1_i64)
                    .bind(&preview)
                    .bind(at)
                    .bind(begun.conversation)
                    .bind(TENANT)
                    .bind(user)
                    .bind("active")
                    .fetch_one(&mut *tx)
                    .await?;
                let messages: i64 = conversation.try_get("message_count")?;
                sqlx::query(sql::END_TURN)
                    .bind("completed")
                    .bind(begun.message)
                    .bind("running")
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(sql::INSERT_REPLY)
                    .bind(begun.reply)
                    .bind(begun.conversation)
                    .bind(messages)
                    .bind("assistant")
                    .bind(text)
                    .bind("complete")
                    .bind(at)
                    .bind(begun.message)
                    .bind("completed")
                    .bind(NAME)
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(sql::INDEX_REPLY)
                    .bind(begun.conversation)
                    .bind(begun.reply)
                    .bind(indexed(user, text))
                    .execute(&mut *tx)
                    .await?;
                sqlx::query(sql::INSERT_REPLY_CALL)
                    .bind(begun.reply)
                    .bind(TENANT)
                    .bind(begun.conversation)
                    .bind(AGENT)
                    .bind(NAME)
                    .bind(usage.prompt_tokens)
                    .bind(usage.completion_tokens)
                    .bind(0_i64)
                    .bind(at)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await?;
                Ok(messages)
            }

            pub async fn store_title(
                pool: &Pool,
                user: &str,
                begun: &Begun,
                title: &str,
                usage: Usage,
            ) -> Result<i64> {
                let mut tx = pool.begin_with($begin).await?;
                let at = Utc::now();
                sqlx::query(sql::INSERT_TITLE_CALL)
                    .bind(id())
                    .bind(TENANT)
                    .bind(begun.conversation)
                    .bind(NAME)
                    .bind("title")
                    .bind(usage.prompt_tokens)
                    .bind(usage.completion_tokens)
                    .bind(0_i64)
                    .bind(1_i64)
                    .bind(at)
                    .bind(AGENT)
                    .execute(&mut *tx)
                    .await?;
                let conversation = sqlx::query(sql::STORE_TITLE)
                    .bind(1_i64)
                    .bind(at)
                    .bind(title)
                    .bind("generated")
                    .bind("ready")
                    .bind(at)
                    .bind(begun.conversation)
                    .bind(TENANT)
                    .bind(user)
                    .bind("active")
                    .bind(begun.token)
                    .fetch_one(&mut *tx)
                    .await?;
                sqlx::query(sql::INDEX_TITLE)
                    .bind(indexed(user, title))
                    .bind(begun.conversation)
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await?;
                Ok(conversation.try_get("message_count")?)
            }
        }
    };
}

on!(sqlite, sqlx::Sqlite, "BEGIN IMMEDIATE", |body| body);
on!(postgres, sqlx::Postgres, "BEGIN", |body| entry_of_marked(
    &body
));

/// A new id that sorts after earlier ones.
fn id() -> Uuid {
    let chance = std::array::from_fn(|_| fastrand::u8(..));
    let now = Utc::now().timestamp_millis() as u64;
    uuid::Builder::from_unix_timestamp_millis(now, &chance).into_uuid()
}
