//! The lock among processes that migrate a server's database at the same time.

use std::time::{Duration, Instant};

use migration::run::WAIT;
use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, ConnectOptions as _, Connection, PgConnection, postgres::PgConnectOptions},
};
use tokio::time::{sleep, timeout};

use super::super::CONNECT_TIMEOUT;

/// The advisory lock's key; any number does, if it is always the same.
const KEY: i64 = 0x7469_746c_6563_6173;

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How often a process that waits says so.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Waits for the lock, on a connection of its own. It lasts as long as the connection's transaction, which is open
/// behind a pooler of any kind. It is polled: a statement that waited inside the server would hold up the concurrent
/// index of the process that has the lock.
pub(super) async fn take(options: &PgConnectOptions) -> Result<PgConnection, DbErr> {
    let began = Instant::now();
    let mut said: Option<Instant> = None;
    let mut connection: Option<PgConnection> = None;
    loop {
        let tried = timeout(CONNECT_TIMEOUT, try_once(options, &mut connection)).await;
        match tried {
            Ok(Ok(true)) => {}
            Ok(Err(error)) if !has_no_place(&error) => {
                return Err(failed(error));
            }
            Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
            // Another process has it, or the server has no connection left.
            _ => {
                if began.elapsed() > WAIT {
                    return Err(DbErr::Custom(format!(
                        "another process has been migrating this database for {WAIT:?}. Let it end, or end it, and try again"
                    )));
                }
                if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                    said = Some(Instant::now());
                    tracing::info!(
                        waited_s = began.elapsed().as_secs(),
                        "migration waits: another process migrates this database"
                    );
                }
                sleep(POLL_INTERVAL + POLL_INTERVAL.mul_f64(fastrand::f64())).await;
                continue;
            }
        }
        if let Some(connection) = connection {
            return Ok(connection);
        }
    }
}

async fn try_once(
    options: &PgConnectOptions,
    connection: &mut Option<PgConnection>,
) -> Result<bool, sqlx::Error> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(options.connect().await?),
    };
    // Nothing is read in this transaction afterwards, so it holds no snapshot that an index would wait for.
    sqlx::raw_sql("BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0")
        .execute(&mut *connection)
        .await?;
    let is_taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .bind(KEY)
        .fetch_one(&mut *connection)
        .await?;
    if !is_taken {
        sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
    }
    Ok(is_taken)
}

/// Gives it back. Dropping the connection does so as well, when the server notices.
pub(super) async fn release(connection: PgConnection) {
    let _ = timeout(CONNECT_TIMEOUT, connection.close()).await;
}

pub(super) fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// The server starts, or has all the connections that it may have.
fn has_no_place(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("57P03" | "53300"))
}
