//! A replaceable connection pool, and the detection of lost connections.
//!
//! sqlx tests and closes a released connection without a deadline. A connection that freezes at that moment occupies
//! its slot in the pool forever. [`Database::keep_connections`] detects such slots by counting: a connection that is
//! neither idle nor in use. A new pool then replaces the old one.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    Database, in_use::InUse, options::options, stale::StaleConnections, statements::Statements,
};
use crate::supervisor::Heartbeat;

/// The interval of the counts of a server's connections. Short, so that normal releases are not counted as missing.
const COUNT_INTERVAL: Duration = Duration::from_millis(100);

/// The interval for a file, whose connections do not freeze.
const FILE_COUNT_INTERVAL: Duration = Duration::from_secs(60);

/// The time for which every count must find connections missing: longer than a connection takes to open.
const MISSING_TIMEOUT: Duration = Duration::from_secs(10);

/// The limit of the close of the old pool's idle connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The number of connections of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// The pool: `writer` and `reader` on SQLite, `all` on PostgreSQL.
    pub pool: &'static str,
    /// Open connections.
    pub open: u32,
    /// Open connections that are not in use.
    pub idle: u32,
}

/// A replaceable connection pool. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<RwLock<Opened>>);

/// A pool, and the number of its connections in use.
#[derive(Clone, Debug)]
struct Opened {
    connections: DatabaseConnection,
    in_use: InUse,
}

impl Pool {
    /// The current pool.
    pub(super) fn current(&self) -> DatabaseConnection {
        self.opened().connections
    }

    fn opened(&self) -> Opened {
        let opened = self.0.read().unwrap_or_else(PoisonError::into_inner);
        opened.clone()
    }

    /// The number of connections that are neither idle nor in use: being opened, being tested by the pool, or lost.
    fn missing(&self) -> u32 {
        let Opened {
            connections,
            in_use,
        } = self.opened();
        let Connections { open, idle, .. } = count("", &connections);
        open.saturating_sub(idle.saturating_add(in_use.count()))
    }

    /// Replaces the pool with another one. Returns the old one.
    fn replace(&self, other: &Self) -> DatabaseConnection {
        let fresh = other.opened();
        let mut opened = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *opened, fresh).connections
    }
}

#[async_trait]
impl ConnectionTrait for Pool {
    fn get_database_backend(&self) -> DbBackend {
        self.current().get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.current().execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.current().execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.current().query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.current().query_all_raw(statement).await
    }

    fn support_returning(&self) -> bool {
        self.current().support_returning()
    }
}

/// Opens pools to a database with the same options.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) url: String,
    pub(super) stale: StaleConnections,
    pub(super) statements: Statements,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may contain a password.
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

impl Opener {
    /// Opens a pool of at most `connections` connections.
    pub(super) async fn open(&self, connections: u32) -> Result<Pool, DbErr> {
        let in_use = InUse::default();
        let options = options(&self.url, connections, &self.stale, &in_use);
        let mut connections = sea_orm::Database::connect(options).await?;
        // SeaORM opens one connection as a test, and releases it without a call of `after_release`.
        in_use.reset();
        let statements = self.statements.clone();
        connections.set_metric_callback(move |info| statements.count(info));
        let opened = Opened {
            connections,
            in_use,
        };
        Ok(Pool(Arc::new(RwLock::new(opened))))
    }
}

impl Database {
    /// The number of connections of each pool.
    pub fn connections(&self) -> Vec<Connections> {
        match self.is_embedded() {
            true => vec![
                count("writer", &self.writer.inner.current()),
                count("reader", &self.reader.inner.current()),
            ],
            false => vec![count("all", &self.reader.inner.current())],
        }
    }

    /// Replaces a server's pool whenever it has lost a connection, until `closing`.
    pub async fn keep_connections(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        let every = match self.opener {
            Some(_) => COUNT_INTERVAL,
            None => FILE_COUNT_INTERVAL,
        };
        let mut missing_since = None;
        loop {
            tokio::select! {
                () = heartbeat.pause(every) => {}
                () = closing.cancelled() => return,
            }
            let counting = async {
                self.replace_lost_connections(&mut missing_since).await;
                Ok(())
            };
            // After a timeout, the next iteration tries again.
            let _ = heartbeat.iteration(3 * CLOSE_TIMEOUT, counting).await;
        }
    }

    async fn replace_lost_connections(&self, missing_since: &mut Option<Instant>) {
        let (Some(opener), pool) = (&self.opener, &self.writer.inner) else {
            return;
        };
        let missing = pool.missing();
        if missing == 0 {
            *missing_since = None;
            return;
        }
        if missing_since.get_or_insert_with(Instant::now).elapsed() < MISSING_TIMEOUT {
            return;
        }
        *missing_since = None;
        // Opening a pool opens one connection. If that fails, the old pool may still be opening one as well, so its
        // missing connections are not known to be lost.
        let fresh = match opener.open(self.max_connections).await {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::debug!(%error, "cannot open a new connection pool yet; retrying");
                return;
            }
        };
        tracing::warn!(
            missing,
            "connections to the database froze while being released to the pool; using a new pool"
        );
        close(pool.replace(&fresh)).await;
    }

    /// Replaces a server's pool, as after the loss of a connection; for tests.
    ///
    /// # Errors
    /// If no connection of the new pool opens.
    #[cfg(feature = "failpoints")]
    pub async fn replace_pool(&self) -> Result<(), DbErr> {
        if let Some(opener) = &self.opener {
            let fresh = opener.open(self.max_connections).await?;
            close(self.writer.inner.replace(&fresh)).await;
        }
        Ok(())
    }
}

/// Closes a replaced pool. What waits for one of its connections fails, and is retried on the new pool.
async fn close(old: DatabaseConnection) {
    // Connections in use, and lost ones, do not close before the timeout.
    let _ = timeout(CLOSE_TIMEOUT, old.close()).await;
}

fn count(pool: &'static str, connection: &DatabaseConnection) -> Connections {
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
