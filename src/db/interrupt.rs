//! Interrupts statements whose future was dropped or whose time limit has passed, so that a disconnected client causes
//! no further work.
//!
//! - SQLite: each connection that a bounded future acquires gets a progress handler, which interrupts the statement.
//! - PostgreSQL: a released connection that does not answer soon is replaced (`options`), and the server checks every
//!   half second whether the client of a running statement is still connected. This also works through PgBouncer.

use std::{
    pin::pin,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::sqlx::{self, Executor, PgConnection, Sqlite, SqliteConnection, pool::PoolOptions};
use tokio::time::timeout;

use crate::error::{Error, Result};

/// SQLite's virtual machine instructions between two calls of the progress handler. A statement needs about 20 per row.
const HANDLER_INTERVAL: i32 = 1_000;

/// The timeout for pinging a released connection after a statement was dropped. A slower one still runs its statement.
const GRACE: Duration = Duration::from_millis(200);

/// The time after a dropped statement in which released connections are pinged with [`GRACE`].
const GRACE_WINDOW: Duration = Duration::from_secs(1);

/// The first version of PostgreSQL with `client_connection_check_interval`.
const CHECKS_CLIENTS_FROM: u32 = 140_000;
const CHECK_CLIENTS: &str = "SET client_connection_check_interval = 500";

tokio::task_local! {
    /// The flag of the current task's statements.
    static CURRENT: Arc<Flag>;
}

/// The number of live flags, including those held by a progress handler.
static FLAGS: AtomicUsize = AtomicUsize::new(0);

/// The time of the last dropped statement, in milliseconds since [`START`].
static LAST_ABANDONED: AtomicU64 = AtomicU64::new(u64::MAX);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The cancellation state of the statements of one future.
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

    fn may_continue(&self) -> bool {
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

/// Marks the flag as dropped if its future is dropped before completion.
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

/// Runs a future whose statements are interrupted when it is dropped.
pub(crate) async fn interruptible<T>(work: impl Future<Output = T>) -> T {
    let flag = Arc::new(Flag::new(None));
    let mut work = pin!(CURRENT.scope(flag.clone(), work));
    // Drops before `work`, so that the mark is set when the connections of `work` are released.
    let mark = DropMark(flag);
    let done = work.as_mut().await;
    mark.finished();
    done
}

/// Runs a future whose statements are interrupted when it is dropped or after `limit`. `what` names the work in the
/// error.
///
/// # Errors
/// [`Error::TimedOut`] after the limit.
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

/// Makes a spawned task's statements use the flag of the spawning future.
pub(crate) fn inherited<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
    let current = CURRENT.try_with(Arc::clone).ok();
    async move {
        match current {
            Some(flag) => CURRENT.scope(flag, work).await,
            None => work.await,
        }
    }
}

/// Sets the progress handler of an acquired connection to the flag of the current future.
///
/// It replaces the handler of the previous future, which must not interrupt another future's statements.
async fn watch(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    match CURRENT.try_with(Arc::clone) {
        Ok(flag) => connection
            .lock_handle()
            .await?
            .set_progress_handler(HANDLER_INTERVAL, move || flag.may_continue()),
        Err(_) if FLAGS.load(Ordering::Relaxed) > 0 => {
            connection.lock_handle().await?.remove_progress_handler();
        }
        // A command without clients uses no flags.
        Err(_) => {}
    }
    Ok(())
}

/// Adds the progress handler to an SQLite pool with a single connection, such as the writer's.
///
/// The handler is set once and reads the flag of the current future: setting it for each use would wake the
/// connection's thread once more.
pub(super) fn on_single_connection(pool: PoolOptions<Sqlite>) -> PoolOptions<Sqlite> {
    let current = Arc::new(Mutex::new(None::<Arc<Flag>>));
    let handler_flag = current.clone();
    pool.after_connect(move |connection, _| {
        let current = handler_flag.clone();
        Box::pin(async move {
            set_current(&current);
            let may_continue = move || {
                let flag = current.lock().unwrap_or_else(PoisonError::into_inner);
                flag.as_ref().is_none_or(|flag| flag.may_continue())
            };
            let mut handle = connection.lock_handle().await?;
            handle.set_progress_handler(HANDLER_INTERVAL, may_continue);
            Ok(())
        })
    })
    .before_acquire(move |_, _| {
        set_current(&current);
        Box::pin(async { Ok(true) })
    })
}

/// Records the flag of the current future, or that it has none.
fn set_current(current: &Mutex<Option<Arc<Flag>>>) {
    let flag = CURRENT.try_with(Arc::clone).ok();
    *current.lock().unwrap_or_else(PoisonError::into_inner) = flag;
}

/// Adds the progress handler to the connections of an SQLite pool.
pub(super) fn on_connections(pool: PoolOptions<Sqlite>) -> PoolOptions<Sqlite> {
    pool.after_connect(|connection, _| Box::pin(watch(connection)))
        .before_acquire(|connection, _| {
            Box::pin(async move {
                watch(connection).await?;
                Ok(true)
            })
        })
}

/// The timeout for pinging a released server connection, if a statement was dropped recently. A connection that exceeds
/// it is still busy with the dropped statement.
pub(super) fn grace() -> Option<Duration> {
    let last = LAST_ABANDONED.load(Ordering::Relaxed);
    let now = START.elapsed().as_millis() as u64;
    let is_recent = last != u64::MAX && now.saturating_sub(last) <= GRACE_WINDOW.as_millis() as u64;
    is_recent.then_some(GRACE)
}

/// Makes the server check whether the client of a running statement is still connected.
pub(super) async fn check_clients(connection: &mut PgConnection) {
    let version = connection.server_version_num();
    if version.is_some_and(|version| version >= CHECKS_CLIENTS_FROM) {
        // Fails if the server's platform lacks support; statements then run to their end.
        let _ = connection.execute(CHECK_CLIENTS).await;
    }
}

#[cfg(feature = "failpoints")]
impl super::Database {
    /// Runs a statement that takes at least ten minutes, for tests that drop it.
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
