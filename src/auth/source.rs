//! The location of published keys: a file or a URL.

use std::{error::Error as _, fmt, io::Read, path::PathBuf, time::Duration};

use jsonwebtoken::Algorithm;
use reqwest::{Client, Url, redirect, retry};
use tokio::time::timeout;

use crate::error::innermost;

/// The largest key set, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// Timeout of a read, including the connection. This is the longest wait of requests with unknown keys.
const DEADLINE: Duration = Duration::from_secs(5);

/// The location of published keys.
#[derive(Clone)]
pub(super) enum Source {
    File(PathBuf),
    Url(Url, Client),
}

/// Why the keys cannot be read. Omits the URL, which can contain a password.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URL is malformed.
    #[error("the URL is malformed")]
    Url,
    /// TLS could not be set up.
    #[error("the HTTPS client could not be set up; are certificate authorities installed?")]
    Tls,
    /// The file cannot be read.
    #[error("{0}")]
    File(#[source] std::io::Error),
    /// The server did not answer, or the response was cut off.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The response status is not 200.
    #[error("the server answered {0} instead of 200")]
    Status(u16),
    /// The read timed out.
    #[error("no answer within {DEADLINE:?}")]
    Timeout,
    /// The key set exceeds the size limit.
    #[error("the answer is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// The text is not a JSON Web Key Set.
    #[error("not a JSON Web Key Set, which is an object with a list of `keys`")]
    Malformed,
    /// The set has no key for an allowed algorithm.
    #[error("none of its {keys} key(s) fits the algorithms {allowed:?} (--jwt-algorithms)")]
    NoUsableKey {
        /// The number of keys in the set.
        keys: usize,
        /// The allowed algorithms.
        allowed: Vec<Algorithm>,
    },
}

impl fmt::Display for Source {
    /// Omits the parts of a URL that can contain a password.
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
    /// Parses a path or an http(s) URL, without reading it.
    pub(super) fn new(place: &str) -> Result<Self, SourceError> {
        if !place.starts_with("http://") && !place.starts_with("https://") {
            return Ok(Self::File(place.into()));
        }
        let url = Url::parse(place).map_err(|_| SourceError::Url)?;
        // Fails if the process already has a provider, which is fine.
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
            // Requests are minutes apart, so keep no idle connections.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|_| SourceError::Tls)?;
        Ok(Self::Url(url, client))
    }

    /// Reads the current key set.
    pub(super) async fn read(&self) -> Result<Vec<u8>, SourceError> {
        let reading = async {
            match self {
                Self::File(path) => {
                    let path = path.clone();
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "reads a small file of the operator's in a blocking task"
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
        // The error itself contains the URL, but its cause does not.
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
