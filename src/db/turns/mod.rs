//! Turns: an accepted user message and its reply.

mod begin;
mod runs;

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, prelude::Uuid,
    sea_query::Expr,
};

pub(super) use self::runs::clear_checkpoints;
pub use self::{
    begin::{BegunTurn, NewTitle, NewTurn},
    runs::{DeadRun, RenewalOutcome, RunCheckpoint},
};
use super::{
    Database, ReplyCost,
    entity::{
        conversation, known, message,
        turn::{self, Column, Entity},
    },
    fault::is_of_row,
    guarded::Transaction,
    reply_calls,
    scope::{change_of, changed},
    search::index,
};
use crate::{
    conversation::{
        Conversation, ConversationId, Message, MessageId, MessageStatus, Owner, Role,
        topic_hint::preview,
    },
    error::{Error, ErrorCode, Result},
    step::{Step, step},
};

/// A stored turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The user message.
    pub message_id: MessageId,
    /// The reply's id, also before the reply is stored.
    pub reply_id: MessageId,
    /// The state of the reply.
    pub reply: ReplyState,
    /// Why the reply failed.
    pub failure: Option<ErrorCode>,
    /// The node that runs the reply, or ran it.
    pub node: Option<Uuid>,
    /// The last checkpoint of the text, while the reply runs.
    pub written: String,
}

/// The state of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ReplyState {
    /// In progress, or its process died and the lease has not been swept yet.
    Running,
    /// Complete.
    Completed,
    /// Stopped or interrupted after some text.
    Incomplete,
    /// Failed before any text.
    Failed,
}

/// The level of detail in which a finished reply is stored. It is reduced while a row rejects the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoredDetail {
    /// Text, state, cost and search index.
    Full,
    /// Text and state only.
    TextOnly,
    /// The state `failed` only, because the text cannot be stored.
    NoText,
}

impl StoredDetail {
    fn reduced(self) -> Option<Self> {
        match self {
            Self::Full => Some(Self::TextOnly),
            Self::TextOnly => Some(Self::NoText),
            Self::NoText => None,
        }
    }
}

/// The final state of a reply to store.
#[derive(Clone, Copy, Debug)]
pub struct FinishedReply<'a> {
    /// Any state but [`ReplyState::Running`].
    pub state: ReplyState,
    /// The text. For an empty text, only the state is stored.
    pub text: &'a str,
    /// Why the reply is not complete.
    pub failure: Option<ErrorCode>,
}

impl FinishedReply<'_> {
    fn message_status(&self) -> MessageStatus {
        match self.state {
            ReplyState::Completed => MessageStatus::Complete,
            _ => MessageStatus::Incomplete,
        }
    }
}

impl Database {
    /// Stores a finished reply: its text as a message, its state in the turn's row, and its cost.
    ///
    /// Idempotent: after an unknown commit outcome, a retry finds the stored reply. `None`: the conversation did not
    /// change, because it was deleted or the reply has no text.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn finish_reply(
        &self,
        owner: &Owner,
        turn: &Turn,
        outcome: FinishedReply<'_>,
        cost: Option<ReplyCost<'_>>,
    ) -> Result<Option<Conversation>> {
        self.end_reply(owner, turn, outcome, cost, Condition::all())
            .await
    }

    /// Stores a finished reply if the turn's row meets `condition`. If a row rejects it, stores it in reduced detail.
    async fn end_reply(
        &self,
        owner: &Owner,
        turn: &Turn,
        outcome: FinishedReply<'_>,
        cost: Option<ReplyCost<'_>>,
        condition: Condition,
    ) -> Result<Option<Conversation>> {
        let body = index::prepared(owner, outcome.text).await?;
        let unstorable = FinishedReply {
            state: ReplyState::Failed,
            text: "",
            failure: Some(ErrorCode::DatabaseUnavailable),
        };
        let (mut detail, mut refused) = (StoredDetail::Full, None);
        loop {
            let (outcome, body, cost) = match detail {
                StoredDetail::Full => (outcome, Some(body.as_str()), cost),
                StoredDetail::TextOnly => (outcome, None, None),
                StoredDetail::NoText => (unstorable, None, None),
            };
            let stored = self.try_end_reply(owner, turn, outcome, body, cost, &condition);
            match (stored.await, detail.reduced()) {
                (Err(error), Some(reduced)) if is_of_row(&error) => {
                    (detail, refused) = (reduced, Some(error));
                }
                (result, _) => {
                    if let (Ok(_), Some(refused)) = (&result, &refused) {
                        log_reduced(turn, detail, refused);
                    }
                    return result;
                }
            }
        }
    }

    async fn try_end_reply(
        &self,
        owner: &Owner,
        turn: &Turn,
        outcome: FinishedReply<'_>,
        body: Option<&str>,
        cost: Option<ReplyCost<'_>>,
        condition: &Condition,
    ) -> Result<Option<Conversation>> {
        let ended = self.transaction(|tx| async move {
            let at = self.now();
            // Updates the conversation before the turn: every transaction uses this lock order, to prevent deadlocks.
            let conversation = match outcome.text {
                "" => None,
                text => {
                    let counted = count_message(owner, turn.conversation_id, text, at);
                    changed(counted.exec_with_returning(&tx).await?)?
                }
            };
            // The text is not stored if the conversation was deleted, so the reply is incomplete.
            let state = match conversation {
                None if !outcome.text.is_empty() => ReplyState::Incomplete,
                _ => outcome.state,
            };
            let failure: Option<&str> = outcome.failure.map(ErrorCode::as_str);
            let no_text: Option<String> = None;
            let fenced = Entity::update_many()
                .col_expr(Column::ReplyStatus, Expr::val(<&str>::from(state)))
                .col_expr(Column::ReplyFailure, Expr::val(failure))
                .col_expr(Column::RunText, Expr::val(no_text))
                .filter(Column::MessageId.eq(turn.message_id))
                .filter(is_running())
                .filter(condition.clone())
                .exec(&tx)
                .await?;
            if fenced.rows_affected == 0 {
                return Err(Error::Database(Box::new(NotRunning)));
            }
            if let Some(conversation) = &conversation {
                add_reply(&tx, conversation, turn, outcome, body, at).await?;
            }
            if let Some(cost) = cost {
                // Without a text the conversation's row was not read, so the agent is unknown.
                let agent = conversation.as_ref().map_or("", |c| &c.active_agent);
                let ids = (turn.conversation_id, turn.reply_id);
                reply_calls::insert(&tx, owner, ids, agent, cost, at).await?;
            }
            step(Step::ReplyCommitting, turn.conversation_id);
            Ok((tx, conversation))
        });
        match ended.await {
            Err(error) if error.cause::<NotRunning>().is_some() => {
                self.find_stored_reply(owner, turn, outcome).await
            }
            ended => ended,
        }
    }

    /// The conversation, if it has the reply with exactly this outcome.
    async fn find_stored_reply(
        &self,
        owner: &Owner,
        turn: &Turn,
        outcome: FinishedReply<'_>,
    ) -> Result<Option<Conversation>> {
        let message = self.find_message(owner, turn.reply_id).await?;
        let is_same = |message: &Message| {
            message.content == outcome.text && message.status == outcome.message_status()
        };
        match message.filter(is_same) {
            Some(_) => self.find_row(owner, turn.conversation_id).await,
            None => Ok(None),
        }
    }

    /// The turn of this message.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_turn(&self, owner: &Owner, message: MessageId) -> Result<Option<Turn>> {
        Entity::find_by_id(message)
            .filter(Column::TenantId.eq(&owner.tenant))
            .filter(Column::UserId.eq(&owner.user))
            .one(&self.reader)
            .await?
            .map(Turn::try_from)
            .transpose()
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

    /// The newest turn of a conversation.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_last_turn(
        &self,
        owner: &Owner,
        conversation: ConversationId,
    ) -> Result<Option<Turn>> {
        use sea_orm::QueryOrder;
        Entity::find()
            .filter(Column::ConversationId.eq(conversation))
            .filter(Column::TenantId.eq(&owner.tenant))
            .filter(Column::UserId.eq(&owner.user))
            .order_by_desc(Column::CreatedAt)
            .order_by_desc(Column::MessageId)
            .one(&self.reader)
            .await?
            .map(Turn::try_from)
            .transpose()
    }
}

