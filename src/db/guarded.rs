//! Connections and transactions whose every statement has a deadline.
//!
//! A peer that is frozen answers nothing and closes nothing. So a statement that is not answered in time fails, and its
//! connection is dropped: the pool tests connections that come back under a deadline of its own (`open`).
//!
//! A statement that fails because the schema changed under its prepared plan was not executed: it is sent again on a
//! new connection, and so is one that only reads when its connection is lost; and the pool drops every connection that
//! is as old ([`Retired`]).
//!
//! What is written to SQLite's file counts as written when the path still leads to that file afterwards.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement,
};
use tokio::time::timeout;

use super::{
    fault::{is_lost_connection, is_read_only, is_stale_plan},
    file::DatabaseFile,
    interrupt::interruptible,
    pool::Pool,
    statements::count_unsent,
};
use crate::error::{Error, Result};

/// How often a statement, or a transaction, is sent again because its plan is stale: each time on a connection that is
/// new.
const RESENDS: usize = 2;

/// Runs a transaction, and the whole of it again on another connection when the first one was lost or had a stale plan.
/// The server takes back what was done until then; a commit that is not answered is not among these failures
/// ([`UnknownCommit`]).
pub(super) async fn transact<T, F>(mut run: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let is_of_connection = |error: &DbErr| is_stale_plan(error) || is_lost_connection(error);
    let mut runs = 0;
    loop {
        match run().await {
            Err(error) if runs < RESENDS && error.cause().is_some_and(is_of_connection) => {
                runs += 1;
            }
            result => return result,
        }
    }
}

/// The commit was sent, and it failed or was not answered: it may have been done, or not.
#[derive(Debug, thiserror::Error)]
#[error("the outcome of the commit is unknown")]
pub(super) struct UnknownCommit(#[source] pub(super) DbErr);

impl From<UnknownCommit> for Error {
    fn from(unknown: UnknownCommit) -> Self {
        count_unsent(&unknown.0);
        Self::Database(Box::new(unknown))
    }
}

/// A connection pool or a transaction.
#[derive(Clone, Debug)]
pub(super) struct Guarded<C> {
    pub(super) inner: C,
    /// How long a statement may take, the wait for a connection included.
    within: Option<Duration>,
    retired: Retired,
    /// SQLite's file, where writes go.
    file: Option<Arc<DatabaseFile>>,
    /// Whether nothing is written by way of this: what was not answered can be asked again.
    is_reader: bool,
}

/// A transaction.
pub(super) type Transaction = Guarded<DatabaseTransaction>;

/// The shortest time between two replacements of connections to a server that takes no writes.
const READ_ONLY_PAUSE: Duration = Duration::from_secs(1);

/// When connections were last found to be of no more use: those that were open then are replaced. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Retired(Arc<Mutex<Option<Instant>>>);

impl Retired {
    /// Replaces the connections after a failure that will be the same on each that is as old: their plans are older
    /// than the schema, or they lead to a server that is the primary no more.
    pub(super) fn judge(&self, error: &DbErr) {
        let mut noted = self.lock();
        let is_pause_over = noted.is_none_or(|at| at.elapsed() > READ_ONLY_PAUSE);
        let why = if is_stale_plan(error) {
            "the schema changed under prepared statements"
        } else if is_read_only(error) && is_pause_over {
            "the server takes no writes"
        } else {
            return;
        };
        *noted = Some(Instant::now());
        tracing::info!("{why}: replacing the connections to the database");
    }

    /// Whether a connection of this age was open then.
    pub(super) fn concern(&self, age: Duration) -> bool {
        let noted = *self.lock();
        noted.is_some_and(|noted| age >= noted.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Guarded<C> {
    /// For reading alone.
    pub(super) fn reader(inner: C, retired: Retired) -> Self {
        Self {
            inner,
            within: None,
            retired,
            file: None,
            is_reader: true,
        }
    }

    /// For writing; `file` is SQLite's.
    pub(super) fn writer(inner: C, retired: Retired, file: Option<Arc<DatabaseFile>>) -> Self {
        Self {
            file,
            is_reader: false,
            ..Self::reader(inner, retired)
        }
    }

    /// Whether a statement that failed so can be sent again by itself.
    fn may_resend(&self, error: &DbErr) -> bool {
        is_stale_plan(error) || (self.is_reader && is_lost_connection(error))
    }

    /// The same with a deadline for each statement.
    pub(super) fn within(self, within: Duration) -> Self {
        Self {
            within: Some(within),
            ..self
        }
    }

    /// Around a transaction that was begun on this connection.
    pub(super) fn around<T>(&self, inner: T) -> Guarded<T> {
        Guarded {
            inner,
            within: self.within,
            retired: self.retired.clone(),
            file: self.file.clone(),
            is_reader: self.is_reader,
        }
    }

    /// Waits for an answer until the deadline.
    pub(super) async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let answered = match self.within {
            Some(within) => timeout(within, interruptible(answer))
                .await
                .unwrap_or_else(|_| Err(unanswered(within))),
            None => answer.await,
        };
        if let Err(error) = &answered {
            self.judge(error);
        }
        answered
    }

    /// See [`Retired::judge`].
    pub(super) fn judge(&self, error: &DbErr) {
        self.retired.judge(error);
    }

    /// Refuses a write to a file that is gone.
    pub(super) fn refuse_if_gone(&self) -> Result<(), DbErr> {
        match &self.file {
            Some(file) if file.is_gone() => Err(gone()),
            _ => Ok(()),
        }
    }

    /// Looks whether what was written is in the file that the path leads to: only then it outlives the process.
    pub(super) async fn confirm(&self) -> Result<(), DbErr> {
        match &self.file {
            Some(file) if DatabaseFile::look(file).await => Err(gone()),
            _ => Ok(()),
        }
    }
}

fn gone() -> DbErr {
    DbErr::Exec(RuntimeErr::Internal(
        "SQLite's file was removed or replaced: nothing is written to it any more".into(),
    ))
}

fn unanswered(within: Duration) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(format!(
        "the database did not answer within {within:?}"
    )))
}

impl Guarded<Pool> {
    pub(super) fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }
}

