//! Opening a database: the options of its connections, and error diagnosis.

use std::{io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};

use sea_orm::{
    ConnectOptions, ConnectionTrait, DbErr,
    sqlx::{
        self, ConnectOptions as _, Connection, PgConnection,
        postgres::PgConnectOptions,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use tokio::time::timeout;

use super::{
    CONNECT_TIMEOUT, Database, IDLE_TRANSACTION_TIMEOUT, LOCK_TIMEOUT,
    erase::enable_secure_delete,
    file::DatabaseFile,
    guarded::{Guarded, StaleConnections},
    interrupt,
    open_error::OpenError,
    pool::{InUse, Opener, Pool},
    probe::Probe,
    search::share::Searches,
    statements::Statements,
};
use crate::clock::Clock;

mod encoding;
mod file;

/// The limit of the ping of a connection before and after its use.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The age at which a connection to a server is replaced, to free the memory of its session on the server.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The location of a database.
enum Location {
    File { path: PathBuf, mode: Mode },
    Server(Box<PgConnectOptions>),
}

/// The access mode of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
    /// Read and write; create the file if it does not exist.
    Create,
}

impl Database {
    /// Opens the database at a URL: `sqlite://file.db?mode=rwc` or `postgres://…`.
    ///
    /// # Errors
    /// If the URL is invalid, or the database does not open.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, OpenError> {
        let statements = Statements::default();
        let stale = StaleConnections::default();
        let opener = Opener {
            url: url.to_owned(),
            stale: stale.clone(),
            statements: statements.clone(),
        };
        let open = |connections: u32| opener.open(connections);
        let (writer, reader, file) = match Location::of(url)? {
            Location::File { path, mode } => {
                let may_create = mode == Mode::Create;
                // SQLite opens an unwritable file for reading, and fails only at the first write.
                if mode != Mode::Read
                    && let Err(error) = file::check_writable(&path)
                {
                    return Err(OpenError::of_unwritable(&path, may_create, Some(error)));
                }
                file::check(&path).await?;
                let failed = |error| OpenError::of_file(&path, may_create, &error);
                // Open the writer first, because it creates the file.
                let writer = file::retry_locked(|| open(1)).await.map_err(failed)?;
                if mode != Mode::Read {
                    enable_secure_delete(&writer.current())
                        .await
                        .map_err(failed)?;
                }
                let reader = open(max_connections).await.map_err(failed)?;
                (writer, reader, Some(Arc::new(DatabaseFile::opened(path))))
            }
            Location::Server(server) => {
                let pool = open_server_pool(&server, open(max_connections)).await?;
                (pool.clone(), pool, None)
            }
        };
        let database = Self {
            opener: file.is_none().then(|| opener.clone()),
            max_connections,
            reader: Guarded::reader(reader, stale.clone()),
            writer: Guarded::writer(writer, stale, file.clone()),
            statements,
            probe: Arc::new(Probe::of(file)),
            searches: Searches::among(max_connections),
            clock: Clock::default(),
            erasure: Default::default(),
        };
        database.check_encoding().await?;
        match database.set_clock().await {
            Ok(()) => Ok(database),
            Err(error) => Err(OpenError::of_statement(&error)),
        }
    }
}

impl Database {
    /// The `lock_timeout` of a PostgreSQL session, for tests that a pooler does not lose it.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn lock_timeout(&self) -> Result<String, DbErr> {
        let statement = self.statement("", "SELECT current_setting('lock_timeout') AS value", []);
        let row = self.writer.query_one_raw(statement).await?;
        row.map_or_else(|| Ok(String::new()), |row| row.try_get("", "value"))
    }
}

#[cfg(feature = "failpoints")]
impl Database {
    /// Deallocates the prepared statements of each open connection, as poolers do; for tests.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn forget_prepared(&self) -> Result<(), sqlx::Error> {
        let pool = self.writer.inner.current();
        let pool = pool.get_postgres_connection_pool();
        // Acquires all before releasing one, so that each is a different connection.
        let mut connections = Vec::new();
        for _ in 0..pool.size() {
            connections.push(pool.acquire().await?);
        }
        for connection in &mut connections {
            sqlx::raw_sql("DEALLOCATE ALL")
                .execute(&mut **connection)
                .await?;
        }
        Ok(())
    }
}

