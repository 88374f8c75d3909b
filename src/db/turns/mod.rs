//! Turns: an accepted user message and one reply to it. A further reply to the same message is a turn of its own.
//!
//! - `begin`: stores a message and its first turn
//! - `rewrite`: a further reply to the newest message, which may be edited; the former reply becomes a version
//! - `end`: stores a finished reply
//! - `external`: opens a reply that a program outside of the server writes, and moves it between nodes
//! - `runs`: leases and checkpoints of replies in progress

mod begin;
mod end;
mod external;
mod rewrite;
mod runs;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, Select, prelude::Uuid, sea_query::Expr,
};
use uuid::Builder;

pub(super) use self::external::open_reply;
pub use self::{
    begin::{BegunTurn, NewTitle, NewTurn},
    end::FinishedReply,
    external::{NewExternalReply, OpenedReply},
    rewrite::{Edit, Rewrite},
    runs::{DeadRun, RenewalOutcome, RunCheckpoint},
};
pub(super) use self::{
    begin::{
        MAX_RETRIES, NewConversationRow, check_unused, claim_deferred, insert_conversation,
        is_retryable,
    },
    runs::clear_checkpoints,
};
use super::{
    Database,
    entity::{
        conversation, known,
        turn::{self, Column, Entity},
    },
    scope::change_of,
};
use crate::{
    conversation::{ConversationId, MessageId, Owner, Part, Role, Rows, part},
    error::{Error, ErrorCode, Result},
};

/// A stored turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The turn's id, which the cursors of its reply hold: the message's id for the first reply, a separate id for a
    /// further one.
    pub id: MessageId,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The user message.
    pub message_id: MessageId,
    /// The reply's id, assigned before the reply is stored.
    pub reply_id: MessageId,
    /// The state of the reply.
    pub reply: ReplyState,
    /// Why the reply failed.
    pub failure: Option<ErrorCode>,
    /// Why the reply is incomplete, if it is and the reason is known.
    pub reason: Option<String>,
    /// The node that runs the reply, or ran it.
    pub node: Option<Uuid>,
    /// Whether a program outside of the server writes the reply.
    pub is_external: bool,
    /// Whether a client asked to stop the reply.
    pub is_stopping: bool,
    /// When the lease of the running reply expires.
    pub lease_until: Option<DateTime<Utc>>,
    /// When the turn began.
    pub created_at: DateTime<Utc>,
    /// The last checkpoint of the text, while the reply runs.
    pub written: String,
    /// The parts of the last checkpoint, while the reply runs.
    pub written_parts: Vec<Part>,
}

/// The state of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ReplyState {
    /// In progress, or its process died and no node has closed it yet.
    Running,
    /// Complete.
    Completed,
    /// Stopped or interrupted. Older versions also stored this for replies that failed after some text.
    Incomplete,
    /// Failed.
    Failed,
}

impl Database {
    /// The turn with this id.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_turn(
        &self,
        rows: impl Into<Rows<'_>>,
        id: MessageId,
    ) -> Result<Option<Turn>> {
        let turn = turns_of(rows).filter(Column::MessageId.eq(id));
        one(turn, &self.reader).await
    }

    /// The turn of a reply, or the newest turn of a message; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_turn_of(
        &self,
        rows: impl Into<Rows<'_>>,
        message: MessageId,
    ) -> Result<Option<Turn>> {
        // Running turns first: a reply becomes a message in the transaction that ends its run, so the other order could
        // miss it in both reads.
        let rows = rows.into();
        let running = turns_of(rows)
            .filter(Column::ReplyId.eq(message))
            .filter(Expr::cust(RUNNING));
        if let Some(turn) = one(running, &self.reader).await? {
            return Ok(Some(turn));
        }
        let Some(stored) = self.find_message(rows, message).await? else {
            return self.find_turn_without_message(rows, message).await;
        };
        let turns = newest_first(turns_of(rows))
            .filter(Column::ConversationId.eq(stored.conversation_id))
            .filter(match stored.role {
                Role::User => answers(message),
                Role::Assistant => Condition::all().add(Column::ReplyId.eq(message)),
            });
        one(turns, &self.reader).await
    }

    /// The turn of a reply that ended without a message: an external program wrote it, or the database rejected its
    /// row. Replies are not indexed by id, but a turn's id is generated just before its reply's id.
    async fn find_turn_without_message(
        &self,
        rows: Rows<'_>,
        reply: MessageId,
    ) -> Result<Option<Turn>> {
        const LONGEST_PAUSE_MS: u64 = 1_000;
        let Some(made) = reply.0.get_timestamp() else {
            return Ok(None);
        };
        let (seconds, nanos) = made.to_unix();
        let first =
            (seconds * 1_000 + u64::from(nanos) / 1_000_000).saturating_sub(LONGEST_PAUSE_MS);
        let first = Builder::from_unix_timestamp_millis(first, &[0; 10]).into_uuid();
        let turn = turns_of(rows)
            .filter(Column::MessageId.between(first, reply.0))
            .filter(Column::ReplyId.eq(reply));
        one(turn, &self.reader).await
    }

    /// Whether the owner has sent a message with this idempotency key.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn is_key_used(&self, owner: &Owner, key: &str) -> Result<bool> {
        Ok(begin::find_by_key(&self.reader, owner, key)
            .await?
            .is_some())
    }

    /// The turn that used this idempotency key.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_turn_of_key(&self, owner: &Owner, key: &str) -> Result<Option<Turn>> {
        let found = begin::find_by_key(&self.reader, owner, key).await?;
        found.map(Turn::try_from).transpose()
    }

    /// The newest turn of a conversation.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_last_turn(
        &self,
        rows: impl Into<Rows<'_>>,
        conversation: ConversationId,
    ) -> Result<Option<Turn>> {
        let turns = newest_first(turns_of(rows));
        let turns = turns.filter(Column::ConversationId.eq(conversation));
        one(turns, &self.reader).await
    }

    /// Why these replies of a conversation are incomplete. Replies without a known reason have no entry.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn reply_reasons(
        &self,
        rows: impl Into<Rows<'_>>,
        conversation: ConversationId,
        replies: &[MessageId],
    ) -> Result<HashMap<MessageId, String>> {
        let reasons = turns_of(rows)
            .filter(Column::ConversationId.eq(conversation))
            .filter(Column::ReplyId.is_in(replies.iter().copied()))
            .filter(Column::ReplyReason.is_not_null())
            .select_only()
            .columns([Column::ReplyId, Column::ReplyReason]);
        let reasons: Vec<(MessageId, String)> = reasons.into_tuple().all(&self.reader).await?;
        Ok(reasons.into_iter().collect())
    }

    /// The turns with a running reply in several conversations, oldest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn running_turns(
        &self,
        rows: impl Into<Rows<'_>>,
        conversations: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Vec<Turn>>> {
        let turns = turns_of(rows)
            .filter(Column::ConversationId.is_in(conversations.iter().copied()))
            .filter(Expr::cust(RUNNING))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::MessageId);
        let mut running: HashMap<ConversationId, Vec<Turn>> = HashMap::new();
        for row in turns.all(&self.reader).await? {
            let turn = Turn::try_from(row)?;
            running.entry(turn.conversation_id).or_default().push(turn);
        }
        Ok(running)
    }
}

