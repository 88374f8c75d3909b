//! The database: one handle, and one `impl Database` file a subject.
//!
//! Every query that reads or changes a user's data takes an [`Owner`](crate::conversation::Owner)
//! and puts it into the statement. Nothing here publishes an event or calls a model, and no
//! transaction outlives a method.
//!
//! SQLite gets one writing connection, whose transactions are `BEGIN IMMEDIATE`, and several readers;
//! PostgreSQL gets one pool. Inside a transaction only the transaction is used: with one writer, a
//! second connection would wait for itself.

mod claims;
mod conversations;
pub mod cursor;
mod entity;
mod erase;
mod fault;
mod file;
mod guarded;
mod imports;
pub(crate) mod interrupt;
mod loaders;
mod messages;
mod migrations;
mod open;
mod open_error;
mod pages;
mod pool;
mod probe;
mod published;
mod relayed;
mod reply_calls;
mod scope;
mod search;
mod statements;
mod stats;
mod time;
mod title_calls;
mod titles;
mod turns;

use std::{sync::Arc, time::Duration};

use sea_orm::{DbBackend, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait};
use tokio::sync::mpsc::UnboundedReceiver;

use self::{
    erase::Erasure,
    guarded::{Guarded, Transaction},
    pool::{Opener, Pool},
    probe::Probe,
    search::share::Searches,
    statements::{Statements, bracket, commit, kind},
};
use crate::{clock::Clock, error::Result};

pub use self::{
    claims::{Candidate, TitleClaim, Waiting},
    conversations::ConversationFilter,
    fault::Fault,
    imports::{Imported, NewConversation, NewMessage},
    messages::MessageRange,
    migrations::SchemaState,
    open_error::{Failed, OpenError},
    pages::{BadRow, Found, Place},
    pool::Connections,
    probe::DatabaseState,
    reply_calls::ReplyCost,
    search::Hit,
    stats::{Scope, TitleStats},
    title_calls::{NOBODY, TitleCall},
    titles::Begun,
    turns::{BegunTurn, DeadRun, Kept, NewTitle, NewTurn, Renewed, ReplyOutcome, ReplyState, Turn},
};

/// How long a request may wait for a connection: as long as a server may need to come back, and well under half of a
/// reply's default lease, so that a lease can be renewed after a wait that was for nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a statement of a server may take, the wait for a connection included. Longer than [`LOCK_TIMEOUT`], so
/// that the database's own error comes first; shorter than a GraphQL operation may take, so that a request through a
/// frozen connection is answered with the reason.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7);

/// How long a statement may wait for a lock, on either database.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long PostgreSQL keeps a transaction that is idle, as one on a frozen connection is. Shorter than [`LOCK_TIMEOUT`]: who
/// waits for what it has locked gets that.
const ABANDONED: Duration = Duration::from_secs(4);

/// A page of a longer list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// Whether rows follow the last one.
    pub has_next: bool,
    /// Whether rows precede the first one.
    pub has_previous: bool,
}

/// The handle to the database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    reader: Guarded<Pool>,
    writer: Guarded<Pool>,
    /// Of more pools to a server.
    opener: Option<Opener>,
    max_connections: u32,
    statements: Statements,
    probe: Arc<Probe>,
    searches: Searches,
    clock: Clock,
    erasure: Erasure,
}

impl Database {
    /// `sqlite` or `postgresql`, as health pages name it.
    pub fn kind(&self) -> &'static str {
        kind(self.reader.get_database_backend())
    }

    /// Whether it is a file of ours, and not a server that others share.
    pub fn is_embedded(&self) -> bool {
        self.reader.get_database_backend() == DbBackend::Sqlite
    }

    /// Asks for an answer, any answer.
    ///
    /// # Errors
    /// [`crate::error::Error::Database`] when none comes.
    pub async fn ping(&self) -> Result<()> {
        self.reader
            .answer(self.reader.inner.current().ping())
            .await?;
        Ok(())
    }

    /// How many statements ran since the start, transaction brackets not counted. Tests hold the
    /// number a request needs against it.
    pub fn statement_count(&self) -> u64 {
        self.statements.counts().0
    }

    /// All statements from now on, with what users wrote in them: for tests that look at their plans. To be
    /// called once.
    pub fn record_statements(&self) -> UnboundedReceiver<Statement> {
        self.statements.record()
    }

    /// How many statements were to run, and how many of them failed, those among them that got no connection.
    pub fn statements_for_operators(&self) -> (u64, u64) {
        let ((run, failed), unsent) = (self.statements.counts(), statements::unsent());
        (run + unsent, failed + unsent)
    }

    /// Waits for the statements under way and closes all connections.
    ///
    /// # Errors
    /// [`crate::error::Error::Database`] when a connection does not close.
    pub async fn close(self) -> Result<()> {
        self.reader.inner.current().close().await?;
        self.writer.inner.current().close().await?;
        Ok(())
    }

    /// The same with a deadline for each statement: for servers. Commands may take their time.
    pub fn with_deadlines(self) -> Self {
        Self {
            reader: self.reader.within(ANSWER_TIMEOUT),
            writer: self.writer.within(ANSWER_TIMEOUT),
            ..self
        }
    }

    async fn begin(&self) -> Result<Transaction> {
        let options = TransactionOptions {
            // A deferred transaction that turns into a writing one fails at once when another
            // writes, whatever the busy timeout.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        self.writer.refuse_if_gone()?;
        let backend = self.writer.get_database_backend();
        let pool = self.writer.inner.current();
        let begin = self.writer.answer(pool.begin_with_options(options));
        Ok(self.writer.around(bracket(backend, "BEGIN", begin).await?))
    }

    fn statement(
        &self,
        sqlite: &str,
        postgres: &str,
        values: impl IntoIterator<Item = sea_orm::Value>,
    ) -> Statement {
        let backend = self.reader.get_database_backend();
        let sql = if backend == DbBackend::Sqlite {
            sqlite
        } else {
            postgres
        };
        Statement::from_sql_and_values(backend, sql, values)
    }
}
