//! Title writes: the fenced store, failure, rename, restore, regeneration, refresh and reset.
//!
//! Each is one conditional update of the conversation's row (compare-and-set). An update that loses the race changes no
//! row and returns `None`. No update touches `last_message_at`, by which lists are sorted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, UpdateMany, sea_query::Expr,
};

use super::{
    Act, Database, TitleCall, TitleClaim,
    claims::{unclaimed, with_claim, with_failure, without_claim, without_lease, without_retry},
    entity::conversation::{Column, Entity, Model},
    fault::is_of_row,
    guarded::Transaction,
    retention::settled_rows,
    scope::{change_of, changed, conversations_of, row_of},
    search,
    title_calls::{self, NO_TENANT},
    title_retries::{Retry, with_retry},
};
use crate::{
    conversation::{
        Conversation, ConversationId, Owner, Title, TitleFailure, TitleFrom, TitleSource,
        TitleStatus,
    },
    error::{Error, Result},
};

/// Stores the cost of a claim's calls. `is_found`: the conversation is known to exist. If it was erased while the model
/// was writing, the calls are stored without tenant and conversation, so that nothing leads back to the erased data.
async fn store_calls(
    tx: &Transaction,
    claim: &TitleClaim,
    is_found: bool,
    calls: &[TitleCall],
    at: DateTime<Utc>,
) -> Result<()> {
    if calls.is_empty() {
        return Ok(());
    }
    let is_there = is_found || Entity::find_by_id(claim.id).one(tx).await?.is_some();
    let (tenant, conversation) = match is_there {
        true => (claim.owner.tenant.as_str(), Some(claim.id)),
        false => (NO_TENANT, None),
    };
    title_calls::insert(tx, tenant, conversation, calls, at).await
}

/// The outcome of a request for a new title.
#[derive(Clone, Debug)]
pub enum TitleRequestOutcome {
    /// The caller holds the claim and must generate the title.
    Claimed(Conversation, TitleClaim),
    /// The title waits for a message with enough content.
    Deferred(Conversation),
    /// Nothing to do: a live claim exists, or the conversation is already in the requested state.
    Unchanged(Conversation),
}

/// A user's wishes for a new title.
#[derive(Clone, Copy, Debug, Default)]
pub struct TitleWish<'a> {
    /// The user's instruction for the title.
    pub hint: Option<&'a str>,
    /// Whether a locked title may be replaced.
    pub replace_manual: bool,
    /// What the title is generated from.
    pub from: TitleFrom,
}

/// How often a title is refreshed.
#[derive(Clone, Copy, Debug)]
pub struct RefreshLimits {
    /// The maximum number of refreshes of a conversation.
    pub most: i32,
    /// The minimum time between two refreshes.
    pub pause: Duration,
}

/// The outcome of a claim.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    Title(&'a Title),
    Failure(TitleFailure, Option<Retry>),
}

impl Outcome<'_> {
    /// The update that stores the outcome while the claim is held.
    fn update(self, claim: &TitleClaim, at: DateTime<Utc>) -> UpdateMany<Entity> {
        let row = fenced(claim, at);
        match self {
            Self::Title(title) => {
                with_generated(row, title, claim).col_expr(Column::TitleGeneratedAt, Expr::val(at))
            }
            Self::Failure(failure, retry) => {
                let row = with_failure(row, claim.previous.is_some(), failure);
                let row = match retry {
                    Some(retry) => with_retry(without_lease(row), claim, retry, at),
                    None => without_claim(row),
                };
                row.col_expr(Column::TitleAttempts, Expr::val(0))
                    .filter(Column::TitleLeaseUntil.gt(at))
            }
        }
    }
}

