//! The database: one handle, with one `impl Database` file per subject.
//!
//! Every query that changes a user's data takes an [`Owner`](crate::conversation::Owner); every query that reads it
//! takes an owner, or the [`Rows`](crate::conversation::Rows) of a tenant that shares them. The statement filters by
//! it. This module publishes no events and calls no models. No transaction outlives a method.
//!
//! SQLite has one writer connection, whose transactions are `BEGIN IMMEDIATE` and may share a commit (`group_commit`),
//! and several readers; PostgreSQL has one pool. Inside a transaction all statements use the transaction: with one
//! writer, a second connection would deadlock.

mod archive;
mod audit;
mod claims;
mod conversations;
pub mod cursor;
mod entity;
mod erase;
mod excerpts;
mod exports;
mod fault;
mod feed;
mod file;
mod forget;
mod group_commit;
mod guarded;
mod imports;
mod in_use;
pub(crate) mod interrupt;
mod lists;
mod loaders;
mod messages;
mod migrations;
mod open;
mod open_error;
mod options;
mod pages;
mod pool;
mod probe;
mod prune;
mod published;
mod records;
mod relayed;
mod removal;
mod reply_calls;
mod reply_parts;
mod retention;
mod scope;
mod search;
mod sharing;
mod stale;
mod statements;
mod stats;
mod time;
mod title_calls;
mod title_retries;
mod titles;
mod transaction;
mod trials;
mod turns;
mod webhooks;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use sea_orm::{DbBackend, Statement};
use tokio::sync::mpsc::UnboundedReceiver;

use self::{
    erase::Erasure,
    exports::Exports,
    group_commit::Groups,
    guarded::Guarded,
    pool::{Opener, Pool},
    probe::Probe,
    search::share::Searches,
    statements::{Statements, kind},
};
use crate::{clock::Clock, error::Result};

pub use self::{
    archive::{MetadataChange, Requested},
    audit::{Act, AuditEntry, OPERATOR},
    claims::{Candidate, TitleBacklog, TitleClaim},
    excerpts::Excerpt,
    exports::{ExportScope, MAX_LINE_BYTES, StoredRows},
    fault::Fault,
    feed::{ChangeKind, FeedChange, FeedPage},
    forget::{ForgetPlace, Forgotten},
    imports::{Imported, NewConversation, NewMessage},
    lists::{ConversationFilter, ConversationList, ConversationOrder},
    messages::MessageRange,
    migrations::SchemaState,
    open_error::{Failed, OpenError, caused},
    pages::{BadRow, Keyset, KeysetPage},
    pool::Connections,
    probe::DatabaseState,
    prune::{Prune, PrunePlace, Pruned},
    records::{NewRecord, Recorded, RecordedMessage},
    removal::Removed,
    reply_calls::ReplyCost,
    search::{Highlight, Hit},
    sharing::Named,
    stats::{StatsFilter, TitleStats},
    title_calls::{NO_TENANT, TitleCall},
    title_retries::{Retry, WaitingTitles, WaitsFor},
    titles::{RefreshLimits, TitleRequestOutcome, TitleWish},
    trials::TrialRow,
    turns::{
        BegunTurn, DeadRun, Edit, FinishedReply, NewExternalReply, NewTitle, NewTurn, OpenedReply,
        RenewalOutcome, ReplyState, Rewrite, RunCheckpoint, Turn,
    },
    webhooks::{
        ParkedLane, WebhookBacklog, WebhookContent, WebhookEvent, WebhookLane, WebhookRoute,
    },
};

/// The maximum wait for a connection. Long enough for a short restart of the server, and well under half of a reply's
/// default lease, so that the lease can still be renewed after a failed wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The deadline of a statement in server mode, including the wait for a connection.
///
/// Longer than [`LOCK_TIMEOUT`], so that the database's own error comes first. Shorter than the limit of a GraphQL
/// operation, so that a request through a frozen connection fails with the real reason.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7);

/// The deadline of a command's statement, so that the command fails if the database stops answering.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// [`COMMAND_TIMEOUT`]; the failpoint sets another one, in seconds.
fn command_timeout() -> Duration {
    fail::fail_point!("db.command_timeout", |seconds| {
        let seconds = seconds.and_then(|seconds| seconds.parse().ok());
        seconds.map_or(COMMAND_TIMEOUT, Duration::from_secs)
    });
    COMMAND_TIMEOUT
}

/// The maximum wait of a statement for a lock, on both databases.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The time after which PostgreSQL aborts an idle transaction, such as one on a frozen connection. Shorter than
/// [`LOCK_TIMEOUT`], so that a statement that waits for its locks succeeds.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(4);

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
    /// The queue of SQLite's writer.
    groups: Groups,
    /// Opens replacement pools; only for a server.
    opener: Option<Opener>,
    max_connections: u32,
    statements: Statements,
    probe: Arc<Probe>,
    searches: Searches,
    clock: Clock,
    erasure: Erasure,
    exports: Exports,
    /// Whether actions are recorded in the audit log.
    is_audited: Arc<AtomicBool>,
    /// How long a transaction keeps trying to begin while other processes lock SQLite's file. It tries at least once.
    lock_patience: Duration,
}

impl Database {
    /// `sqlite` or `postgresql`, the name on health pages.
    pub fn kind(&self) -> &'static str {
        kind(self.reader.get_database_backend())
    }

    /// Whether the database is a local SQLite file, as opposed to a shared server.
    pub fn is_embedded(&self) -> bool {
        self.reader.get_database_backend() == DbBackend::Sqlite
    }

    /// Pings the database.
    ///
    /// # Errors
    /// [`crate::error::Error::Database`] if it does not answer.
    pub async fn ping(&self) -> Result<()> {
        self.reader
            .with_deadline(self.reader.inner.current().ping())
            .await?;
        Ok(())
    }

    /// The number of statements since the start, without BEGIN, COMMIT and ROLLBACK. Tests compare it with the number
    /// that a request may need.
    pub fn statement_count(&self) -> u64 {
        self.statements.counts().0
    }

    /// Records all statements from now on, with user text in them. For tests that check query plans. Call it once.
    pub fn record_statements(&self) -> UnboundedReceiver<Statement> {
        self.statements.record()
    }

    /// The number of attempted statements and of failed ones. Both include statements that got no connection.
    pub fn statements_for_operators(&self) -> (u64, u64) {
        let ((run, failed), unsent) = (self.statements.counts(), fault::unsent());
        (run + unsent, failed + unsent)
    }

    /// Waits for running statements and closes all connections.
    ///
    /// # Errors
    /// [`crate::error::Error::Database`] if a connection does not close.
    pub async fn close(self) -> Result<()> {
        self.reader.inner.current().close().await?;
        self.writer.inner.current().close().await?;
        Ok(())
    }

    /// Sets the deadline of each statement for a command: long, because it may read the whole database.
    pub fn with_command_deadlines(self) -> Self {
        let within = command_timeout();
        Self {
            lock_patience: within,
            reader: self.reader.within(within),
            writer: self.writer.within(within),
            ..self
        }
    }

    /// Sets the deadline of each statement for `serve`.
    pub fn with_deadlines(self) -> Self {
        Self {
            lock_patience: Duration::ZERO,
            reader: self.reader.within(ANSWER_TIMEOUT),
            writer: self.writer.within(ANSWER_TIMEOUT),
            ..self
        }
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
