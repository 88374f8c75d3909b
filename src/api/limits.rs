//! What one user may do: messages a minute, and streams and WebSockets at once. What an address may do, and
//! all together, is [`server`](crate::server)'s.
//!
//! RateLimitKey is the owner that a token names. Without authentication there is one owner, and counted is where
//! a request comes from; on the server's own machine nobody is. Each process counts for itself.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::response::Response;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};

use super::Services;
use crate::{
    auth::RateLimitKey,
    chat::{SendMessage, SentMessage},
    conversation::Owner,
    error::{Error, Result},
    server::{Slot, Slots, held},
};

/// When to try again, for who has too many streams: one may end at any time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How many messages are counted until those are forgotten who may send as many again as ever.
const SWEEP_EVERY: u64 = 1_024;

/// The limits of users, and what was refused. Cheap to clone.
#[derive(Clone)]
pub struct UserLimits(Arc<Inner>);

struct Inner {
    /// `None` for any number.
    messages: Option<DefaultKeyedRateLimiter<RateLimitKey>>,
    /// `None` for any number.
    title_changes: Option<DefaultKeyedRateLimiter<RateLimitKey>>,
    streams: Arc<Slots<RateLimitKey>>,
    counted_messages: AtomicU64,
    refused_messages: AtomicU64,
    refused_streams: AtomicU64,
}

/// What is done to a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TitleChange {
    /// A person gives one.
    Rename,
    /// The model makes another one.
    Generate,
}

/// A stream or a WebSocket that a user has open.
pub(super) type OpenStream = Option<Slot<RateLimitKey>>;

impl UserLimits {
    /// So many messages a minute, all of them at once if need be, and so many streams; 0 for any number.
    pub fn new(messages_per_minute: u32, streams: u32, title_changes_per_minute: u32) -> Self {
        let limiter = |per_minute| {
            let quota = NonZeroU32::new(per_minute).map(Quota::per_minute);
            quota.map(RateLimiter::keyed)
        };
        Self(Arc::new(Inner {
            messages: limiter(messages_per_minute),
            title_changes: limiter(title_changes_per_minute),
            streams: Slots::new(streams),
            counted_messages: AtomicU64::new(0),
            refused_messages: AtomicU64::new(0),
            refused_streams: AtomicU64::new(0),
        }))
    }

    /// One more stream, until it is dropped.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub(super) fn stream(&self, user: &RateLimitKey) -> Result<OpenStream> {
        if *user == RateLimitKey::Exempt {
            return Ok(None);
        }
        let slot = self.0.streams.take(user.clone());
        slot.map(Some).ok_or_else(|| {
            self.0.refused_streams.fetch_add(1, Ordering::Relaxed);
            Error::RateLimited {
                what: "open streams",
                retry_after: RETRY_AFTER,
            }
        })
    }

    /// One more message.
    ///
    /// # Errors
    /// How long there can be none.
    fn message(&self, user: &RateLimitKey) -> Result<(), Duration> {
        let (Some(messages), false) = (&self.0.messages, *user == RateLimitKey::Exempt) else {
            return Ok(());
        };
        let counted = self.0.counted_messages.fetch_add(1, Ordering::Relaxed);
        if counted % SWEEP_EVERY == SWEEP_EVERY - 1 {
            messages.retain_recent();
            messages.shrink_to_fit();
        }
        let checked = messages.check_key(user);
        checked.map_err(|until| until.wait_time_from(messages.clock().now()))
    }

    /// One more change of a title. What asks the model counts for a caller on the server's own machine as well: it is
    /// the model's time that is shared.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub(super) fn title_change(&self, user: &RateLimitKey, change: TitleChange) -> Result<()> {
        let is_exempt = *user == RateLimitKey::Exempt && change == TitleChange::Rename;
        let (Some(changes), false) = (&self.0.title_changes, is_exempt) else {
            return Ok(());
        };
        if changes.len() > SWEEP_EVERY as usize {
            changes.retain_recent();
            changes.shrink_to_fit();
        }
        changes.check_key(user).map_err(|until| Error::RateLimited {
            what: "changes of titles",
            retry_after: until.wait_time_from(changes.clock().now()),
        })
    }

    /// Messages that were refused since the start.
    pub(super) fn refused_messages(&self) -> u64 {
        self.0.refused_messages.load(Ordering::Relaxed)
    }

    /// Streams that were refused since the start.
    pub(super) fn refused_streams(&self) -> u64 {
        self.0.refused_streams.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for UserLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserLimits").finish_non_exhaustive()
    }
}

/// Sends a message, if its user may send one now. A request that was sent before, by its idempotency key,
/// always may: it is answered with what there is.
///
/// # Errors
/// [`Error::RateLimited`]; what [`send_message`](crate::chat::Chat::send_message) may fail with.
pub(super) async fn send_message(
    services: &Services,
    owner: &Owner,
    user: &RateLimitKey,
    message: SendMessage,
) -> Result<SentMessage> {
    if let Err(retry_after) = services.users.message(user) {
        let is_known = match &message.idempotency_key {
            Some(key) => services.db.is_key_used(owner, key).await?,
            None => false,
        };
        if !is_known {
            let refused = &services.users.0.refused_messages;
            refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::RateLimited {
                what: "messages",
                retry_after,
            });
        }
    }
    services.chat.send_message(owner, message).await
}

/// A response that is a stream, which counts until it ends or nobody reads it any more.
pub(super) fn counting(response: Response, stream: OpenStream) -> Response {
    held(response, stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> RateLimitKey {
        RateLimitKey::User(Owner {
            tenant: "acme".into(),
            user: number.to_string(),
        })
    }

    #[test]
    fn a_user_may_send_a_minutes_messages_at_once_and_then_waits_for_the_next() {
        let limits = UserLimits::new(3, 0, 0);
        for _ in 0..3 {
            limits.message(&user(1)).unwrap();
        }
        let wait = limits.message(&user(1)).unwrap_err();
        assert!(
            (Duration::from_secs(19)..=Duration::from_secs(20)).contains(&wait),
            "{wait:?}"
        );
        limits.message(&user(2)).unwrap();
    }

    #[test]
    fn nobody_is_counted_who_is_not_and_nothing_is_without_a_limit() {
        let limits = UserLimits::new(1, 1, 1);
        let unlimited = UserLimits::new(0, 0, 0);
        let mut streams = Vec::new();
        for _ in 0..10 {
            limits.message(&RateLimitKey::Exempt).unwrap();
            streams.push(limits.stream(&RateLimitKey::Exempt).unwrap());
            unlimited.message(&user(1)).unwrap();
            streams.push(unlimited.stream(&user(1)).unwrap());
        }
    }

    #[test]
    fn who_has_not_sent_for_long_is_forgotten() {
        // A message is made up for in 60 µs.
        let limits = UserLimits::new(1_000_000, 0, 0);
        let many = 20 * SWEEP_EVERY as usize;
        for number in 0..many {
            limits.message(&user(number)).unwrap();
        }
        let kept = limits.0.messages.as_ref().unwrap().len();
        assert!(kept < 3 * SWEEP_EVERY as usize, "{kept} of {many} are kept");
    }
}
