//! Connections and transactions whose every statement has a deadline.
//!
//! A peer that is frozen answers nothing and closes nothing. So a statement that is not answered in time fails, and its
//! connection is dropped: the pool tests connections that come back under a deadline of its own (`open`).
//!
//! A statement that fails because the schema changed under its prepared plan was not executed: it is sent again on a
//! new connection, and the pool drops every connection that is as old ([`StalePlans`]).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement,
};
use tokio::time::timeout;

use super::{fault::is_stale_plan, interrupt::interruptible, pool::Pool};
use crate::error::Result;

/// How often a statement, or a transaction, is sent again because its plan is stale: each time on a connection that is new.
const RESENDS: usize = 2;

/// Runs a transaction, and the whole of it again on another connection where the plans of the first one were stale:
/// the server takes back what was done until then.
pub(super) async fn transact<T, F>(mut run: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut runs = 0;
    loop {
        match run().await {
            Err(error) if runs < RESENDS && error.cause().is_some_and(is_stale_plan) => runs += 1,
            result => return result,
        }
    }
}

/// A connection pool or a transaction.
#[derive(Clone, Debug)]
pub(super) struct Guarded<C> {
    pub(super) inner: C,
    /// How long a statement may take, the wait for a connection included.
    within: Option<Duration>,
    plans: StalePlans,
}

/// A transaction.
pub(super) type Transaction = Guarded<DatabaseTransaction>;

/// When a prepared plan was last found to be older than the schema. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct StalePlans(Arc<Mutex<Option<Instant>>>);

impl StalePlans {
    /// Every connection that is open now is dropped before it is used again.
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        tracing::info!(
            "the schema changed under prepared statements: replacing the connections to the database"
        );
    }

    /// Whether a connection of this age was open then.
    pub(super) fn concern(&self, age: Duration) -> bool {
        let noted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.is_some_and(|noted| age >= noted.elapsed())
    }
}

impl<C> Guarded<C> {
    pub(super) fn new(inner: C, plans: StalePlans) -> Self {
        Self {
            inner,
            within: None,
            plans,
        }
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
            plans: self.plans.clone(),
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
        if let Err(error) = &answered
            && is_stale_plan(error)
        {
            self.plans.note();
        }
        answered
    }
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
        let Self {
            inner,
            within,
            plans,
        } = self;
        let guard = Guarded {
            inner: (),
            within,
            plans,
        };
        guard.answer(inner.commit()).await
    }

    pub(super) async fn rollback(self) -> Result<(), DbErr> {
        let Self {
            inner,
            within,
            plans,
        } = self;
        let guard = Guarded {
            inner: (),
            within,
            plans,
        };
        guard.answer(inner.rollback()).await
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
        let may_resend =
            C::RESENDS > 0 && $self.inner.get_database_backend() == DbBackend::Postgres;
        if !may_resend {
            return $self.answer($self.inner.$method($statement)).await;
        }
        let mut sent = 0;
        loop {
            let answered = $self.answer($self.inner.$method($statement.clone())).await;
            match answered {
                Err(error) if sent < C::RESENDS && is_stale_plan(&error) => sent += 1,
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
        let plans = StalePlans::default();
        assert!(!plans.concern(Duration::from_secs(60)));
        plans.note();
        assert!(plans.concern(Duration::from_secs(60)));
        assert!(!plans.concern(Duration::ZERO));
    }
}
