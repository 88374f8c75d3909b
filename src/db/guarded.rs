//! Connections and transactions with a deadline for every statement.
//!
//! A frozen peer neither answers nor closes the connection. A statement that times out therefore fails, and its
//! connection is dropped: the pool tests released connections under a deadline (`options`).
//!
//! A statement that fails because the schema changed under its prepared plan was not executed, and is retried on a new
//! connection. A read is also retried after its connection was lost. The pool replaces every connection of the same age
//! ([`StaleConnections`]).
//!
//! A write to an SQLite file succeeds only if the path still refers to the opened file afterwards.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement,
};
use tokio::time::timeout;

use super::{
    fault::{is_lost_connection, was_not_executed},
    file::DatabaseFile,
    interrupt::interruptible,
    pool::Pool,
    stale::StaleConnections,
};
use crate::error::Result;

/// Retries of a statement or a transaction after a lost connection, each on a new connection.
const MAX_RETRIES: usize = 2;

/// Retries after a stale plan: a migration may change the schema several times while one request runs.
const MAX_STALE_RETRIES: usize = 8;

/// The number of retries after a connection error; zero for other errors. `is_repeatable`: the statement may run twice,
/// so it is retried even if it may have run.
pub(super) fn connection_retries(error: &DbErr, is_repeatable: bool) -> usize {
    if was_not_executed(error) {
        MAX_STALE_RETRIES
    } else if is_repeatable && is_lost_connection(error) {
        MAX_RETRIES
    } else {
        0
    }
}

/// Calls `run`, and again after an error that `is_retryable`, at most `retries` times. `run` receives the number of
/// earlier calls.
pub(super) async fn retry<T, E, F>(
    retries: usize,
    is_retryable: impl Fn(&E) -> bool,
    run: impl FnMut(usize) -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let retries = |error: &E| if is_retryable(error) { retries } else { 0 };
    retry_by_error(retries, run).await
}

/// Like [`retry`], with a number of retries that depends on the error.
pub(super) async fn retry_by_error<T, E, F>(
    retries: impl Fn(&E) -> usize,
    mut run: impl FnMut(usize) -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut calls = 0;
    loop {
        match run(calls).await {
            Err(error) if calls < retries(&error) => calls += 1,
            result => return result,
        }
    }
}

/// A connection pool or a transaction.
#[derive(Clone, Debug)]
pub(super) struct Guarded<C> {
    pub(super) inner: C,
    /// The deadline of a statement, including the wait for a connection.
    within: Option<Duration>,
    stale: StaleConnections,
    /// SQLite's file; only for a writer.
    file: Option<Arc<DatabaseFile>>,
    /// Whether this handle only reads, so that a statement without an answer can be retried.
    is_reader: bool,
}

/// A transaction.
pub(super) type Transaction = Guarded<DatabaseTransaction>;

impl<C> Guarded<C> {
    /// A handle that only reads.
    pub(super) fn reader(inner: C, stale: StaleConnections) -> Self {
        Self {
            inner,
            within: None,
            stale,
            file: None,
            is_reader: true,
        }
    }

    /// A handle that writes. `file`: SQLite's file.
    pub(super) fn writer(
        inner: C,
        stale: StaleConnections,
        file: Option<Arc<DatabaseFile>>,
    ) -> Self {
        Self {
            file,
            is_reader: false,
            ..Self::reader(inner, stale)
        }
    }

    /// Sets the deadline of each statement.
    pub(super) fn within(self, within: Duration) -> Self {
        Self {
            within: Some(within),
            ..self
        }
    }

    /// Wraps a transaction of this handle with the same settings.
    pub(super) fn wrap<T>(&self, inner: T) -> Guarded<T> {
        Guarded {
            inner,
            within: self.within,
            stale: self.stale.clone(),
            file: self.file.clone(),
            is_reader: self.is_reader,
        }
    }

    /// Runs a statement with the deadline of this handle.
    pub(super) async fn with_deadline<T>(
        &self,
        statement: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        self.with_deadline_after(Duration::ZERO, statement).await
    }

    /// Like [`Self::with_deadline`], for a statement that has already waited.
    pub(super) async fn with_deadline_after<T>(
        &self,
        waited: Duration,
        statement: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let result = match self.within {
            Some(within) => timeout(within.saturating_sub(waited), interruptible(statement))
                .await
                .unwrap_or_else(|_| Err(timed_out(within))),
            None => statement.await,
        };
        if let Err(error) = &result {
            self.mark_stale_after(error);
        }
        result
    }

    /// Marks all open connections of the pool as stale.
    pub(super) fn replace_connections(&self) {
        self.stale.mark();
    }

    /// See [`StaleConnections::mark_after`].
    pub(super) fn mark_stale_after(&self, error: &DbErr) {
        self.stale.mark_after(error);
    }

    /// Rejects a write to a file that was removed or replaced.
    pub(super) fn refuse_if_gone(&self) -> Result<(), DbErr> {
        match &self.file {
            Some(file) if file.is_gone() => Err(gone()),
            _ => Ok(()),
        }
    }

    /// Checks that the path still refers to the opened file: otherwise the writes are lost when the process ends.
    pub(super) fn confirm(&self) -> Result<(), DbErr> {
        match &self.file {
            Some(file) if file.is_gone_after_commit() => Err(gone()),
            _ => Ok(()),
        }
    }
}

fn gone() -> DbErr {
    DbErr::Exec(RuntimeErr::Internal(
        "SQLite's file was removed or replaced; writes are refused until a restart".into(),
    ))
}

fn timed_out(within: Duration) -> DbErr {
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
    /// Commits. After an error the outcome is unknown.
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        let guard = self.wrap(());
        guard.with_deadline(self.inner.commit()).await?;
        guard.confirm()
    }

    /// Releases a savepoint: its changes become those of the enclosing transaction.
    pub(super) async fn release(self) -> Result<(), DbErr> {
        let guard = self.wrap(());
        guard.with_deadline(self.inner.commit()).await
    }
}

/// Whether a single statement is retried. Not in a transaction, because a failed statement aborts it.
pub(super) trait Retries {
    const IS_RETRIED: bool;
}

impl Retries for Pool {
    const IS_RETRIED: bool = true;
}

impl Retries for DatabaseTransaction {
    const IS_RETRIED: bool = false;
}

/// Runs a method of the inner connection with deadline, retries and the check of SQLite's file.
macro_rules! guarded {
    ($self:ident.$method:ident($statement:expr)) => {{
        if !C::IS_RETRIED {
            return $self.with_deadline($self.inner.$method($statement)).await;
        }
        $self.refuse_if_gone()?;
        let retries = |error: &DbErr| connection_retries(error, $self.is_reader);
        let run = |_| $self.with_deadline($self.inner.$method($statement.clone()));
        let result = retry_by_error(retries, run).await?;
        $self.confirm()?;
        Ok(result)
    }};
}

#[async_trait]
impl<C: ConnectionTrait + Retries> ConnectionTrait for Guarded<C> {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        guarded!(self.execute_raw(statement))
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.with_deadline(self.inner.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        guarded!(self.query_one_raw(statement))
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        guarded!(self.query_all_raw(statement))
    }

    fn support_returning(&self) -> bool {
        self.inner.support_returning()
    }
}
