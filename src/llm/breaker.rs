//! Circuit breaker: stops calls to a provider or a model that refuses all of them (invalid key, unknown model, no quota
//! left), or that failed several times in a row.
//!
//! Half-open by time: `open_for` after the last refusal or probe, one call passes as a probe. A successful call closes
//! the breaker.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{ModelErrorKind, Task};

/// The breakers of a provider, or of a model: one for each task. A server that refuses the parameters of titles with a
/// 404 may still answer replies.
#[derive(Debug)]
pub(super) struct Breakers {
    reply: Breaker,
    title: Breaker,
}

impl Breakers {
    /// Closed breakers that open for this time.
    pub(super) fn new(open_for: Duration) -> Self {
        Self {
            reply: Breaker::new(open_for),
            title: Breaker::new(open_for),
        }
    }

    pub(super) fn of(&self, task: Task) -> &Breaker {
        match task {
            Task::Reply => &self.reply,
            Task::Title => &self.title,
        }
    }

    /// The pause between probes.
    pub(super) fn open_for(&self) -> Duration {
        self.title.open_for
    }
}

/// The number of transient failures in a row that open a breaker for all calls but probes.
const FAILURES_IN_A_ROW: u32 = 3;

/// A circuit breaker for one task.
#[derive(Debug)]
pub(super) struct Breaker {
    /// The time without calls after a refusal or probe.
    open_for: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    opened: Option<Opened>,
    /// Transient failures since the last answer.
    failures: u32,
    has_answered: bool,
}

#[derive(Clone, Copy, Debug)]
struct Opened {
    failure: ModelErrorKind,
    /// The time of the last refusal or probe; later if the provider asked to wait longer than `open_for`.
    at: Instant,
    /// Probes since the breaker was opened.
    probes: u32,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
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
            state: Mutex::default(),
        }
    }

    /// Why it is open; `None` if it is closed.
    pub(super) fn failure(&self) -> Option<ModelErrorKind> {
        self.lock().opened.map(|opened| opened.failure)
    }

    /// Whether it is open for all calls but probes: the last failure was permanent, or one of several in a row.
    pub(super) fn is_strict(&self) -> bool {
        let state = self.lock();
        let is_final = |opened: Opened| opened.failure.is_final();
        state.opened.is_some_and(is_final) || state.failures >= FAILURES_IN_A_ROW
    }

    /// Whether a call was answered, and none has failed since.
    pub(super) fn is_proven(&self) -> bool {
        let state = self.lock();
        state.has_answered && state.failures == 0 && state.opened.is_none()
    }

    /// Whether a call would be admitted. Does not use up the probe.
    pub(super) fn peek(&self, now: Instant) -> Admission {
        match self.lock().opened {
            None => Admission::Allowed,
            Some(opened) => self
                .time_left(opened, now)
                .map_or(Admission::Probe, Admission::RefusedFor),
        }
    }

    /// Admits or refuses a call. A probe restarts `open_for`.
    pub(super) fn admit(&self, now: Instant) -> Admission {
        // Of two concurrent calls, one is the probe.
        let mut state = self.lock();
        let Some(opened) = &mut state.opened else {
            return Admission::Allowed;
        };
        if let Some(left) = self.time_left(*opened, now) {
            return Admission::RefusedFor(left);
        }
        opened.at = now;
        opened.probes = opened.probes.saturating_add(1);
        Admission::Probe
    }

    /// The probes since the breaker was opened.
    pub(super) fn probes(&self) -> u32 {
        self.lock().opened.map_or(0, |opened| opened.probes)
    }

    /// Opens the breaker at `now`.
    pub(super) fn open(&self, failure: ModelErrorKind, now: Instant) {
        let opened = &mut self.lock().opened;
        *opened = Some(Opened {
            failure,
            at: now,
            probes: opened.map_or(0, |opened| opened.probes),
        });
    }

    /// Records a transient failure at `now`. Several in a row open the breaker.
    pub(super) fn fail(&self, failure: ModelErrorKind, now: Instant) {
        let failures = {
            let mut state = self.lock();
            state.failures = state.failures.saturating_add(1);
            state.failures
        };
        if failures >= FAILURES_IN_A_ROW {
            self.open(failure, now);
        }
    }

    /// Records an answer: closes the breaker. Returns whether it was open, or this is the first answer.
    pub(super) fn close(&self) -> bool {
        let answered = State {
            has_answered: true,
            ..State::default()
        };
        let before = std::mem::replace(&mut *self.lock(), answered);
        before.opened.is_some() || !before.has_answered
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time until the next probe; `None` if it is due.
    fn time_left(&self, opened: Opened, now: Instant) -> Option<Duration> {
        let left = (opened.at + self.open_for).saturating_duration_since(now);
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
        breaker.open(ModelErrorKind::Unauthorized, start);
        let last = start + OPEN_FOR - Duration::from_millis(1);
        assert_eq!(
            breaker.admit(last),
            Admission::RefusedFor(Duration::from_millis(1))
        );
        assert_eq!(breaker.failure(), Some(ModelErrorKind::Unauthorized));
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
        assert_eq!(breaker.failure(), None);
    }

    #[test]
    fn three_passing_failures_in_a_row_open_it_and_an_answer_in_between_does_not_count() {
        let breaker = Breaker::new(OPEN_FOR);
        let start = Instant::now();
        assert!(!breaker.is_proven(), "nothing is known");
        assert!(breaker.close(), "the first answer");
        assert!(breaker.is_proven() && !breaker.close());
        for _ in 0..2 {
            for _ in 0..2 {
                breaker.fail(ModelErrorKind::Unavailable, start);
                assert_eq!(breaker.admit(start), Admission::Allowed);
                assert!(!breaker.is_proven() && !breaker.is_strict());
            }
            assert!(!breaker.close());
        }
        for _ in 0..3 {
            breaker.fail(ModelErrorKind::Unavailable, start);
        }
        assert!(breaker.is_strict());
        assert_eq!(breaker.admit(start), Admission::RefusedFor(OPEN_FOR));
        assert_eq!(breaker.admit(start + OPEN_FOR), Admission::Probe);
        assert_eq!(breaker.probes(), 1);
        breaker.fail(ModelErrorKind::Unavailable, start + OPEN_FOR);
        assert_eq!(
            breaker.peek(start + OPEN_FOR),
            Admission::RefusedFor(OPEN_FOR)
        );
        assert_eq!(
            breaker.probes(),
            1,
            "the failure of a probe keeps the count"
        );
        assert!(breaker.close() && !breaker.is_strict());
    }

    #[test]
    fn one_failure_that_opens_it_is_not_strict() {
        let breaker = Breaker::new(OPEN_FOR);
        breaker.open(ModelErrorKind::Connection, Instant::now());
        assert!(!breaker.is_strict());
        breaker.open(ModelErrorKind::Unauthorized, Instant::now());
        assert!(breaker.is_strict());
    }
}
