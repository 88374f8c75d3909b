//! Write transactions: `BEGIN IMMEDIATE` on SQLite, retried as a whole after the loss of their connection.

use sea_orm::{
    ConnectionTrait, DbErr, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};

use super::{
    Database,
    fault::{UnknownCommit, is_lost_connection, is_of_replaced_pool, is_stale_plan},
    guarded::{MAX_RETRIES, Transaction, retry},
    statements::bracket,
};
use crate::error::{Error, Result};

impl Database {
    /// Runs a transaction, and commits it when `run` returns it. An error rolls it back.
    ///
    /// If the connection was lost or had a stale plan, everything runs again on another one, since the server has
    /// rolled the first transaction back. A commit of unknown outcome ([`UnknownCommit`]) is not retried here.
    pub(super) async fn transaction<T, F>(&self, run: impl Fn(Transaction) -> F) -> Result<T>
    where
        F: Future<Output = Result<(Transaction, T)>>,
    {
        retry(MAX_RETRIES, is_of_connection, |_| async {
            let (tx, value) = run(self.begin().await?).await?;
            let backend = tx.get_database_backend();
            let committed = bracket(backend, "COMMIT", tx.commit()).await;
            committed.map_err(UnknownCommit)?;
            Ok(value)
        })
        .await
    }

    async fn begin(&self) -> Result<Transaction> {
        let options = TransactionOptions {
            // A deferred transaction that upgrades to a write fails at once if another connection writes, regardless of
            // the busy timeout.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        self.writer.refuse_if_gone()?;
        let backend = self.writer.get_database_backend();
        let pool = self.writer.inner.current();
        let begin = self.writer.with_deadline(pool.begin_with_options(options));
        Ok(self.writer.wrap(bracket(backend, "BEGIN", begin).await?))
    }
}

fn is_of_connection(error: &Error) -> bool {
    error.cause().is_some_and(|error: &DbErr| {
        is_stale_plan(error) || is_of_replaced_pool(error) || is_lost_connection(error)
    })
}
