//! Verification keys: a secret, or published keys that are refreshed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    error::{Error, Result},
    supervisor::Heartbeat,
};

use super::{
    jwks::{Key, find, parse},
    source::{Source, SourceError},
};

/// How often published keys are refreshed.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Timeout of a refresh.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(60);

/// Delay after a failed refresh, and the minimum interval between refreshes caused by unknown keys.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// How long keys stay in use if refreshes keep failing.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The keys for verifying tokens.
pub(super) enum Keys {
    /// One secret for all tokens.
    Secret(DecodingKey),
    /// A published key set (JWKS).
    Published(Arc<Published>),
}

/// The state of the keys, for `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum KeyState {
    /// The last refresh succeeded.
    Ok,
    /// The last refresh failed; the previous keys are in use.
    Stale,
    /// Refreshes have failed for longer than the maximum age; no key is in use.
    Expired,
}

/// A published key set with the keys of its last refresh.
pub(super) struct Published {
    source: Source,
    allowed: Vec<Algorithm>,
    read: Mutex<Snapshot>,
    /// The last refresh caused by an unknown key, and its start time. Requests with unknown keys within
    /// [`RETRY_INTERVAL`] share it, finished or not.
    refresh: Mutex<Option<(Instant, SharedRefresh)>>,
    tasks: TaskTracker,
}

type SharedRefresh = Shared<BoxFuture<'static, ()>>;

struct Snapshot {
    keys: Arc<[Key]>,
    at: Instant,
    has_failed: bool,
}

impl Keys {
    /// The key for a token. If it is unknown, published keys are refreshed first.
    pub(super) async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        match self {
            Self::Secret(key) => Some(key.clone()),
            Self::Published(published) => published.find(id, algorithm).await,
        }
    }
}

impl Published {
    /// Reads the keys for the first time.
    pub(super) async fn read(
        source: Source,
        allowed: Vec<Algorithm>,
        tasks: TaskTracker,
    ) -> Result<Arc<Self>, SourceError> {
        let keys = parse(&source.read().await?, &allowed)?;
        let read = Snapshot {
            keys,
            at: Instant::now(),
            has_failed: false,
        };
        Ok(Arc::new(Self {
            source,
            allowed,
            read: Mutex::new(read),
            refresh: Mutex::default(),
            tasks,
        }))
    }

    /// Refreshes the keys periodically until `closing`.
    pub(super) async fn run_refresh(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        loop {
            let pause = match self.state() {
                KeyState::Ok => REFRESH_INTERVAL,
                KeyState::Stale | KeyState::Expired => RETRY_INTERVAL,
            };
            tokio::select! {
                () = closing.cancelled() => return,
                () = heartbeat.pause(pause) => {}
            }
            // `refresh` logs its own errors.
            let _ = heartbeat.iteration(REFRESH_TIMEOUT, self.refresh()).await;
        }
    }

    pub(super) fn state(&self) -> KeyState {
        let read = lock(&self.read);
        if read.is_expired(Instant::now()) {
            KeyState::Expired
        } else if read.has_failed {
            KeyState::Stale
        } else {
            KeyState::Ok
        }
    }

    async fn find(self: &Arc<Self>, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let keys = self.current();
        if let Some(id) = id
            && !keys.iter().any(|key| key.id.as_deref() == Some(id))
        {
            self.shared_refresh(Instant::now()).await;
            return find(&self.current(), Some(id), algorithm);
        }
        find(&keys, id, algorithm)
    }

    /// The last refresh if it is recent, otherwise a new one.
    fn shared_refresh(self: &Arc<Self>, now: Instant) -> SharedRefresh {
        let mut last = lock(&self.refresh);
        if let Some((at, refresh)) = &*last
            && now.duration_since(*at) < RETRY_INTERVAL
        {
            return refresh.clone();
        }
        // A separate task, because the request can be cancelled while others wait for the refresh.
        let keys = self.clone();
        let reading = self.tasks.spawn(async move { keys.refresh().await });
        let refresh = reading.map(|_| ()).boxed().shared();
        *last = Some((now, refresh.clone()));
        refresh
    }

    async fn refresh(&self) -> Result<()> {
        let read = self.source.read().await;
        match read.and_then(|bytes| parse(&bytes, &self.allowed)) {
            Ok(keys) => {
                let number = keys.len();
                *lock(&self.read) = Snapshot {
                    keys,
                    at: Instant::now(),
                    has_failed: false,
                };
                tracing::debug!(auth.keys = number, "token keys refreshed");
                Ok(())
            }
            Err(error) => {
                let age = {
                    let mut read = lock(&self.read);
                    read.has_failed = true;
                    read.at.elapsed()
                };
                let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
                tracing::error!(
                    auth.keys.age = %age,
                    %error,
                    "cannot refresh the token keys; the last ones stay in use for a day (--jwt-keys)"
                );
                Err(Error::Internal(error.into()))
            }
        }
    }

    fn current(&self) -> Arc<[Key]> {
        let read = lock(&self.read);
        match read.is_expired(Instant::now()) {
            true => Arc::default(),
            false => read.keys.clone(),
        }
    }
}

impl Snapshot {
    fn is_expired(&self, now: Instant) -> bool {
        now.duration_since(self.at) > MAX_AGE
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RSA: [Algorithm; 1] = [Algorithm::RS256];

    fn set() -> String {
        json!({ "keys": [{ "kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB" }] }).to_string()
    }

    #[test]
    fn keys_that_cannot_be_read_anew_are_used_for_a_day() {
        let read = Snapshot {
            keys: parse(set().as_bytes(), &RSA).unwrap(),
            at: Instant::now(),
            has_failed: true,
        };
        assert!(!read.is_expired(read.at + MAX_AGE));
        assert!(read.is_expired(read.at + MAX_AGE + Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn one_reading_for_all_who_meet_an_unknown_key_and_none_soon_after() {
        let path = std::env::temp_dir().join(format!("titlecast-keys-{}", uuid::Uuid::now_v7()));
        std::fs::write(&path, set()).unwrap();
        let source = Source::File(path.clone());
        let keys = Published::read(source, RSA.to_vec(), TaskTracker::new());
        let keys = keys.await.ok().unwrap();
        let now = Instant::now();
        let first = keys.shared_refresh(now);
        assert!(first.ptr_eq(&keys.shared_refresh(now + RETRY_INTERVAL / 2)));
        first.await;
        assert_eq!(keys.state(), KeyState::Ok);
        std::fs::remove_file(&path).unwrap();
        keys.shared_refresh(now + RETRY_INTERVAL).await;
        assert_eq!(keys.state(), KeyState::Stale);
        assert!(keys.find(Some("a"), Algorithm::RS256).await.is_some());
    }
}
