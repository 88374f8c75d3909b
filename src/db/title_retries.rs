//! Titles that failed for a temporary reason: when each is tried again, and which titles are due or still waiting.
//!
//! The row stores the time of the next try beside the failure. The previous version does not know that column: when it
//! titles, renames or restarts a row, it clears the failure, so the time counts only while a failure is stored.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Select, UpdateMany, sea_query::Expr,
};
use serde::Serialize;

use super::{
    Candidate, Database, Keyset, KeysetPage, StatsFilter, TitleClaim,
    claims::{unclaimed, with_attempt, without_claim},
    entity::conversation::{Column, Entity},
    pages::{beyond, read_page},
    retention::settled_rows,
    scope::{active, change_of, changed},
};
use crate::{
    conversation::{Conversation, ConversationId, TitleFailure, TitleStatus},
    error::Result,
};

/// The order in which titles are tried again.
const ORDER: (Column, Column) = (Column::TitleRetryAt, Column::Id);

/// After this many failed tries, a title whose last try timed out waits for its own next try even if the model answers
/// others: its message may be the reason for the slowness, and each try is billed.
const SLOW_TRIES: i32 = 2;

/// What a title waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// A model that answers. Excludes titles that have timed out several times.
    Model,
    /// The budget of the next day.
    Budget,
}

/// The next try of a failed title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The earliest time of the try.
    pub at: DateTime<Utc>,
    /// Whether the try that has just failed is counted. A try without a call is not.
    pub is_counted: bool,
}

/// The titles that wait for their next try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WaitingTitles {
    /// The number of conversations.
    pub conversations: i64,
    /// When the longest-waiting title first failed; `None` if none waits.
    pub oldest: Option<DateTime<Utc>>,
}

