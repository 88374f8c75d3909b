//! Metrics and traces of statements: counts of run and failed ones, and a span for each.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::KeyValue;
use sea_orm::{DbBackend, Statement};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    error::Result,
    telemetry::{Finished, span},
};

/// Counts the statements of one database since the start, without BEGIN, COMMIT and ROLLBACK. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Statements(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    run: AtomicU64,
    failed: AtomicU64,
    recorder: OnceLock<UnboundedSender<Statement>>,
}

impl Statements {
    /// The number of run statements, and of failed ones among them.
    pub(super) fn counts(&self) -> (u64, u64) {
        let Counts { run, failed, .. } = &*self.0;
        (run.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    }

    /// Records all statements from now on, with user text in them.
    pub(super) fn record(&self) -> UnboundedReceiver<Statement> {
        let (sender, recorded) = unbounded_channel();
        let is_first = self.0.recorder.set(sender).is_ok();
        debug_assert!(is_first, "the statements of a database are recorded once");
        recorded
    }

    /// Counts a finished statement.
    pub(super) fn count(&self, info: &sea_orm::metric::Info<'_>) {
        self.0.run.fetch_add(1, Ordering::Relaxed);
        if info.failed {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(recorder) = self.0.recorder.get() {
            // The receiver may be gone.
            let _ = recorder.send(info.statement.clone());
        }
        span::finish(|| {
            let (operation, table) = summary(&info.statement.sql);
            let system = kind(info.statement.db_backend);
            finished(system, operation, table, info.elapsed, info.failed)
        });
    }
}

/// Runs a BEGIN or COMMIT with a span of its own, because they wait for the writer and for the disk.
pub(super) async fn bracket<T, E>(
    backend: DbBackend,
    operation: &'static str,
    waited: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let started = Instant::now();
    let result = waited.await;
    let is_failed = result.is_err();
    span::finish(|| finished(kind(backend), operation, None, started.elapsed(), is_failed));
    result
}

/// The name of a database system on health pages and in OpenTelemetry.
pub(super) fn kind(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Sqlite => "sqlite",
        _ => "postgresql",
    }
}

fn finished(
    system: &'static str,
    operation: &'static str,
    table: Option<&str>,
    elapsed: Duration,
    is_failed: bool,
) -> Finished {
    let mut attributes = vec![
        KeyValue::new("db.system.name", system),
        KeyValue::new("db.operation.name", operation),
    ];
    let name = match table {
        Some(table) => {
            attributes.push(KeyValue::new("db.collection.name", table.to_owned()));
            format!("{operation} {table}")
        }
        None => operation.to_owned(),
    };
    Finished {
        name,
        elapsed,
        attributes,
        is_failed,
    }
}

/// The operation and the first table of a statement. Table names come from our own statements, never from users.
fn summary(sql: &str) -> (&'static str, Option<&str>) {
    const OPERATIONS: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];
    let mut words = sql.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    let operation = OPERATIONS
        .into_iter()
        .find(|operation| first.eq_ignore_ascii_case(operation));
    let Some(operation) = operation else {
        return ("OTHER", None);
    };
    let table = match operation {
        "UPDATE" => words.next(),
        _ => {
            let is_before = |word: &&str| {
                ["FROM", "INTO"]
                    .iter()
                    .any(|before| word.eq_ignore_ascii_case(before))
            };
            words.find(is_before).and_then(|_| words.next())
        }
    };
    let is_name = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let table = table.map(|table| table.trim_matches(|c| matches!(c, '"' | ',' | ';')));
    (operation, table.filter(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_summarized_by_operation_and_table() {
        #[rustfmt::skip]
        let table = [
            (r#"SELECT "a"."id" FROM "agent_turns" AS "a" WHERE "id" = $1"#, ("SELECT", Some("agent_turns"))),
            (r#"INSERT INTO "agent_messages" ("id") VALUES (?)"#, ("INSERT", Some("agent_messages"))),
            (r#"UPDATE "agent_turns" SET "x" = 1"#, ("UPDATE", Some("agent_turns"))),
            (r#"DELETE FROM agent_search WHERE 1"#, ("DELETE", Some("agent_search"))),
            ("select 1", ("SELECT", None)),
            ("SELECT * FROM (SELECT 1)", ("SELECT", None)),
            ("PRAGMA user_version = 0", ("OTHER", None)),
            ("", ("OTHER", None)),
        ];
        for (sql, expected) in table {
            assert_eq!(summary(sql), expected, "{sql}");
        }
    }
}
