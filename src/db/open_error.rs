//! Errors of opening a database and of migrating its schema, for operators: what happened, and what to do.
//!
//! No text contains a password.

use std::{
    borrow::Cow,
    error::Error as _,
    fmt,
    fs::File,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{self, error::DatabaseError, postgres::PgConnectOptions, sqlite::SqliteError},
};

use rustls::CertificateError;

use super::CONNECT_TIMEOUT;
use crate::error::{Error, innermost};

/// The setting that most remedies refer to.
const SETTING: &str = "--database-url (DATABASE_URL)";

/// Why a database does not open. The text ends with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is invalid.
    #[error(
        "{0}. Write --database-url (DATABASE_URL) as sqlite://FILE?mode=rwc or postgres://USER:PASSWORD@HOST/NAME, \
         with special characters of a password percent-encoded"
    )]
    Url(String),
    /// The database does not exist, is unreachable, or rejects the connection.
    #[error("{why}. {remedy}")]
    Unopened {
        /// The cause.
        why: String,
        /// The remedy.
        remedy: String,
    },
}

impl OpenError {
    fn unopened(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unopened {
            why: why.into(),
            remedy: remedy.into(),
        }
    }

    /// The cause without the remedy.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Url(why) | Self::Unopened { why, .. } => why,
        }
    }

    /// A URL that sqlx cannot parse.
    pub(super) fn of_url(error: sqlx::Error) -> Self {
        Self::Url(innermost(&error).to_string())
    }

    /// A server that does not answer within [`CONNECT_TIMEOUT`].
    pub(super) fn timed_out(server: &PgConnectOptions) -> Self {
        let at = address(server);
        Self::unopened(
            format!("{at} does not answer within {CONNECT_TIMEOUT:?}"),
            format!("Check host and port in {SETTING}, and firewalls in between"),
        )
    }

    /// The error of a pool that does not open.
    pub(super) fn of_pool(server: &PgConnectOptions, error: &DbErr) -> Self {
        match sqlx_error(error) {
            Some(sqlx::Error::PoolTimedOut) => Self::timed_out(server),
            Some(error) => Self::of_server(server, error),
            None => Self::of_statement(error),
        }
    }

    /// A statement that failed on an open connection.
    pub(super) fn of_statement(error: &DbErr) -> Self {
        let failed = Failed(error);
        Self::unopened(failed.why(), failed.remedy())
    }

    /// A failed connection to a server.
    pub(super) fn of_server(server: &PgConnectOptions, error: &sqlx::Error) -> Self {
        let at = address(server);
        match error {
            sqlx::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                Self::unopened(
                    format!("nothing listens at {at} (connection refused)"),
                    format!("Start PostgreSQL there, or check host and port in {SETTING}"),
                )
            }
            sqlx::Error::Tls(error) => Self::unopened(
                format!("no encrypted connection to {at}: {error}"),
                format!("Check sslmode and sslrootcert in {SETTING}"),
            ),
            // sqlx reports a failed handshake as an I/O error.
            sqlx::Error::Io(error) if let Some(error) = tls_error(error) => Self::unopened(
                format!("no encrypted connection to {at}: {error}"),
                certificate_remedy(error),
            ),
            // If the URL names no socket, the missing file is a certificate or key that it names.
            sqlx::Error::Io(error)
                if error.kind() == ErrorKind::NotFound && server.get_socket().is_none() =>
            {
                Self::unopened(
                    format!("a certificate or key for {at} cannot be read: {error}"),
                    format!("Check sslrootcert, sslcert and sslkey in {SETTING}"),
                )
            }
            sqlx::Error::Protocol(_) => Self::unopened(
                format!("the server at {at} does not speak the PostgreSQL protocol"),
                format!("Check host and port in {SETTING}"),
            ),
            sqlx::Error::Database(error) => Self::of_refusal(server, &**error),
            // For example an unknown or unreachable host.
            error => Self::unopened(
                format!("{at} cannot be reached: {}", cause(error)),
                format!("Check host and port in {SETTING}"),
            ),
        }
    }

    /// A connection that the server rejected, by SQLSTATE (appendix A of PostgreSQL's manual).
    fn of_refusal(server: &PgConnectOptions, error: &dyn DatabaseError) -> Self {
        let (at, user) = (address(server), server.get_username());
        let name = server.get_database().unwrap_or(user);
        let message = error.message();
        match error.code().as_deref() {
            Some("3D000") => Self::unopened(
                format!("the server at {at} has no database {name:?}"),
                format!(
                    "Create it (createdb -h {} -p {} -U {user} {name}), or name another in {SETTING}",
                    host(server),
                    server.get_port()
                ),
            ),
            Some("28P01") => Self::unopened(
                format!("the server at {at} refuses the password of {user:?}"),
                format!("Check user and password in {SETTING}"),
            ),
            Some("28000") => Self::unopened(
                format!("the server at {at} rejects the user {user:?}: {message}"),
                format!("Check the user in {SETTING}, and the server's pg_hba.conf"),
            ),
            code => Self::unopened(
                format!("the server at {at} rejects the connection: {message}"),
                remedy(code, message),
            ),
        }
    }

    /// A file that does not open.
    pub(super) fn of_file(file: &Path, may_create: bool, error: &DbErr) -> Self {
        match sqlite_code(error) {
            // SQLite's error has no details; opening the file directly returns the system's error.
            Some(CANTOPEN | READONLY) => {
                let opened = File::options().read(true).write(true).open(file);
                Self::of_unwritable(file, may_create, opened.err())
            }
            Some(NOTADB) => Self::of_other_format(file),
            _ => {
                let (name, failed) = (absolute(file), Failed(error));
                Self::unopened(
                    format!("{}: {}", name.display(), failed.why()),
                    failed.remedy(),
                )
            }
        }
    }

    /// A file that is not an SQLite database.
    pub(super) fn of_other_format(file: &Path) -> Self {
        Self::unopened(
            format!(
                "{} is not an SQLite database, or is encrypted",
                absolute(file).display()
            ),
            format!("Move it away, or name another file in {SETTING}"),
        )
    }

    /// A file with another program's database.
    pub(super) fn of_foreign_file(file: &Path, difference: &str) -> Self {
        Self::unopened(
            format!(
                "{} is the database of another program: {difference}",
                absolute(file).display()
            ),
            format!(
                "Name another file in {SETTING}, and import its conversations with `titlecast import` (docs/moving.md)"
            ),
        )
    }

    /// A server's database whose encoding is not UTF-8.
    pub(super) fn of_encoding(name: &str, encoding: &str) -> Self {
        Self::unopened(
            format!(
                "the database {name:?} has the encoding {encoding}, which cannot store every text; it must be UTF8"
            ),
            format!(
                "Create another one (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0) and name it in {SETTING}"
            ),
        )
    }

    /// A file that cannot be written to, with the system's error; `None` if the file itself is writable.
    pub(super) fn of_unwritable(file: &Path, may_create: bool, error: Option<io::Error>) -> Self {
        let path = absolute(file);
        let folder = path.parent().unwrap_or(&path);
        let (name, within) = (path.display(), folder.display());
        let other = format!("name another file in {SETTING}");
        match error {
            _ if path.is_dir() => Self::unopened(
                format!("{name} is a folder"),
                format!("Name a file in {SETTING}"),
            ),
            Some(error) if error.kind() != ErrorKind::NotFound => Self::unopened(
                format!("{name} cannot be written to: {error}"),
                format!("Let this user write to it and to its folder, or {other}"),
            ),
            Some(_) if !folder.is_dir() => Self::unopened(
                format!("the folder {within} does not exist"),
                format!("Create it, or {other}"),
            ),
            Some(_) if may_create => Self::unopened(
                format!("{name} cannot be created"),
                format!("Let this user write to {within}, or {other}"),
            ),
            Some(_) => Self::unopened(
                format!("the file {name} does not exist"),
                format!("Add ?mode=rwc to create it, or {other}"),
            ),
            // The file is writable, so its folder is not.
            None => Self::unopened(
                format!(
                    "cannot create files beside {name}, where SQLite keeps its write-ahead log"
                ),
                format!("Let this user write to {within}, or {other}"),
            ),
        }
    }
}

fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// SQLite's primary result codes.
const BUSY: u32 = 5;
const READONLY: u32 = 8;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const NOTADB: u32 = 26;

/// SQLite's primary result code of an error.
fn sqlite_code(error: &DbErr) -> Option<u32> {
    match sqlx_error(error)? {
        sqlx::Error::Database(error) => {
            let error = error.try_downcast_ref::<SqliteError>()?;
            Some(error.code()?.parse::<u32>().ok()? & 0xff)
        }
        _ => None,
    }
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// Displays a failed statement as cause and remedy, without the prefixes of the library layers.
#[derive(Debug)]
pub struct Failed<'a>(pub &'a DbErr);

impl Failed<'_> {
    /// The database's message, or the most specific message of the layers.
    pub fn why(&self) -> String {
        match (self.0, sqlx_error(self.0)) {
            (_, Some(sqlx::Error::Database(error))) => error.message().to_owned(),
            (_, Some(error)) => error.to_string(),
            (
                DbErr::Custom(why)
                | DbErr::Conn(RuntimeErr::Internal(why))
                | DbErr::Exec(RuntimeErr::Internal(why))
                | DbErr::Query(RuntimeErr::Internal(why)),
                None,
            ) => why.clone(),
            (error, None) => error.to_string(),
        }
    }

    fn remedy(&self) -> Cow<'static, str> {
        match (sqlite_code(self.0), sqlx_error(self.0)) {
            (Some(BUSY), _) => "Stop the other program that locks it, and try again".into(),
            (Some(READONLY), _) => "Let this user write to the file and to its folder".into(),
            (Some(FULL), _) => "Free space on the disk, and try again".into(),
            (_, Some(sqlx::Error::Database(error))) => {
                remedy(error.code().as_deref(), error.message())
            }
            _ => "Check --database-url (DATABASE_URL)".into(),
        }
    }
}

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // Our own errors include a remedy.
            DbErr::Custom(why) => f.write_str(why),
            _ => write!(f, "{}. {}", self.why(), self.remedy()),
        }
    }
}

