//! Classifies failed statements: the only module that interprets SQLSTATEs and SQLite's result codes for retries.

use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::{
    ConnAcquireErr, DbErr, RuntimeErr,
    sqlx::{self, sqlite::SqliteError},
};

use crate::error::Error;

/// Statements that were not sent because no connection was available. SeaORM's metric callback does not receive them,
/// so they are counted at the error conversion, for the whole process.
static UNSENT: AtomicU64 = AtomicU64::new(0);

/// Counts a statement that was not sent.
pub(super) fn count_unsent(error: &DbErr) {
    if matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) {
        UNSENT.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn unsent() -> u64 {
    UNSENT.load(Ordering::Relaxed)
}

/// The commit was sent, and failed or timed out: the transaction may or may not be committed.
#[derive(Debug, thiserror::Error)]
#[error("the outcome of the commit is unknown")]
pub(super) struct UnknownCommit(#[source] pub(super) DbErr);

impl From<UnknownCommit> for Error {
    fn from(unknown: UnknownCommit) -> Self {
        count_unsent(&unknown.0);
        Self::Database(Box::new(unknown))
    }
}

/// The class of a failed statement, which decides about a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The database is unreachable, busy, full or read-only. The same statement may succeed later.
    Transient,
    /// The statement does not match the schema. It fails every time, for every row.
    Ours,
    /// The row cannot be stored or read. The statement fails every time for this row, and succeeds for others.
    Row,
}

impl Fault {
    /// Classifies an error.
    pub fn of(error: &DbErr) -> Self {
        match error {
            DbErr::Conn(RuntimeErr::SqlxError(error))
            | DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => Self::of_sqlx(error),
            DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => Self::Transient,
            DbErr::Type(_)
            | DbErr::Json(_)
            | DbErr::TryIntoErr { .. }
            | DbErr::ConvertFromU64(_)
            | DbErr::UnpackInsertId
            | DbErr::RecordNotFound(_)
            | DbErr::RecordNotInserted
            | DbErr::RecordNotUpdated => Self::Row,
            DbErr::Exec(RuntimeErr::Internal(_)) | DbErr::Query(RuntimeErr::Internal(_)) => {
                Self::Transient
            }
            _ => Self::Ours,
        }
    }

    fn of_sqlx(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                match error.try_downcast_ref::<SqliteError>() {
                    Some(_) => Self::of_sqlite(code.parse().unwrap_or_default()),
                    None => Self::of_state(&code),
                }
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
                Self::Row
            }
            sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::InvalidArgument(_)
            | sqlx::Error::Configuration(_) => Self::Ours,
            // Lost connections, exhausted pools, protocol errors.
            _ => Self::Transient,
        }
    }

    /// Classifies PostgreSQL's SQLSTATE (appendix A of its manual).
    fn of_state(code: &str) -> Self {
        match (code, code.get(..2).unwrap_or_default()) {
            // A missing privilege, a stale cached plan, a prepared statement that a pooler dropped.
            ("42501" | "0A000" | "26000", _) => Self::Transient,
            // Damaged data: other rows can be read.
            ("XX001" | "XX002", _) => Self::Row,
            // Data exceptions, constraints, program limits, and errors raised by triggers.
            (_, "21" | "22" | "23" | "27" | "44" | "54" | "P0") => Self::Row,
            (_, "0A" | "42" | "3D" | "3F" | "34" | "25") if code != "25006" && code != "25P03" => {
                Self::Ours
            }
            _ => Self::Transient,
        }
    }

    /// Classifies SQLite's primary result code.
    fn of_sqlite(code: u32) -> Self {
        match code & 0xff {
            // CORRUPT (damaged data or a damaged index; other rows can be read), TOOBIG, CONSTRAINT, MISMATCH, RANGE.
            11 | 18 | 19 | 20 | 25 => Self::Row,
            // ERROR (the statement does not fit the schema), MISUSE.
            1 | 21 => Self::Ours,
            _ => Self::Transient,
        }
    }

    /// Classifies an error of the crate; `None` if no statement caused it.
    pub fn of_error(error: &Error) -> Option<Self> {
        match error {
            Error::Database(source) | Error::Internal(source) => {
                let unknown = source.downcast_ref().map(|UnknownCommit(error)| error);
                match source.downcast_ref::<DbErr>().or(unknown) {
                    Some(error) => Some(Self::of(error)),
                    None => matches!(error, Error::Database(_)).then_some(Self::Transient),
                }
            }
            _ => None,
        }
    }
}

/// Whether a statement failed because of its row, so that it would succeed for other rows.
pub(super) fn is_of_row(error: &Error) -> bool {
    Fault::of_error(error) == Some(Fault::Row)
}