impl Database {
    /// Stores a generated title and the cost of its calls.
    ///
    /// `None`: the claim is lost to a rename, a deletion or another process. Only the calls are stored then.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn store_generated_title(
        &self,
        claim: &TitleClaim,
        title: &Title,
        calls: &[TitleCall],
    ) -> Result<Option<Conversation>> {
        self.store_outcome(claim, Outcome::Title(title), calls)
            .await
    }

    /// Stores a title failure, its next try (`None`: there is none), and the cost of its calls.
    ///
    /// `None`: the claim is lost or its lease has expired. Only the calls are stored then. A process that outlives its
    /// lease was suspended, so its timeout is no evidence against the model; another process tries again.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn store_title_failure(
        &self,
        claim: &TitleClaim,
        failure: TitleFailure,
        retry: Option<Retry>,
        calls: &[TitleCall],
    ) -> Result<Option<Conversation>> {
        self.store_outcome(claim, Outcome::Failure(failure, retry), calls)
            .await
    }

    /// Stores the outcome of a claim and the cost of its calls. If the database rejects a row, retries without the
    /// calls and the search index, because an outcome that is not stored is generated and paid for again.
    async fn store_outcome(
        &self,
        claim: &TitleClaim,
        outcome: Outcome<'_>,
        calls: &[TitleCall],
    ) -> Result<Option<Conversation>> {
        match self.try_store_outcome(claim, outcome, Some(calls)).await {
            Err(error) if is_of_row(&error) => {
                error.log();
                self.try_store_outcome(claim, outcome, None).await
            }
            stored => stored,
        }
    }

    async fn try_store_outcome(
        &self,
        claim: &TitleClaim,
        outcome: Outcome<'_>,
        calls: Option<&[TitleCall]>,
    ) -> Result<Option<Conversation>> {
        let stored = self.transaction(|tx| async move {
            let at = self.now();
            let rows = outcome.update(claim, at).exec_with_returning(&tx).await?;
            let is_found = !rows.is_empty();
            let rows = settled_rows(&tx, rows).await?;
            if let Some(calls) = calls {
                store_calls(&tx, claim, is_found, calls, at).await?;
            }
            let conversation = match (outcome, calls) {
                (Outcome::Title(_), Some(_)) => reindexed(&tx, rows).await?,
                _ => changed(rows)?,
            };
            Ok((tx, conversation))
        });
        let stored = stored.await?;
        self.erase_dropped(stored.as_ref());
        Ok(stored)
    }

    /// Releases a claim and resets its attempts: there is nothing to title, or the current title stays. Stores the cost
    /// of the calls.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn release_claim(&self, claim: &TitleClaim, calls: &[TitleCall]) -> Result<()> {
        self.transaction(|tx| async move {
            let released = without_claim(row_of(&claim.owner, claim.id))
                .col_expr(Column::TitleAttempts, Expr::val(0))
                .filter(Column::TitleToken.eq(claim.token))
                .exec(&tx)
                .await?;
            let is_found = released.rows_affected > 0;
            store_calls(&tx, claim, is_found, calls, self.now()).await?;
            Ok((tx, ()))
        })
        .await
    }

    /// Stores a manual title, which replaces any other. Keeps the generation time of a replaced title. `actor`: the
    /// user who set it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner does not have the conversation; [`Error::Database`].
    pub async fn rename(
        &self,
        owner: &Owner,
        id: ConversationId,
        title: &Title,
        actor: &str,
    ) -> Result<Conversation> {
        let renamed = self.transaction(|tx| async move {
            let change = change_of(owner, id, self.now());
            let change = without_former(with_title(change, title, TitleSource::Manual), false);
            let rows = settled_rows(&tx, change.exec_with_returning(&tx).await?);
            let renamed = reindexed(&tx, rows.await?).await?;
            if renamed.is_some() {
                self.record_act(&tx, (owner, actor), Act::Renamed, id)
                    .await?;
            }
            Ok((tx, renamed))
        });
        let renamed = renamed.await?.ok_or_else(Error::no_conversation)?;
        self.schedule_erasure();
        Ok(renamed)
    }

    /// Restores the former title and locks it. Idempotent: returns the conversation unchanged if its title was already
    /// restored.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if there is no former title; [`Error::NotFound`] if the owner does not have the
    /// conversation; [`Error::Database`].
    pub async fn restore_title(
        &self,
        owner: &Owner,
        id: ConversationId,
        actor: &str,
    ) -> Result<Conversation> {
        let restored = self.transaction(|tx| async move {
            let no_failure: Option<String> = None;
            let source = Expr::case(
                Column::PreviousTitleSource.eq(TitleSource::Manual),
                TitleSource::Manual,
            );
            let change = without_claim(change_of(owner, id, self.now()))
                .col_expr(Column::DisplayName, Expr::col(Column::PreviousTitle))
                .col_expr(
                    Column::TitleSource,
                    source.finally(TitleSource::Generated).into(),
                )
                .col_expr(Column::TitleStatus, Expr::val(TitleStatus::Ready))
                .col_expr(Column::TitleFailure, Expr::val(no_failure))
                .filter(Column::PreviousTitle.is_not_null());
            let change = without_former(change, true);
            let restored = reindexed(&tx, change.exec_with_returning(&tx).await?).await?;
            if restored.is_some() {
                self.record_act(&tx, (owner, actor), Act::TitleRestored, id)
                    .await?;
            }
            Ok((tx, restored))
        });
        if let Some(restored) = restored.await? {
            self.schedule_erasure();
            return Ok(restored);
        }
        let row = conversations_of(owner).filter(Column::Id.eq(id));
        let row = row.one(&self.reader).await?;
        let row = row.ok_or_else(Error::no_conversation)?;
        // Only a restore sets this flag: a manual title is locked without it.
        match row.title_locked {
            true => row.try_into(),
            false => Err(Error::invalid_field(
                "id",
                "the conversation has no former title",
            )),
        }
    }

    /// Claims the regeneration of a title. The current title stays until the new one is stored.
    ///
    /// A locked title is replaced only with `replace_manual`. A refresh in progress is superseded.
    ///
    /// # Errors
    /// [`Error::ManualTitle`]; [`Error::NotFound`] if the owner does not have the conversation;
    /// [`Error::Database`].
    pub async fn begin_regeneration(
        &self,
        owner: &Owner,
        id: ConversationId,
        wish: TitleWish<'_>,
        lease: Duration,
    ) -> Result<TitleRequestOutcome> {
        let at = self.now();
        let unlocked = Column::TitleSource
            .ne(TitleSource::Manual)
            .and(Column::TitleLocked.eq(false));
        let rows = begin(change_of(owner, id, at), wish, Some(at + lease))
            .filter(unclaimed(at).or(Column::TitleFrom.eq(TitleFrom::Drift)))
            .filter(Condition::all().add_option((!wish.replace_manual).then_some(unlocked)))
            .exec_with_returning(&self.writer)
            .await?;
        if let Some(row) = rows.into_iter().next()
            && let Some(claim) = TitleClaim::of(&row)
        {
            return Ok(TitleRequestOutcome::Claimed(row.try_into()?, claim));
        }
        let conversation = self.conversation(owner, id).await?;
        if conversation.title_locked && !wish.replace_manual {
            return Err(Error::ManualTitle);
        }
        Ok(TitleRequestOutcome::Unchanged(conversation))
    }

    /// Claims a refresh of a generated, unlocked title, and counts it. `None`: the limits, a lock or another claim
    /// prevent it.
    ///
    /// The title stays `ready`, so clients do not see the claim, and no process takes it over if this one dies.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn begin_refresh(
        &self,
        owner: &Owner,
        id: ConversationId,
        limits: RefreshLimits,
        lease: Duration,
    ) -> Result<Option<TitleClaim>> {
        let at = self.now();
        let refreshes = Expr::col(Column::TitleRefreshes).add(1);
        let is_rested = Column::TitleRefreshedAt
            .is_null()
            .or(Column::TitleRefreshedAt.lte(at - limits.pause));
        let rows = with_claim(row_of(owner, id), at + lease)
            .col_expr(Column::TitleFrom, Expr::val(TitleFrom::Drift))
            .col_expr(Column::TitleRefreshes, refreshes)
            .col_expr(Column::TitleRefreshedAt, Expr::val(at))
            .filter(Column::TitleSource.eq(TitleSource::Generated))
            .filter(Column::TitleStatus.eq(TitleStatus::Ready))
            .filter(Column::TitleLocked.eq(false))
            .filter(Column::TitleRetryAt.is_null())
            .filter(Column::TitleRefreshes.lt(limits.most))
            .filter(is_rested)
            .filter(unclaimed(at))
            .exec_with_returning(&self.writer)
            .await?;
        Ok(rows.first().and_then(TitleClaim::of))
    }

    /// Clears a locked or skipped title, and claims the generation of a new one.
    ///
    /// Without a lease, claims nothing: the title waits for a message with enough content. A generated title that is
    /// not locked stays.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the owner does not have the conversation; [`Error::Database`].
    pub async fn reset_title(
        &self,
        owner: &Owner,
        id: ConversationId,
        lease: Option<Duration>,
        actor: &str,
    ) -> Result<TitleRequestOutcome> {
        let reset = self.transaction(|tx| async move {
            let at = self.now();
            let no_text: Option<String> = None;
            let no_time: Option<DateTime<Utc>> = None;
            let change = without_former(change_of(owner, id, at), false)
                .col_expr(Column::DisplayName, Expr::val(no_text))
                .col_expr(Column::TitleGeneratedAt, Expr::val(no_time))
                .col_expr(Column::TitleSource, Expr::val(TitleSource::Hint));
            let has_none = Column::TitleSource.eq(TitleSource::Hint);
            let rows = begin(change, TitleWish::default(), lease.map(|lease| at + lease))
                .filter(
                    Condition::any()
                        .add(Column::TitleSource.eq(TitleSource::Manual))
                        .add(Column::TitleLocked.eq(true))
                        .add(has_none.and(unclaimed(at))),
                )
                .exec_with_returning(&tx)
                .await?;
            let claim = rows.first().and_then(TitleClaim::of);
            let conversation = reindexed(&tx, rows).await?;
            if conversation.is_some() {
                self.record_act(&tx, (owner, actor), Act::TitleReset, id)
                    .await?;
            }
            Ok((tx, (conversation, claim)))
        });
        Ok(match reset.await? {
            (Some(conversation), Some(claim)) => TitleRequestOutcome::Claimed(conversation, claim),
            (Some(conversation), None) => TitleRequestOutcome::Deferred(conversation),
            (None, _) => TitleRequestOutcome::Unchanged(self.conversation(owner, id).await?),
        })
    }
}