impl Database {
    /// A page of the titles of all owners whose next try is due, longest due first, starting after `after`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_due_titles(
        &self,
        after: Option<&Keyset>,
        limit: u64,
    ) -> Result<KeysetPage<Candidate>> {
        let due = waiting().filter(Column::TitleRetryAt.lte(self.now()));
        self.page_of_waiting(due, after, limit).await
    }

    /// A page of the titles of all owners whose next try is not due yet, first due first, starting after `after`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_waiting_titles(
        &self,
        cause: WaitsFor,
        after: Option<&Keyset>,
        limit: u64,
    ) -> Result<KeysetPage<Candidate>> {
        let early = waiting().filter(Column::TitleRetryAt.gt(self.now()));
        let failure = Column::TitleFailure;
        let early = match cause {
            WaitsFor::Budget => early.filter(failure.eq(TitleFailure::BudgetExceeded)),
            WaitsFor::Model => {
                let is_fast = failure.ne(TitleFailure::Timeout);
                early
                    .filter(failure.ne(TitleFailure::BudgetExceeded))
                    .filter(is_fast.or(Column::TitleTries.lt(SLOW_TRIES)))
            }
        };
        self.page_of_waiting(early, after, limit).await
    }

    /// A page of the titles of all owners that first failed at or before `before` and still wait.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_long_waiting_titles(
        &self,
        before: DateTime<Utc>,
        after: Option<&Keyset>,
        limit: u64,
    ) -> Result<KeysetPage<Candidate>> {
        let old = waiting().filter(Column::TitleFailingSince.lte(before));
        self.page_of_waiting(old, after, limit).await
    }

    async fn page_of_waiting(
        &self,
        select: Select<Entity>,
        after: Option<&Keyset>,
        limit: u64,
    ) -> Result<KeysetPage<Candidate>> {
        let select = select
            .order_by_asc(Column::TitleRetryAt)
            .order_by_asc(Column::Id)
            .limit(limit);
        let select = beyond(select, ORDER, after);
        read_page(&self.reader, select, ORDER, |row| Ok(Candidate::of(row))).await
    }

    /// Begins the next try of a title: claims it, with the status `pending`. `None`: the title no longer waits, because
    /// of another process, a rename, a reset or a deletion.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn claim_retry(
        &self,
        candidate: &Candidate,
        lease: Duration,
    ) -> Result<Option<(Conversation, TitleClaim)>> {
        let at = self.now();
        let (no_time, no_failure): (Option<DateTime<Utc>>, Option<String>) = (None, None);
        let rows = with_attempt(change_of(&candidate.owner, candidate.id, at), at + lease)
            .col_expr(Column::TitleStatus, Expr::val(TitleStatus::Pending))
            .col_expr(Column::TitleFailure, Expr::val(no_failure))
            .col_expr(Column::TitleRetryAt, Expr::val(no_time))
            .filter(is_waiting())
            .filter(unclaimed(at))
            // Skips a title that another process has tried in the meantime: its next try is later.
            .filter(Column::TitleRetryAt.lte(candidate.retry.map_or(at, |(_, at)| at)))
            .exec_with_returning(&self.writer)
            .await?;
        let claimed = rows.into_iter().next();
        let claimed = claimed.and_then(|row| Some((TitleClaim::of(&row)?, row)));
        claimed
            .map(|(claim, row)| Ok((row.try_into()?, claim)))
            .transpose()
    }

    /// Makes waiting titles due now. Runs in one transaction, so pass at most a page of them.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn make_titles_due(&self, mut titles: Vec<ConversationId>) -> Result<()> {
        // A fixed lock order prevents deadlocks between processes that change the same rows.
        titles.sort_unstable();
        let titles = &titles;
        self.transaction(|tx| async move {
            let at = self.now();
            for id in titles {
                Entity::update_many()
                    .col_expr(Column::TitleRetryAt, Expr::val(at))
                    .filter(Column::Id.eq(*id))
                    .filter(Column::TitleRetryAt.gt(at))
                    .exec(&tx)
                    .await?;
            }
            Ok((tx, ()))
        })
        .await
    }

    /// Stores that a title is not tried again, and keeps its failure. `None`: the title no longer waits.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn give_title_up(&self, candidate: &Candidate) -> Result<Option<Conversation>> {
        let given_up = self.transaction(|tx| async move {
            let at = self.now();
            let rows = without_claim(change_of(&candidate.owner, candidate.id, at))
                .filter(is_waiting())
                .filter(unclaimed(at))
                .exec_with_returning(&tx)
                .await?;
            let given_up = changed(settled_rows(&tx, rows).await?)?;
            Ok((tx, given_up))
        });
        let given_up = given_up.await?;
        self.erase_dropped(given_up.as_ref());
        Ok(given_up)
    }

    /// Counts the titles that wait for their next try in the conversations that match the filter.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn waiting_titles(&self, filter: &StatsFilter) -> Result<WaitingTitles> {
        let waiting = || waiting().filter(filter.condition(Column::TenantId, Column::CreatedAt));
        let conversations = waiting().count(&self.reader).await?;
        Ok(WaitingTitles {
            conversations: conversations.try_into().unwrap_or(i64::MAX),
            oldest: self.oldest_of(waiting()).await?,
        })
    }

    /// When the title that has waited longest for a model first failed. Titles that wait for the next day's budget do
    /// not count.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn oldest_waiting_for_a_model(&self) -> Result<Option<DateTime<Utc>>> {
        let waiting = waiting().filter(Column::TitleFailure.ne(TitleFailure::BudgetExceeded));
        self.oldest_of(waiting).await
    }

    async fn oldest_of(&self, waiting: Select<Entity>) -> Result<Option<DateTime<Utc>>> {
        let oldest: Option<Option<DateTime<Utc>>> = waiting
            .order_by_asc(Column::TitleFailingSince)
            .select_only()
            .column(Column::TitleFailingSince)
            .into_tuple()
            .one(&self.reader)
            .await?;
        Ok(oldest.flatten())
    }

    /// Erases the former titles of conversations that the previous version deleted: that version does not clear them.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn erase_former_titles(&self) -> Result<()> {
        self.erase_of_deleted(Column::PreviousTitle, UNERASED).await
    }
}

/// The condition of the partial index of these rows. A bound value would hide it from SQLite.
const UNERASED: &str = "status = 'deleted' AND previous_title IS NOT NULL";

/// The conversations of all owners whose title waits for its next try.
fn waiting() -> Select<Entity> {
    active().filter(is_waiting())
}

fn is_waiting() -> Condition {
    let statuses = [TitleStatus::Failed, TitleStatus::Ready];
    Condition::all()
        .add(Column::TitleRetryAt.is_not_null())
        .add(Column::TitleFailure.is_not_null())
        .add(Column::TitleStatus.is_in(statuses))
}

/// Adds the next try to an update that stores a failure.
pub(super) fn with_retry(
    update: UpdateMany<Entity>,
    claim: &TitleClaim,
    retry: Retry,
    at: DateTime<Utc>,
) -> UpdateMany<Entity> {
    let tries = Expr::col(Column::TitleTries).add(i32::from(retry.is_counted));
    update
        .col_expr(Column::TitleRetryAt, Expr::val(retry.at))
        .col_expr(Column::TitleTries, tries)
        .col_expr(
            Column::TitleFailingSince,
            Expr::val(claim.failing_since.unwrap_or(at)),
        )
}
