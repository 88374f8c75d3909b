//! Keeps calls away from a provider that said no for good: a refused key, an unknown model, a used-up
//! quota. Asking again for every conversation would cost time and change nothing.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::conversation::TitleFailure;

/// How long calls are kept away.
const OPEN_FOR: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<Option<(Instant, TitleFailure)>>);

impl Breaker {
    /// Why no call may be made at this moment, if none may.
    pub(super) fn refusal(&self, now: Instant) -> Option<TitleFailure> {
        let opened = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        opened.and_then(|(at, failure)| (now - at < OPEN_FOR).then_some(failure))
    }

    /// Keeps calls away from this moment on.
    pub(super) fn open(&self, failure: TitleFailure, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, failure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_a_minute() {
        let breaker = Breaker::default();
        let start = Instant::now();
        assert_eq!(breaker.refusal(start), None);
        breaker.open(TitleFailure::Unauthorized, start);
        let last = start + OPEN_FOR - Duration::from_millis(1);
        assert_eq!(breaker.refusal(last), Some(TitleFailure::Unauthorized));
        assert_eq!(breaker.refusal(start + OPEN_FOR), None);
    }
}
