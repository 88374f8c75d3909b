//! The audit log: actor, action, conversation or user, and time. Never any text.
//!
//! An entry is stored in the transaction of its action. Without `[audit] enabled` no statement runs.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, prelude::Uuid, sea_query::Expr,
};

use super::{
    Database, Forgotten, Page,
    cursor::AuditCursor,
    entity::audit::{Column, Entity, Model},
    guarded::Transaction,
};
use crate::{
    conversation::{ConversationId, Owner},
    error::Result,
};

/// The actor of a command.
pub const OPERATOR: &str = "operator";

/// The prefix of an erased user's name, before the keyed hash.
const ERASED: &str = "erased:";

/// Entries removed per statement, by id. For many ids, PostgreSQL would read the whole table.
const ROWS: u64 = 50;

/// An audited action.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Act {
    /// A user set a conversation's title.
    Renamed,
    /// The former title was restored.
    TitleRestored,
    /// A title was reset to an automatic one.
    TitleReset,
    /// A conversation was archived.
    Archived,
    /// A conversation was unarchived.
    Unarchived,
    /// A conversation was deleted.
    Deleted,
    /// The data of a user or of a tenant was exported.
    Exported,
    /// The data of a user or of a tenant was erased.
    Erased,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its id.
    pub id: Uuid,
    /// The tenant.
    pub tenant: String,
    /// The user who acted, or [`OPERATOR`]; `erased:` and a hash for an erased user.
    pub actor: String,
    /// The action's name, even one that only newer versions know.
    pub act: String,
    /// The conversation; `None` for an action on all data of a user or tenant.
    pub conversation: Option<ConversationId>,
    /// The user whose data it was, if other than the actor; hashed like the actor.
    pub subject: Option<String>,
    /// The time of the action.
    pub at: DateTime<Utc>,
}

impl AuditEntry {
    /// Its position in the log.
    pub fn cursor(&self) -> AuditCursor {
        AuditCursor {
            at: self.at,
            id: self.id,
        }
    }
}

impl From<Model> for AuditEntry {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            tenant: row.tenant_id,
            actor: row.actor,
            act: row.act,
            conversation: row.conversation_id,
            subject: row.subject,
            at: row.created_at,
        }
    }
}

impl Database {
    /// Turns the audit log on or off.
    pub fn audit(&self, is_on: bool) {
        self.is_audited.store(is_on, Relaxed);
    }

    /// Whether actions are recorded.
    pub fn is_audited(&self) -> bool {
        self.is_audited.load(Relaxed)
    }

    /// Records an action on a conversation, in the transaction of the action.
    pub(super) async fn record_act(
        &self,
        tx: &Transaction,
        (owner, actor): (&Owner, &str),
        act: Act,
        conversation: ConversationId,
    ) -> Result<()> {
        let subject = (owner.user != actor).then_some(owner.user.as_str());
        self.insert_act(tx, (&owner.tenant, actor), act, Some(conversation), subject)
            .await
    }

