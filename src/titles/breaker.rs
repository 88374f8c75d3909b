//! Keeps calls away from a provider that said no for good: a refused key, an unknown model, a used-up quota. Asking
//! again for every conversation would cost time and change nothing.
//!
//! Half-open by time: a minute after the last refusal one call passes as a probe, and the next minute begins with it. A
//! call that succeeds closes the breaker.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::conversation::TitleFailure;

#[derive(Debug)]
pub(super) struct Breaker {
    /// How long calls are kept away; the pace of probes.
    open_for: Duration,
    opened: Mutex<Option<Opened>>,
}

#[derive(Clone, Copy, Debug)]
struct Opened {
    failure: TitleFailure,
    /// The last refusal or probe.
    at: Instant,
}

/// What the breaker says to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Go on.
    Free,
    /// A probe may go on.
    Probe,
    /// Not before so much time.
    Wait(Duration),
}

impl Breaker {
    pub(super) fn new(open_for: Duration) -> Self {
        Self {
            open_for,
            opened: Mutex::default(),
        }
    }

    /// Why no call may be made at this moment, if none may.
    pub(super) fn refusal(&self, now: Instant) -> Option<TitleFailure> {
        let opened = *self.lock();
        opened.and_then(|opened| self.left(opened, now).is_some().then_some(opened.failure))
    }

    /// What a call would be told; takes no probe.
    pub(super) fn look(&self, now: Instant) -> Pass {
        match *self.lock() {
            None => Pass::Free,
            Some(opened) => self.left(opened, now).map_or(Pass::Probe, Pass::Wait),
        }
    }

    /// Lets a call pass, or not. A probe keeps the others away for another minute.
    pub(super) fn enter(&self, now: Instant) -> Pass {
        let pass = self.look(now);
        if pass == Pass::Probe
            && let Some(opened) = self.lock().as_mut()
        {
            // Of two at once one is the probe.
            if let Some(left) = self.left(*opened, now) {
                return Pass::Wait(left);
            }
            opened.at = now;
        }
        pass
    }

    /// Keeps calls away from this moment on.
    pub(super) fn open(&self, failure: TitleFailure, now: Instant) {
        *self.lock() = Some(Opened { failure, at: now });
    }

    /// Lets calls pass again; whether none did.
    pub(super) fn close(&self) -> bool {
        self.lock().take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long calls are kept away still.
    fn left(&self, opened: Opened, now: Instant) -> Option<Duration> {
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
        assert_eq!(breaker.enter(start), Pass::Free);
        breaker.open(TitleFailure::Unauthorized, start);
        let last = start + OPEN_FOR - Duration::from_millis(1);
        assert_eq!(breaker.enter(last), Pass::Wait(Duration::from_millis(1)));
        assert_eq!(breaker.refusal(last), Some(TitleFailure::Unauthorized));
        assert_eq!(breaker.refusal(start + OPEN_FOR), None);
        assert_eq!(breaker.look(start + OPEN_FOR), Pass::Probe);
        assert_eq!(breaker.enter(start + OPEN_FOR), Pass::Probe);
        assert_eq!(breaker.enter(start + OPEN_FOR), Pass::Wait(OPEN_FOR));
        assert_eq!(breaker.enter(start + 2 * OPEN_FOR), Pass::Probe);
        assert!(breaker.close());
        assert_eq!(breaker.enter(start + 2 * OPEN_FOR), Pass::Free);
        assert!(!breaker.close());
    }
}
