//! Circuit breaker: stops calls to a provider that refuses all of them (invalid key, unknown model, no quota left).
//!
//! Half-open by time: `open_for` after the last refusal or probe, one call passes as a probe. A successful call closes
//! the breaker.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::conversation::TitleFailure;

#[derive(Debug)]
pub(super) struct Breaker {
    /// The time without calls after a refusal or probe.
    open_for: Duration,
    opened: Mutex<Option<Opened>>,
}

#[derive(Clone, Copy, Debug)]
struct Opened {
    failure: TitleFailure,
    /// The time of the last refusal or probe.
    at: Instant,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The breaker is closed.
    Allowed,
    /// The breaker is open; this call is the probe.
    Probe,
    /// The breaker is open; the next probe is due after this time.
    RefusedFor(Duration),
}

impl Breaker {
    pub(super) fn new(open_for: Duration) -> Self {
        Self {
            open_for,
            opened: Mutex::default(),
        }
    }

    /// Why calls are refused now; `None` if they are not.
    pub(super) fn refusal(&self, now: Instant) -> Option<TitleFailure> {
        let opened = *self.lock();
        opened.and_then(|opened| {
            self.time_left(opened, now)
                .is_some()
                .then_some(opened.failure)
        })
    }

    /// Whether a call would be admitted. Does not use up the probe.
    pub(super) fn peek(&self, now: Instant) -> Admission {
        match *self.lock() {
            None => Admission::Allowed,
            Some(opened) => self
                .time_left(opened, now)
                .map_or(Admission::Probe, Admission::RefusedFor),
        }
    }

    /// Admits or refuses a call. A probe restarts `open_for`.
    pub(super) fn admit(&self, now: Instant) -> Admission {
        let admission = self.peek(now);
        if admission == Admission::Probe
            && let Some(opened) = self.lock().as_mut()
        {
            // Of two concurrent calls, one is the probe.
            if let Some(left) = self.time_left(*opened, now) {
                return Admission::RefusedFor(left);
            }
            opened.at = now;
        }
        admission
    }

    /// Opens the breaker at `now`.
    pub(super) fn open(&self, failure: TitleFailure, now: Instant) {
        *self.lock() = Some(Opened { failure, at: now });
    }

    /// Closes the breaker. Returns whether it was open.
    pub(super) fn close(&self) -> bool {
        self.lock().take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time until the next probe; `None` if it is due.
    fn time_left(&self, opened: Opened, now: Instant) -> Option<Duration> {
        let left = self
            .open_for
            .saturating_sub(now.saturating_duration_since(opened.at));
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(60);

    #[test]
    fn opens_for_a_minute_and_then_for_one_probe_a_minute_until_one_succeeds() {
        let breaker = Breaker::new(OPEN_FOR);
        let start = Instant::now();
        assert_eq!(breaker.admit(start), Admission::Allowed);
        breaker.open(TitleFailure::Unauthorized, start);
        let last = start + OPEN_FOR - Duration::from_millis(1);
        assert_eq!(
            breaker.admit(last),
            Admission::RefusedFor(Duration::from_millis(1))
        );
        assert_eq!(breaker.refusal(last), Some(TitleFailure::Unauthorized));
        assert_eq!(breaker.refusal(start + OPEN_FOR), None);
        assert_eq!(breaker.peek(start + OPEN_FOR), Admission::Probe);
        assert_eq!(breaker.admit(start + OPEN_FOR), Admission::Probe);
        assert_eq!(
            breaker.admit(start + OPEN_FOR),
            Admission::RefusedFor(OPEN_FOR)
        );
        assert_eq!(breaker.admit(start + 2 * OPEN_FOR), Admission::Probe);
        assert!(breaker.close());
        assert_eq!(breaker.admit(start + 2 * OPEN_FOR), Admission::Allowed);
        assert!(!breaker.close());
    }
}
