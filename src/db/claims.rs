//! Claims: who makes a conversation's title, and until when.
//!
//! The row is the job. A claim is a token and a lease on the conversation's row, taken before the model
//! is asked and needed again to store what it said. A rename, a reset and a deletion clear the token, so
//! that whatever is still on its way is stored no more. Nobody gives a claim back after a crash: its
//! lease runs out, and the sweep of any process takes over.
//!
//! Every claim is one statement that says itself under which condition it may be taken: of several who
//! try, one gets it. None counts as a change of the conversation: nothing that a client sees is
//! different.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, ExprTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    UpdateMany, prelude::Uuid, sea_query::Expr,
};

use super::{
    Database, Found, Place,
    entity::conversation::{Column, Entity, Model},
    pages::read_page,
    scope::{active, behind, change_of, changed, row_of},
};
use crate::{
    conversation::{Conversation, ConversationId, Owner, TitleFailure, TitleStatus},
    error::Result,
};

/// How often the title of one conversation is begun, when whoever begins it dies every time.
const MAX_ATTEMPTS: i32 = 5;

/// The right to make the title of one conversation, until the lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TitleClaim {
    /// Whose conversation it is.
    pub owner: Owner,
    /// The conversation.
    pub id: ConversationId,
    /// When others may take over.
    pub until: DateTime<Utc>,
    /// What the person who asked for another title wants of it.
    pub hint: Option<String>,
    /// The title that there is, which stays when no other comes.
    pub previous: Option<String>,
    pub(super) token: Uuid,
}

impl TitleClaim {
    /// The claim that a row holds.
    pub(super) fn of(row: &Model) -> Option<Self> {
        Some(Self {
            owner: row.owner(),
            id: ConversationId(row.id),
            until: row.title_lease_until?,
            hint: row.title_hint.clone(),
            previous: row.display_name.clone(),
            token: row.title_token?,
        })
    }

    /// Whether the lease lasts for so long still, by the database's clock.
    pub fn lasts(&self, time: Duration, now: DateTime<Utc>) -> bool {
        self.until > now + time
    }
}

/// Which conversations wait for somebody to make their title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting<'a> {
    /// Those whose title was begun by somebody who has not finished it in time.
    Overdue,
    /// The same, of titles that were begun so often that they are to be given up.
    Hopeless,
    /// All that have no title and are not meant to stay without: from before there were titles, given
    /// up, overdue, or begun with a mere greeting.
    Untitled {
        /// Only what was begun since then.
        since: Option<DateTime<Utc>>,
        /// Only this tenant's.
        tenant: Option<&'a str>,
    },
    /// Those among them whose title was begun by somebody who has not finished it in time.
    Interrupted {
        /// Only what was begun since then.
        since: Option<DateTime<Utc>>,
        /// Only this tenant's.
        tenant: Option<&'a str>,
    },
}

/// A conversation that waits for its title.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Whose it is.
    pub owner: Owner,
    /// The conversation.
    pub id: ConversationId,
    /// Whether it has a title, which stays when no other comes.
    has_title: bool,
}