/// An update that applies only while the row stores the claim's token.
fn fenced(claim: &TitleClaim, at: DateTime<Utc>) -> UpdateMany<Entity> {
    let change = change_of(&claim.owner, claim.id, at);
    // Removes the fence, to prove that the chaos test detects a missing one.
    fail::fail_point!("titles.unfenced", |_| change.clone());
    let held = Column::TitleToken.eq(claim.token);
    let first = claim
        .previous
        .is_none()
        .then(|| Column::DisplayName.is_null());
    change.filter(Condition::all().add(held).add_option(first))
}

/// Adds a pending title to an update, claimed if `until` is given. Clears the outcome of earlier attempts.
fn begin(
    update: UpdateMany<Entity>,
    wish: TitleWish<'_>,
    until: Option<DateTime<Utc>>,
) -> UpdateMany<Entity> {
    let no_failure: Option<String> = None;
    let update = match until {
        Some(until) => with_claim(without_retry(update), until)
            .col_expr(Column::TitleHint, Expr::val(wish.hint))
            .col_expr(Column::TitleFrom, Expr::val(wish.from)),
        None => without_claim(update),
    };
    update
        .col_expr(Column::TitleAttempts, Expr::val(i32::from(until.is_some())))
        .col_expr(Column::TitleStatus, Expr::val(TitleStatus::Pending))
        .col_expr(Column::TitleFailure, Expr::val(no_failure))
}

