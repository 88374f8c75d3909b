//! Title claims: a fencing token plus a lease on the conversation's row.
//!
//! Job state lives in the row; there is no separate queue. A process takes the claim before it calls the model, and
//! needs the token again to store the result. A rename, a reset and a deletion clear the token, so that a result in
//! flight is discarded. After a crash the lease expires, and the sweep of any process takes over.
//!
//! Every claim is one conditional update (compare-and-set), so that only one of several processes gets it. A claim does
//! not increment the revision, because it changes nothing that a client sees.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    UpdateMany, prelude::Uuid, sea_query::Expr,
};

use super::{
    Database, Keyset, KeysetPage,
    entity::{
        conversation::{Column, Entity, Model},
        known,
    },
    pages::read_page,
    retention::settled_rows,
    scope::{active, behind, change_of, changed, row_of},
};
use crate::{
    conversation::{Conversation, ConversationId, Owner, TitleFailure, TitleFrom, TitleStatus},
    error::Result,
};

/// The maximum number of attempts at a conversation's title if every attempt ends in a crash.
const MAX_ATTEMPTS: i32 = 5;

/// The exclusive right to generate the title of one conversation, until the lease expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TitleClaim {
    /// The conversation's owner.
    pub owner: Owner,
    /// The conversation.
    pub id: ConversationId,
    /// The agent that answers in it.
    pub agent: String,
    /// The end of the lease, after which another process may take over.
    pub until: DateTime<Utc>,
    /// The user's instruction for a regenerated title.
    pub hint: Option<String>,
    /// The current title, which stays if the generation fails.
    pub previous: Option<String>,
    /// What the title is generated from.
    pub from: TitleFrom,
    /// The number of failed tries so far.
    pub tries: u32,
    /// When the first try failed; `None` if none has.
    pub failing_since: Option<DateTime<Utc>>,
    pub(super) token: Uuid,
}

impl TitleClaim {
    /// The claim stored in a row.
    pub(super) fn of(row: &Model) -> Option<Self> {
        Some(Self {
            owner: row.owner(),
            id: row.id,
            agent: row.active_agent.clone(),
            until: row.title_lease_until?,
            hint: row.title_hint.clone(),
            previous: row.display_name.clone(),
            from: row
                .title_from
                .as_deref()
                .and_then(known)
                .unwrap_or_default(),
            tries: row.title_tries.try_into().unwrap_or_default(),
            failing_since: row.title_failing_since,
            token: row.title_token?,
        })
    }

    /// Whether the lease lasts for at least `time` after `now`, the database's clock.
    pub fn lasts(&self, time: Duration, now: DateTime<Utc>) -> bool {
        self.until > now + time
    }
}

/// A class of conversations whose title is missing or overdue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TitleBacklog<'a> {
    /// Pending titles whose lease has expired.
    Overdue,
    /// Overdue titles that have used up their attempts and are to be abandoned.
    Exhausted,
    /// Conversations without a title that should have one: older than the title feature, failed, overdue, or deferred
    /// because they began with a greeting.
    Untitled {
        /// Only conversations created at or after this time.
        since: Option<DateTime<Utc>>,
        /// Only this tenant's conversations.
        tenant: Option<&'a str>,
    },
    /// The untitled conversations whose lease has expired.
    Interrupted {
        /// Only conversations created at or after this time.
        since: Option<DateTime<Utc>>,
        /// Only this tenant's conversations.
        tenant: Option<&'a str>,
    },
}

/// A conversation from the [`TitleBacklog`].
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The conversation's owner.
    pub owner: Owner,
    /// The conversation.
    pub id: ConversationId,
    /// The agent that answers in it.
    pub agent: String,
    /// The times of the title's first failure and of its next try; `None` unless the title waits for a next try.
    pub retry: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Whether it already has a title, which stays if the generation fails.
    pub has_title: bool,
}

impl Candidate {
    pub(super) fn of(row: Model) -> Self {
        Self {
            owner: row.owner(),
            id: row.id,
            retry: row
                .title_retry_at
                .map(|at| (row.title_failing_since.unwrap_or(at), at)),
            has_title: row.display_name.is_some(),
            agent: row.active_agent,
        }
    }
}

