//! Erasure of deleted and replaced text from SQLite's file.
//!
//! `secure_delete` overwrites freed parts of the file with zeros, and FTS5's `secure-delete` removes words from the
//! index at once instead of marking them. Deleted text remains in three places: the write-ahead log, which has earlier
//! versions of pages; gaps in pages from which SQLite moved rows; and separator keys of the index, which may be deleted
//! words. So a background loop, debounced after deletions and renames, rewrites the index and the file if the file is
//! small, and truncates the log.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, RuntimeErr, Statement,
    sqlx::{self, ConnectOptions as _, Connection, SqliteConnection},
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use super::Database;
use crate::{error::innermost, supervisor::Heartbeat};

/// The debounce interval after a deletion, and its upper bound.
const DEBOUNCE: Duration = Duration::from_secs(1);
const MAX_DEBOUNCE: Duration = Duration::from_secs(30);

/// The pause after a rewrite, as a multiple of its duration, and the maximum size of a rewritten file. Both limit the
/// time for which rewrites block writers.
const PAUSE_FACTOR: u32 = 20;
const MAX_REWRITE_BYTES: i64 = 64 * 1024 * 1024;

const REBUILD_INDEX: &str =
    "INSERT INTO agent_search_words (agent_search_words) VALUES ('rebuild')";

/// The busy timeout of the checkpoint: it blocks writers while it waits for readers of earlier versions.
const BUSY_TIMEOUT: Duration = Duration::from_millis(50);

/// The limit of one attempt; a large log takes long to checkpoint.
const DEADLINE: Duration = Duration::from_secs(60);

/// Wakes the erasure loop.
#[derive(Clone, Debug, Default)]
pub(super) struct Erasure(Arc<Notify>);

impl Database {
    /// Schedules an erasure after text was deleted or replaced in a committed transaction.
    pub(super) fn schedule_erasure(&self) {
        if self.is_embedded() {
            self.erasure.0.notify_one();
        }
    }

    /// Runs scheduled erasures until `closing`.
    pub async fn keep_erasing(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        match self.is_embedded() {
            true => {
                closing
                    .run_until_cancelled(self.run_erasures(heartbeat))
                    .await;
            }
            false => closing.cancelled().await,
        }
    }

    async fn run_erasures(&self, heartbeat: &Heartbeat) {
        loop {
            self.erasure.0.notified().await;
            let first = Instant::now();
            while first.elapsed() < MAX_DEBOUNCE
                && timeout(DEBOUNCE, self.erasure.0.notified()).await.is_ok()
            {}
            let began = Instant::now();
            let erasing = async { Ok(self.erase().await?) };
            match heartbeat.iteration(DEADLINE, erasing).await {
                Ok(true) => {}
                // A reader of an earlier version blocks the checkpoint.
                Ok(false) => self.erasure.0.notify_one(),
                Err(error) => {
                    let cause = innermost(&error);
                    tracing::debug!(%cause, "cannot erase deleted text yet; retrying");
                    self.erasure.0.notify_one();
                }
            }
            heartbeat.pause(began.elapsed() * PAUSE_FACTOR).await;
        }
    }

    /// Rewrites a small file and truncates the write-ahead log. Returns false if a reader blocks the checkpoint.
    async fn erase(&self) -> Result<bool, DbErr> {
        // The code below opens the path again, which must still refer to the file that is in use.
        self.writer.confirm()?;
        let options = self
            .writer
            .inner
            .current()
            .get_sqlite_connection_pool()
            .connect_options();
        let failed = |error: sqlx::Error| DbErr::Conn(RuntimeErr::SqlxError(error.into()));
        let options = (*options).clone().busy_timeout(BUSY_TIMEOUT);
        let mut connection: SqliteConnection = options.connect().await.map_err(failed)?;
        let bytes: i64 = sqlx::query_scalar(
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
        if bytes <= MAX_REWRITE_BYTES {
            for rewrite in [REBUILD_INDEX, "VACUUM"] {
                sqlx::query(rewrite)
                    .execute(&mut connection)
                    .await
                    .map_err(failed)?;
            }
        }
        let is_busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        connection.close().await.map_err(failed)?;
        Ok(is_busy == 0)
    }
}

/// Enables FTS5's `secure-delete`, which removes the words of deleted rows from the index at once.
///
/// The file stores the setting. Does nothing if the index does not exist yet or the setting is enabled.
pub(super) async fn enable_secure_delete(writer: &DatabaseConnection) -> Result<(), DbErr> {
    let is_there = "SELECT 1 FROM sqlite_master WHERE name = 'agent_search_words_config'";
    let is_set = "SELECT 1 FROM agent_search_words_config WHERE k = 'secure-delete' AND v = 1";
    if has(writer, is_there).await? && !has(writer, is_set).await? {
        writer
            .execute_unprepared(
                "INSERT INTO agent_search_words (agent_search_words, rank) VALUES ('secure-delete', 1)",
            )
            .await?;
    }
    Ok(())
}

async fn has(writer: &DatabaseConnection, sql: &str) -> Result<bool, DbErr> {
    let statement = Statement::from_string(writer.get_database_backend(), sql);
    Ok(writer.query_one_raw(statement).await?.is_some())
}
