//! The NATS servers of a relay: their addresses, encryption and credentials.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::NATS_TIMEOUT;

/// The servers of one NATS cluster: URLs separated by commas.
#[derive(Clone, Debug)]
pub struct Servers {
    pub(super) addresses: Vec<ServerAddr>,
    login: Option<Login>,
    /// The file with the certificate authorities to trust instead of the system's.
    authorities: Option<PathBuf>,
}

impl std::str::FromStr for Servers {
    type Err = std::io::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let servers = text.split(',').map(|url| url.trim().parse());
        let addresses: Vec<ServerAddr> = servers.collect::<Result<_, _>>()?;
        let mut logins = addresses.iter().filter_map(Login::of);
        let login = logins.next();
        if logins.any(|other| Some(&other) != login.as_ref()) {
            return Err(io::Error::other(
                "the servers of one cluster have the same user and password",
            ));
        }
        Ok(Self {
            addresses,
            login,
            authorities: None,
        })
    }
}

/// The credentials in a URL, which the client parses but does not send. Its `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
enum Login {
    /// `nats://user:password@host`.
    Password(String, String),
    /// `nats://token@host`.
    Token(String),
}

impl Login {
    fn of(server: &ServerAddr) -> Option<Self> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = server.username().map(decoded)?;
        Some(match server.password().map(decoded) {
            Some(password) => Self::Password(user, password),
            None => Self::Token(user),
        })
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl Servers {
    /// Trusts only the certificate authorities of a PEM file, and encrypts every connection.
    ///
    /// # Errors
    /// If the file cannot be read, or has no certificate.
    pub fn with_authorities(self, path: &Path) -> io::Result<Self> {
        let named = |why: String| io::Error::other(format!("{}: {why}", path.display()));
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| named(error.to_string()))?;
        match certificates.is_empty() {
            true => Err(named("it has no certificate".into())),
            false => Ok(Self {
                authorities: Some(path.into()),
                ..self
            }),
        }
    }

    /// The connection options: timeout, encryption and credentials.
    pub(super) fn options(&self) -> ConnectOptions {
        let options = ConnectOptions::new().connection_timeout(NATS_TIMEOUT);
        let options = match self.login.clone() {
            Some(Login::Password(user, password)) => options.user_and_password(user, password),
            Some(Login::Token(token)) => options.token(token),
            None => options,
        };
        match &self.authorities {
            Some(path) => options
                .add_root_certificates(path.clone())
                .require_tls(true),
            None => options,
        }
    }

    /// Host and port of each server, without the password that its URL may contain.
    pub(super) fn names(&self) -> String {
        let names = self.addresses.iter();
        let names = names.map(|server| format!("{}:{}", server.host(), server.port()));
        names.collect::<Vec<_>>().join(",")
    }
}