impl TitleBacklog<'_> {
    fn condition(self, at: DateTime<Utc>) -> Condition {
        let overdue = Column::TitleLeaseUntil.lte(at);
        let is_pending = Column::TitleStatus.eq(TitleStatus::Pending);
        let open = Condition::all().add(Column::TitleAttempts.lt(MAX_ATTEMPTS));
        match self {
            Self::Overdue => open.add(is_pending).add(overdue),
            Self::Exhausted => Condition::all()
                .add(is_pending)
                .add(overdue)
                .add(Column::TitleAttempts.gte(MAX_ATTEMPTS)),
            Self::Untitled { since, tenant } => open
                .add(untitled(since, tenant))
                .add(Column::TitleLeaseUntil.is_null().or(overdue)),
            Self::Interrupted { since, tenant } => open.add(untitled(since, tenant)).add(overdue),
        }
    }
}

fn untitled(since: Option<DateTime<Utc>>, tenant: Option<&str>) -> Condition {
    let statuses = [TitleStatus::Pending, TitleStatus::Failed];
    Condition::all()
        .add(Column::DisplayName.is_null())
        .add(Column::TitleStatus.is_in(statuses))
        .add_option(since.map(|since| Column::CreatedAt.gte(since)))
        .add_option(tenant.map(|tenant| Column::TenantId.eq(tenant)))
}

impl Database {
    /// The number of conversations of all owners in a class of the backlog.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn count_candidates(&self, backlog: TitleBacklog<'_>) -> Result<u64> {
        let select = active().filter(backlog.condition(self.now()));
        Ok(select.count(&self.reader).await?)
    }

    /// A page of the conversations of all owners in a class of the backlog, newest first, starting after `after`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_candidates(
        &self,
        backlog: TitleBacklog<'_>,
        after: Option<&Keyset>,
        limit: u64,
    ) -> Result<KeysetPage<Candidate>> {
        let mut select = active()
            .filter(backlog.condition(self.now()))
            .order_by_desc(Column::CreatedAt)
            .order_by_desc(Column::Id)
            .limit(limit);
        if let Some(Keyset { at, id }) = after {
            select = select.filter(behind(Column::CreatedAt, *at, ConversationId(*id)));
        }
        let order = (Column::CreatedAt, Column::Id);
        read_page(&self.reader, select, order, |row| Ok(Candidate::of(row))).await
    }

    /// Whether an untitled conversation has a live lease.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn is_any_leased(
        &self,
        since: Option<DateTime<Utc>>,
        tenant: Option<&str>,
    ) -> Result<bool> {
        let row: Option<i32> = active()
            .filter(untitled(since, tenant))
            .filter(Column::TitleLeaseUntil.gt(self.now()))
            .select_only()
            .expr(Expr::value(1))
            .into_tuple()
            .one(&self.reader)
            .await?;
        Ok(row.is_some())
    }

    /// The earliest end of the live title leases.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn next_lease_end(&self) -> Result<Option<DateTime<Utc>>> {
        let next: Option<Option<DateTime<Utc>>> = active()
            .filter(Column::TitleToken.is_not_null())
            .filter(Column::TitleLeaseUntil.gt(self.now()))
            .order_by_asc(Column::TitleLeaseUntil)
            .select_only()
            .column(Column::TitleLeaseUntil)
            .into_tuple()
            .one(&self.reader)
            .await?;
        Ok(next.flatten())
    }

    /// Claims a candidate's title. `None`: the candidate has left the backlog, for example because another process
    /// claimed it.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn claim_candidate(
        &self,
        candidate: &Candidate,
        backlog: TitleBacklog<'_>,
        lease: Duration,
    ) -> Result<Option<TitleClaim>> {
        let at = self.now();
        let rows = with_attempt(row_of(&candidate.owner, candidate.id), at + lease)
            .filter(backlog.condition(at))
            .exec_with_returning(&self.writer)
            .await?;
        Ok(rows.first().and_then(TitleClaim::of))
    }

    /// Renews a claim's lease. `None`: the claim is lost.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn renew_claim(
        &self,
        claim: &TitleClaim,
        lease: Duration,
    ) -> Result<Option<TitleClaim>> {
        let rows = row_of(&claim.owner, claim.id)
            .col_expr(Column::TitleLeaseUntil, Expr::val(self.now() + lease))
            .filter(Column::TitleToken.eq(claim.token))
            .exec_with_returning(&self.writer)
            .await?;
        Ok(rows.first().and_then(TitleClaim::of))
    }

    /// Marks an exhausted title as abandoned. `None`: the title is no longer exhausted.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn abandon_title(&self, exhausted: &Candidate) -> Result<Option<Conversation>> {
        let abandoned = self.transaction(|tx| async move {
            let at = self.now();
            let change = without_claim(change_of(&exhausted.owner, exhausted.id, at));
            let rows = with_failure(change, exhausted.has_title, TitleFailure::Abandoned)
                .filter(TitleBacklog::Exhausted.condition(at))
                .exec_with_returning(&tx)
                .await?;
            let abandoned = changed(settled_rows(&tx, rows).await?)?;
            Ok((tx, abandoned))
        });
        let abandoned = abandoned.await?;
        self.erase_dropped(abandoned.as_ref());
        Ok(abandoned)
    }
}

