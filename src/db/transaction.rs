//! Write transactions: `BEGIN IMMEDIATE` on SQLite, retried as a whole after the loss of their connection.

use std::time::{Duration, Instant};

use migration::run::is_locked;
use sea_orm::{DbErr, SqliteTransactionMode, TransactionOptions};

use super::{
    Database,
    fault::UnknownCommit,
    guarded::{Transaction, connection_retries, retry_by_error},
    statements::bracket,
};
use crate::error::{Error, Result};

impl Database {
    /// Runs a transaction, and commits it when `run` returns it. An error rolls it back.
    ///
    /// If the connection was lost or had a stale plan, the whole transaction runs again on another one, since the
    /// server has rolled the first one back. A commit of unknown outcome ([`UnknownCommit`]) is not retried here.
    pub(super) async fn transaction<T, F>(&self, run: impl Fn(Transaction) -> F) -> Result<T>
    where
        F: Future<Output = Result<(Transaction, T)>>,
    {
        let retries = |error: &Error| {
            let cause = error.cause::<DbErr>();
            cause.map_or(0, |error| connection_retries(error, true))
        };
        retry_by_error(retries, |_| async {
            if self.is_embedded() {
                return self.in_group(&run).await;
            }
            let backend = self.writer.get_database_backend();
            let begun = bracket(backend, "BEGIN", self.begin(Duration::ZERO)).await?;
            let (tx, value) = run(begun).await?;
            let committed = bracket(backend, "COMMIT", tx.commit()).await;
            committed.map_err(UnknownCommit)?;
            Ok(value)
        })
        .await
    }

    /// Begins a transaction. `waited` counts towards the deadline.
    pub(super) async fn begin(&self, waited: Duration) -> Result<Transaction, DbErr> {
        let options = TransactionOptions {
            // A deferred transaction that upgrades to a write fails at once if another connection writes, regardless of
            // the busy timeout.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        self.writer.refuse_if_gone()?;
        let pool = &self.writer.inner;
        let began = Instant::now();
        loop {
            let begin = pool.begin(options);
            match self.writer.with_deadline_after(waited, begin).await {
                // Each try waits for the busy timeout. SQLite has no queue: a process that writes all the time may keep
                // the lock from another one for longer than that.
                Err(error) if is_locked(&error) && began.elapsed() < self.lock_patience => {}
                begun => return Ok(self.writer.wrap(begun?)),
            }
        }
    }
}
