//! Titles: the fenced write, the rename, the way back, the failure.
//!
//! Each is one statement on the conversation's row that says itself under which condition it may
//! happen; who comes second changes no row and is told so by `None`. None touches
//! `last_message_at`, by which lists are sorted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, UpdateMany, prelude::Uuid,
    sea_query::Expr,
};

use super::{
    Database, TitleCall, TitleClaim,
    claims::{claiming, given_up, without_claim},
    commit,
    entity::conversation::{Column, Entity},
    fault::is_of_row,
    guarded::{Transaction, transact},
    scope::{change_of, changed},
    search, title_calls,
};
use crate::{
    conversation::{
        Conversation, ConversationId, Owner, Title, TitleFailure, TitleSource, TitleStatus,
    },
    error::{Error, Result},
};

/// What became of the wish for another title.
#[derive(Clone, Debug)]
pub enum Begun {
    /// It is the caller's to make.
    Claimed(Conversation, TitleClaim),
    /// It waits for a message that says something.
    Deferred(Conversation),
    /// There is nothing to do: somebody makes one already, or the conversation has what was wished for.
    Unchanged(Conversation),
}

impl Database {
    /// Stores a generated title and what its calls cost. `None`: the claim is lost to a rename, a
    /// deletion or another process, and only the calls were stored.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn store_generated_title(
        &self,
        claim: &TitleClaim,
        title: &Title,
        calls: &[TitleCall],
    ) -> Result<Option<Conversation>> {
        less_if_refused(calls, |calls| async move {
            let tx = self.begin().await?;
            let at = self.now();
            store_calls(&tx, claim, calls, at).await?;
            let rows = with_title(fenced(claim, at), title, TitleSource::Generated)
                .col_expr(Column::TitleGeneratedAt, Expr::val(at))
                .exec_with_returning(&tx)
                .await?;
            finish(tx, changed(rows)?, calls.is_some()).await
        })
        .await
    }

    /// Stores why no title came and what its calls cost. `None`: the claim is lost, or its lease has run
    /// out, and only the calls were stored. Whoever outlives the lease was stopped for a while, so that its
    /// deadline says nothing of the model: others try again.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn store_title_failure(
        &self,
        claim: &TitleClaim,
        failure: TitleFailure,
        calls: &[TitleCall],
    ) -> Result<Option<Conversation>> {
        less_if_refused(calls, |calls| async move {
            let tx = self.begin().await?;
            let at = self.now();
            store_calls(&tx, claim, calls, at).await?;
            let rows = given_up(fenced(claim, at), claim.previous.is_some(), failure)
                .filter(Column::TitleLeaseUntil.gt(at))
                .exec_with_returning(&tx)
                .await?;
            commit(tx).await?;
            changed(rows)
        })
        .await
    }

    /// Gives a claim back until the provider may be asked again, and stores what calls cost. No attempt is counted. The
    /// row says by a lease without a token that it waits. `None`: the claim is lost, and only the calls were stored.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn defer_title(
        &self,
        claim: &TitleClaim,
        time: Duration,
        calls: &[TitleCall],
    ) -> Result<Option<Conversation>> {
        less_if_refused(calls, |calls| async move {
            let (no_token, no_failure): (Option<Uuid>, Option<String>) = (None, None);
            let tx = self.begin().await?;
            let at = self.now();
            store_calls(&tx, claim, calls, at).await?;
            let rows = fenced(claim, at)
                .col_expr(Column::TitleToken, Expr::val(no_token))
                .col_expr(Column::TitleLeaseUntil, Expr::val(at + time))
                .col_expr(Column::TitleAttempts, Expr::val(0))
                .col_expr(
                    Column::TitleStatus,
                    Expr::val(TitleStatus::Pending.as_str()),
                )
                .col_expr(Column::TitleFailure, Expr::val(no_failure))
                .exec_with_returning(&tx)
                .await?;
            commit(tx).await?;
            changed(rows)
        })
        .await
    }

    /// Makes the titles of all owners due that wait for the provider.
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

    /// Stores the title that a person gave, over whatever is there. The time of a generated title
    /// that it replaces stays.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have the conversation; [`Error::Database`].
    pub async fn rename(
        &self,
        owner: &Owner,
        id: ConversationId,
        title: &Title,
    ) -> Result<Conversation> {
        let renamed = transact(|| async {
            let tx = self.begin().await?;
            let rows = with_title(change_of(owner, id, self.now()), title, TitleSource::Manual)
                .exec_with_returning(&tx)
                .await?;
            finish(tx, changed(rows)?, true).await
        });
        let renamed = renamed.await?.ok_or_else(Error::no_conversation)?;
        self.text_went();
        Ok(renamed)
    }

    /// Takes the claim for another title. What is there stays until it comes. A manual title is replaced
    /// only with `replace_manual`.
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
    ) -> Result<Begun> {
        let at = self.now();
        let not_manual = Column::TitleSource.ne(TitleSource::Manual.as_str());
        let rows = begin(change_of(owner, id, at), hint, Some(at + lease))
            .filter(unclaimed(at))
            .filter(Condition::all().add_option((!replace_manual).then_some(not_manual)))
            .exec_with_returning(&self.writer)
            .await?;
        if let Some(row) = rows.into_iter().next()
            && let Some(claim) = TitleClaim::of(&row)
        {
            return Ok(Begun::Claimed(row.try_into()?, claim));
        }
        let conversation = self.conversation(owner, id).await?;
        if conversation.title_source == TitleSource::Manual && !replace_manual {
            return Err(Error::ManualTitle);
        }
        Ok(Begun::Unchanged(conversation))
    }

    /// Drops a manual title, or the decision to have none, and takes the claim for a generated one.
    /// Without a lease nothing is claimed: the title waits for a message that says something. A
    /// generated title stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the owner does not have the conversation; [`Error::Database`].
    pub async fn reset_title(
        &self,
        owner: &Owner,
        id: ConversationId,
        lease: Option<Duration>,
    ) -> Result<Begun> {
        transact(|| async {
            let tx = self.begin().await?;
            let at = self.now();
            let no_text: Option<String> = None;
            let no_time: Option<DateTime<Utc>> = None;
            let change = change_of(owner, id, at)
                .col_expr(Column::DisplayName, Expr::val(no_text))
                .col_expr(Column::TitleGeneratedAt, Expr::val(no_time))
                .col_expr(Column::TitleSource, Expr::val(TitleSource::Hint.as_str()));
            let has_none = Column::TitleSource.eq(TitleSource::Hint.as_str());
            let rows = begin(change, None, lease.map(|lease| at + lease))
                .filter(
                    Condition::any()
                        .add(Column::TitleSource.eq(TitleSource::Manual.as_str()))
                        .add(has_none.and(unclaimed(at))),
                )
                .exec_with_returning(&tx)
                .await?;
            let claim = rows.first().and_then(TitleClaim::of);
            Ok(match (finish(tx, changed(rows)?, true).await?, claim) {
                (Some(conversation), Some(claim)) => Begun::Claimed(conversation, claim),
                (Some(conversation), None) => Begun::Deferred(conversation),
                (None, _) => Begun::Unchanged(self.conversation(owner, id).await?),
            })
        })
        .await
    }
}