/// The cause of an error, in parentheses; empty without one. It is hidden from clients, but shown to the operator of a
/// command.
pub fn caused(error: &Error) -> String {
    let Some(source) = error.source() else {
        return String::new();
    };
    match source.downcast_ref() {
        Some(error) => format!(" ({})", Failed(error).why()),
        None => format!(" ({source})"),
    }
}

/// The remedy for a PostgreSQL error.
fn remedy(code: Option<&str>, message: &str) -> Cow<'static, str> {
    let text = match code {
        Some("25006") => {
            "The server is read-only, as a standby is: name the primary in --database-url (DATABASE_URL)"
        }
        Some("42501") => return missing_privilege(message),
        Some("3F000") => {
            "No schema of the role's search_path exists: create it, or set another (ALTER ROLE … SET search_path = …)"
        }
        Some("26000" | "42P05") => {
            "A pooler switches server connections between statements: set pool_mode = session, or \
             max_prepared_statements with PgBouncer 1.21 or later (docs/operations.md)"
        }
        Some("08P01") if message.contains("startup parameter") => {
            "Remove the parameter from --database-url (DATABASE_URL) and set it on the role (ALTER ROLE … SET …), or add \
             it to PgBouncer's ignore_startup_parameters"
        }
        Some("53300") => {
            "Raise its max_connections, or lower --database-connections (TITLECAST_DATABASE_CONNECTIONS)"
        }
        Some("57P03") => "Wait until it has started, and try again",
        _ => "Check --database-url (DATABASE_URL)",
    };
    text.into()
}

/// The grant that fixes PostgreSQL's "permission denied" message.
fn missing_privilege(message: &str) -> Cow<'static, str> {
    if let Some((_, schema)) = message.split_once("denied for schema ") {
        return format!(
            "GRANT USAGE ON SCHEMA {schema} to the user, and CREATE to the role that runs `titlecast migrate up`"
        )
        .into();
    }
    match message {
        _ if message.contains("must be owner") => {
            "Run `titlecast migrate up` as the role that owns the tables".into()
        }
        _ if message.contains("denied for table") => {
            "GRANT SELECT, INSERT, UPDATE, DELETE on all our tables to the user, and SELECT on seaql_migrations \
             (docs/operations.md)"
                .into()
        }
        _ => "Grant the privilege to the user (docs/operations.md), or name another user in --database-url (DATABASE_URL)"
            .into(),
    }
}

/// The TLS error of a failed connection.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The remedy for a rejected server certificate.
fn certificate_remedy(error: &rustls::Error) -> String {
    match error {
        // A bad signature comes from another authority of the same name, such as one that was generated anew.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => format!(
            "Name the certificate authority that signed it: sslrootcert=FILE.pem in {SETTING}"
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("Use a host that the certificate names, or sslmode=verify-ca, in {SETTING}"),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "Renew the server's certificate, or set this machine's clock".into(),
        _ => format!("Check sslmode and sslrootcert in {SETTING}, and the server's certificate"),
    }
}

/// The server's host and port.
fn address(server: &PgConnectOptions) -> String {
    let (host, port) = (host(server), server.get_port());
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The server's host, or the folder of its socket.
fn host(server: &PgConnectOptions) -> String {
    match server.get_socket() {
        Some(folder) => folder.display().to_string(),
        None => server.get_host().to_owned(),
    }
}

/// The text of the I/O error behind a sqlx error, or of the error itself.
fn cause(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(cause) => cause.to_string(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_accepted_has_the_advice_that_helps() {
        let server: PgConnectOptions = "postgres://u@db.example/db".parse().unwrap();
        for (error, advice) in [
            (CertificateError::UnknownIssuer, "sslrootcert=FILE.pem"),
            (CertificateError::NotValidForName, "sslmode=verify-ca"),
            (CertificateError::Expired, "Renew"),
            (CertificateError::Revoked, "sslrootcert"),
        ] {
            let error = rustls::Error::InvalidCertificate(error);
            let error = io::Error::new(ErrorKind::InvalidData, error);
            let text = OpenError::of_server(&server, &sqlx::Error::Io(error)).to_string();
            assert!(text.contains(advice), "{text}");
            assert!(
                text.contains("no encrypted connection to db.example:5432"),
                "{text}"
            );
            assert!(!text.contains("host and port"), "{text}");
        }
    }

    #[test]
    fn an_ipv6_address_is_shown_in_brackets() {
        let server = PgConnectOptions::new_without_pgpass()
            .host("::1")
            .port(5433);
        assert_eq!(address(&server), "[::1]:5433");
    }
}
