//! The audit log in the schema.

use async_graphql::{Context, ID, SimpleObject};
use chrono::{DateTime, Utc};

use super::{
    connections::{Connection, connection, cursor, limit},
    errors::Result,
    query::reach_for,
};
use crate::{
    auth::Scope,
    clock::{PLAIN, is_plain},
    db,
    db::cursor::AuditCursor,
    error::Error,
};

/// An audited action.
#[derive(SimpleObject)]
pub(super) struct AuditEntry {
    /// Its id.
    id: ID,
    /// When it was done.
    at: DateTime<Utc>,
    /// The user who did it, `operator` for a command, or `erased:` and a hash for a user who was erased.
    actor: String,
    /// What was done: `renamed`, `title_restored`, `title_reset`, `archived`, `unarchived`, `deleted`, `exported` or
    /// `erased`. There may be others.
    act: String,
    /// The conversation; null for an act on all data of a user or of the tenant.
    conversation_id: Option<ID>,
    /// The user whose data it was, if not the actor's.
    subject: Option<String>,
}

impl From<db::AuditEntry> for AuditEntry {
    fn from(entry: db::AuditEntry) -> Self {
        Self {
            id: entry.id.into(),
            at: entry.at,
            actor: entry.actor,
            act: entry.act,
            conversation_id: entry.conversation.map(|id| id.to_string().into()),
            subject: entry.subject,
        }
    }
}

/// A page of the audit log of the caller's tenant.
pub(super) async fn log(
    ctx: &Context<'_>,
    first: Option<i32>,
    after: Option<&str>,
    since: Option<DateTime<Utc>>,
) -> Result<Connection<AuditCursor, AuditEntry>> {
    let (services, reach) = reach_for(ctx, Scope::Audit)?;
    let after = cursor("after", after)?;
    let limit = limit("first", first, 50)?;
    // PostgreSQL rejects times outside this range.
    if since.is_some_and(|since| !is_plain(since)) {
        let text = format!("since must be {PLAIN}");
        return Err(Error::invalid_field("since", text).into());
    }
    let page = services
        .db
        .audit_log(&reach.caller().tenant, since, after, limit)
        .await?;
    Ok(connection(page, db::AuditEntry::cursor, AuditEntry::from))
}
