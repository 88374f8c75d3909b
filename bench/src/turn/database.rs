//! A new database for each run, and a check of its content at the end.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sqlx::{
    ConnectOptions, Connection, FromRow, PgConnection, SqliteConnection,
    postgres::{PgConnectOptions, PgRow, PgSslMode},
    sqlite::SqliteRow,
};
use tokio::time::sleep;

use super::words::{message, number_in, reply, title};
use crate::{
    Result,
    leftovers::{Folder, create_database, remove_databases},
    running::sqlite,
    seed,
};

/// How long the last replies and titles may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    #[serde(rename = "SQLite")]
    Sqlite,
    #[serde(rename = "PostgreSQL")]
    Postgres,
}

/// A database with empty tables.
pub struct Database {
    pub url: String,
    made: Made,
}

enum Made {
    /// The folder is removed on drop.
    Sqlite(#[expect(dead_code, reason = "it is there to be dropped")] Folder),
    Postgres,
}

/// A connection for reading.
pub enum Reader {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Database {
    /// Creates a file, or a database on the server that `server` names.
    pub async fn create(kind: Kind, server: Option<&str>, titlecast: &Path) -> Result<Self> {
        let database = match kind {
            Kind::Sqlite => {
                let folder = Folder::create()?;
                Self {
                    url: sqlite(&folder.path().join("bench.db")),
                    made: Made::Sqlite(folder),
                }
            }
            Kind::Postgres => {
                let options: PgConnectOptions = server.ok_or("no PostgreSQL is named")?.parse()?;
                let name = format!("titlecast_bench_{}", std::process::id());
                create_database(&options, &name).await?;
                // The server may offer TLS. The service would use it, but the bare statements are built without it.
                let plain = options.ssl_mode(PgSslMode::Disable);
                Self {
                    url: plain.database(&name).to_url_lossy().to_string(),
                    made: Made::Postgres,
                }
            }
        };
        match seed::migrate(titlecast, &database.url) {
            Ok(()) => Ok(database),
            Err(error) => {
                database.remove().await?;
                Err(error)
            }
        }
    }

    pub async fn remove(self) -> Result<()> {
        match self.made {
            Made::Sqlite(_) => Ok(()),
            Made::Postgres => remove_databases().await,
        }
    }

    pub async fn reader(&self) -> Result<Reader> {
        Ok(match self.made {
            Made::Sqlite(_) => Reader::Sqlite(SqliteConnection::connect(&self.url).await?),
            Made::Postgres => Reader::Postgres(PgConnection::connect(&self.url).await?),
        })
    }
}

impl Reader {
    pub async fn rows<T>(&mut self, sql: &'static str) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        Ok(match self {
            Self::Sqlite(connection) => sqlx::query_as(sql).fetch_all(connection).await?,
            Self::Postgres(connection) => sqlx::query_as(sql).fetch_all(connection).await?,
        })
    }

    /// Waits until this many conversations have their reply and no longer wait for a title.
    pub async fn finished(&mut self, count: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            let finished: Vec<(i64,)> = self
                .rows(
                    "SELECT count(*) FROM agent_conversations
                     WHERE message_count = 2 AND title_status <> 'pending'",
                )
                .await?;
            if finished == [(i64::try_from(count)?,)] {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("of {count} conversations are finished: {finished:?}").into());
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Checks that each message, numbered from 0, has exactly one conversation, one reply and one title, and that
    /// nothing else exists.
    pub async fn check(&mut self, count: u64) -> Result<()> {
        let rows: Vec<(String, String, Option<String>, String, i64, String)> = self
            .rows(
                "SELECT asked.content, answer.content, display_name, title_status, revision, reply_status
                 FROM agent_conversations
                 JOIN agent_turns ON agent_turns.conversation_id = agent_conversations.id
                 JOIN agent_messages AS asked ON asked.id = agent_turns.message_id AND asked.position = 1
                 JOIN agent_messages AS answer ON answer.id = agent_turns.reply_id AND answer.position = 2",
            )
            .await?;
        let mut numbers = Vec::with_capacity(rows.len());
        for row in rows {
            let number = number_in(&row.0).ok_or("a message without a number")?;
            numbers.push(number);
            let expected = (
                message(number),
                reply(number).concat(),
                Some(title(number)),
                "ready".to_owned(),
                // Three revisions: created, titled, and replied to, each once.
                3,
                "completed".to_owned(),
            );
            if row != expected {
                return Err(format!("message {number} became {row:?}").into());
            }
        }
        numbers.sort_unstable();
        if !numbers.iter().copied().eq(0..count) {
            let stored = numbers.len();
            return Err(format!("{stored} messages are stored, not {count} each once").into());
        }
        let other: Vec<(i64, i64, i64)> = self
            .rows(
                "SELECT (SELECT count(*) FROM agent_conversations),
                        (SELECT count(*) FROM agent_title_calls
                         JOIN agent_conversations
                         ON agent_conversations.id = agent_title_calls.conversation_id),
                        (SELECT count(*) FROM agent_search)",
            )
            .await?;
        let count = i64::try_from(count)?;
        // The index has a row for each message and each title.
        if other != [(count, count, 3 * count)] {
            return Err(format!(
                "conversations, calls for titles and rows of the index: {other:?} of {count}"
            )
            .into());
        }
        Ok(())
    }
}
