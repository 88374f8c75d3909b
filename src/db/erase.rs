//! Erasure of deleted and replaced text from SQLite's file.
//!
//! `secure_delete` overwrites freed parts of the file with zeros. Deleted text remains in three places: the write-ahead
//! log, which has earlier versions of pages; gaps in pages from which SQLite moved rows; and the search index, where
//! FTS5 only marks the deleted row. So a background loop, debounced after deletions and renames, rewrites the index,
//! the file if it is small, and truncates the log. The index of a large file is rewritten in steps, so that others can
//! write in between.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, QueryFilter, RuntimeErr,
    prelude::Uuid,
    sea_query::Expr,
    sqlx::{self, ConnectOptions as _, Connection, SqliteConnection},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Database,
    entity::conversation::{Column, Entity},
};
use crate::{
    conversation::ConversationId,
    error::{Result, innermost},
    supervisor::Heartbeat,
};

/// The debounce interval after a deletion, and its upper bound.
const DEBOUNCE: Duration = Duration::from_secs(1);
const MAX_DEBOUNCE: Duration = Duration::from_secs(30);

/// The pause after a rewrite, as a multiple of its duration, and the maximum size of a rewritten file. Both limit the
/// time for which rewrites block writers.
const PAUSE_FACTOR: u32 = 20;
const MAX_REWRITE_BYTES: i64 = 64 * 1024 * 1024;

/// Rewrites the index as one segment, without the remains of deleted rows.
const REWRITE_INDEX: &str =
    "INSERT INTO agent_search_words (agent_search_words) VALUES ('optimize')";

/// One step of this rewrite, which writes about 500 pages. It changes fewer than two rows when nothing is left to do.
const REWRITE_PART: &str =
    "INSERT INTO agent_search_words (agent_search_words, rank) VALUES ('merge', -500)";

/// The busy timeout of such a step.
const PART_TIMEOUT: &str = "PRAGMA busy_timeout = 5000";

/// The busy timeout of the checkpoint. Short, because it blocks writers while it waits for readers of earlier versions.
const BUSY_TIMEOUT: Duration = Duration::from_millis(50);

/// The deadline of one attempt. A large log takes long to checkpoint.
const DEADLINE: Duration = Duration::from_secs(60);

/// The pause between two attempts of a command.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Wakes the erasure loop.
#[derive(Clone, Debug)]
pub(super) struct Erasure {
    wake: Arc<Notify>,
    /// Whether the file had a log when it was opened: a killed process may have left texts in it.
    had_log: bool,
}

impl Erasure {
    pub(super) fn after(had_log: bool) -> Self {
        Self {
            wake: Arc::default(),
            had_log,
        }
    }
}

impl Database {
    /// Erases a column of conversations that the previous version deleted: that version does not clear it. `unerased`
    /// is the condition of the partial index of these rows.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub(super) async fn erase_of_deleted(
        &self,
        column: Column,
        unerased: &'static str,
    ) -> Result<()> {
        let none: Option<String> = None;
        let erased = Entity::update_many()
            .col_expr(column, Expr::val(none))
            .filter(Expr::cust(unerased))
            // Makes SQLite search the index by its key.
            .filter(Column::Id.gt(ConversationId(Uuid::nil())))
            .exec(&self.writer)
            .await?;
        if erased.rows_affected > 0 {
            self.schedule_erasure();
        }
        Ok(())
    }

    /// Schedules an erasure after text was deleted or replaced in a committed transaction.
    pub(super) fn schedule_erasure(&self) {
        if self.is_embedded() {
            self.erasure.wake.notify_one();
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
        // A killed process may have left deleted texts in the log without erasing them.
        if self.erasure.had_log {
            self.erasure.wake.notify_one();
        }
        loop {
            self.erasure.wake.notified().await;
            let first = Instant::now();
            while first.elapsed() < MAX_DEBOUNCE
                && timeout(DEBOUNCE, self.erasure.wake.notified())
                    .await
                    .is_ok()
            {}
            let began = Instant::now();
            let erasing = async { Ok(self.erase(MAX_REWRITE_BYTES).await?) };
            match heartbeat.iteration(DEADLINE, erasing).await {
                Ok(true) => {}
                // A reader of an earlier version blocks the checkpoint.
                Ok(false) => self.erasure.wake.notify_one(),
                Err(error) => {
                    let cause = innermost(&error);
                    tracing::debug!(%cause, "cannot erase deleted text yet; retrying");
                    self.erasure.wake.notify_one();
                }
            }
            heartbeat.pause(began.elapsed() * PAUSE_FACTOR).await;
        }
    }

    /// Erases deleted text from SQLite's file now, for a command that is about to end. `is_whole`: also rewrites a
    /// large file, so that no byte of it holds a deleted text; writers wait meanwhile. Returns false if other processes
    /// keep the file busy for a minute. Does nothing on a server.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn compact(&self, is_whole: bool) -> Result<bool> {
        if !self.is_embedded() {
            return Ok(true);
        }
        let max_bytes = match is_whole {
            true => i64::MAX,
            false => MAX_REWRITE_BYTES,
        };
        let began = Instant::now();
        loop {
            let is_late = began.elapsed() > DEADLINE;
            match self.erase(max_bytes).await {
                Ok(true) => return Ok(true),
                Err(error) if is_late => return Err(error.into()),
                Ok(false) if is_late => return Ok(false),
                // Another process is writing, or reading an earlier version.
                Ok(false) | Err(_) => sleep(RETRY_INTERVAL).await,
            }
        }
    }

    /// Rewrites a file of at most `max_bytes`, and truncates the write-ahead log. Returns false if a reader blocks the
    /// checkpoint.
    async fn erase(&self, max_bytes: i64) -> Result<bool, DbErr> {
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
        if bytes <= max_bytes {
            for rewrite in [REWRITE_INDEX, "VACUUM"] {
                sqlx::query(rewrite)
                    .execute(&mut connection)
                    .await
                    .map_err(failed)?;
            }
        } else {
            rewrite_in_parts(&mut connection).await.map_err(failed)?;
        }
        let is_busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        connection.close().await.map_err(failed)?;
        Ok(is_busy == 0)
    }
}

/// Rewrites the index in steps, each a transaction. If the deadline ends it, the next attempt continues.
async fn rewrite_in_parts(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let changes = "SELECT total_changes()";
    sqlx::query(PART_TIMEOUT).execute(&mut *connection).await?;
    let mut before: i64 = sqlx::query_scalar(changes)
        .fetch_one(&mut *connection)
        .await?;
    loop {
        sqlx::query(REWRITE_PART).execute(&mut *connection).await?;
        let after: i64 = sqlx::query_scalar(changes)
            .fetch_one(&mut *connection)
            .await?;
        if after - before < 2 {
            break;
        }
        before = after;
    }
    let timeout = format!("PRAGMA busy_timeout = {}", BUSY_TIMEOUT.as_millis());
    sqlx::query(sqlx::AssertSqlSafe(timeout))
        .execute(connection)
        .await?;
    Ok(())
}
