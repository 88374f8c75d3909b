//! Opening a database: what is asked of its connections, and finding out why there is none.

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
    erase::erase_words,
    file::DatabaseFile,
    guarded::{Guarded, StaleConnections},
    interrupt,
    open_error::OpenError,
    pool::{Opener, Pool, Taken},
    probe::Probe,
    search::share::Searches,
    statements::Statements,
};
use crate::clock::Clock;

mod encoding;
mod file;

/// How long a server may take to answer on a connection that is about to be used, or was.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection to a server is used: what a session gathers in the server's memory goes with it.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Where a database is.
enum Place {
    File { path: PathBuf, mode: Mode },
    Server(Box<PgConnectOptions>),
}

/// What is done with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
    /// The same, and it is created when it is not there.
    Create,
}

impl Database {
    /// Opens the database that a URL names: `sqlite://file.db?mode=rwc` or `postgres://…`.
    ///
    /// # Errors
    /// When the URL is of neither kind, or the database does not open.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, OpenError> {
        let statements = Statements::default();
        let stale = StaleConnections::default();
        let opener = Opener {
            url: url.to_owned(),
            stale: stale.clone(),
            statements: statements.clone(),
        };
        let open = |connections: u32| opener.open(connections);
        let (writer, reader, file) = match Place::of(url)? {
            Place::File { path, mode } => {
                let may_create = mode == Mode::Create;
                // What may not be written to SQLite opens for reading, and fails later.
                if mode != Mode::Read
                    && let Err(error) = file::check_writable(&path)
                {
                    return Err(OpenError::of_unwritable(&path, may_create, Some(error)));
                }
                file::check(&path).await?;
                let failed = |error| OpenError::of_file(&path, may_create, &error);
                // The writer first: it creates the file.
                let writer = file::retry_locked(|| open(1)).await.map_err(failed)?;
                if mode != Mode::Read {
                    erase_words(&writer.current()).await.map_err(failed)?;
                }
                let reader = open(max_connections).await.map_err(failed)?;
                (writer, reader, Some(Arc::new(DatabaseFile::opened(path))))
            }
            Place::Server(server) => {
                let pool = reach(&server, open(max_connections)).await?;
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
    /// What PostgreSQL's sessions wait for a lock at most, for tests: a pooler must not lose it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn lock_timeout(&self) -> Result<String, DbErr> {
        let statement = self.statement("", "SELECT current_setting('lock_timeout') AS value", []);
        let row = self.writer.query_one_raw(statement).await?;
        row.map_or_else(|| Ok(String::new()), |row| row.try_get("", "value"))
    }
}

#[cfg(feature = "failpoints")]
impl Database {
    /// Lets the server forget what each open connection has prepared, as poolers do, for tests.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn forget_prepared(&self) -> Result<(), sqlx::Error> {
        let pool = self.writer.inner.current();
        let pool = pool.get_postgres_connection_pool();
        // All at once, so that each is another one.
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

impl Place {
    /// What a URL names. What is wrong with it is said without quoting it: it may hold a password.
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
                "an in-memory SQLite database is another one for each connection; name a file",
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

/// Opens a pool of connections to a server. A pool says of a server that refuses it no more than that the time is over,
/// and only then: so one connection is tried before, which says why. A server that may be about to start is
/// waited for nevertheless.
async fn reach(
    server: &PgConnectOptions,
    open: impl Future<Output = Result<Pool, DbErr>>,
) -> Result<Pool, OpenError> {
    let first = match timeout(CONNECT_TIMEOUT, server.connect()).await {
        Ok(Ok(connection)) => {
            // It was good for what it was for.
            let _ = connection.close().await;
            None
        }
        Ok(Err(error)) if may_pass(&error) => {
            let error = OpenError::of_server(server, &error);
            let why = error.why();
            tracing::warn!(
                why,
                "no connection to the database yet, trying for {CONNECT_TIMEOUT:?}"
            );
            Some(error)
        }
        Ok(Err(error)) => return Err(OpenError::of_server(server, &error)),
        Err(_) => return Err(OpenError::silent(server)),
    };
    let opened = open.await;
    opened.map_err(|error| first.unwrap_or_else(|| OpenError::of_pool(server, &error)))
}

/// Whether a server may be about to start, which pools wait for too.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        // It starts, or has all the connections that it may have.
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P03" | "53300")),
        _ => false,
    }
}

/// What a pool's connections are like.
pub(super) fn options(
    url: &str,
    connections: u32,
    stale: &StaleConnections,
    taken: &Taken,
) -> ConnectOptions {
    let (stale, taken) = (stale.clone(), taken.clone());
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
                // An accepted message has to survive a power cut: WAL with NORMAL may lose it.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(LOCK_TIMEOUT)
                .foreign_keys(true)
                // What is deleted is overwritten (`erase`).
                .pragma("secure_delete", "ON")
        })
        .map_sqlx_sqlite_pool_opts(|pool| {
            // A file does not go away as a server does.
            interrupt::on_file(pool)
                .test_before_acquire(false)
                // SQLite removes the write-ahead log when the last connection closes; a new log looks as if the file
                // had been replaced. So none is closed for its age.
                .max_lifetime(None)
                .idle_timeout(None)
                .after_release(|connection, _| {
                    Box::pin(async move {
                        if !connection.is_in_transaction() {
                            return Ok(true);
                        }
                        // What was said before it is done by then: one that was dropped is taken back.
                        connection.ping().await?;
                        // When the disk is full, SQLite takes a transaction back by itself. sqlx does not
                        // notice, and would run all that follows inside of one that never ends.
                        Ok(!connection.is_in_transaction())
                    })
                })
        })
        .map_sqlx_postgres_pool_opts(move |pool| {
            let (stale, made) = (stale.clone(), taken.clone());
            let (reused, returned) = (taken.clone(), taken.clone());
            let (before, after) = (server.clone(), server.clone());
            // sqlx tests and closes connections without a deadline (transact-rs/sqlx#3540), and over TLS a close waits
            // for the peer. A frozen connection would keep its place in the pool for good. So connections are tested
            // and replaced here, under deadlines, and sqlx is given no reason to close one.
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
                let is_old = stale.covers(known.age) || known.age > LIFETIME;
                let (server, reused) = (before.clone(), reused.clone());
                Box::pin(async move {
                    if is_old {
                        let old = replace(connection, server).await?;
                        // It is no matter if it does not take its leave.
                        let _ = timeout(PING_TIMEOUT, old.close()).await;
                        // The age is that of the place in the pool, whatever is in it: with the place sqlx closes the
                        // new connection, which answers.
                        return Ok(false);
                    }
                    answering(connection, PING_TIMEOUT, server).await?;
                    reused.add();
                    Ok(true)
                })
            })
            .after_release(move |connection, _| {
                let (server, returning) = (after.clone(), returned.returning());
                Box::pin(async move {
                    let _returning = returning;
                    let within = interrupt::grace().unwrap_or(PING_TIMEOUT);
                    answering(connection, within, server).await?;
                    Ok(true)
                })
            })
        })
        .map_sqlx_postgres_opts(server_options);
    options
}