    /// Records an action on the data of a user, or of a whole tenant.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn record_act_on(
        &self,
        tenant: &str,
        actor: &str,
        act: Act,
        subject: Option<&str>,
    ) -> Result<()> {
        let subject = subject.filter(|subject| *subject != actor);
        self.insert_act(&self.writer, (tenant, actor), act, None, subject)
            .await
    }

    async fn insert_act(
        &self,
        db: &impl ConnectionTrait,
        (tenant, actor): (&str, &str),
        act: Act,
        conversation: Option<ConversationId>,
        subject: Option<&str>,
    ) -> Result<()> {
        if !self.is_audited() {
            return Ok(());
        }
        let row = Model {
            id: Uuid::now_v7(),
            tenant_id: tenant.to_owned(),
            actor: actor.to_owned(),
            act: <&str>::from(act).to_owned(),
            conversation_id: conversation,
            subject: subject.map(str::to_owned),
            created_at: self.now(),
        };
        Entity::insert(row.into_active_model())
            .exec_without_returning(db)
            .await?;
        Ok(())
    }

    /// A page of a tenant's log since `since`, newest first, starting after `after`.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn audit_log(
        &self,
        tenant: &str,
        since: Option<DateTime<Utc>>,
        after: Option<AuditCursor>,
        limit: u64,
    ) -> Result<Page<AuditEntry>> {
        let mut select = Entity::find()
            .filter(Column::TenantId.eq(tenant))
            .order_by_desc(Column::CreatedAt)
            .order_by_desc(Column::Id)
            .limit(limit + 1);
        if let Some(since) = since {
            select = select.filter(Column::CreatedAt.gte(since));
        }
        if let Some(AuditCursor { at, id }) = after {
            let place = Expr::tuple([Expr::col(Column::CreatedAt), Expr::col(Column::Id)]);
            select = select.filter(place.lt(Expr::tuple([Expr::val(at), Expr::val(id)])));
        }
        let rows = select.all(&self.reader).await?;
        let has_next = rows.len() as u64 > limit;
        let items = rows
            .into_iter()
            .take(limit.try_into().unwrap_or(usize::MAX));
        Ok(Page {
            items: items.map(AuditEntry::from).collect(),
            has_next,
            has_previous: after.is_some(),
        })
    }

    /// A page of the log of one tenant or of all, oldest first, starting after `after`; for commands.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn audit_entries(
        &self,
        tenant: Option<&str>,
        since: Option<DateTime<Utc>>,
        after: Option<AuditCursor>,
        limit: u64,
    ) -> Result<Vec<AuditEntry>> {
        let mut select = Entity::find()
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .limit(limit);
        if let Some(tenant) = tenant {
            select = select.filter(Column::TenantId.eq(tenant));
        }
        if let Some(since) = since {
            select = select.filter(Column::CreatedAt.gte(since));
        }
        if let Some(AuditCursor { at, id }) = after {
            let place = Expr::tuple([Expr::col(Column::CreatedAt), Expr::col(Column::Id)]);
            select = select.filter(place.gt(Expr::tuple([Expr::val(at), Expr::val(id)])));
        }
        let rows = select.all(&self.reader).await?;
        Ok(rows.into_iter().map(AuditEntry::from).collect())
    }

    /// Removes a page of entries that are older than `keep`. Returns whether more may be left.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn prune_audit(&self, keep: Duration) -> Result<bool> {
        let before: DateTime<Utc> = self.now() - keep;
        let old: Vec<Uuid> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::CreatedAt.lt(before))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .limit(ROWS)
            .into_tuple()
            .all(&self.reader)
            .await?;
        let is_full = old.len() as u64 == ROWS;
        if old.is_empty() {
            return Ok(false);
        }
        // Deletes by id: SQLite compares times as text, and rows inserted by hand may have another format. A comparison
        // with the last time could miss them, and the next call would find them again.
        Entity::delete_many()
            .filter(Column::Id.is_in(old))
            .exec(&self.writer)
            .await?;
        Ok(is_full)
    }

    /// Replaces the names of erased users in the log with a keyed hash, which is the same in every entry and erasure.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn forget_actors(&self, of: &Forgotten) -> Result<()> {
        match &of.user {
            Some(user) => self.forget_actor(&of.tenant, user).await,
            None => {
                for column in [Column::Actor, Column::Subject] {
                    let mut last = None;
                    while let Some(name) = self.next_name(&of.tenant, column, last).await? {
                        // A user may be called `erased:ann`, but no user's name is a hash with the database's key.
                        if name != OPERATOR && !is_erased(&name) {
                            self.forget_actor(&of.tenant, &name).await?;
                        }
                        last = Some(name);
                    }
                }
                Ok(())
            }
        }
    }

    /// The next name after `last` in this column of a tenant's entries, in sort order.
    async fn next_name(
        &self,
        tenant: &str,
        column: Column,
        last: Option<String>,
    ) -> Result<Option<String>> {
        let name: Option<Option<String>> = Entity::find()
            .select_only()
            .column(column)
            .filter(Column::TenantId.eq(tenant))
            .filter(column.is_not_null())
            .apply_if(last, |select, last| select.filter(column.gt(last)))
            .order_by_asc(column)
            .limit(1)
            .into_tuple()
            .one(&self.writer)
            .await?;
        Ok(name.flatten())
    }

    async fn forget_actor(&self, tenant: &str, user: &str) -> Result<()> {
        let hash = self.erased_name(tenant, user).await?;
        for column in [Column::Actor, Column::Subject] {
            Entity::update_many()
                .col_expr(column, Expr::val(&hash))
                .filter(Column::TenantId.eq(tenant))
                .filter(column.eq(user))
                .exec(&self.writer)
                .await?;
        }
        Ok(())
    }

    /// The name of a user in the log after an erasure.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn erased_name(&self, tenant: &str, user: &str) -> Result<String> {
        let of = Forgotten {
            tenant: tenant.to_owned(),
            user: Some(user.to_owned()),
        };
        Ok(format!("{ERASED}{}", self.forgotten_hash(&of).await?))
    }
}

/// Whether a name of the log is that of an erased user: the prefix, and an HMAC-SHA256 in hexadecimal digits.
fn is_erased(name: &str) -> bool {
    let digits = name.strip_prefix(ERASED).unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}