/// Adds a new claim to an update. The caller counts the attempt.
pub(super) fn with_claim(update: UpdateMany<Entity>, until: DateTime<Utc>) -> UpdateMany<Entity> {
    update
        .col_expr(Column::TitleToken, Expr::val(Uuid::new_v4()))
        .col_expr(Column::TitleLeaseUntil, Expr::val(until))
}

/// Adds a new claim to an update and counts the attempt.
pub(super) fn with_attempt(update: UpdateMany<Entity>, until: DateTime<Utc>) -> UpdateMany<Entity> {
    let attempts = Expr::col(Column::TitleAttempts).add(1);
    with_claim(update, until).col_expr(Column::TitleAttempts, attempts)
}

/// Clears the claim in an update, so that a result in flight is discarded. Also clears any next try.
pub(super) fn without_claim(update: UpdateMany<Entity>) -> UpdateMany<Entity> {
    without_wish(without_lease(update))
}

/// Like [`without_claim`], but a sweep generates a pending title from `due` on. `None`: no sweep does.
pub(super) fn with_due_title(
    update: UpdateMany<Entity>,
    due: Option<DateTime<Utc>>,
) -> UpdateMany<Entity> {
    without_wish(with_lease_end(update, due))
}

/// Clears the title's hint, its source and any next try in an update.
fn without_wish(update: UpdateMany<Entity>) -> UpdateMany<Entity> {
    let no_text: Option<String> = None;
    without_retry(update)
        .col_expr(Column::TitleHint, Expr::val(no_text.clone()))
        .col_expr(Column::TitleFrom, Expr::val(no_text))
}

/// Clears the claim in an update, but keeps the title's hint and source.
pub(super) fn without_lease(update: UpdateMany<Entity>) -> UpdateMany<Entity> {
    with_lease_end(update, None)
}

/// Clears the claim's token in an update. A pending title is overdue after `end`.
fn with_lease_end(update: UpdateMany<Entity>, end: Option<DateTime<Utc>>) -> UpdateMany<Entity> {
    let no_token: Option<Uuid> = None;
    update
        .col_expr(Column::TitleToken, Expr::val(no_token))
        .col_expr(Column::TitleLeaseUntil, Expr::val(end))
}

/// Clears the title's failure and its next try in an update.
pub(super) fn without_retry(update: UpdateMany<Entity>) -> UpdateMany<Entity> {
    let no_time: Option<DateTime<Utc>> = None;
    update
        .col_expr(Column::TitleRetryAt, Expr::val(no_time))
        .col_expr(Column::TitleTries, Expr::val(0))
        .col_expr(Column::TitleFailingSince, Expr::val(no_time))
}

/// Matches rows without a live claim.
pub(super) fn unclaimed(at: DateTime<Utc>) -> Expr {
    Column::TitleLeaseUntil
        .is_null()
        .or(Column::TitleLeaseUntil.lte(at))
}

/// Adds a title failure to an update; the caller ends the claim. An existing title stays, with the status `ready`.
pub(super) fn with_failure(
    update: UpdateMany<Entity>,
    has_title: bool,
    failure: TitleFailure,
) -> UpdateMany<Entity> {
    let status = match has_title {
        true => TitleStatus::Ready,
        false => TitleStatus::Failed,
    };
    update
        .col_expr(Column::TitleStatus, Expr::val(status))
        .col_expr(Column::TitleFailure, Expr::val(failure))
}
