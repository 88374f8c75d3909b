//! The connections to the database: a pool that can be replaced, and their numbers.
//!
//! sqlx tests and closes a connection that comes back without a deadline. One that freezes in just that moment keeps
//! its place in the pool for good. Such places are found by counting ([`Database::keep_connections`]): the pool has a
//! connection that is neither idle nor taken. A new pool then takes the place of the old one.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Database, guarded::StaleConnections, open::options, statements::Statements};
use crate::supervisor::Heartbeat;

/// How often the places are counted: often enough that each place that comes back is seen to be there at some time.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// The same of connections to a file, which do not freeze.
const COUNT_OF_FILE_EVERY: Duration = Duration::from_secs(60);

/// How long places have to be missing at each count: longer than a connection may take to be made.
const MISSING_FOR: Duration = Duration::from_secs(10);

/// How long the old pool may take to close what is idle in it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Which: `writer` and `reader` on SQLite, `all` on PostgreSQL.
    pub pool: &'static str,
    /// How many are open.
    pub open: u32,
    /// How many of them are not in use.
    pub idle: u32,
}

/// A pool of connections that another one can take the place of. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<RwLock<Opened>>);

/// A pool, and how many of its connections are taken.
#[derive(Clone, Debug)]
struct Opened {
    connections: DatabaseConnection,
    taken: Taken,
}

/// Counts the connections that are taken from a pool, until the pool's own test of them when they come back. Cheap to
/// clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken(Arc<AtomicU32>);

/// A connection that comes back; when this is dropped, it is with the pool.
pub(super) struct Returning(Taken);

impl Taken {
    /// One is taken.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// One comes back.
    pub(super) fn returning(&self) -> Returning {
        Returning(self.clone())
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Pool {
    /// The connections of now.
    pub(super) fn current(&self) -> DatabaseConnection {
        self.opened().connections
    }

    fn opened(&self) -> Opened {
        let opened = self.0.read().unwrap_or_else(PoisonError::into_inner);
        opened.clone()
    }

    /// How many connections are neither idle nor taken: they are being made, or tested by the pool, or lost.
    fn missing(&self) -> u32 {
        let Opened { connections, taken } = self.opened();
        let Connections { open, idle, .. } = count("", &connections);
        open.saturating_sub(idle.saturating_add(taken.count()))
    }

    /// Puts another pool in this one's place. Returns the connections of the old one.
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

/// Opens pools to a database, all alike.
#[derive(Clone)]
pub(super) struct Opener {
    pub(super) url: String,
    pub(super) stale: StaleConnections,
    pub(super) statements: Statements,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may have a password.
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

impl Opener {
    /// Opens a pool of at most so many connections.
    pub(super) async fn open(&self, connections: u32) -> Result<Pool, DbErr> {
        let taken = Taken::default();
        let options = options(&self.url, connections, &self.stale, &taken);
        let mut connections = sea_orm::Database::connect(options).await?;
        // The first connection was made to see that there is one. It was released without a word.
        taken.0.store(0, Ordering::SeqCst);
        let statements = self.statements.clone();
        connections.set_metric_callback(move |info| statements.note(info));
        let opened = Opened { connections, taken };
        Ok(Pool(Arc::new(RwLock::new(opened))))
    }
}

impl Database {
    /// The connections there are.
    pub fn connections(&self) -> Vec<Connections> {
        match self.is_embedded() {
            true => vec![
                count("writer", &self.writer.inner.current()),
                count("reader", &self.reader.inner.current()),
            ],
            false => vec![count("all", &self.reader.inner.current())],
        }
    }

    /// Replaces the pool until `closing` whenever it has lost a connection to a server.
    pub async fn keep_connections(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        let every = match self.opener {
            Some(_) => COUNT_EVERY,
            None => COUNT_OF_FILE_EVERY,
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
            // At its deadline it is tried again.
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
        if missing_since.get_or_insert_with(Instant::now).elapsed() < MISSING_FOR {
            return;
        }
        *missing_since = None;
        // It opens with a connection. While none can be made, nothing is known: the old pool may be making one.
        let fresh = match opener.open(self.max_connections).await {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::debug!(%error, "no new pool of connections to the database yet");
                return;
            }
        };
        tracing::warn!(
            missing,
            "connections to the database froze on their way back into the pool; using a new pool"
        );
        let old = pool.replace(&fresh);
        // What is lost does not close.
        let _ = timeout(CLOSE_TIMEOUT, old.close()).await;
    }
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
