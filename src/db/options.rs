//! The options of a pool and its connections: session settings, and tests of connections before and after use.

use std::time::Duration;

use sea_orm::{
    ConnectOptions,
    sqlx::{
        self, ConnectOptions as _, Connection, PgConnection,
        postgres::PgConnectOptions,
        sqlite::{SqliteJournalMode, SqliteSynchronous},
    },
};
use tokio::time::timeout;

use super::{
    CONNECT_TIMEOUT, IDLE_TRANSACTION_TIMEOUT, LOCK_TIMEOUT, in_use::InUse, interrupt,
    stale::StaleConnections,
};

/// The timeout of the ping of a connection before and after its use.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The age at which a connection to a server is replaced, to free the memory of its session on the server.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The options of a pool and its connections.
pub(super) fn options(
    url: &str,
    connections: u32,
    stale: &StaleConnections,
    in_use: &InUse,
) -> ConnectOptions {
    let (stale, in_use) = (stale.clone(), in_use.clone());
    let server = url.parse().ok().map(server_options);
    let server = server.map(|server| server.disable_statement_logging());
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .journal_mode(SqliteJournalMode::Wal)
                // An accepted message must survive a power failure; WAL with NORMAL may lose it.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(LOCK_TIMEOUT)
                .foreign_keys(true)
                // Overwrites deleted text (`erase`).
                .pragma("secure_delete", "ON")
        })
        .map_sqlx_sqlite_pool_opts(move |pool| {
            // Unlike a connection to a server, one to a file needs no test before use.
            let pool = match connections {
                1 => interrupt::on_single_connection(pool),
                _ => interrupt::on_connections(pool),
            };
            pool.test_before_acquire(false)
                // SQLite removes the write-ahead log when the last connection closes, and a new log looks like a
                // replaced file. So connections are never closed because of their age.
                .max_lifetime(None)
                .idle_timeout(None)
                .after_release(|connection, _| {
                    Box::pin(async move {
                        if !connection.is_in_transaction() {
                            return Ok(true);
                        }
                        // The ping runs after the queued commands, among them the rollback of a dropped transaction.
                        connection.ping().await?;
                        // When the disk is full, SQLite itself rolls a transaction back. sqlx does not detect that, and
                        // would run all later statements in a transaction that never ends.
                        Ok(!connection.is_in_transaction())
                    })
                })
        })
        .map_sqlx_postgres_pool_opts(move |pool| {
            let (stale, made) = (stale.clone(), in_use.clone());
            let (reused, returned) = (in_use.clone(), in_use.clone());
            let (before, after) = (server.clone(), server.clone());
            // sqlx tests and closes connections without a deadline (transact-rs/sqlx#3540), and over TLS a close waits
            // for the peer. A frozen connection would occupy its slot in the pool forever. So connections are tested
            // and replaced here, under deadlines, and sqlx gets no reason to close one.
            pool.after_connect(move |connection, _| {
                let made = made.clone();
                Box::pin(async move {
                    begin_session(connection).await?;
                    made.add();
                    Ok(())
                })
            })
            .test_before_acquire(false)
            .max_lifetime(None)
            .idle_timeout(None)
            .before_acquire(move |connection, known| {
                let is_old = stale.covers(known.age) || known.age > MAX_LIFETIME;
                let (server, reused) = (before.clone(), reused.clone());
                Box::pin(async move {
                    if is_old {
                        let old = replace(connection, server).await?;
                        // A failed close does not matter; the socket is closed anyway.
                        let _ = timeout(PING_TIMEOUT, old.close()).await;
                        // sqlx keeps the age per slot, so the slot must go as well. `false` makes sqlx close the new
                        // connection, which is responsive, so that this close cannot hang.
                        return Ok(false);
                    }
                    ensure_responsive(connection, PING_TIMEOUT, server).await?;
                    reused.add();
                    Ok(true)
                })
            })
            .after_release(move |connection, _| {
                let (server, release) = (after.clone(), returned.release());
                Box::pin(async move {
                    let _release = release;
                    // sqlx pings a released connection, without a deadline. If the last statement was answered, that
                    // suffices.
                    let within = match interrupt::grace() {
                        None if !connection.is_in_transaction() => return Ok(true),
                        grace => grace.unwrap_or(PING_TIMEOUT),
                    };
                    ensure_responsive(connection, within, server).await?;
                    Ok(true)
                })
            })
        })
        .map_sqlx_postgres_opts(server_options);
    options
}

/// Applies the session settings to a new connection to a server.
pub(super) async fn begin_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let settings = sqlx::raw_sql(sqlx::AssertSqlSafe(session_settings()));
    settings.execute(&mut *connection).await?;
    interrupt::check_clients(connection).await;
    Ok(())
}

/// Removes the brackets of an IPv6 address, which sqlx would resolve as a host name.
fn with_bare_host(options: PgConnectOptions) -> PgConnectOptions {
    let host = options.get_host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bare.map(str::to_owned) {
        Some(address) => options.host(&address),
        None => options,
    }
}

/// Ensures a responsive connection: waits until earlier statements are finished or rolled back, or replaces the
/// connection if a statement still runs or the peer is frozen.
async fn ensure_responsive(
    connection: &mut PgConnection,
    within: Duration,
    options: Option<PgConnectOptions>,
) -> Result<(), sqlx::Error> {
    match timeout(within, connection.ping()).await {
        Ok(answered) => answered,
        Err(_) => {
            // Drop closes the socket at once; an orderly close would wait for the peer.
            drop(replace(connection, options).await?);
            Ok(())
        }
    }
}

/// Replaces a connection with a new one. Returns the old one.
async fn replace(
    connection: &mut PgConnection,
    options: Option<PgConnectOptions>,
) -> Result<PgConnection, sqlx::Error> {
    let options = options.ok_or(sqlx::Error::PoolTimedOut)?;
    let fresh = async {
        let mut fresh = options.connect().await?;
        begin_session(&mut fresh).await?;
        Ok::<_, sqlx::Error>(fresh)
    };
    let fresh = timeout(PING_TIMEOUT, fresh).await;
    let fresh = fresh.map_err(|_| sqlx::Error::PoolTimedOut)??;
    Ok(std::mem::replace(connection, fresh))
}

/// Removes `extra_float_digits` from the start-up parameters.
///
/// PgBouncer rejects start-up parameters other than `DateStyle`, `client_encoding`, `TimeZone` and `application_name`.
/// Floats are transferred in binary, so the setting is not needed.
pub(super) fn server_options(options: PgConnectOptions) -> PgConnectOptions {
    with_bare_host(options).extra_float_digits(None)
}

/// The statements that apply a session's settings after its start.
///
/// The isolation level is the one that the statements are written for, whatever the default of the role or the
/// database: under a stricter one, concurrent writes would fail.
fn session_settings() -> String {
    format!(
        "SET default_transaction_isolation = 'read committed'; SET lock_timeout = {};
         SET idle_in_transaction_session_timeout = {}",
        LOCK_TIMEOUT.as_millis(),
        // Frees the locks of a node that lost its connection.
        IDLE_TRANSACTION_TIMEOUT.as_millis()
    )
}
