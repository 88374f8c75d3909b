//! The keys that tokens are verified with, and how they follow those that are published.

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

/// How often published keys are read anew.
const REFRESH_EVERY: Duration = Duration::from_secs(10 * 60);

/// How long reading them may take in all.
const READ_TIME: Duration = Duration::from_secs(60);

/// How soon after a failure, and how often at most because of a key that is not known.
const RETRY_EVERY: Duration = Duration::from_secs(30);

/// How long keys are used when they cannot be read anew.
const MOST_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// What tokens are verified with.
pub(super) enum Keys {
    /// One secret, for all.
    Secret(DecodingKey),
    /// Keys that somebody publishes.
    Published(Arc<Published>),
}

/// How the keys stand, for `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum KeyState {
    /// As published.
    Ok,
    /// They could not be read the last time; the older ones are in use.
    Stale,
    /// They could not be read for so long that none is in use.
    Expired,
}

/// Keys that somebody publishes, as they were read last.
pub(super) struct Published {
    source: Source,
    allowed: Vec<Algorithm>,
    read: Mutex<Read>,
    /// The last reading for the sake of an unknown key, and when it began. Whoever meets an unknown key
    /// within the next seconds waits for that one, finished or not.
    round: Mutex<Option<(Instant, Round)>>,
    tasks: TaskTracker,
}

type Round = Shared<BoxFuture<'static, ()>>;

struct Read {
    keys: Arc<[Key]>,
    at: Instant,
    has_failed: bool,
}

impl Keys {
    /// The key for a token; reads published ones anew when this one is not known.
    pub(super) async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        match self {
            Self::Secret(key) => Some(key.clone()),
            Self::Published(published) => published.find(id, algorithm).await,
        }
    }
}

impl Published {
    /// Reads them for the first time.
    pub(super) async fn read(
        source: Source,
        allowed: Vec<Algorithm>,
        tasks: TaskTracker,
    ) -> Result<Arc<Self>, SourceError> {
        let keys = parse(&source.read().await?, &allowed)?;
        let read = Read {
            keys,
            at: Instant::now(),
            has_failed: false,
        };
        Ok(Arc::new(Self {
            source,
            allowed,
            read: Mutex::new(read),
            round: Mutex::default(),
            tasks,
        }))
    }

    /// Reads them anew from time to time, until `closing`.
    pub(super) async fn keep_up(&self, heartbeat: &Heartbeat, closing: &CancellationToken) {
        loop {
            let pause = match self.state() {
                KeyState::Ok => REFRESH_EVERY,
                KeyState::Stale | KeyState::Expired => RETRY_EVERY,
            };
            tokio::select! {
                () = closing.cancelled() => return,
                () = heartbeat.pause(pause) => {}
            }
            // It says itself what went wrong, and has a deadline of its own.
            let _ = heartbeat.iteration(READ_TIME, self.refresh()).await;
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
            self.next_round(Instant::now()).await;
            return find(&self.current(), Some(id), algorithm);
        }
        find(&keys, id, algorithm)
    }

    /// A reading that began a moment ago, or one that begins now.
    fn next_round(self: &Arc<Self>, now: Instant) -> Round {
        let mut last = lock(&self.round);
        if let Some((at, round)) = &*last
            && now.duration_since(*at) < RETRY_EVERY
        {
            return round.clone();
        }
        // A task of its own: the request that wants it may be given up, and others wait for it.
        let keys = self.clone();
        let reading = self.tasks.spawn(async move { keys.refresh().await });
        let round = reading.map(|_| ()).boxed().shared();
        *last = Some((now, round.clone()));
        round
    }

    async fn refresh(&self) -> Result<()> {
        let read = self.source.read().await;
        match read.and_then(|bytes| parse(&bytes, &self.allowed)) {
            Ok(keys) => {
                let number = keys.len();
                *lock(&self.read) = Read {
                    keys,
                    at: Instant::now(),
                    has_failed: false,
                };
                tracing::debug!(auth.keys = number, "read the keys of tokens anew");
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
                    "cannot read the keys of tokens; the older ones stay in use for a day"
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

impl Read {
    fn is_expired(&self, now: Instant) -> bool {
        now.duration_since(self.at) > MOST_STALE
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
        let read = Read {
            keys: parse(set().as_bytes(), &RSA).unwrap(),
            at: Instant::now(),
            has_failed: true,
        };
        assert!(!read.is_expired(read.at + MOST_STALE));
        assert!(read.is_expired(read.at + MOST_STALE + Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn one_reading_for_all_who_meet_an_unknown_key_and_none_soon_after() {
        let path = std::env::temp_dir().join(format!("titlecast-keys-{}", uuid::Uuid::now_v7()));
        std::fs::write(&path, set()).unwrap();
        let source = Source::File(path.clone());
        let keys = Published::read(source, RSA.to_vec(), TaskTracker::new());
        let keys = keys.await.ok().unwrap();
        let now = Instant::now();
        let first = keys.next_round(now);
        assert!(first.ptr_eq(&keys.next_round(now + RETRY_EVERY / 2)));
        first.await;
        assert_eq!(keys.state(), KeyState::Ok);
        std::fs::remove_file(&path).unwrap();
        keys.next_round(now + RETRY_EVERY).await;
        assert_eq!(keys.state(), KeyState::Stale);
        assert!(keys.find(Some("a"), Algorithm::RS256).await.is_some());
    }
}
