//! Group commit for SQLite: transactions that wait for the writer share one commit, and so one wait for the disk.
//!
//! A transaction that ends while others wait stays open, and theirs become savepoints in it. A task that queued behind
//! them commits the group, and only then does any of them return, even with an error. A transaction that fails or is
//! dropped rolls back its own savepoint. If SQLite may have rolled back everything, the group is given up, and the
//! others run again.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use sea_orm::{ConnAcquireErr, DbBackend, DbErr, RuntimeErr, TransactionTrait, sqlx};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, watch},
    time::timeout,
};

use super::{
    CONNECT_TIMEOUT, Database,
    fault::{Fault, UnknownCommit},
    guarded::Transaction,
    statements::bracket,
};
use crate::error::{Error, Result};

/// The writer's queue. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    /// The open group. The holder of the lock writes; tokio's mutex serves in the order of arrival.
    open: Arc<Mutex<Option<Group>>>,
    waiting: AtomicUsize,
}

type Turn = OwnedMutexGuard<Option<Group>>;

/// A transaction that stays open for others.
#[derive(Debug)]
struct Group {
    outer: Transaction,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug)]
enum State {
    Open,
    Committing,
    Over(Result<(), DbErr>),
}

/// Why a transaction that has ended is not known to be committed.
enum Failure {
    Unknown(DbErr),
    /// The group was rolled back.
    GivenUp,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unknown(error) => UnknownCommit(error).into(),
            Failure::GivenUp => given_up().into(),
        }
    }
}

/// Counts a waiting transaction until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Groups {
    /// Waits for the writer.
    async fn turn(&self) -> Result<Turn, DbErr> {
        let Queue { open, waiting } = &*self.0;
        waiting.fetch_add(1, Ordering::Relaxed);
        let _counted = Waiting(waiting);
        let turn = timeout(CONNECT_TIMEOUT, open.clone().lock_owned()).await;
        turn.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
    }

    fn are_awaited(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// Leaves a transaction open for those that wait. The task that commits it queues behind them, and goes on if the
    /// caller is dropped.
    fn leave_open(&self, mut turn: Turn, outer: Transaction) -> watch::Receiver<State> {
        let (state, seen) = watch::channel(State::Open);
        *turn = Some(Group { outer, state });
        drop(turn);
        let open = self.0.open.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "it holds the writer's connection, for which the close of the pool waits"
        )]
        tokio::spawn(async move {
            let mut turn = open.lock_owned().await;
            if let Some(group) = turn.take() {
                group.commit().await;
            }
        });
        seen
    }
}

impl Group {
    async fn commit(self) {
        let Self { outer, state } = self;
        state.send_replace(State::Committing);
        let committed = outer.commit().await;
        state.send_replace(State::Over(committed));
    }
}

impl Database {
    /// Runs a transaction, alone or in a group.
    pub(super) async fn in_group<T, F>(&self, run: &impl Fn(Transaction) -> F) -> Result<T>
    where
        F: Future<Output = Result<(Transaction, T)>>,
    {
        let begun = bracket(DbBackend::Sqlite, "BEGIN", self.begin_in_turn());
        let (mut turn, tx, outcome) = begun.await?;
        // If `run` fails or is dropped, so is the transaction or savepoint, which rolls it back.
        let ended = run(tx).await;
        let Some(outcome) = outcome else {
            let (tx, value) = ended?;
            let committed = bracket(DbBackend::Sqlite, "COMMIT", async {
                match self.groups.are_awaited() {
                    false => tx.commit().await.map_err(Failure::Unknown),
                    true => self.committed(self.groups.leave_open(turn, tx)).await,
                }
            });
            committed.await?;
            return Ok(value);
        };
        let ended = match ended {
            Ok((tx, value)) => tx.release().await.map(|()| value).map_err(Into::into),
            Err(error) => Err(error),
        };
        if let Err(error) = &ended
            && !matches!(Fault::of_error(error), None | Some(Fault::Row))
        {
            *turn = None;
            return ended;
        }
        drop(turn);
        // The error may come from a row of the group, such as a duplicate key: the caller reads that row next.
        bracket(DbBackend::Sqlite, "COMMIT", self.committed(outcome)).await?;
        ended
    }

