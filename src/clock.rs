//! The clock that all nodes share: the database's time, advanced by a local monotonic clock.
//!
//! Leases, list order and "changed since" queries compare timestamps written by different machines. A node with a wrong
//! clock would steal live leases or ignore expired ones. Therefore every node reads the database's clock periodically.
//! Between two readings it adds the time elapsed on a monotonic clock that also counts suspend time ([`BootInstant`]).

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use chrono::{DateTime, Datelike, SubsecRound, TimeDelta, Timelike, Utc};

/// The times that [`is_plain`] accepts, as text for error messages.
pub const PLAIN: &str = "from the years 1 to 9999, and no leap second";

/// Whether clients can parse a time from outside: JavaScript has no leap seconds, and a year has four digits. Cursors
/// cannot hold a leap second either; SQLite stores one unchanged, so paging would not get past it.
pub fn is_plain(at: DateTime<Utc>) -> bool {
    at.nanosecond() < 1_000_000_000 && (1..10_000).contains(&at.year())
}

/// A reading of the reference clock, and the local instant at which it was valid.
type Reading = (DateTime<Utc>, BootInstant);

/// A monotonic instant on this machine that counts suspend time.
///
/// [`std::time::Instant`] excludes suspend time on Linux. After a suspend, a lease computed from it would already have
/// expired for the other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The current instant.
    pub fn now() -> Self {
        Self(since_boot())
    }

    /// The time since this instant.
    pub fn elapsed(&self) -> Duration {
        since_boot().saturating_sub(self.0)
    }

    /// The instant `time` after this one.
    pub fn after(&self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

#[cfg(unix)]
fn since_boot() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    // Apple's CLOCK_MONOTONIC counts suspend time; other systems may have no clock that does.
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

/// A clock that follows a reference clock. Clones share one state and are cheap.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// The last reading of the reference clock. `None`: the local clock is the reference.
    reading: Arc<RwLock<Option<Reading>>>,
}

impl Clock {
    /// The current time, truncated to PostgreSQL's microseconds, so that a stored timestamp equals the returned one.
    pub fn now(&self) -> DateTime<Utc> {
        let reading = *self.reading.read().unwrap_or_else(PoisonError::into_inner);
        let now = reading.and_then(|(then, at)| {
            let passed = TimeDelta::from_std(at.elapsed()).ok()?;
            then.checked_add_signed(passed)
        });
        now.unwrap_or_else(Utc::now).trunc_subsecs(6)
    }

    /// Sets the clock to `shown`, the reference clock's reading for a query that was sent at `asked` and answered now.
    pub fn set(&self, shown: DateTime<Utc>, asked: BootInstant) {
        // Assumes that the reference clock was read halfway through the round trip.
        let at = asked.after(asked.elapsed() / 2);
        *self.reading.write().unwrap_or_else(PoisonError::into_inner) = Some((shown, at));
    }

    /// How far the local clock is ahead of the reference clock.
    pub fn is_ahead_by(&self) -> TimeDelta {
        Utc::now() - self.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_reading_the_clock_is_the_local_clock() {
        let clock = Clock::default();
        assert!((Utc::now() - clock.now()).abs() < TimeDelta::seconds(1));
    }

    #[test]
    fn a_set_clock_advances_from_the_reading() {
        let clock = Clock::default();
        let shown: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let asked = BootInstant(since_boot() - Duration::from_secs(20));
        clock.clone().set(shown, asked);
        // Half of the round trip of twenty seconds has passed since the reading.
        let passed = clock.now() - shown;
        assert!(
            passed >= TimeDelta::seconds(10) && passed < TimeDelta::seconds(12),
            "{passed}"
        );
        assert!(clock.is_ahead_by() > TimeDelta::days(30));
    }

    /// The offset of the time namespace's boot clock in seconds: the simulated suspend time.
    #[cfg(target_os = "linux")]
    const SUSPENDED: i64 = 3_600;

    /// Simulates a suspend with a time namespace that shifts the boot clock and leaves the clock of `Instant` alone.
    #[cfg(target_os = "linux")]
    #[test]
    fn suspend_time_counts_as_elapsed() {
        let after_a_suspend = |program: &str| {
            let ahead = SUSPENDED.to_string();
            let mut command = std::process::Command::new("unshare");
            command.args(["--map-root-user", "--time", "--boottime", &ahead, "--"]);
            command.arg(program);
            command
        };
        let is_possible = after_a_suspend("true").output();
        if !is_possible.is_ok_and(|ended| ended.status.success()) {
            assert!(
                std::env::var_os("TEST_SKIP_NOTHING").is_none(),
                "TEST_SKIP_NOTHING is set, but time namespaces are unavailable"
            );
            eprintln!("SKIPPED: time namespaces are unavailable");
            return;
        }
        let this = std::env::current_exe().unwrap();
        let mut command = after_a_suspend(this.to_str().unwrap());
        command.args(["--exact", "--ignored", "clock::tests::after_a_suspend"]);
        let ended = command.output().unwrap();
        let stdout = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{stdout}");
        assert!(stdout.contains("1 passed"), "{stdout}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "suspend_time_counts_as_elapsed runs it in a time namespace"]
    fn after_a_suspend() {
        use rustix::time::{ClockId, clock_gettime};
        // At least: the machine itself may have been suspended since it booted.
        let awake = clock_gettime(ClockId::Monotonic).tv_sec;
        let ahead = BootInstant::now().0.as_secs() as i64 - awake;
        assert!(ahead >= SUSPENDED, "{ahead} s ahead of the time awake");
    }
}
