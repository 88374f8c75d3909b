//! The advisory lock that serializes processes that migrate the same server database.

use std::time::{Duration, Instant};

use migration::run::LOCK_WAIT;
use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, ConnectOptions as _, Connection, PgConnection, postgres::PgConnectOptions},
};
use tokio::time::{sleep, timeout};

use super::super::CONNECT_TIMEOUT;

/// The key of the advisory lock: an arbitrary constant.
const KEY: i64 = 0x7469_746c_6563_6173;

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The interval between log lines during a wait.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The pause between two pings of the server during a migration.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The timeout of a ping. Long, because the server may be busy with the migration.
const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes the lock, on a separate connection that holds it until [`release`].
///
/// The lock belongs to a transaction, which keeps its server connection behind any kind of pooler. The lock is polled:
/// a statement that waits inside the server would block the concurrent index build of the process that holds the lock.
pub(super) async fn take(options: &PgConnectOptions) -> Result<PgConnection, DbErr> {
    let began = Instant::now();
    let mut last_logged: Option<Instant> = None;
    let mut connection: Option<PgConnection> = None;
    loop {
        let tried = timeout(CONNECT_TIMEOUT, try_once(options, &mut connection)).await;
        match tried {
            Ok(Ok(true)) => {}
            Ok(Err(error)) if !is_unavailable(&error) => {
                return Err(failed(error));
            }
            Err(_) => return Err(failed(sqlx::Error::PoolTimedOut)),
            Ok(waiting) => {
                if began.elapsed() > LOCK_WAIT {
                    return Err(match waiting {
                        Err(error) => failed(error),
                        Ok(_) => DbErr::Custom(format!(
                            "another process has been migrating this database for {LOCK_WAIT:?}. Wait for it or end it, then try again"
                        )),
                    });
                }
                if last_logged.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
                    last_logged = Some(Instant::now());
                    let waited_s = began.elapsed().as_secs();
                    match waiting {
                        Err(_) => tracing::info!(
                            waited_s,
                            "migration waits: the database is starting, or accepts no further connection"
                        ),
                        Ok(_) => tracing::info!(
                            waited_s,
                            "migration waits: another process migrates this database"
                        ),
                    }
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
    // The transaction runs no further queries, so it holds no snapshot that a concurrent index build would wait for.
    // Each ping restarts the timeout. After the timeout, a session whose client vanished ends and releases the lock.
    let (interval, limit) = ping_limits();
    let begin = format!(
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout = {}",
        (2 * (interval + limit)).as_millis()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(begin))
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

/// Pings the server on the lock's connection, and returns once it does not answer.
///
/// A statement of a migration may take hours, so its own connection has no deadline. The ping is a protocol message,
/// not a statement: it takes no snapshot that a concurrent index build would wait for.
pub(super) async fn lost(connection: &mut PgConnection) -> DbErr {
    let (interval, limit) = ping_limits();
    loop {
        sleep(interval).await;
        match timeout(limit, connection.ping()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return failed(error),
            Err(_) => {
                return DbErr::Custom(format!(
                    "the database stopped answering for {limit:?} during a migration. When it answers, run `titlecast migrate up` again"
                ));
            }
        }
    }
}

/// The interval and the timeout of pings; the failpoint sets both, in seconds.
fn ping_limits() -> (Duration, Duration) {
    let usual = (PING_INTERVAL, PING_TIMEOUT);
    fail::fail_point!("migrations.ping", |seconds| {
        let seconds = seconds.and_then(|seconds| seconds.parse().ok());
        seconds
            .map(Duration::from_secs)
            .map_or(usual, |seconds| (seconds, seconds))
    });
    usual
}

/// Releases the lock. If the close times out, the server releases it when it detects the closed socket.
pub(super) async fn release(connection: PgConnection) {
    let _ = timeout(CONNECT_TIMEOUT, connection.close()).await;
}

pub(super) fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// Whether the server is starting, or is out of connections.
fn is_unavailable(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("57P03" | "53300"))
}
