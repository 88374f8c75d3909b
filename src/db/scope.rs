//! Scopes: every statement on a user's data starts from one of these functions. Reads may cover an owner or a tenant
//! ([`Rows`]); writes cover one owner.
//!
//! Background work (the sweep, the backfill) finds rows of all owners with [`active`], and processes each row as its
//! owner.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, QueryTrait, Select, UpdateMany,
    sea_query::{Expr, Func, LockType},
};

use super::{
    entity::{
        conversation::{Column, Entity, Model},
        message, reply_part, version,
    },
    guarded::Transaction,
};
use crate::{
    conversation::{Conversation, ConversationId, ConversationStatus, Owner, Rows},
    error::Result,
};

/// The conversations of all owners, without tombstones. Never for a request.
pub(super) fn active() -> Select<Entity> {
    Entity::find().filter(Column::Status.eq(ConversationStatus::Active))
}

/// The conversations that may be read, without tombstones.
pub(super) fn conversations_of<'a>(rows: impl Into<Rows<'a>>) -> Select<Entity> {
    within(active(), rows.into())
}

fn within(select: Select<Entity>, rows: Rows<'_>) -> Select<Entity> {
    match rows {
        Rows::Of(owner) => select
            .filter(Column::TenantId.eq(&owner.tenant))
            .filter(Column::UserId.eq(&owner.user)),
        Rows::OfTenant(tenant) => select.filter(Column::TenantId.eq(tenant)),
    }
}

/// The conversations among `ids` that may be read, without tombstones.
///
/// COALESCE hides the owner's columns from their index. SQLite assumes few conversations per owner, and would scan all
/// of them instead of looking up the ids.
pub(super) fn these_of<'a>(
    rows: impl Into<Rows<'a>>,
    ids: impl IntoIterator<Item = ConversationId>,
) -> Select<Entity> {
    let hidden = |column: Column| {
        let column = Expr::col((Entity, column));
        Expr::expr(Func::coalesce([column, Expr::val("")]))
    };
    let these = active().filter(Column::Id.is_in(ids));
    match rows.into() {
        Rows::Of(owner) => these
            .filter(hidden(Column::TenantId).eq(&owner.tenant))
            .filter(hidden(Column::UserId).eq(&owner.user)),
        Rows::OfTenant(tenant) => these.filter(hidden(Column::TenantId).eq(tenant)),
    }
}

/// The conversations that may be read, tombstones included: to publish deletions, never to show.
pub(super) fn rows_of<'a>(rows: impl Into<Rows<'a>>) -> Select<Entity> {
    within(Entity::find(), rows.into())
}

/// The messages of the conversations that may be read.
///
/// EXISTS looks up each message's conversation. For IN, SQLite would materialize all conversations of the owner.
pub(super) fn messages_of<'a>(rows: impl Into<Rows<'a>>) -> Select<message::Entity> {
    let conversation = conversations_of(rows)
        .select_only()
        .expr(Expr::value(1))
        .filter(
            Expr::col((Entity, Column::Id))
                .equals((message::Entity, message::Column::ConversationId)),
        )
        .into_query();
    message::Entity::find().filter(Expr::exists(conversation))
}

/// The messages of these conversations that do not count: see [`version`].
pub(super) fn versions_of<'a>(rows: impl Into<Rows<'a>>) -> Select<version::Entity> {
    let conversation = conversations_of(rows)
        .select_only()
        .expr(Expr::value(1))
        .filter(
            Expr::col((Entity, Column::Id))
                .equals((version::Entity, version::Column::ConversationId)),
        )
        .into_query();
    version::Entity::find().filter(Expr::exists(conversation))
}

/// The parts of replies in the conversations that may be read.
pub(super) fn parts_of<'a>(rows: impl Into<Rows<'a>>) -> Select<reply_part::Entity> {
    let conversation = conversations_of(rows)
        .select_only()
        .expr(Expr::value(1))
        .filter(
            Expr::col((Entity, Column::Id))
                .equals((reply_part::Entity, reply_part::Column::ConversationId)),
        )
        .into_query();
    reply_part::Entity::find().filter(Expr::exists(conversation))
}

/// An update of one of the owner's conversations, unless it is a tombstone. Increments the revision.
pub(super) fn change_of(
    owner: &Owner,
    id: ConversationId,
    at: DateTime<Utc>,
) -> UpdateMany<Entity> {
    row_of(owner, id)
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .col_expr(Column::UpdatedAt, Expr::val(at))
}

/// An update of one of the owner's conversations, unless it is a tombstone, in columns that no client sees.
pub(super) fn row_of(owner: &Owner, id: ConversationId) -> UpdateMany<Entity> {
    Entity::update_many()
        .filter(Column::Id.eq(id))
        .filter(Column::TenantId.eq(&owner.tenant))
        .filter(Column::UserId.eq(&owner.user))
        .filter(Column::Status.eq(ConversationStatus::Active))
}

/// The rows after a position in a list sorted by a time column and then by id, newest first.
pub(super) fn behind(time: Column, at: DateTime<Utc>, id: ConversationId) -> Expr {
    let place = Expr::tuple([Expr::col(time), Expr::col(Column::Id)]);
    place.lt(Expr::tuple([Expr::val(at), Expr::val(id)]))
}

/// The first of these rows, locked until the transaction ends. The lock is that of an update: rows that refer to the
/// conversation can still be inserted.
pub(super) async fn locked(tx: &Transaction, rows: Select<Entity>) -> Result<Option<Model>> {
    Ok(rows.lock(LockType::NoKeyUpdate).one(tx).await?)
}

/// The row returned by an update of at most one row.
pub(super) fn changed(mut rows: Vec<Model>) -> Result<Option<Conversation>> {
    rows.pop().map(Conversation::try_from).transpose()
}
