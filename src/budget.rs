//! Daily token budgets: the tokens that a tenant has spent, in total or with one of its agents.
//!
//! The rows hold the tokens spent by all processes. This process caches the sums, adds its own calls, and reads a sum
//! again after [`SPENT_TTL`]. The caller supplies the limits and the query of the rows.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Days, NaiveTime, Utc};

use crate::error::Result;

/// The longest age of a cached sum.
const SPENT_TTL: Duration = Duration::from_secs(10);

/// The maximum number of cached sums. Beyond it a sum is read at each check, unless expired sums can be dropped.
const MAX_CACHED: usize = 10_000;

/// A spender whose tokens are counted: a tenant, with one agent or with all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spender {
    /// The tenant.
    pub(crate) tenant: String,
    /// The agent; `None` for all.
    pub(crate) agent: Option<String>,
}

impl Spender {
    /// A tenant, with this agent or with all.
    pub(crate) fn new(tenant: &str, agent: Option<&str>) -> Self {
        Self {
            tenant: tenant.to_owned(),
            agent: agent.map(str::to_owned),
        }
    }
}

/// The cached sums of one kind of call, and the tokens reserved for its calls in flight.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    spent: Mutex<HashMap<Spender, Spent>>,
    reserved: Mutex<HashMap<Spender, u64>>,
}

/// Why a call must not be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The limit is reached.
    UsedUp,
    /// The calls in flight may reach the limit: try again when they have ended.
    InFlight,
}