/// Gives a new connection to a server what its session needs.
pub(super) async fn begin_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let settings = sqlx::raw_sql(sqlx::AssertSqlSafe(session_settings()));
    settings.execute(&mut *connection).await?;
    interrupt::check_clients(connection).await;
    Ok(())
}

/// sqlx would look up an IPv6 address with its brackets, as if it were a name.
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

/// Makes sure of a connection that answers: this one, once all that was sent before is done or taken back, or a new one
/// in its place when a statement still runs or the peer is frozen.
async fn answering(
    connection: &mut PgConnection,
    within: Duration,
    options: Option<PgConnectOptions>,
) -> Result<(), sqlx::Error> {
    match timeout(within, connection.ping()).await {
        Ok(answered) => answered,
        Err(_) => {
            // Its socket is closed at once. To close it in an orderly way would wait for its peer.
            drop(replace(connection, options).await?);
            Ok(())
        }
    }
}

/// Puts a new connection in the place of one. Returns that.
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

/// PgBouncer refuses a connection that sends any other start-up parameter than sqlx's own `DateStyle`,
/// `client_encoding`, `TimeZone` and `application_name`. Floats travel in binary, so their digits need no setting.
fn server_options(options: PgConnectOptions) -> PgConnectOptions {
    with_bare_host(options).extra_float_digits(None)
}

/// What a session is set to, by one statement after it has begun.
fn session_settings() -> String {
    format!(
        "SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}",
        LOCK_TIMEOUT.as_millis(),
        // What a node that was cut off has locked is free again.
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
    fn an_ipv6_address_is_no_name() {
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
