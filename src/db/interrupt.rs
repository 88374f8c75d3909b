//! Ends statements whose future was dropped, or whose limit has passed: a client that left costs nothing more.
//!
//! - SQLite: each connection that a bounded future acquires gets a progress handler, which ends the statement.
//! - PostgreSQL: a connection that is released and does not answer soon is replaced (`open`), and the server looks every half
//!   second whether the client of a running statement is still connected. That works through PgBouncer too.

use std::{
    pin::pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::sqlx::{self, Executor, PgConnection, Sqlite, SqliteConnection, pool::PoolOptions};
use tokio::time::timeout;

use crate::error::{Error, Result};

/// SQLite's virtual machine instructions between two looks. A statement takes some 20 for a row that it reads.
const OPERATIONS: i32 = 1_000;

/// How soon PostgreSQL answers on a connection whose last statement was dropped, unless the statement still runs.
const GRACE: Duration = Duration::from_millis(200);

/// For how long after a statement was dropped the connections that come back are asked whether they answer.
const WATCHED: Duration = Duration::from_secs(1);

/// The first version of PostgreSQL with `client_connection_check_interval`.
const CHECKS_CLIENTS: u32 = 140_000;
const CHECK_CLIENTS: &str = "SET client_connection_check_interval = 500";

tokio::task_local! {
    /// Whether the statements of this task may go on.
    static CURRENT: Arc<Flag>;
}

/// How many flags there are, with those that a progress handler still holds.
static FLAGS: AtomicUsize = AtomicUsize::new(0);

/// When a statement was dropped last, in milliseconds since [`START`].
static LAST_ABANDONED: AtomicU64 = AtomicU64::new(u64::MAX);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Whether the statements of one future may go on.
#[derive(Debug)]
struct Flag {
    state: AtomicU8,
    deadline: Option<Instant>,
}

const RUNNING: u8 = 0;
const FINISHED: u8 = 1;
const DROPPED: u8 = 2;

impl Flag {
    fn new(limit: Option<Duration>) -> Self {
        FLAGS.fetch_add(1, Ordering::Relaxed);
        Self {
            state: AtomicU8::new(RUNNING),
            deadline: limit.map(|limit| Instant::now() + limit),
        }
    }

    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn may_go_on(&self) -> bool {
        match self.state.load(Ordering::Relaxed) {
            RUNNING => !self.is_late(),
            state => state == FINISHED,
        }
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        FLAGS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Marks the flag when the future that has it is dropped before its end.
struct DropMark(Arc<Flag>);

impl DropMark {
    fn finished(&self) {
        self.0.state.store(FINISHED, Ordering::Relaxed);
    }
}

impl Drop for DropMark {
    fn drop(&mut self) {
        if self.0.state.load(Ordering::Relaxed) == RUNNING {
            self.0.state.store(DROPPED, Ordering::Relaxed);
            let millis = START.elapsed().as_millis() as u64;
            LAST_ABANDONED.store(millis, Ordering::Relaxed);
        }
    }
}

/// Runs a future whose statements end when it is dropped.
pub(crate) async fn interruptible<T>(work: impl Future<Output = T>) -> T {
    let flag = Arc::new(Flag::new(None));
    let mut work = pin!(CURRENT.scope(flag.clone(), work));
    // Dropped before the work: its connections find the mark when they come back.
    let mark = DropMark(flag);
    let done = work.as_mut().await;
    mark.finished();
    done
}

/// The same with a limit; `what` names the work to the client.
///
/// # Errors
/// [`Error::TimedOut`] behind the limit.
pub(super) async fn bounded<T>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let flag = Arc::new(Flag::new(Some(limit)));
    let mut work = pin!(CURRENT.scope(flag.clone(), work));
    let mark = DropMark(flag);
    match timeout(limit, work.as_mut()).await {
        Ok(Err(Error::Database(_))) if mark.0.is_late() => {
            mark.finished();
            Err(Error::TimedOut { what })
        }
        Ok(done) => {
            mark.finished();
            done
        }
        Err(_) => Err(Error::TimedOut { what }),
    }
}

/// Makes a task's statements end with those of the future that spawns it.
pub(crate) fn inherited<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
    let current = CURRENT.try_with(Arc::clone).ok();
    async move {
        match current {
            Some(flag) => CURRENT.scope(flag, work).await,
            None => work.await,
        }
    }
}

/// Gives a connection the flag of the future that acquires it, instead of that of the future before it, whose end
/// must not end another's statements.
async fn watch(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    match CURRENT.try_with(Arc::clone) {
        Ok(flag) => connection
            .lock_handle()
            .await?
            .set_progress_handler(OPERATIONS, move || flag.may_go_on()),
        Err(_) if FLAGS.load(Ordering::Relaxed) > 0 => {
            connection.lock_handle().await?.remove_progress_handler();
        }
        // A command, which has no clients.
        Err(_) => {}
    }
    Ok(())
}

/// Lets connections to a file watch the flag of the future that acquires them.
pub(super) fn on_file(pool: PoolOptions<Sqlite>) -> PoolOptions<Sqlite> {
    pool.after_connect(|connection, _| Box::pin(watch(connection)))
        .before_acquire(|connection, _| {
            Box::pin(async move {
                watch(connection).await?;
                Ok(true)
            })
        })
}

/// How long a connection to a server that comes back may take to answer, when a statement was dropped lately: one
/// that takes longer is busy with it.
pub(super) fn grace() -> Option<Duration> {
    let last = LAST_ABANDONED.load(Ordering::Relaxed);
    let now = START.elapsed().as_millis() as u64;
    let is_recent = last != u64::MAX && now.saturating_sub(last) <= WATCHED.as_millis() as u64;
    is_recent.then_some(GRACE)
}

/// Lets the server look whether the client of a running statement is still there.
pub(super) async fn check_clients(connection: &mut PgConnection) {
    let version = connection.server_version_num();
    if version.is_some_and(|version| version >= CHECKS_CLIENTS) {
        // Refused where the server's system cannot look: statements end by themselves there.
        let _ = connection.execute(CHECK_CLIENTS).await;
    }
}

#[cfg(feature = "failpoints")]
impl super::Database {
    /// A statement of ten minutes, for tests that drop it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn run_endlessly(&self) -> Result<()> {
        use sea_orm::ConnectionTrait;
        let statement = self.statement(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000000000)
             SELECT max(i) FROM n",
            "SELECT pg_sleep(600)",
            [],
        );
        interruptible(self.reader.query_one_raw(statement)).await?;
        Ok(())
    }
}
