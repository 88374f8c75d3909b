//! On SQLite, what was deleted or replaced goes from the disk soon.
//!
//! `secure_delete` overwrites freed parts of the file with zeros, and FTS5's `secure-delete` takes words out of the
//! index at once instead of marking them. Three places are left: the write-ahead log, which holds earlier versions of
//! pages; the gaps of pages from which SQLite moved rows to others; and the separators between pages of the index,
//! which may be words that were deleted. So, beside the requests and soon after deletions and renames, the index and
//! the file are rewritten if the file is small, and the log is truncated.

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

/// How long no text may have gone before the file is rewritten, and the longest that this is waited for.
const QUIET: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Rewriting locks out writers: it takes at most this share of the time, and only files of at most this size.
const SHARE: u32 = 20;
const LARGEST: i64 = 64 * 1024 * 1024;

const REBUILD_INDEX: &str =
    "INSERT INTO agent_search_words (agent_search_words) VALUES ('rebuild')";

/// How long cutting the log may keep writers waiting for readers of earlier versions.
const BUSY: Duration = Duration::from_millis(50);

/// How long one try may take; a log that has not been cut for long takes its time to be copied.
const DEADLINE: Duration = Duration::from_secs(60);

/// Wakes what erases.
#[derive(Clone, Debug, Default)]
pub(super) struct Erasure(Arc<Notify>);

impl Database {
    /// Text was deleted or replaced, and is committed.
    pub(super) fn text_went(&self) {
        if self.is_embedded() {
            self.erasure.0.notify_one();
        }
    }

    /// Erases soon after text went, until `closing`.
    pub async fn keep_erasing(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        match self.is_embedded() {
            true => {
                closing
                    .run_until_cancelled(self.erase_for_ever(heartbeat))
                    .await;
            }
            false => closing.cancelled().await,
        }
    }

    async fn erase_for_ever(&self, heartbeat: &Heartbeat) {
        loop {
            self.erasure.0.notified().await;
            let first = Instant::now();
            while first.elapsed() < LONGEST
                && timeout(QUIET, self.erasure.0.notified()).await.is_ok()
            {}
            let began = Instant::now();
            let erasing = async { Ok(self.erase().await?) };
            match heartbeat.iteration(DEADLINE, erasing).await {
                Ok(true) => {}
                // A reader of an earlier version is in the way.
                Ok(false) => self.erasure.0.notify_one(),
                Err(error) => {
                    let cause = innermost(&error);
                    tracing::debug!(%cause, "deleted text is not erased yet; trying again");
                    self.erasure.0.notify_one();
                }
            }
            heartbeat.pause(began.elapsed() * SHARE).await;
        }
    }

    /// Rewrites a small file, and cuts the write-ahead log. Returns false when a reader is in the way.
    async fn erase(&self) -> Result<bool, DbErr> {
        // This opens the path, which has to lead to the file that the text went from.
        self.writer.confirm().await?;
        let options = self
            .writer
            .inner
            .current()
            .get_sqlite_connection_pool()
            .connect_options();
        let failed = |error: sqlx::Error| DbErr::Conn(RuntimeErr::SqlxError(error.into()));
        let options = (*options).clone().busy_timeout(BUSY);
        let mut connection: SqliteConnection = options.connect().await.map_err(failed)?;
        let bytes: i64 = sqlx::query_scalar(
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
        if bytes <= LARGEST {
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

/// Lets FTS5 take the words of deleted rows out of its index at once. Stored in the file with the index; does nothing
/// where there is no index yet, or it is set.
pub(super) async fn erase_words(writer: &DatabaseConnection) -> Result<(), DbErr> {
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
