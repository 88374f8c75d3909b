//! When a failed title is tried again: after a pause that doubles, after the next probe of a provider that refuses, or
//! on the next day of a budget.

use std::time::Duration;

use chrono::{DateTime, Days, SubsecRound, Utc};

use crate::{
    budget::midnight,
    db::{Retry, TitleClaim},
};

/// The pause after the first failure, and the longest pause. Each is jittered by up to a quarter.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What a failed title waits for before its next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// A call failed temporarily. The provider asks for no call within this time.
    Failure(Duration),
    /// No model admits a call; the next probe is due after this time. No call was made.
    Refusal(Duration),
    /// The budget of the day is used up. No call was made.
    Budget,
    /// The calls in flight may use the budget up; they end within this time. No call was made.
    BudgetInFlight(Duration),
}

/// The next try after a failure at `now`; `None` if the title has been tried for `retry_for`.
pub(super) fn next(
    claim: &TitleClaim,
    obstacle: Obstacle,
    now: DateTime<Utc>,
    retry_for: Duration,
) -> Option<Retry> {
    let at = match obstacle {
        Obstacle::Failure(wait) => now + jittered(pause(claim.tries)).max(wait.min(LONGEST_PAUSE)),
        Obstacle::Refusal(time) | Obstacle::BudgetInFlight(time) => now + time,
        Obstacle::Budget => midnight(now) + Days::new(1),
    };
    // PostgreSQL's precision, so that the stored time is the returned one.
    let at = at.trunc_subsecs(6);
    let since = claim.failing_since.unwrap_or(now);
    (at <= since + retry_for).then_some(Retry {
        at,
        is_counted: matches!(obstacle, Obstacle::Failure(_)),
    })
}

/// The pause after a failure that follows this many earlier ones.
fn pause(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.75 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_half_a_minute_to_an_hour() {
        let seconds: Vec<u64> = (0..10).map(|tries| pause(tries).as_secs()).collect();
        assert_eq!(
            seconds,
            [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
        );
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
        for _ in 0..1_000 {
            let pause = jittered(FIRST_PAUSE).as_secs_f64();
            assert!((22.5..=37.5).contains(&pause), "{pause}");
        }
    }
}
