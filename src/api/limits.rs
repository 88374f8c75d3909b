//! Rate limits per user: messages per minute, title changes per minute, and open streams and WebSockets. Limits per
//! address and in total are in [`server`](crate::server).
//!
//! The key is the token's owner. Without authentication all requests have the same owner, so the key is the client's
//! address, and the local machine is exempt. Each process counts separately.

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
    chat::{SendMessage, SentMessage, actor_key, external::TakePermit},
    conversation::Actor,
    error::{Error, Result},
    server::{Slot, Slots, held},
};

/// `Retry-After` when too many streams are open; one may end at any time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Keys with a full quota are removed from memory once per this many messages.
const SWEEP_EVERY: u64 = 1_024;

/// Limits per user and counters of rejections. Cheap to clone.
#[derive(Clone)]
pub struct UserLimits(Arc<Inner>);

struct Inner {
    /// `None` is unlimited.
    messages: Option<DefaultKeyedRateLimiter<RateLimitKey>>,
    /// `None` is unlimited.
    title_changes: Option<DefaultKeyedRateLimiter<RateLimitKey>>,
    streams: Arc<Slots<RateLimitKey>>,
    ingest: Arc<Slots<RateLimitKey>>,
    counted_messages: AtomicU64,
    refused_messages: AtomicU64,
    refused_streams: AtomicU64,
}

/// A title change, as the limit counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TitleChange {
    /// A person sets the title.
    Rename,
    /// The model generates a title.
    Generate,
}

/// The slot of a stream or WebSocket that a user has open; `None` if the caller is exempt.
pub(super) type OpenStream = Option<Slot<RateLimitKey>>;

impl UserLimits {
    /// Creates the limits; 0 is unlimited. A minute's messages may come in one burst.
    pub fn new(
        messages_per_minute: u32,
        streams: u32,
        title_changes_per_minute: u32,
        ingest_streams: u32,
    ) -> Self {
        let limiter = |per_minute| {
            let quota = NonZeroU32::new(per_minute).map(Quota::per_minute);
            quota.map(RateLimiter::keyed)
        };
        Self(Arc::new(Inner {
            messages: limiter(messages_per_minute),
            title_changes: limiter(title_changes_per_minute),
            streams: Slots::new(streams),
            ingest: Slots::new(ingest_streams),
            counted_messages: AtomicU64::new(0),
            refused_messages: AtomicU64::new(0),
            refused_streams: AtomicU64::new(0),
        }))
    }

    /// Takes a stream slot, which is held until it is dropped.
    ///
    /// # Errors
    /// [`Error::RateLimited`] if all of the user's slots are taken.
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

    /// Takes a slot for an external reply that a service keeps open, until the slot is dropped.
    ///
    /// # Errors
    /// [`Error::RateLimited`] if all of the service's slots are taken.
    pub(super) fn open_reply(&self, service: &RateLimitKey) -> Result<OpenStream> {
        if *service == RateLimitKey::Exempt {
            return Ok(None);
        }
        let slot = self.0.ingest.take(service.clone());
        slot.map(Some).ok_or_else(|| {
            self.0.refused_streams.fetch_add(1, Ordering::Relaxed);
            Error::RateLimited {
                what: "open replies",
                retry_after: RETRY_AFTER,
            }
        })
    }

    /// Counts a message.
    ///
    /// # Errors
    /// The time until the next message is allowed, if the quota is used up.
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

    /// Counts a title change. Generating a title counts for exempt callers too, because all callers share the model.
    ///
    /// # Errors
    /// [`Error::RateLimited`] if the quota is used up.
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
            what: "title changes",
            retry_after: until.wait_time_from(changes.clock().now()),
        })
    }

    /// Messages rejected since the start.
    pub(super) fn refused_messages(&self) -> u64 {
        self.0.refused_messages.load(Ordering::Relaxed)
    }

    /// Streams rejected since the start.
    pub(super) fn refused_streams(&self) -> u64 {
        self.0.refused_streams.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for UserLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserLimits").finish_non_exhaustive()
    }
}

/// A function that takes a permit for another open reply of a service.
pub(super) fn reply_permit(services: &Services, service: &RateLimitKey) -> TakePermit {
    let (users, service) = (services.users.clone(), service.clone());
    Arc::new(move || Ok(Box::new(users.open_reply(&service)?)))
}

/// Sends a message within the user's rate limit.
///
/// # Errors
/// [`Error::RateLimited`], and the errors of [`send_message`](crate::chat::Chat::send_message).
pub(super) async fn send_message(
    services: &Services,
    actor: &Actor,
    user: &RateLimitKey,
    message: SendMessage,
) -> Result<SentMessage> {
    admit_message(services, actor, user, message.idempotency_key.as_deref()).await?;
    services.chat.send_message(actor, message).await
}

/// Checks that a message, or another reply to one, is within the user's rate limit. A retry with a known idempotency
/// key is always admitted, because it stores nothing.
///
/// # Errors
/// [`Error::RateLimited`] or [`Error::Database`].
pub(super) async fn admit_message(
    services: &Services,
    actor: &Actor,
    user: &RateLimitKey,
    key: Option<&str>,
) -> Result<()> {
    if let Err(retry_after) = services.users.message(user) {
        let is_known = match key {
            Some(key) => {
                let key = actor_key(actor, key);
                services.db.is_key_used(&actor.owner, &key).await?
            }
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
    Ok(())
}

/// Holds a stream slot until the response body ends or the client disconnects.
pub(super) fn hold_slot(response: Response, stream: OpenStream) -> Response {
    held(response, stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Owner;

    fn user(number: usize) -> RateLimitKey {
        RateLimitKey::User(Owner {
            tenant: "acme".into(),
            user: number.to_string(),
        })
    }

    #[test]
    fn a_user_may_send_a_minutes_messages_at_once_and_then_waits_for_the_next() {
        let limits = UserLimits::new(3, 0, 0, 0);
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
    fn exempt_callers_and_unlimited_settings_are_not_limited() {
        let limits = UserLimits::new(1, 1, 1, 1);
        let unlimited = UserLimits::new(0, 0, 0, 0);
        let mut streams = Vec::new();
        for _ in 0..10 {
            limits.message(&RateLimitKey::Exempt).unwrap();
            streams.push(limits.stream(&RateLimitKey::Exempt).unwrap());
            unlimited.message(&user(1)).unwrap();
            streams.push(unlimited.stream(&user(1)).unwrap());
        }
    }

    #[test]
    fn idle_users_are_removed_from_memory() {
        // A quota of one message refills in 60 µs.
        let limits = UserLimits::new(1_000_000, 0, 0, 0);
        let many = 20 * SWEEP_EVERY as usize;
        for number in 0..many {
            limits.message(&user(number)).unwrap();
        }
        let kept = limits.0.messages.as_ref().unwrap().len();
        assert!(kept < 3 * SWEEP_EVERY as usize, "{kept} of {many} are kept");
    }
}