/// An update that only the holder of the claim can make.
fn fenced(claim: &TitleClaim, at: DateTime<Utc>) -> UpdateMany<Entity> {
    let change = change_of(&claim.owner, claim.id, at);
    // Shows that the chaos test notices a missing fence.
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

/// Puts the beginning of a title into an update: pending, and claimed if there is an end to the lease.
/// What became of earlier attempts is forgotten.
fn begin(
    update: UpdateMany<Entity>,
    hint: Option<&str>,
    until: Option<DateTime<Utc>>,
) -> UpdateMany<Entity> {
    let no_failure: Option<String> = None;
    let update = match until {
        Some(until) => claiming(update, until).col_expr(Column::TitleHint, Expr::val(hint)),
        None => without_claim(update),
    };
    update
        .col_expr(Column::TitleAttempts, Expr::val(i32::from(until.is_some())))
        .col_expr(
            Column::TitleStatus,
            Expr::val(TitleStatus::Pending.as_str()),
        )
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
        .col_expr(Column::TitleSource, Expr::val(source.as_str()))
        .col_expr(Column::TitleStatus, Expr::val(TitleStatus::Ready.as_str()))
        .col_expr(Column::TitleFailure, Expr::val(no_failure))
}

/// Stores a title's outcome with what its calls cost, and without that and the search index (`None`) when a row refuses
/// it: an outcome that is not stored is paid for again.
async fn less_if_refused<'a, F>(
    calls: &'a [TitleCall],
    store: impl Fn(Option<&'a [TitleCall]>) -> F,
) -> Result<Option<Conversation>>
where
    F: Future<Output = Result<Option<Conversation>>>,
{
    match transact(|| store(Some(calls))).await {
        Err(error) if is_of_row(&error) => {
            error.log();
            transact(|| store(None)).await
        }
        stored => stored,
    }
}

async fn store_calls(
    tx: &Transaction,
    claim: &TitleClaim,
    calls: Option<&[TitleCall]>,
    at: DateTime<Utc>,
) -> Result<()> {
    let calls = calls.unwrap_or_default();
    title_calls::insert(tx, &claim.owner.tenant, Some(claim.id), calls, at).await
}

/// Carries the new title into the search index, if it shall, and commits.
async fn finish(
    tx: Transaction,
    conversation: Option<Conversation>,
    is_indexed: bool,
) -> Result<Option<Conversation>> {
    if is_indexed && let Some(conversation) = &conversation {
        search::index::index_title(&tx, conversation).await?;
    }
    commit(tx).await?;
    Ok(conversation)
}
