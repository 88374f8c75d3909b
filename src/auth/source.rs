//! Where keys are published: a file, or a URL.

use std::{error::Error as _, fmt, io::Read, path::PathBuf, time::Duration};

use jsonwebtoken::Algorithm;
use reqwest::{Client, Url, redirect, retry};
use tokio::time::timeout;

use crate::error::innermost;

/// The largest set of keys, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// The longest time for reading it, connecting included: requests with a key that is not known wait so
/// long.
const DEADLINE: Duration = Duration::from_secs(5);

/// Where keys are published.
#[derive(Clone)]
pub(super) enum Source {
    File(PathBuf),
    Url(Url, Client),
}

/// Why they were not read; without the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is no URL.
    #[error("the URL is malformed")]
    Url,
    /// TLS could not be set up.
    #[error("the HTTPS client could not be set up; are certificate authorities installed?")]
    Tls,
    /// The file is not there, or not ours to read.
    #[error("{0}")]
    File(#[source] std::io::Error),
    /// Nobody answered, or not to the end.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The answer is none of keys.
    #[error("the answer was {0}, not 200")]
    Status(u16),
    /// It took too long.
    #[error("no answer within {DEADLINE:?}")]
    Timeout,
    /// It is too large.
    #[error("more than {MAX_BYTES} bytes")]
    TooLarge,
    /// It is no set of keys.
    #[error("it is no JSON Web Key Set, which is an object with a list of `keys`")]
    Malformed,
    /// There is nothing in it to verify tokens with.
    #[error("none of its {keys} key(s) is for one of {allowed:?} (--jwt-algorithms)")]
    Useless {
        /// How many there are.
        keys: usize,
        /// What the settings allow.
        allowed: Vec<Algorithm>,
    },
}

impl fmt::Display for Source {
    /// Without the parts of a URL that may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url, _) => {
                write!(f, "{}{}", url.origin().ascii_serialization(), url.path())
            }
        }
    }
}

impl Source {
    /// A path, or an http(s) URL. Nothing is read yet.
    pub(super) fn new(place: &str) -> Result<Self, SourceError> {
        if !place.starts_with("http://") && !place.starts_with("https://") {
            return Ok(Self::File(place.into()));
        }
        let url = Url::parse(place).map_err(|_| SourceError::Url)?;
        // An error only says that the process has a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            // It is asked every few minutes at most.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|_| SourceError::Tls)?;
        Ok(Self::Url(url, client))
    }

    /// What is published now.
    pub(super) async fn read(&self) -> Result<Vec<u8>, SourceError> {
        let reading = async {
            match self {
                Self::File(path) => {
                    let path = path.clone();
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "it reads a file that the operator named"
                    )]
                    let reading = tokio::task::spawn_blocking(move || {
                        let mut bytes = Vec::new();
                        let file = std::fs::File::open(path)?;
                        file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
                        Ok(bytes)
                    });
                    let read = reading.await.map_err(std::io::Error::other);
                    read.and_then(|read| read).map_err(SourceError::File)
                }
                Self::Url(url, client) => fetch(url.clone(), client).await,
            }
        };
        let bytes = timeout(DEADLINE, reading)
            .await
            .map_err(|_| SourceError::Timeout)??;
        match bytes.len() > MAX_BYTES {
            true => Err(SourceError::TooLarge),
            false => Ok(bytes),
        }
    }
}

async fn fetch(url: Url, client: &Client) -> Result<Vec<u8>, SourceError> {
    let failed = |error: reqwest::Error| {
        let what = if error.is_connect() {
            "the connection failed"
        } else {
            "the exchange broke off"
        };
        // The error itself names the URL; what caused it does not.
        SourceError::NoAnswer(match error.source().map(innermost) {
            Some(cause) => format!("{what} ({cause})"),
            None => what.to_owned(),
        })
    };
    let mut response = client.get(url).send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(SourceError::Status(response.status().as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_BYTES {
            break;
        }
    }
    Ok(bytes)
}
