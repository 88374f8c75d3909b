//! The connections, and whether the database takes what it has to keep.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use tokio::sync::Mutex;

use super::Database;
use crate::error::Result;

/// How long it is believed that the database takes writes, or refuses them, before it is tried again.
const BELIEVED: Duration = Duration::from_secs(5);

/// When a write was tried last, and whether it was taken.
#[derive(Debug, Default)]
pub(super) struct Probe(Mutex<Option<(Instant, bool)>>);

/// Connections to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Which: `writer` and `reader` on SQLite, `all` on PostgreSQL.
    pub pool: &'static str,
    /// How many are open.
    pub open: u32,
    /// How many of them nobody uses.
    pub idle: u32,
}

impl Database {
    /// Whether the database takes a write. A full disk, a read-only file system and a standby answer every
    /// question and keep nothing; only a write shows it. So one is tried, whose commit goes to the disk and
    /// changes nothing, at most once in 5 seconds however often somebody asks.
    pub async fn takes_writes(&self) -> bool {
        let mut last = self.probe.0.lock().await;
        if let Some((at, is_taken)) = *last
            && at.elapsed() < BELIEVED
        {
            return is_taken;
        }
        let tried = self.try_write().await;
        if let Err(error) = &tried {
            error.log();
        }
        *last = Some((Instant::now(), tried.is_ok()));
        tried.is_ok()
    }

    async fn try_write(&self) -> Result<()> {
        let sql = match self.writer.get_database_backend() {
            // A number in the file's header that is for applications, and that we do not use.
            DbBackend::Sqlite => "PRAGMA user_version = 0",
            // The update of no row is refused where nothing may be written; the message is a record in the
            // write-ahead log that only those read who ask for it by name.
            _ => {
                "WITH nothing AS (UPDATE agent_turns SET stop_asked = stop_asked WHERE FALSE) \
                 SELECT pg_logical_emit_message(true, 'titlecast', '')"
            }
        };
        self.writer.execute_unprepared(sql).await?;
        Ok(())
    }

    /// The connections there are.
    pub fn connections(&self) -> Vec<Connections> {
        match self.is_embedded() {
            true => vec![
                connections("writer", &self.writer),
                connections("reader", &self.reader),
            ],
            false => vec![connections("all", &self.reader)],
        }
    }
}

fn connections(pool: &'static str, connection: &DatabaseConnection) -> Connections {
    let (open, idle) = match connection.get_database_backend() {
        DbBackend::Sqlite => {
            let pool = connection.get_sqlite_connection_pool();
            (pool.size(), pool.num_idle())
        }
        _ => {
            let pool = connection.get_postgres_connection_pool();
            (pool.size(), pool.num_idle())
        }
    };
    Connections {
        pool,
        open,
        idle: u32::try_from(idle).unwrap_or(u32::MAX),
    }
}
