//! Turns: a user's message that was accepted, and the reply that it gets.

mod begin;
mod runs;

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, prelude::Uuid,
    sea_query::Expr,
};

pub(super) use self::runs::forget;
pub use self::{
    begin::{BegunTurn, NewTitle, NewTurn},
    runs::{DeadRun, Kept, Renewed},
};
use super::{
    Database, ReplyCost, commit,
    entity::{
        conversation, known, message,
        turn::{self, Column, Entity},
    },
    fault::is_of_row,
    guarded::{Transaction, transact},
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

/// A turn that was stored before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its message.
    pub message_id: MessageId,
    /// The reply, whether it is there already or not.
    pub reply_id: MessageId,
    /// How far the reply is.
    pub reply: ReplyState,
    /// Why it failed, when it did.
    pub failure: Option<ErrorCode>,
    /// Who writes it, or wrote it.
    pub node: Option<Uuid>,
    /// What was written when that was last noted, while it runs.
    pub written: String,
}

/// How far a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ReplyState {
    /// On the way; or its process died, and nobody has noticed yet.
    Running,
    /// Whole.
    Completed,
    /// Stopped, or broken off after some text.
    Incomplete,
    /// Failed before any text.
    Failed,
}

/// How much of the end of a reply is stored: less and less, while its row refuses more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// All of it.
    Whole,
    /// The text and how it ended, not what it cost, and not in the search index.
    TextAlone,
    /// That it failed: its text cannot be stored.
    NoText,
}

impl Form {
    fn poorer(self) -> Option<Self> {
        match self {
            Self::Whole => Some(Self::TextAlone),
            Self::TextAlone => Some(Self::NoText),
            Self::NoText => None,
        }
    }
}

/// The end of a reply, as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct ReplyOutcome<'a> {
    /// Not [`ReplyState::Running`].
    pub state: ReplyState,
    /// What was written; nothing is stored of an empty reply but its state.
    pub text: &'a str,
    /// Why it is not whole.
    pub failure: Option<ErrorCode>,
}

impl ReplyOutcome<'_> {
    fn message_status(&self) -> MessageStatus {
        match self.state {
            ReplyState::Completed => MessageStatus::Complete,
            _ => MessageStatus::Incomplete,
        }
    }
}

impl Database {
    /// Stores the end of a reply: its text as a message, its state with the turn, and what it cost. Once more after a
    /// commit that nobody answered, it finds what was stored. `None`: the conversation was deleted
    /// meanwhile, or there was no text; the conversation did not change.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn finish_reply(
        &self,
        owner: &Owner,
        turn: &Turn,
        outcome: ReplyOutcome<'_>,
        cost: Option<ReplyCost<'_>>,
    ) -> Result<Option<Conversation>> {
        self.end_reply(owner, turn, outcome, cost, Condition::all())
            .await
    }

    /// The same, if the turn still is so. What a row refuses is stored in a poorer form.
    async fn end_reply(
        &self,
        owner: &Owner,
        turn: &Turn,
        outcome: ReplyOutcome<'_>,
        cost: Option<ReplyCost<'_>>,
        condition: Condition,
    ) -> Result<Option<Conversation>> {
        let body = index::prepared(owner, outcome.text).await?;
        let unstorable = ReplyOutcome {
            state: ReplyState::Failed,
            text: "",
            failure: Some(ErrorCode::DatabaseUnavailable),
        };
        let (mut form, mut refused) = (Form::Whole, None);
        loop {
            let (outcome, body, cost) = match form {
                Form::Whole => (outcome, Some(body.as_str()), cost),
                Form::TextAlone => (outcome, None, None),
                Form::NoText => (unstorable, None, None),
            };
            let stored = transact(|| {
                self.try_end_reply(owner, turn, outcome, body, cost, condition.clone())
            });
            match (stored.await, form.poorer()) {
                (Err(error), Some(poorer)) if is_of_row(&error) => {
                    (form, refused) = (poorer, Some(error));
                }
                (result, _) => {
                    if let (Ok(_), Some(refused)) = (&result, &refused) {
                        log_poorer(turn, form, refused);
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
        outcome: ReplyOutcome<'_>,
        body: Option<&str>,
        cost: Option<ReplyCost<'_>>,
        condition: Condition,
    ) -> Result<Option<Conversation>> {
        let tx = self.begin().await?;
        let at = self.now();
        // The conversation before the turn, as everywhere: two transactions that lock the same two
        // rows in different orders wait for each other.
        let conversation = match outcome.text {
            "" => None,
            text => {
                let counted = count_message(owner, turn.conversation_id, text, at);
                changed(counted.exec_with_returning(&tx).await?)?
            }
        };
        // Without a conversation what was written is nowhere, so it is not complete.
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
            .filter(Column::MessageId.eq(turn.message_id.0))
            .filter(is_running())
            .filter(condition)
            .exec(&tx)
            .await?;
        if fenced.rows_affected == 0 {
            tx.rollback().await?;
            return self.ended_before(owner, turn, outcome).await;
        }
        if let Some(conversation) = &conversation {
            add_reply(&tx, conversation, turn, outcome, body, at).await?;
        }
        if let Some(cost) = cost {
            // Without a text the conversation did not change, and which agent it was stands nowhere.
            let agent = conversation.as_ref().map_or("", |c| &c.active_agent);
            reply_calls::insert(&tx, owner, turn, agent, cost, at).await?;
        }
        step(Step::ReplyCommitting, turn.conversation_id);
        commit(tx).await?;
        Ok(conversation)
    }

    /// The conversation, if the reply stands there with just this end.
    async fn ended_before(
        &self,
        owner: &Owner,
        turn: &Turn,
        outcome: ReplyOutcome<'_>,
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

    /// The turn of this message, as it stands now.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_turn(&self, owner: &Owner, message: MessageId) -> Result<Option<Turn>> {
        Entity::find_by_id(message.0)
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
    pub async fn knows_key(&self, owner: &Owner, key: &str) -> Result<bool> {
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
            .filter(Column::ConversationId.eq(conversation.0))
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

fn is_running() -> Expr {
    Column::ReplyStatus.eq(<&str>::from(ReplyState::Running))
}

/// Puts the reply into the place that was counted for it.
async fn add_reply(
    tx: &Transaction,
    conversation: &Conversation,
    turn: &Turn,
    outcome: ReplyOutcome<'_>,
    body: Option<&str>,
    at: DateTime<Utc>,
) -> Result<()> {
    message::Entity::insert(message::ActiveModel {
        id: Set(turn.reply_id.0),
        conversation_id: Set(conversation.id.0),
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

/// Logs that less was stored of a reply than there is.
fn log_poorer(turn: &Turn, form: Form, refused: &Error) {
    let stored = match form {
        Form::Whole => "whole",
        Form::TextAlone => "without its cost and its words in the search index",
        Form::NoText => "as failed, without its text",
    };
    let cause = std::error::Error::source(refused);
    tracing::error!(
        conversation.id = %turn.conversation_id,
        error.cause = cause,
        "the database refuses the rows of a reply; it is stored {stored}"
    );
}

/// The update that makes room for one more message; the new count is its position.
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
            conversation_id: ConversationId(row.conversation_id),
            message_id: MessageId(row.message_id),
            reply_id: MessageId(row.reply_id),
            reply: known(&row.reply_status).unwrap_or(ReplyState::Incomplete),
            failure: row.reply_failure.and_then(|code| known(&code)),
            node: row.run_node,
            written: row.run_text.unwrap_or_default(),
        })
    }
}