    /// Waits for the writer, and begins a transaction, or a savepoint in the open group. For a savepoint, the third
    /// value is the group's outcome.
    async fn begin_in_turn(
        &self,
    ) -> Result<(Turn, Transaction, Option<watch::Receiver<State>>), DbErr> {
        let began = Instant::now();
        let mut turn = self.groups.turn().await?;
        let Some(group) = turn.take() else {
            return Ok((turn, self.begin(began.elapsed()).await?, None));
        };
        // Not put back meanwhile: if this begin fails or is dropped, sqlx rolls back the whole transaction.
        let begun = self.writer.with_deadline(group.outer.inner.begin()).await?;
        let outcome = group.state.subscribe();
        *turn = Some(group);
        Ok((turn, self.writer.wrap(begun), Some(outcome)))
    }

    /// Waits for the group's commit.
    async fn committed(&self, mut outcome: watch::Receiver<State>) -> Result<(), Failure> {
        let over = outcome.wait_for(|state| matches!(state, State::Over(_)));
        let over = self.writer.with_deadline(async { Ok(over.await.is_ok()) });
        // On a timeout, the commit may still follow.
        over.await.map_err(Failure::Unknown)?;
        let state = outcome.borrow().clone();
        match state {
            State::Over(committed) => committed.map_err(Failure::Unknown),
            State::Open => Err(Failure::GivenUp),
            State::Committing => Err(Failure::Unknown(given_up())),
        }
    }
}

