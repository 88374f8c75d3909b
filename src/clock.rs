//! The time that nodes agree on: the database's, where several may share one.
//!
//! Leases, the order of lists and "what changed since" compare times that different machines wrote down. A
//! machine whose clock is wrong would take over what others are doing, or leave what is dead alone. So all
//! of them go by the clock of the database they share: it is read now and then, and what has passed since
//! is measured by a clock that nobody sets.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// What another clock showed, and when that was.
type Reading = (DateTime<Utc>, Instant);

/// A clock. Cheap to clone; clones are set together.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// None: this machine's clock is the right one.
    set: Arc<RwLock<Option<Reading>>>,
}

impl Clock {
    /// The time, as exactly as PostgreSQL keeps it: what is returned is what is stored.
    pub fn now(&self) -> DateTime<Utc> {
        let set = *self.set.read().unwrap_or_else(PoisonError::into_inner);
        let now = set.and_then(|(then, at)| {
            let passed = TimeDelta::from_std(at.elapsed()).ok()?;
            then.checked_add_signed(passed)
        });
        now.unwrap_or_else(Utc::now).trunc_subsecs(6)
    }

    /// Goes on from what another clock shows, which was asked at `asked` and has just answered.
    pub fn set(&self, shown: DateTime<Utc>, asked: Instant) {
        // It was read somewhere between the question and the answer.
        let at = asked + asked.elapsed() / 2;
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Some((shown, at));
    }

    /// By how much this machine's own clock is ahead.
    pub fn is_ahead_by(&self) -> TimeDelta {
        Utc::now() - self.now()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn without_another_one_it_is_this_machine_s() {
        let clock = Clock::default();
        assert!((Utc::now() - clock.now()).abs() < TimeDelta::seconds(1));
    }

    #[test]
    fn it_goes_on_from_what_another_one_shows() {
        let clock = Clock::default();
        let shown: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let asked = Instant::now() - Duration::from_secs(20);
        clock.clone().set(shown, asked);
        // Ten of the twenty seconds were on the way back.
        let passed = clock.now() - shown;
        assert!(
            passed >= TimeDelta::seconds(10) && passed < TimeDelta::seconds(12),
            "{passed}"
        );
        assert!(clock.is_ahead_by() > TimeDelta::days(30));
    }
}