/// Adds a generated title to an update under a claim. The replaced title becomes the former title.
fn with_generated(
    update: UpdateMany<Entity>,
    title: &Title,
    claim: &TitleClaim,
) -> UpdateMany<Entity> {
    let mut update = with_title(update, title, TitleSource::Generated)
        .col_expr(Column::TitleLocked, Expr::val(false));
    if let Some(former) = claim.previous.as_deref()
        && former != title.as_str()
    {
        update = update
            .col_expr(Column::PreviousTitle, Expr::val(former))
            .col_expr(Column::PreviousTitleSource, Expr::col(Column::TitleSource));
    }
    match claim.from {
        TitleFrom::Drift => update
            .filter(Column::TitleSource.eq(TitleSource::Generated))
            .filter(Column::TitleLocked.eq(false)),
        TitleFrom::FirstMessage | TitleFrom::Conversation => update,
    }
}

/// Clears the former title in an update, and sets the lock.
pub(super) fn without_former(update: UpdateMany<Entity>, is_locked: bool) -> UpdateMany<Entity> {
    let no_text: Option<String> = None;
    update
        .col_expr(Column::PreviousTitle, Expr::val(no_text.clone()))
        .col_expr(Column::PreviousTitleSource, Expr::val(no_text))
        .col_expr(Column::TitleLocked, Expr::val(is_locked))
}

fn with_title(
    update: UpdateMany<Entity>,
    title: &Title,
    source: TitleSource,
) -> UpdateMany<Entity> {
    let no_failure: Option<String> = None;
    without_claim(update)
        .col_expr(Column::DisplayName, Expr::val(title.as_str()))
        .col_expr(Column::TitleSource, Expr::val(source))
        .col_expr(Column::TitleStatus, Expr::val(TitleStatus::Ready))
        .col_expr(Column::TitleFailure, Expr::val(no_failure))
}

/// Updates the title in the search index. Returns the conversation of the updated row; `None` if no row was updated.
async fn reindexed(tx: &Transaction, rows: Vec<Model>) -> Result<Option<Conversation>> {
    let conversation = changed(rows)?;
    if let Some(conversation) = &conversation {
        search::index::index_title(tx, conversation).await?;
    }
    Ok(conversation)
}