/// The error of a group that was rolled back as a whole. Its transactions are retried as after a lost connection.
fn given_up() -> DbErr {
    let error = sqlx::Error::Io(ErrorKind::ConnectionAborted.into());
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests wait for their tasks")]
mod tests {
    use std::{
        future::pending,
        path::PathBuf,
        sync::atomic::{AtomicBool, Ordering},
    };

    use sea_orm::ConnectionTrait;
    use tokio::{
        sync::Notify,
        task::{JoinHandle, yield_now},
    };

    use super::*;

    /// A database with an empty table of distinct numbers.
    struct File {
        database: Database,
        path: PathBuf,
    }

    impl File {
        async fn new() -> Self {
            let path = std::env::temp_dir().join(format!("titlecast-{}.db", uuid::Uuid::now_v7()));
            let url = format!("sqlite://{}?mode=rwc", path.display());
            let database = Database::connect(&url, 2).await.unwrap();
            let table = "CREATE TABLE numbers (number integer PRIMARY KEY)";
            database.writer.execute_unprepared(table).await.unwrap();
            Self { database, path }
        }

        /// The committed numbers.
        async fn numbers(&self) -> Vec<i64> {
            let sql = "SELECT number FROM numbers ORDER BY number";
            let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, sql);
            let rows = self.database.reader.query_all_raw(statement).await.unwrap();
            rows.iter()
                .map(|row| row.try_get("", "number").unwrap())
                .collect()
        }

        /// Begins a first transaction, which inserts 1 and ends when it is notified.
        fn first(&self) -> (JoinHandle<Result<()>>, Arc<Notify>) {
            let (db, end) = (self.database.clone(), Arc::new(Notify::new()));
            let told = end.clone();
            let task = tokio::spawn(async move {
                let run = |tx: Transaction| async {
                    insert(&tx, 1).await?;
                    told.notified().await;
                    told.notify_one();
                    Ok((tx, ()))
                };
                db.transaction(run).await
            });
            (task, end)
        }

        /// Begins a transaction that inserts a number and then runs `then`. Returns once it waits for its turn.
        async fn begin<F>(
            &self,
            number: i64,
            then: impl Fn(Transaction) -> F + Send + Sync + 'static,
        ) -> JoinHandle<Result<()>>
        where
            F: Future<Output = Result<(Transaction, ())>> + Send,
        {
            let db = self.database.clone();
            let waiting = || self.database.groups.0.waiting.load(Ordering::Relaxed);
            let before = waiting();
            let task = tokio::spawn(async move {
                let run = |tx: Transaction| async {
                    insert(&tx, number).await?;
                    then(tx).await
                };
                db.transaction(run).await
            });
            while waiting() == before {
                yield_now().await;
            }
            task
        }

        async fn remove(self) {
            self.database.close().await.unwrap();
            std::fs::remove_file(self.path).unwrap();
        }
    }

    async fn insert(tx: &Transaction, number: i64) -> Result<()> {
        let sql = format!("INSERT INTO numbers VALUES ({number})");
        tx.execute_unprepared(&sql).await?;
        Ok(())
    }

    async fn done(tx: Transaction) -> Result<(Transaction, ())> {
        Ok((tx, ()))
    }

    /// Waits until the first transaction has the turn.
    async fn held(file: &File) {
        while file.database.groups.0.open.try_lock().is_ok() {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn those_that_wait_share_a_commit_and_none_returns_before_it() {
        let file = File::new().await;
        let (first, end) = file.first();
        held(&file).await;
        let hold = Arc::new(Notify::new());
        let second = file.begin(2, done).await;
        let told = hold.clone();
        let third = file.begin(3, move |tx| {
            let told = told.clone();
            async move {
                told.notified().await;
                Ok((tx, ()))
            }
        });
        let third = third.await;
        end.notify_one();
        // The last transaction has its turn; the two before it have ended.
        while file.database.groups.are_awaited() {
            yield_now().await;
        }
        assert_eq!(file.numbers().await, [0i64; 0]);
        assert!(!first.is_finished() && !second.is_finished());
        hold.notify_one();
        for task in [first, second, third] {
            task.await.unwrap().unwrap();
        }
        assert_eq!(file.numbers().await, [1, 2, 3]);
        file.remove().await;
    }

    #[tokio::test]
    async fn a_failure_rolls_back_its_own_changes() {
        let file = File::new().await;
        let (first, end) = file.first();
        held(&file).await;
        let refused = file.begin(2, |_| async { Err(Error::no_conversation()) });
        let refused = refused.await;
        let twice = file.begin(3, |tx| async {
            insert(&tx, 3).await?;
            Ok((tx, ()))
        });
        let twice = twice.await;
        let last = file.begin(2, done).await;
        end.notify_one();
        assert!(matches!(
            refused.await.unwrap(),
            Err(Error::NotFound { .. })
        ));
        assert!(matches!(twice.await.unwrap(), Err(Error::Database(_))));
        first.await.unwrap().unwrap();
        last.await.unwrap().unwrap();
        assert_eq!(file.numbers().await, [1, 2]);
        file.remove().await;
    }

    #[tokio::test]
    async fn a_dropped_transaction_rolls_back_its_own_changes() {
        let file = File::new().await;
        let (first, end) = file.first();
        held(&file).await;
        let begun = Arc::new(Notify::new());
        let tell = begun.clone();
        let dropped = file.begin(2, move |_tx| {
            let tell = tell.clone();
            async move {
                tell.notify_one();
                pending().await
            }
        });
        let dropped = dropped.await;
        let last = file.begin(3, done).await;
        end.notify_one();
        begun.notified().await;
        dropped.abort();
        first.await.unwrap().unwrap();
        last.await.unwrap().unwrap();
        assert_eq!(file.numbers().await, [1, 3]);
        file.remove().await;
    }

    /// SQLite rolls back like this when the disk is full.
    #[tokio::test]
    async fn after_a_rollback_of_everything_the_others_run_again() {
        let file = File::new().await;
        let (first, end) = file.first();
        held(&file).await;
        let before = file.begin(2, done).await;
        let is_first = AtomicBool::new(true);
        let failing = file.begin(3, move |tx| {
            let rolls_back = is_first.swap(false, Ordering::Relaxed);
            async move {
                if rolls_back {
                    tx.execute_unprepared("ROLLBACK").await?;
                }
                Ok((tx, ()))
            }
        });
        let failing = failing.await;
        let after = file.begin(4, done).await;
        end.notify_one();
        first.await.unwrap().unwrap();
        before.await.unwrap().unwrap();
        after.await.unwrap().unwrap();
        // Its savepoint was gone.
        assert!(matches!(failing.await.unwrap(), Err(Error::Database(_))));
        assert_eq!(file.numbers().await, [1, 2, 4]);
        file.remove().await;
    }

    #[tokio::test]
    async fn a_caller_that_is_dropped_leaves_no_group_open() {
        let file = File::new().await;
        let (first, end) = file.first();
        held(&file).await;
        let second = file.begin(2, done).await;
        end.notify_one();
        while file.database.groups.are_awaited() {
            yield_now().await;
        }
        first.abort();
        second.abort();
        let third = |tx| async { insert(&tx, 3).await.map(|()| (tx, ())) };
        file.database.transaction(third).await.unwrap();
        // The two may or may not be committed, depending on when they were dropped.
        let numbers = file.numbers().await;
        assert!(numbers.ends_with(&[3]), "{numbers:?}");
        file.remove().await;
    }
}