/// Tokens reserved for a call in flight; released on drop.
#[derive(Debug)]
pub(crate) struct Reservation<'b> {
    budget: &'b Budget,
    spender: Spender,
    tokens: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut reserved = self.budget.reserved();
        if let Some(tokens) = reserved.get_mut(&self.spender) {
            *tokens = tokens.saturating_sub(self.tokens);
            if *tokens == 0 {
                reserved.remove(&self.spender);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Spent {
    tokens: u64,
    /// The start of the day in which the tokens were spent.
    since: DateTime<Utc>,
    read: Instant,
}

impl Budget {
    /// Whether the tokens spent since the start of the day reach the limit. `query` reads the sum from the rows; it is
    /// polled only if the cached sum is too old. Returns false if the query fails: storing the call's result reports
    /// that.
    ///
    /// A call in flight when the limit is reached may finish; the next call is refused.
    pub(crate) async fn is_used_up(
        &self,
        spender: Spender,
        limit: u64,
        since: DateTime<Utc>,
        query: impl Future<Output = Result<u64>>,
    ) -> bool {
        let spent = self.spent(&spender, since, query).await;
        spent.is_some_and(|tokens| tokens >= limit)
    }

    /// Reserves tokens for one call, unless the tokens spent and those reserved for calls in flight reach the limit.
    /// [`Self::is_used_up`] does not count calls in flight.
    pub(crate) async fn reserve(
        &self,
        spender: Spender,
        limit: u64,
        since: DateTime<Utc>,
        tokens: u64,
        query: impl Future<Output = Result<u64>>,
    ) -> Result<Reservation<'_>, Exhausted> {
        let spent = self.spent(&spender, since, query).await.unwrap_or(0);
        if spent >= limit {
            return Err(Exhausted::UsedUp);
        }
        let mut reserved = self.reserved();
        let known = reserved.get(&spender).copied().unwrap_or(0);
        if spent.saturating_add(known) >= limit {
            return Err(Exhausted::InFlight);
        }
        reserved.insert(spender.clone(), known.saturating_add(tokens));
        Ok(Reservation {
            budget: self,
            spender,
            tokens,
        })
    }

    /// The tokens spent since the start of the day; `None` if the query fails.
    async fn spent(
        &self,
        spender: &Spender,
        since: DateTime<Utc>,
        query: impl Future<Output = Result<u64>>,
    ) -> Option<u64> {
        let known = self.lock().get(spender).copied();
        let is_fresh = |spent: &Spent| spent.since == since && spent.read.elapsed() < SPENT_TTL;
        if let Some(spent) = known.filter(is_fresh) {
            return Some(spent.tokens);
        }
        match query.await {
            Ok(tokens) => {
                self.keep(spender.clone(), tokens, since);
                Some(tokens)
            }
            Err(error) => {
                error.log();
                None
            }
        }
    }

    fn keep(&self, spender: Spender, tokens: u64, since: DateTime<Utc>) {
        let read = Instant::now();
        let mut known = self.lock();
        if known.len() >= MAX_CACHED && !known.contains_key(&spender) {
            known.retain(|_, spent| spent.read.elapsed() < SPENT_TTL);
            if known.len() >= MAX_CACHED {
                return;
            }
        }
        let spent = Spent {
            tokens,
            since,
            read,
        };
        known.insert(spender, spent);
    }

    /// Adds the tokens of a call to the tenant's cached sums: over all agents, and for this agent.
    pub(crate) fn spend(&self, tenant: &str, agent: Option<&str>, tokens: u64) {
        let mut known = self.lock();
        let mut add = |agent| {
            if let Some(spent) = known.get_mut(&Spender::new(tenant, agent)) {
                spent.tokens = spent.tokens.saturating_add(tokens);
            }
        };
        add(None);
        if agent.is_some() {
            add(agent);
        }
    }

    /// How many cached sums of this day reach their limit.
    pub(crate) fn used_up(
        &self,
        since: DateTime<Utc>,
        limit_of: impl Fn(&Spender) -> Option<u64>,
    ) -> usize {
        let is_used_up = |(spender, spent): &(&Spender, &Spent)| {
            spent.since == since && limit_of(spender).is_some_and(|limit| spent.tokens >= limit)
        };
        self.lock().iter().filter(is_used_up).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Spender, Spent>> {
        // Each update is a single assignment, so the value is valid after a panic.
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserved(&self) -> MutexGuard<'_, HashMap<Spender, u64>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The start of the day (UTC): budgets count from then.
pub(crate) fn midnight(now: DateTime<Utc>) -> DateTime<Utc> {
    now.date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// The time until the next day's budgets begin.
pub(crate) fn until_midnight(now: DateTime<Utc>) -> Duration {
    until_day_after(now, now)
}

/// The time from `now` until the budgets of the day after `then` begin; zero if that day has begun.
pub(crate) fn until_day_after(then: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    let next = midnight(then) + Days::new(1);
    (next - now).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::error::Error;

    fn day() -> DateTime<Utc> {
        midnight(Utc::now())
    }

    /// Whether the cached sum of the tenant reaches the limit; the rows are not to be read.
    async fn is_cached(budget: &Budget, agent: Option<&str>, limit: u64) -> bool {
        let unread = async { panic!("read again") };
        let spender = Spender::new("acme", agent);
        budget.is_used_up(spender, limit, day(), unread).await
    }

    #[tokio::test]
    async fn a_sum_is_read_once_and_grows_with_what_is_spent() {
        let budget = Budget::default();
        for agent in [None, Some("dear")] {
            let spender = Spender::new("acme", agent);
            let used_up = budget.is_used_up(spender, 100, day(), ready(Ok(60)));
            assert!(!used_up.await);
        }
        budget.spend("acme", Some("dear"), 25);
        budget.spend("acme", None, 10);
        budget.spend("globex", Some("dear"), 1000);
        assert!(is_cached(&budget, None, 95).await);
        assert!(!is_cached(&budget, None, 96).await);
        assert!(is_cached(&budget, Some("dear"), 85).await);
        assert!(!is_cached(&budget, Some("dear"), 86).await);
        assert_eq!(budget.used_up(day(), |_| Some(90)), 1);
        assert_eq!(budget.used_up(day(), |_| None), 0);
    }

    #[tokio::test]
    async fn the_next_day_begins_at_zero() {
        let budget = Budget::default();
        let (today, tomorrow) = (day(), day() + Days::new(1));
        let acme = || Spender::new("acme", None);
        assert!(budget.is_used_up(acme(), 5, today, ready(Ok(5))).await);
        assert!(!budget.is_used_up(acme(), 5, tomorrow, ready(Ok(0))).await);
        assert_eq!(budget.used_up(tomorrow, |_| Some(5)), 0);
    }

    #[tokio::test]
    async fn calls_in_flight_count_until_they_end() {
        let budget = Budget::default();
        let acme = || Spender::new("acme", None);
        let reserve = async || budget.reserve(acme(), 400, day(), 110, ready(Ok(0))).await;
        let mut calls = Vec::new();
        loop {
            match reserve().await {
                Ok(reserved) => calls.push(reserved),
                Err(exhausted) => {
                    assert_eq!(exhausted, Exhausted::InFlight);
                    break;
                }
            }
        }
        assert_eq!(calls.len(), 4);
        // A call that costs nothing makes room for another one.
        calls.pop();
        assert!(reserve().await.is_ok());
        budget.spend("acme", None, 400);
        drop(calls);
        assert_eq!(reserve().await.unwrap_err(), Exhausted::UsedUp);
        assert!(budget.reserved().is_empty());
    }

    #[tokio::test]
    async fn a_database_that_fails_refuses_nothing() {
        let failed = ready(Err(Error::Database("down".into())));
        let spender = Spender::new("acme", None);
        assert!(
            !Budget::default()
                .is_used_up(spender, 0, day(), failed)
                .await
        );
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let budget = Budget::default();
        for number in 0..MAX_CACHED + 100 {
            let spender = Spender::new(&format!("tenant {number}"), None);
            assert!(budget.is_used_up(spender, 1, day(), ready(Ok(1))).await);
        }
        assert_eq!(budget.lock().len(), MAX_CACHED);
    }

    #[test]
    fn budgets_begin_anew_at_midnight() {
        let now = "2026-11-29T23:59:30Z".parse().unwrap();
        assert_eq!(
            midnight(now),
            "2026-11-29T00:00:00Z".parse::<DateTime<Utc>>().unwrap()
        );
        assert_eq!(until_midnight(now), Duration::from_secs(30));
    }

    #[test]
    fn a_budget_that_was_used_up_on_a_former_day_is_not_waited_for() {
        let now = "2026-11-29T23:59:30Z".parse().unwrap();
        let noon = |day: &str| format!("{day}T12:00:00Z").parse().unwrap();
        let wait = |day| until_day_after(noon(day), now);
        assert_eq!(wait("2026-11-29"), Duration::from_secs(30));
        assert_eq!(wait("2026-11-28"), Duration::ZERO);
        assert_eq!(wait("2026-11-01"), Duration::ZERO);
    }
}