/// The condition of the partial index of running turns. A bound value would hide it from SQLite.
const RUNNING: &str = "reply_status = 'running'";

/// Those of the given conversations in which a reply is running.
pub(super) async fn running_in(
    db: &impl ConnectionTrait,
    conversations: &[ConversationId],
) -> Result<Vec<ConversationId>> {
    let running = Entity::find()
        .filter(Column::ConversationId.is_in(conversations.iter().copied()))
        .filter(Expr::cust(RUNNING))
        .select_only()
        .column(Column::ConversationId);
    Ok(running.into_tuple().all(db).await?)
}

/// Selects the turns of the conversations that may be read. A turn's row repeats the owner of its conversation.
fn turns_of<'a>(rows: impl Into<Rows<'a>>) -> Select<Entity> {
    let turns = Entity::find();
    match rows.into() {
        Rows::Of(owner) => turns
            .filter(Column::TenantId.eq(&owner.tenant))
            .filter(Column::UserId.eq(&owner.user)),
        Rows::OfTenant(tenant) => turns.filter(Column::TenantId.eq(tenant)),
    }
}

fn newest_first(turns: Select<Entity>) -> Select<Entity> {
    turns
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::MessageId)
}

/// The turns that answer this message.
fn answers(message: MessageId) -> Condition {
    Condition::any()
        .add(Column::MessageId.eq(message))
        .add(Column::InReplyTo.eq(message))
}

async fn one(turns: Select<Entity>, db: &impl ConnectionTrait) -> Result<Option<Turn>> {
    turns.one(db).await?.map(Turn::try_from).transpose()
}

fn is_running() -> Expr {
    Column::ReplyStatus.eq(<&str>::from(ReplyState::Running))
}

/// An update that counts one more message and sets the preview. The new count is the position of the message.
fn count_message(
    owner: &Owner,
    id: ConversationId,
    preview: &str,
    at: DateTime<Utc>,
) -> sea_orm::UpdateMany<conversation::Entity> {
    use conversation::Column;
    change_of(owner, id, at)
        .col_expr(Column::MessageCount, Expr::col(Column::MessageCount).add(1))
        .col_expr(Column::LastMessagePreview, Expr::val(preview))
        .col_expr(Column::LastMessageAt, Expr::val(at))
}

impl TryFrom<turn::Model> for Turn {
    type Error = Error;

    fn try_from(row: turn::Model) -> Result<Self> {
        Ok(Self {
            id: row.message_id,
            conversation_id: row.conversation_id,
            message_id: row.in_reply_to.unwrap_or(row.message_id),
            reply_id: row.reply_id,
            reply: known(&row.reply_status).unwrap_or(ReplyState::Incomplete),
            failure: row.reply_failure.and_then(|code| known(&code)),
            reason: row.reply_reason,
            node: row.run_node,
            is_external: row.source.as_deref() == Some(external::SOURCE),
            is_stopping: row.stop_asked,
            lease_until: row.run_lease_until,
            created_at: row.created_at,
            written: row.run_text.unwrap_or_default(),
            written_parts: row
                .run_parts
                .as_deref()
                .map(part::decode)
                .unwrap_or_default(),
        })
    }
}
