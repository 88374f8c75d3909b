//! Title writes: the fenced store, the failure, the rename, the regeneration, the reset.
//!
//! Each is one conditional update of the conversation's row (compare-and-set). An update that loses the race changes no
//! row and returns `None`. No update touches `last_message_at`, by which lists are sorted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, UpdateMany, prelude::Uuid,
    sea_query::Expr,
};

use super::{
    Database, TitleCall, TitleClaim,
    claims::{with_claim, with_failure, without_claim},
    entity::conversation::{Column, Entity, Model},
    fault::is_of_row,
    guarded::Transaction,
    scope::{change_of, changed},
    search, title_calls,
};
use crate::{
    conversation::{
        Conversation, ConversationId, Owner, Title, TitleFailure, TitleSource, TitleStatus,
    },
    error::{Error, Result},
};

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

/// The outcome of a claim.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    Title(&'a Title),
    Failure(TitleFailure),
    /// The claim is released for this time.
    Deferral(Duration),
}

impl Outcome<'_> {
    /// The update that stores the outcome while the claim is held.
    fn update(self, claim: &TitleClaim, at: DateTime<Utc>) -> UpdateMany<Entity> {
        let row = fenced(claim, at);
        match self {
            Self::Title(title) => with_title(row, title, TitleSource::Generated)
                .col_expr(Column::TitleGeneratedAt, Expr::val(at)),
            Self::Failure(failure) => with_failure(row, claim.previous.is_some(), failure)
                .filter(Column::TitleLeaseUntil.gt(at)),
            Self::Deferral(time) => {
                let (no_token, no_failure): (Option<Uuid>, Option<String>) = (None, None);
                row.col_expr(Column::TitleToken, Expr::val(no_token))
                    .col_expr(Column::TitleLeaseUntil, Expr::val(at + time))
                    .col_expr(Column::TitleAttempts, Expr::val(0))
                    .col_expr(Column::TitleStatus, Expr::val(TitleStatus::Pending))
                    .col_expr(Column::TitleFailure, Expr::val(no_failure))
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

    /// Stores a title failure and the cost of its calls.
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
        calls: &[TitleCall],
    ) -> Result<Option<Conversation>> {
        self.store_outcome(claim, Outcome::Failure(failure), calls)
            .await
    }

    /// Releases a claim for `time`, until the provider accepts calls again, and stores the cost of the calls.
    ///
    /// Resets the attempts. The row stores the deferral as a lease without a token. `None`: the claim is lost, and only
    /// the calls are stored.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn defer_title(
        &self,
        claim: &TitleClaim,
        time: Duration,
        calls: &[TitleCall],
    ) -> Result<Option<Conversation>> {
        self.store_outcome(claim, Outcome::Deferral(time), calls)
            .await
    }

    /// Stores the outcome of a claim and the cost of its calls. If a row fails, retries without the calls and the
    /// search index, because an outcome that is not stored is generated and paid for again.
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
        self.transaction(|tx| async move {
            let at = self.now();
            if let Some(calls) = calls {
                title_calls::insert(&tx, &claim.owner.tenant, Some(claim.id), calls, at).await?;
            }
            let rows = outcome.update(claim, at).exec_with_returning(&tx).await?;
            let conversation = match (outcome, calls) {
                (Outcome::Title(_), Some(_)) => reindexed(&tx, rows).await?,
                _ => changed(rows)?,
            };
            Ok((tx, conversation))
        })
        .await
    }

    /// Ends the deferral of all titles that wait for the provider, for all owners.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn wake_deferred_titles(&self) -> Result<()> {
        let at = self.now();
        Entity::update_many()
            .col_expr(Column::TitleLeaseUntil, Expr::val(at))
            .filter(Column::TitleToken.is_null())
            .filter(Column::TitleLeaseUntil.gt(at))
            .exec(&self.writer)
            .await?;
        Ok(())
    }

    /// Stores a manual title, which replaces any other. Keeps the generation time of a replaced title.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have the conversation; [`Error::Database`].
    pub async fn rename(
        &self,
        owner: &Owner,
        id: ConversationId,
        title: &Title,
    ) -> Result<Conversation> {
        let renamed = self.transaction(|tx| async move {
            let change = change_of(owner, id, self.now());
            let rows = with_title(change, title, TitleSource::Manual).exec_with_returning(&tx);
            let renamed = reindexed(&tx, rows.await?).await?;
            Ok((tx, renamed))
        });
        let renamed = renamed.await?.ok_or_else(Error::no_conversation)?;
        self.schedule_erasure();
        Ok(renamed)
    }

    /// Claims the regeneration of a title. The current title stays until the new one is stored.
    ///
    /// A manual title is replaced only with `replace_manual`.
    ///
    /// # Errors
    /// [`Error::ManualTitle`]; [`Error::NotFound`] when the owner does not have the conversation;
    /// [`Error::Database`].
    pub async fn begin_regeneration(
        &self,
        owner: &Owner,
        id: ConversationId,
        hint: Option<&str>,
        replace_manual: bool,
        lease: Duration,
    ) -> Result<TitleRequestOutcome> {
        let at = self.now();
        let not_manual = Column::TitleSource.ne(TitleSource::Manual);
        let rows = begin(change_of(owner, id, at), hint, Some(at + lease))
            .filter(unclaimed(at))
            .filter(Condition::all().add_option((!replace_manual).then_some(not_manual)))
            .exec_with_returning(&self.writer)
            .await?;
        if let Some(row) = rows.into_iter().next()
            && let Some(claim) = TitleClaim::of(&row)
        {
            return Ok(TitleRequestOutcome::Claimed(row.try_into()?, claim));
        }
        let conversation = self.conversation(owner, id).await?;
        if conversation.title_source == TitleSource::Manual && !replace_manual {
            return Err(Error::ManualTitle);
        }
        Ok(TitleRequestOutcome::Unchanged(conversation))
    }

    /// Clears a manual or skipped title, and claims the generation of a new one.
    ///
    /// Without a lease nothing is claimed, and the title waits for a message with enough content. A generated title
    /// stays.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have the conversation; [`Error::Database`].
    pub async fn reset_title(
        &self,
        owner: &Owner,
        id: ConversationId,
        lease: Option<Duration>,
    ) -> Result<TitleRequestOutcome> {
        let reset = self.transaction(|tx| async move {
            let at = self.now();
            let no_text: Option<String> = None;
            let no_time: Option<DateTime<Utc>> = None;
            let change = change_of(owner, id, at)
                .col_expr(Column::DisplayName, Expr::val(no_text))
                .col_expr(Column::TitleGeneratedAt, Expr::val(no_time))
                .col_expr(Column::TitleSource, Expr::val(TitleSource::Hint));
            let has_none = Column::TitleSource.eq(TitleSource::Hint);
            let rows = begin(change, None, lease.map(|lease| at + lease))
                .filter(
                    Condition::any()
                        .add(Column::TitleSource.eq(TitleSource::Manual))
                        .add(has_none.and(unclaimed(at))),
                )
                .exec_with_returning(&tx)
                .await?;
            let claim = rows.first().and_then(TitleClaim::of);
            let conversation = reindexed(&tx, rows).await?;
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

fn unclaimed(at: DateTime<Utc>) -> Expr {
    Column::TitleLeaseUntil
        .is_null()
        .or(Column::TitleLeaseUntil.lte(at))
}

/// Adds a pending title to an update, claimed if `until` is given. Clears the outcome of earlier attempts.
fn begin(
    update: UpdateMany<Entity>,
    hint: Option<&str>,
    until: Option<DateTime<Utc>>,
) -> UpdateMany<Entity> {
    let no_failure: Option<String> = None;
    let update = match until {
        Some(until) => with_claim(update, until).col_expr(Column::TitleHint, Expr::val(hint)),
        None => without_claim(update),
    };
    update
        .col_expr(Column::TitleAttempts, Expr::val(i32::from(until.is_some())))
        .col_expr(Column::TitleStatus, Expr::val(TitleStatus::Pending))
        .col_expr(Column::TitleFailure, Expr::val(no_failure))
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

/// The row returned by an update of a title, which is updated in the search index too.
async fn reindexed(tx: &Transaction, rows: Vec<Model>) -> Result<Option<Conversation>> {
    let conversation = changed(rows)?;
    if let Some(conversation) = &conversation {
        search::index::index_title(tx, conversation).await?;
    }
    Ok(conversation)
}