impl Location {
    /// Parses a URL. The error does not quote the URL, which may contain a password.
    fn of(url: &str) -> Result<Self, OpenError> {
        let refuse = |why: &str| Err(OpenError::Url(why.into()));
        let parsed = match reqwest::Url::parse(url) {
            Ok(parsed) => parsed,
            Err(_) if url.is_empty() => return refuse("the URL is empty"),
            Err(error) => return refuse(&format!("the URL is malformed ({error})")),
        };
        let mode = parsed.query_pairs().find(|(name, _)| name == "mode");
        let mode = mode.map(|(_, mode)| mode);
        match parsed.scheme() {
            "sqlite" if url.contains(":memory:") || mode.as_deref() == Some("memory") => refuse(
                "an in-memory SQLite database would be separate for each connection; name a file",
            ),
            "sqlite" => {
                let options: SqliteConnectOptions = url.parse().map_err(OpenError::of_url)?;
                Ok(Self::File {
                    path: options.get_filename().to_owned(),
                    mode: match mode.as_deref() {
                        Some("rwc") => Mode::Create,
                        Some("ro") => Mode::Read,
                        _ => Mode::Write,
                    },
                })
            }
            "postgres" | "postgresql" => {
                let options: PgConnectOptions = url.parse().map_err(OpenError::of_url)?;
                Ok(Self::Server(Box::new(server_options(options))))
            }
            _ => refuse("the URL begins neither with sqlite: nor with postgres:"),
        }
    }
}

/// Opens a pool of connections to a server.
///
/// sqlx pools report a refused connection as `PoolTimedOut`, after the timeout. So this connects once first, to get the
/// real error at once. If the server may be starting, the pool keeps trying.
async fn open_server_pool(
    server: &PgConnectOptions,
    open: impl Future<Output = Result<Pool, DbErr>>,
) -> Result<Pool, OpenError> {
    let first = match timeout(CONNECT_TIMEOUT, server.connect()).await {
        Ok(Ok(connection)) => {
            // An error of the close does not matter: the connection only tested the server.
            let _ = connection.close().await;
            None
        }
        Ok(Err(error)) if may_be_starting(&error) => {
            let error = OpenError::of_server(server, &error);
            let why = error.why();
            tracing::warn!(
                why,
                "no connection to the database yet, trying for {CONNECT_TIMEOUT:?}"
            );
            Some(error)
        }
        Ok(Err(error)) => return Err(OpenError::of_server(server, &error)),
        Err(_) => return Err(OpenError::timed_out(server)),
    };
    let opened = open.await;
    opened.map_err(|error| first.unwrap_or_else(|| OpenError::of_pool(server, &error)))
}

/// Whether the server may be starting. sqlx pools retry after these errors too.
fn may_be_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        // cannot_connect_now, too_many_connections.
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P03" | "53300")),
        _ => false,
    }
}

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
        .map_sqlx_sqlite_pool_opts(|pool| {
            // Unlike a server, a file needs no test before use.
            interrupt::on_file(pool)
                .test_before_acquire(false)
                // SQLite removes the write-ahead log when the last connection closes, and a new log looks like a
                // replaced file. So connections are never closed for age.
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
                    let within = interrupt::grace().unwrap_or(PING_TIMEOUT);
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
fn server_options(options: PgConnectOptions) -> PgConnectOptions {
    with_bare_host(options).extra_float_digits(None)
}

/// The statement that applies the settings of a session after its start.
fn session_settings() -> String {
    format!(
        "SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}",
        LOCK_TIMEOUT.as_millis(),
        // Frees the locks of a node that lost its connection.
        IDLE_TRANSACTION_TIMEOUT.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_connection_to_a_file_is_closed_for_its_age() {
        let path = std::env::temp_dir().join(format!("titlecast-{}.db", uuid::Uuid::now_v7()));
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let database = Database::connect(&url, 2).await.unwrap();
        for pool in [&database.reader.inner, &database.writer.inner] {
            let connection = pool.current();
            let pool = connection.get_sqlite_connection_pool();
            let ages = (
                pool.options().get_max_lifetime(),
                pool.options().get_idle_timeout(),
            );
            assert_eq!(ages, (None, None));
        }
        database.close().await.unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_ipv6_address_loses_its_brackets() {
        for (url, host) in [
            ("postgres://u@[::1]:5432/db", "::1"),
            ("postgres://u:p@[2001:db8::5]/db", "2001:db8::5"),
            (
                "postgres://u@[::ffff:192.0.2.1]:5433/db?sslmode=require",
                "::ffff:c000:201",
            ),
            ("postgres://u@127.0.0.1/db", "127.0.0.1"),
            ("postgres://u@db.example/db", "db.example"),
        ] {
            let options = server_options(url.parse().unwrap());
            assert_eq!(options.get_host(), host, "{url}");
        }
    }
}