impl Guarded<DatabaseTransaction> {
    /// Commits. After an error it is unknown whether that was done.
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        let guard = self.around(());
        guard.answer(self.inner.commit()).await?;
        guard.confirm().await
    }

    pub(super) async fn rollback(self) -> Result<(), DbErr> {
        let guard = self.around(());
        guard.answer(self.inner.rollback()).await
    }
}

/// Whether a statement can be sent again by itself. In a transaction it cannot: the transaction has failed with it.
pub(super) trait Resends {
    const RESENDS: usize;
}

impl Resends for Pool {
    const RESENDS: usize = RESENDS;
}

impl Resends for DatabaseTransaction {
    const RESENDS: usize = 0;
}

/// Runs a method of the inner connection with the statement, and again where that helps.
macro_rules! answered {
    ($self:ident.$method:ident($statement:expr)) => {{
        if C::RESENDS == 0 {
            return $self.answer($self.inner.$method($statement)).await;
        }
        if $self.inner.get_database_backend() == DbBackend::Sqlite {
            $self.refuse_if_gone()?;
            let answer = $self.answer($self.inner.$method($statement)).await?;
            $self.confirm().await?;
            return Ok(answer);
        }
        let mut sent = 0;
        loop {
            let answered = $self.answer($self.inner.$method($statement.clone())).await;
            match answered {
                Err(error) if sent < C::RESENDS && $self.may_resend(&error) => sent += 1,
                answered => return answered,
            }
        }
    }};
}

#[async_trait]
impl<C: ConnectionTrait + Resends> ConnectionTrait for Guarded<C> {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        answered!(self.execute_raw(statement))
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.answer(self.inner.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        answered!(self.query_one_raw(statement))
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        answered!(self.query_all_raw(statement))
    }

    fn support_returning(&self) -> bool {
        self.inner.support_returning()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_were_open_at_a_change_of_the_schema_are_stale_and_new_ones_are_not() {
        let retired = Retired::default();
        assert!(!retired.concern(Duration::from_secs(60)));
        *retired.lock() = Some(Instant::now());
        assert!(retired.concern(Duration::from_secs(60)));
        assert!(!retired.concern(Duration::ZERO));
    }
}