fn of_driver(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// Whether the prepared statement is older than a schema change, or unknown to the server.
pub(super) fn is_stale_plan(error: &DbErr) -> bool {
    let Some(sqlx::Error::Database(error)) = of_driver(error) else {
        return false;
    };
    match error.code().as_deref() {
        Some("26000") => true,
        // The code covers all unsupported features, and the message may be localized. The name of the routine in the
        // server's source identifies the error.
        Some("0A000") => {
            let error = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>();
            error.is_some_and(|error| error.routine() == Some("RevalidateCachedQuery"))
        }
        _ => false,
    }
}

/// Whether the server is read-only. After a failover, another server may be the primary.
pub(super) fn is_read_only(error: &DbErr) -> bool {
    match of_driver(error) {
        Some(sqlx::Error::Database(error)) => error.code().as_deref() == Some("25006"),
        _ => false,
    }
}

/// Whether the database did not execute the statement because of its connection: it has a stale plan, or its pool was
/// replaced. Any statement can be retried then, on another connection.
pub(super) fn was_not_executed(error: &DbErr) -> bool {
    is_stale_plan(error) || is_of_replaced_pool(error)
}

/// Whether the pool was replaced while the statement waited for a connection, so that the statement was not sent.
fn is_of_replaced_pool(error: &DbErr) -> bool {
    matches!(
        error,
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)
    )
}

/// Whether the server refused a connection because it has as many as it allows.
pub(super) fn is_limit(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().as_deref() == Some("53300"),
        _ => false,
    }
}

/// Whether no connection was available in time, so that the statement was not sent.
pub(super) fn is_acquire_timeout(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
}

/// Whether the connection was lost, or terminated by the server: by an administrator, a crash or an idle timeout.
pub(super) fn is_lost_connection(error: &DbErr) -> bool {
    match of_driver(error) {
        Some(sqlx::Error::Io(error)) => error.kind() != std::io::ErrorKind::TimedOut,
        Some(sqlx::Error::Database(error)) => {
            let code = error.code();
            matches!(
                code.as_deref(),
                Some("57P01" | "57P02" | "25P03" | "25P04" | "08006")
            )
        }
        _ => false,
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        count_unsent(&error);
        Self::Database(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_a_fault() {
        #[rustfmt::skip]
        let states = [
            ("08006", Fault::Transient), ("40001", Fault::Transient), ("40P01", Fault::Transient),
            ("53100", Fault::Transient), ("53300", Fault::Transient), ("55P03", Fault::Transient),
            ("57014", Fault::Transient), ("57P01", Fault::Transient), ("57P03", Fault::Transient),
            ("25006", Fault::Transient), ("25P03", Fault::Transient), ("58030", Fault::Transient),
            ("42501", Fault::Transient), ("0A000", Fault::Transient), ("XX000", Fault::Transient),
            ("22021", Fault::Row), ("22P05", Fault::Row), ("23505", Fault::Row), ("23514", Fault::Row),
            ("54000", Fault::Row), ("P0001", Fault::Row), ("XX001", Fault::Row),
            ("42703", Fault::Ours), ("42P01", Fault::Ours), ("42601", Fault::Ours), ("25P02", Fault::Ours),
            ("", Fault::Transient),
        ];
        for (state, fault) in states {
            assert_eq!(Fault::of_state(state), fault, "{state}");
        }
        #[rustfmt::skip]
        let codes = [
            (5, Fault::Transient), (6, Fault::Transient), (8, Fault::Transient), (10, Fault::Transient),
            (13, Fault::Transient), (14, Fault::Transient), (9, Fault::Transient), (261, Fault::Transient),
            (11, Fault::Row), (267, Fault::Row), (26, Fault::Transient), (19, Fault::Row), (1811, Fault::Row), (2067, Fault::Row), (18, Fault::Row), (20, Fault::Row),
            (1, Fault::Ours),
        ];
        for (code, fault) in codes {
            assert_eq!(Fault::of_sqlite(code), fault, "{code}");
        }
    }

    #[test]
    fn database_faults_are_transient_and_row_faults_are_not() {
        let away = DbErr::ConnectionAcquire(sea_orm::ConnAcquireErr::Timeout);
        assert_eq!(Fault::of_error(&Error::from(away)), Some(Fault::Transient));
        let unreadable = DbErr::Type("a text where a number stands".into());
        assert_eq!(Fault::of_error(&Error::from(unreadable)), Some(Fault::Row));
        assert_eq!(Fault::of_error(&Error::Lagged), None);
    }
}