impl Waiting<'_> {
    fn condition(self, at: DateTime<Utc>) -> Condition {
        let overdue = Column::TitleLeaseUntil.lte(at);
        let is_pending = Column::TitleStatus.eq(TitleStatus::Pending.as_str());
        let open = Condition::all().add(Column::TitleAttempts.lt(MAX_ATTEMPTS));
        match self {
            Self::Overdue => open.add(is_pending).add(overdue),
            Self::Hopeless => Condition::all()
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
    let statuses = [TitleStatus::Pending, TitleStatus::Failed].map(TitleStatus::as_str);
    Condition::all()
        .add(Column::DisplayName.is_null())
        .add(Column::TitleStatus.is_in(statuses))
        .add_option(since.map(|since| Column::CreatedAt.gte(since)))
        .add_option(tenant.map(|tenant| Column::TenantId.eq(tenant)))
}

impl Database {
    /// How many conversations of all owners wait.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn count_waiting(&self, waiting: Waiting<'_>) -> Result<u64> {
        let select = active().filter(waiting.condition(self.now()));
        Ok(select.count(&self.reader).await?)
    }

    /// A page of the conversations of all owners that wait, newest first, behind the last of the page
    /// before.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn find_waiting(
        &self,
        waiting: Waiting<'_>,
        after: Option<&Place>,
        limit: u64,
    ) -> Result<Found<Candidate>> {
        let mut select = active()
            .filter(waiting.condition(self.now()))
            .order_by_desc(Column::CreatedAt)
            .order_by_desc(Column::Id)
            .limit(limit);
        if let Some(Place { at, id }) = after {
            select = select.filter(behind(Column::CreatedAt, *at, ConversationId(*id)));
        }
        let order = (Column::CreatedAt, Column::Id);
        let candidate = |row: Model| {
            Ok(Candidate {
                owner: row.owner(),
                id: ConversationId(row.id),
                has_title: row.display_name.is_some(),
            })
        };
        read_page(&self.reader, select, order, candidate).await
    }

    /// Whether somebody is making a title that is missing.
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

    /// When the first lease ends of titles that are being made.
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

    /// Takes the claim of a conversation that was found to wait. `None`: somebody else did, or it waits
    /// no more.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn claim_waiting(
        &self,
        candidate: &Candidate,
        waiting: Waiting<'_>,
        lease: Duration,
    ) -> Result<Option<TitleClaim>> {
        let at = self.now();
        let rows = another_attempt(row_of(&candidate.owner, candidate.id), at + lease)
            .filter(waiting.condition(at))
            .exec_with_returning(&self.writer)
            .await?;
        Ok(rows.first().and_then(TitleClaim::of))
    }

    /// Makes a claim last longer. `None`: it is lost.
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

    /// Gives a claim back, as if it had never been taken: there is nothing to make a title from.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn release_claim(&self, claim: &TitleClaim) -> Result<()> {
        without_claim(row_of(&claim.owner, claim.id))
            .col_expr(Column::TitleAttempts, Expr::val(0))
            .filter(Column::TitleToken.eq(claim.token))
            .exec(&self.writer)
            .await?;
        Ok(())
    }

    /// Gives up a title that was found to be hopeless. `None`: it is so no more.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn abandon_title(&self, hopeless: &Candidate) -> Result<Option<Conversation>> {
        let at = self.now();
        let change = change_of(&hopeless.owner, hopeless.id, at);
        let rows = given_up(change, hopeless.has_title, TitleFailure::Abandoned)
            .filter(Waiting::Hopeless.condition(at))
            .exec_with_returning(&self.writer)
            .await?;
        changed(rows)
    }
}

/// Puts a new claim into an update. Counting the attempt is the caller's.
pub(super) fn claiming(update: UpdateMany<Entity>, until: DateTime<Utc>) -> UpdateMany<Entity> {
    update
        .col_expr(Column::TitleToken, Expr::val(Uuid::new_v4()))
        .col_expr(Column::TitleLeaseUntil, Expr::val(until))
}

/// One more attempt at a title.
pub(super) fn another_attempt(
    update: UpdateMany<Entity>,
    until: DateTime<Utc>,
) -> UpdateMany<Entity> {
    let attempts = Expr::col(Column::TitleAttempts).add(1);
    claiming(update, until).col_expr(Column::TitleAttempts, attempts)
}

/// Ends whatever claim there is: nothing that is still on its way will be stored.
pub(super) fn without_claim(update: UpdateMany<Entity>) -> UpdateMany<Entity> {
    let (no_token, no_time, no_text): (Option<Uuid>, Option<DateTime<Utc>>, Option<String>) =
        (None, None, None);
    update
        .col_expr(Column::TitleToken, Expr::val(no_token))
        .col_expr(Column::TitleLeaseUntil, Expr::val(no_time))
        .col_expr(Column::TitleHint, Expr::val(no_text))
}

/// Notes that no title came. One that is there stays, and the conversation is as ready as it was.
pub(super) fn given_up(
    update: UpdateMany<Entity>,
    has_title: bool,
    failure: TitleFailure,
) -> UpdateMany<Entity> {
    let status = match has_title {
        true => TitleStatus::Ready,
        false => TitleStatus::Failed,
    };
    without_claim(update)
        .col_expr(Column::TitleStatus, Expr::val(status.as_str()))
        .col_expr(Column::TitleFailure, Expr::val(failure.as_str()))
}
