//! Enforces each tenant's daily token budget.
//!
//! The rows hold the tokens spent by all processes. This process caches the sum, adds its own calls, and reads it again
//! after [`SPENT_TTL`].

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::NaiveTime;

use crate::{
    conversation::{PerTenant, TitleFailure},
    db::Database,
};

/// The longest age of a cached sum.
const SPENT_TTL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Budget {
    limits: PerTenant<Option<u64>>,
    spent: Mutex<HashMap<String, Spent>>,
}

#[derive(Clone, Copy, Debug)]
struct Spent {
    tokens: u64,
    read: Instant,
}

impl Budget {
    pub(super) fn new(limits: PerTenant<Option<u64>>) -> Self {
        Self {
            limits,
            spent: Mutex::default(),
        }
    }

    /// Checks that the tenant has tokens left today (UTC). Passes if the database fails: storing the title reports it.
    pub(super) async fn check(&self, db: &Database, tenant: &str) -> Result<(), TitleFailure> {
        let Some(limit) = *self.limits.of(tenant) else {
            return Ok(());
        };
        let known = self.lock().get(tenant).copied();
        let tokens = match known.filter(|spent| spent.read.elapsed() < SPENT_TTL) {
            Some(spent) => spent.tokens,
            None => match self.read(db, tenant).await {
                Ok(tokens) => tokens,
                Err(error) => {
                    error.log();
                    return Ok(());
                }
            },
        };
        match tokens < limit {
            true => Ok(()),
            false => Err(TitleFailure::BudgetExceeded),
        }
    }

    async fn read(&self, db: &Database, tenant: &str) -> crate::error::Result<u64> {
        let midnight = db
            .clock()
            .now()
            .date_naive()
            .and_time(NaiveTime::MIN)
            .and_utc();
        let tokens = db.title_tokens(tenant, midnight).await?;
        let read = Instant::now();
        self.lock()
            .insert(tenant.to_owned(), Spent { tokens, read });
        Ok(tokens)
    }

    /// Adds the tokens of a call to the cached sum.
    pub(super) fn spend(&self, tenant: &str, tokens: u64) {
        if let Some(spent) = self.lock().get_mut(tenant) {
            spent.tokens = spent.tokens.saturating_add(tokens);
        }
    }

    /// The number of tenants whose budget is used up, by the cached sums.
    pub(super) fn used_up(&self) -> usize {
        let is_used_up = |(tenant, spent): (&String, &Spent)| {
            self.limits
                .of(tenant)
                .is_some_and(|limit| spent.tokens >= limit)
        };
        self.lock()
            .iter()
            .filter(|entry| is_used_up(*entry))
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Spent>> {
        // Each update is a single assignment, so the value is valid after a panic.
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
