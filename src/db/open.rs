//! Opens a database, and diagnoses why it cannot be opened.

use std::{borrow::Cow, io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};

use sea_orm::{
    ConnectionTrait, DbErr,
    sqlx::{
        self, ConnectOptions as _, Connection, postgres::PgConnectOptions,
        sqlite::SqliteConnectOptions,
    },
};
use tokio::time::timeout;

use super::{
    CONNECT_TIMEOUT, Database,
    erase::Erasure,
    exports::Exports,
    fault::is_limit,
    file::{DatabaseFile, has_log},
    group_commit::Groups,
    guarded::Guarded,
    open_error::OpenError,
    options::server_options,
    pool::{Opener, Pool},
    probe::Probe,
    search::share::Searches,
    stale::StaleConnections,
    statements::Statements,
};
use crate::clock::Clock;

mod encoding;
mod file;

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
    /// Validates a URL without opening the database.
    ///
    /// # Errors
    /// If the URL is invalid.
    pub fn check_url(url: &str) -> Result<(), OpenError> {
        Location::of(&with_verification(url)?).map(drop)
    }

    /// Opens the database at a URL: `sqlite://file.db?mode=rwc` or `postgres://…`.
    ///
    /// # Errors
    /// If the URL is invalid, or the database does not open.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, OpenError> {
        let url = &*with_verification(url)?;
        let statements = Statements::default();
        let stale = StaleConnections::default();
        let opener = Opener {
            url: url.to_owned(),
            stale: stale.clone(),
            statements: statements.clone(),
        };
        let open = |connections: u32| opener.open(connections);
        let mut had_log = false;
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
                had_log = has_log(&path);
                let failed = |error| OpenError::of_file(&path, may_create, &error);
                // Open the writer first, because it creates the file.
                let writer = file::retry_locked(|| open(1)).await.map_err(failed)?;
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
            groups: Groups::default(),
            statements,
            probe: Arc::new(Probe::of(file)),
            searches: Searches::among(max_connections),
            clock: Clock::default(),
            erasure: Erasure::after(had_log),
            exports: Exports::default(),
            is_audited: Arc::default(),
            lock_patience: Duration::ZERO,
        };
        database.check_encoding().await?;
        match database.set_clock().await {
            Ok(()) => Ok(database),
            Err(error) => Err(OpenError::of_statement(&error)),
        }
    }
}

impl Database {
    /// The `lock_timeout` of a PostgreSQL session, for tests that a pooler preserves it.
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
        // Acquires all connections before releasing any, so that each is a different one.
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
            "postgres" | "postgresql" if parsed.path().contains('@') => refuse(
                "the name of the database has an @; in the password, write @ as %40, / as %2F, ? as %3F, # as %23",
            ),
            "postgres" | "postgresql" => {
                let options: PgConnectOptions = url.parse().map_err(OpenError::of_url)?;
                Ok(Self::Server(Box::new(server_options(options))))
            }
            _ => refuse("the URL begins neither with sqlite: nor with postgres:"),
        }
    }
}

/// The URL with which sqlx verifies the server's certificate as libpq does: against `sslrootcert`, even with
/// `sslmode=require`.
///
/// # Errors
/// If the URL names certificate authorities that its `sslmode` would not use.
fn with_verification(url: &str) -> Result<Cow<'_, str>, OpenError> {
    let Ok(mut parsed) = reqwest::Url::parse(url) else {
        return Ok(url.into());
    };
    let is_mode = |name: &str| ["sslmode", "ssl-mode"].contains(&name);
    let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
    let has_authorities = pairs
        .iter()
        .any(|(name, _)| ["sslrootcert", "ssl-root-cert", "ssl-ca"].contains(&&**name));
    let mode = pairs.iter().rfind(|(name, _)| is_mode(name));
    match mode.map(|(_, mode)| mode.as_str()) {
        _ if !has_authorities => Ok(url.into()),
        Some("verify-ca" | "verify-full") => Ok(url.into()),
        Some("require") => {
            let others = pairs.iter().filter(|(name, _)| !is_mode(name));
            parsed
                .query_pairs_mut()
                .clear()
                .extend_pairs(others)
                .append_pair("sslmode", "verify-ca");
            Ok(String::from(parsed).into())
        }
        _ => Err(OpenError::Url(
            "sslrootcert is used with sslmode=verify-full, verify-ca or require".into(),
        )),
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
            // An error on close does not matter: the connection was only a test.
            let _ = connection.close().await;
            None
        }
        Ok(Err(error)) if may_be_starting(&error) => {
            let error = OpenError::of_server(server, &error);
            let why = error.why();
            tracing::warn!(
                why,
                "cannot connect to the database yet; retrying for {CONNECT_TIMEOUT:?}"
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
        // cannot_connect_now.
        sqlx::Error::Database(refusal) if refusal.code().as_deref() == Some("57P03") => true,
        _ => is_limit(error),
    }
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