/// The reply has ended already, or does not meet the caller's condition.
#[derive(Debug, thiserror::Error)]
#[error("the reply is not running")]
struct NotRunning;

fn is_running() -> Expr {
    Column::ReplyStatus.eq(<&str>::from(ReplyState::Running))
}

/// Inserts the reply at the position that [`count_message`] reserved.
async fn add_reply(
    tx: &Transaction,
    conversation: &Conversation,
    turn: &Turn,
    outcome: FinishedReply<'_>,
    body: Option<&str>,
    at: DateTime<Utc>,
) -> Result<()> {
    message::Entity::insert(message::ActiveModel {
        id: Set(turn.reply_id),
        conversation_id: Set(conversation.id),
        position: Set(conversation.message_count),
        role: Set(Role::Assistant.as_str().into()),
        content: Set(outcome.text.into()),
        status: Set(outcome.message_status().as_str().into()),
        created_at: Set(at),
        attachments: Set(None),
    })
    .exec_without_returning(tx)
    .await?;
    match body {
        Some(body) => {
            index::index_message(tx, conversation, turn.reply_id, body.into(), false).await
        }
        None => Ok(()),
    }
}

/// Logs that a reply was stored in reduced detail.
fn log_reduced(turn: &Turn, detail: StoredDetail, refused: &Error) {
    let stored = match detail {
        StoredDetail::Full => "in full",
        StoredDetail::TextOnly => "without its cost and its entry in the search index",
        StoredDetail::NoText => "as failed, without its text",
    };
    let cause = std::error::Error::source(refused);
    tracing::error!(
        conversation.id = %turn.conversation_id,
        error.cause = cause,
        "the database rejected the rows of a reply; it is stored {stored}"
    );
}

/// An update that reserves the position of one more message: the new message count.
fn count_message(
    owner: &Owner,
    id: ConversationId,
    text: &str,
    at: DateTime<Utc>,
) -> sea_orm::UpdateMany<conversation::Entity> {
    use conversation::Column;
    change_of(owner, id, at)
        .col_expr(Column::MessageCount, Expr::col(Column::MessageCount).add(1))
        .col_expr(Column::LastMessagePreview, Expr::val(preview(text)))
        .col_expr(Column::LastMessageAt, Expr::val(at))
}

impl TryFrom<turn::Model> for Turn {
    type Error = Error;

    fn try_from(row: turn::Model) -> Result<Self> {
        Ok(Self {
            conversation_id: row.conversation_id,
            message_id: row.message_id,
            reply_id: row.reply_id,
            reply: known(&row.reply_status).unwrap_or(ReplyState::Incomplete),
            failure: row.reply_failure.and_then(|code| known(&code)),
            node: row.run_node,
            written: row.run_text.unwrap_or_default(),
        })
    }
}
