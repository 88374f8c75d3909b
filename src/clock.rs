//! The time that nodes agree on: the database's, where several may share one.
//!
//! Leases, the order of lists and "what changed since" compare times that different machines wrote down. A
//! machine whose clock is wrong would take over what others are doing, or leave what is dead alone. So all
//! of them go by the clock of the database they share: it is read now and then, and what has passed since
//! is measured by a clock that is never set and that goes on while the machine sleeps ([`Moment`]).

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// What another clock showed, and when that was.
type Reading = (DateTime<Utc>, Moment);

/// A moment on this machine. What passes between two of them includes the time that the machine was suspended, which
/// [`std::time::Instant`] leaves out on Linux: a lease that was counted on from before a sleep by that would be over for
/// the other nodes when it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self(since_boot())
    }

    /// How long ago it was.
    pub fn elapsed(&self) -> Duration {
        since_boot().saturating_sub(self.0)
    }

    /// The moment so much later.
    pub fn after(&self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

#[cfg(unix)]
fn since_boot() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    // Apple's goes on in a sleep; elsewhere there may be no better one.
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let time = clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(not(unix))]
fn since_boot() -> Duration {
    use std::{sync::LazyLock, time::Instant};
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

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
    pub fn set(&self, shown: DateTime<Utc>, asked: Moment) {
        // It was read somewhere between the question and the answer.
        let at = asked.after(asked.elapsed() / 2);
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Some((shown, at));
    }

    /// By how much this machine's own clock is ahead.
    pub fn is_ahead_by(&self) -> TimeDelta {
        Utc::now() - self.now()
    }
}

#[cfg(test)]
mod tests {
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
        let asked = Moment(since_boot() - Duration::from_secs(20));
        clock.clone().set(shown, asked);
        // Ten of the twenty seconds were on the way back.
        let passed = clock.now() - shown;
        assert!(
            passed >= TimeDelta::seconds(10) && passed < TimeDelta::seconds(12),
            "{passed}"
        );
        assert!(clock.is_ahead_by() > TimeDelta::days(30));
    }

    /// What a namespace's clock of the time since boot is ahead, in seconds, as if the machine had slept so long.
    #[cfg(target_os = "linux")]
    const SLEPT: i64 = 3_600;

    /// A suspended machine is made up by a time namespace, in which the clock of `Instant` stays what it is.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_machine_slept_has_passed() {
        let after_a_sleep = |program: &str| {
            let ahead = SLEPT.to_string();
            let mut command = std::process::Command::new("unshare");
            command.args(["--map-root-user", "--time", "--boottime", &ahead, "--"]);
            command.arg(program);
            command
        };
        let is_possible = after_a_sleep("true").output();
        if !is_possible.is_ok_and(|ended| ended.status.success()) {
            assert!(
                std::env::var_os("TEST_SKIP_NOTHING").is_none(),
                "nothing is to be skipped here, and there are no time namespaces"
            );
            eprintln!("SKIPPED: there are no time namespaces");
            return;
        }
        let this = std::env::current_exe().unwrap();
        let mut command = after_a_sleep(this.to_str().unwrap());
        command.args(["--exact", "--ignored", "clock::tests::after_a_sleep"]);
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{said}");
        assert!(said.contains("1 passed"), "{said}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "what_a_machine_slept_has_passed runs it after a sleep"]
    fn after_a_sleep() {
        use rustix::time::{ClockId, clock_gettime};
        // What the machine really slept is in both.
        let awake = clock_gettime(ClockId::Monotonic).tv_sec;
        let ahead = Moment::now().0.as_secs() as i64 - awake;
        assert!(ahead >= SLEPT, "{ahead} s ahead of the time awake");
    }
}
