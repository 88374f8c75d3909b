//! A replaceable connection pool, and the detection of lost connections.
//!
//! sqlx tests and closes a released connection without a deadline. A connection that freezes at that moment occupies
//! its slot in the pool forever. [`Database::keep_connections`] detects such slots by counting: a connection that is
//! neither idle nor in use. A new pool then replaces the old one.
//!
//! While sqlx opens a connection for a statement, it ignores idle ones. If the server refuses further connections,
//! because of a limit or while a rolling upgrade doubles the nodes, statements would fail although connections are
//! idle. So a smaller pool replaces the old one, and the full size is tried again later.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    ExecResult, QueryResult, Statement, TransactionOptions, TransactionTrait,
    sqlx::{self, ConnectOptions as _, Connection, postgres::PgConnectOptions},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    Database,
    fault::{is_acquire_timeout, is_limit},
    in_use::InUse,
    options::{options, server_options},
    stale::StaleConnections,
    statements::Statements,
};
use crate::supervisor::Heartbeat;

/// The interval at which a server's connections are counted. Short, so that normal releases do not count as missing.
const COUNT_INTERVAL: Duration = Duration::from_millis(100);

/// The interval for a file, whose connections do not freeze.
const FILE_COUNT_INTERVAL: Duration = Duration::from_secs(60);

/// How long every count must find connections missing before the pool is replaced: longer than one takes to open.
const MISSING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long every count must find connections missing before a test connection shows whether the server refuses more.
const REFUSED_AFTER: Duration = Duration::from_secs(1);

/// The timeout of the test connection. A server that does not answer does not refuse.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a pool stays smaller before the full size is tried again.
const RESTORE_AFTER: Duration = Duration::from_secs(5 * 60);

/// The timeout for closing the old pool's idle connections.
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

    /// Begins a transaction.
    pub(super) async fn begin(
        &self,
        options: TransactionOptions,
    ) -> Result<DatabaseTransaction, DbErr> {
        let pool = self.opened();
        self.checked(&pool, pool.connections.begin_with_options(options).await)
    }

    /// If the pool was replaced during the wait for a connection, turns the error into that of a closed pool, after
    /// which statements are retried.
    fn checked<T>(&self, used: &Opened, result: Result<T, DbErr>) -> Result<T, DbErr> {
        match result {
            Err(error) if is_acquire_timeout(&error) && !self.opened().in_use.is(&used.in_use) => {
                Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))
            }
            result => result,
        }
    }

    /// The number of connections that the server has granted.
    fn granted(&self) -> u32 {
        let Opened {
            connections,
            in_use,
        } = self.opened();
        count("", &connections).idle.saturating_add(in_use.count())
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
        let pool = self.opened();
        self.checked(&pool, pool.connections.execute_raw(statement).await)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let pool = self.opened();
        self.checked(&pool, pool.connections.execute_unprepared(sql).await)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let pool = self.opened();
        self.checked(&pool, pool.connections.query_one_raw(statement).await)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let pool = self.opened();
        self.checked(&pool, pool.connections.query_all_raw(statement).await)
    }

    fn support_returning(&self) -> bool {
        self.current().support_returning()
    }
}

/// Opens pools with the same options to one database.
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
    /// Opens a pool of at most `connections` connections, and its first connection.
    pub(super) async fn open(&self, connections: u32) -> Result<Pool, DbErr> {
        self.open_pool(connections, false).await
    }

    /// Like [`Self::open`], but opens no connection: the first statement does.
    async fn open_empty(&self, connections: u32) -> Result<Pool, DbErr> {
        self.open_pool(connections, true).await
    }

    /// The server's error, if it refuses another connection because of a limit.
    async fn refusal(&self) -> Option<sqlx::Error> {
        let server: PgConnectOptions = self.url.parse().ok()?;
        let asked = timeout(ASK_TIMEOUT, server_options(server).connect()).await;
        match asked.ok()? {
            Ok(connection) => {
                // The connection was only a test.
                let _ = timeout(ASK_TIMEOUT, connection.close()).await;
                None
            }
            Err(error) => is_limit(&error).then_some(error),
        }
    }

    async fn open_pool(&self, connections: u32, is_empty: bool) -> Result<Pool, DbErr> {
        let in_use = InUse::default();
        let mut options = options(&self.url, connections, &self.stale, &in_use);
        options.connect_lazy(is_empty);
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

    /// Replaces a server's pool whenever it has lost a connection or the server refuses more, until `closing`.
    pub async fn keep_connections(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        let every = match self.opener {
            Some(_) => COUNT_INTERVAL,
            None => FILE_COUNT_INTERVAL,
        };
        let mut watch = Watch::default();
        loop {
            tokio::select! {
                () = heartbeat.pause(every) => {}
                () = closing.cancelled() => return,
            }
            let counting = async {
                self.replace_lost_connections(&mut watch).await;
                Ok(())
            };
            // After a timeout, the next iteration tries again.
            let _ = heartbeat.iteration(3 * CLOSE_TIMEOUT, counting).await;
        }
    }

    async fn replace_lost_connections(&self, watch: &mut Watch) {
        let (Some(opener), pool) = (&self.opener, &self.writer.inner) else {
            return;
        };
        if watch
            .reduced_at
            .is_some_and(|at| at.elapsed() > RESTORE_AFTER)
        {
            *watch = Watch::default();
            replace_with_empty(pool, opener, self.max_connections).await;
            return;
        }
        let missing = pool.missing();
        if missing == 0 {
            watch.missing_since = None;
            watch.is_asked = false;
            return;
        }
        let since = watch
            .missing_since
            .get_or_insert_with(Instant::now)
            .elapsed();
        if since >= REFUSED_AFTER && !watch.is_asked {
            watch.is_asked = true;
            if let Some(error) = opener.refusal().await {
                let connections = pool.granted().clamp(1, self.max_connections);
                tracing::warn!(
                    %error,
                    connections,
                    "the database refuses further connections; continuing with the open ones. Allow more there, or \
                     lower --database-connections (TITLECAST_DATABASE_CONNECTIONS)"
                );
                replace_with_empty(pool, opener, connections).await;
                *watch = Watch {
                    reduced_at: Some(Instant::now()),
                    ..Watch::default()
                };
                return;
            }
        }
        if since < MISSING_TIMEOUT {
            return;
        }
        watch.missing_since = None;
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

/// The findings of the counts of a server's connections.
#[derive(Default)]
struct Watch {
    /// Since when every count has found connections missing.
    missing_since: Option<Instant>,
    /// Whether a test connection was tried since then.
    is_asked: bool,
    /// When the pool was made smaller.
    reduced_at: Option<Instant>,
}

/// Replaces a pool with one of another size. Closes the connections of the old one, so that the server grants them
/// again.
async fn replace_with_empty(pool: &Pool, opener: &Opener, connections: u32) {
    match opener.open_empty(connections).await {
        Ok(fresh) => close(pool.replace(&fresh)).await,
        Err(error) => tracing::error!(%error, "cannot make a connection pool"),
    }
}

/// Closes a replaced pool. Statements that wait for one of its connections fail, and are retried on the new pool.
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
