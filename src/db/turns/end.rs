//! The end of a turn: one transaction stores the reply, the state of its turn and its cost.
//!
//! A reply with text counts as a message, unless it failed. Any other reply is stored among the versions, after the
//! message that it answers.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, LockType},
};

use super::{ReplyState, Turn, count_message, is_running};
use crate::{
    conversation::{
        Conversation, ConversationId, Message, MessageStatus, Owner, Part, ReplyOutcome, Role,
        topic_hint::preview,
    },
    db::{
        Database, ReplyCost,
        entity::{
            conversation, message,
            turn::{Column, Entity},
            version,
        },
        fault::is_of_row,
        guarded::Transaction,
        reply_calls, reply_parts,
        retention::settled_rows,
        scope::{change_of, changed, row_of},
        search::index,
    },
    error::{Error, ErrorCode, Result},
    step::{Step, step},
};

/// The maximum length of a stored model name.
const MAX_MODEL_CHARS: usize = 128;

/// The level of detail in which a finished reply is stored. It is reduced while the database rejects a row.
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
    /// How it ended.
    pub outcome: ReplyOutcome,
    /// The text.
    pub text: &'a str,
    /// Why it failed.
    pub failure: Option<ErrorCode>,
    /// Why it is incomplete, if it is and the reason is known.
    pub reason: Option<&'static str>,
    /// The model that wrote it; empty if unknown.
    pub model: &'a str,
    /// The parts to store beside the text.
    pub parts: &'a [Part],
    /// Whether a reply that does not count is stored among the versions. If not, only the state of its turn is stored.
    pub is_message: bool,
    /// Whether the preview leaves out secrets and personal numbers.
    pub redacts: bool,
}

impl FinishedReply<'_> {
    /// Whether it counts as a message of its conversation.
    fn is_counted(&self) -> bool {
        !self.text.is_empty() && self.outcome != ReplyOutcome::Failed
    }

    /// The state of the turn, limited to states that the previous version knows.
    fn state(&self) -> ReplyState {
        match self.outcome {
            ReplyOutcome::Completed => ReplyState::Completed,
            ReplyOutcome::Stopped | ReplyOutcome::Incomplete => ReplyState::Incomplete,
            ReplyOutcome::Failed => ReplyState::Failed,
        }
    }

    fn message_status(&self) -> MessageStatus {
        match self.outcome {
            ReplyOutcome::Completed => MessageStatus::Complete,
            ReplyOutcome::Stopped | ReplyOutcome::Incomplete => MessageStatus::Incomplete,
            ReplyOutcome::Failed => MessageStatus::Failed,
        }
    }

    fn model(&self) -> Option<String> {
        let model: String = self.model.chars().take(MAX_MODEL_CHARS).collect();
        (!model.is_empty()).then_some(model)
    }
}

impl Database {
    /// Stores a finished reply: its text, its state in the turn's row, and its cost.
    ///
    /// Idempotent: after an unknown commit outcome, a retry finds the stored reply. `None`: the conversation did not
    /// change, because it was deleted or another node has closed the reply.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn finish_reply(
        &self,
        owner: &Owner,
        turn: &Turn,
        reply: FinishedReply<'_>,
        cost: Option<ReplyCost<'_>>,
    ) -> Result<Option<Conversation>> {
        // Another node may have taken over an external reply and may be continuing it.
        let is_ours = match (turn.is_external, turn.node) {
            (true, Some(node)) => Condition::all().add(Column::RunNode.eq(node)),
            _ => Condition::all(),
        };
        self.end_reply(owner, turn, reply, cost, is_ours).await
    }

    /// Stores a finished reply if the turn's row meets `condition`. If the database rejects a row, stores less detail.
    pub(super) async fn end_reply(
        &self,
        owner: &Owner,
        turn: &Turn,
        reply: FinishedReply<'_>,
        cost: Option<ReplyCost<'_>>,
        condition: Condition,
    ) -> Result<Option<Conversation>> {
        let body = match reply.is_counted() {
            true => index::prepared(owner, reply.text).await?,
            false => String::new(),
        };
        let unstorable = FinishedReply {
            outcome: ReplyOutcome::Failed,
            text: "",
            failure: Some(ErrorCode::DatabaseUnavailable),
            reason: None,
            model: reply.model,
            parts: &[],
            is_message: true,
            redacts: reply.redacts,
        };
        let (mut detail, mut refused) = (StoredDetail::Full, None);
        loop {
            let stored = async {
                match detail {
                    StoredDetail::Full => {
                        let body = Some(body.as_str());
                        self.try_end_reply(owner, turn, reply, body, cost, &condition)
                            .await
                    }
                    StoredDetail::TextOnly => {
                        self.try_end_reply(owner, turn, reply, None, None, &condition)
                            .await
                    }
                    StoredDetail::NoText => self.end_turn(turn, unstorable, &condition).await,
                }
            };
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
        reply: FinishedReply<'_>,
        body: Option<&str>,
        cost: Option<ReplyCost<'_>>,
        condition: &Condition,
    ) -> Result<Option<Conversation>> {
        let ended = self.transaction(|tx| async move {
            let at = self.now();
            // Updates the conversation before the turn: every transaction uses this lock order, to prevent deadlocks.
            let update = match reply.is_counted() {
                true => {
                    let preview = preview(reply.text, reply.redacts);
                    count_message(owner, turn.conversation_id, &preview, at)
                }
                false => change_of(owner, turn.conversation_id, at),
            };
            let rows = update.exec_with_returning(&tx).await?;
            let conversation = changed(without_reply(&tx, rows, reply).await?)?;
            // The text is not stored if the conversation was deleted, so the reply is incomplete.
            let state = match conversation {
                None if !reply.text.is_empty() => ReplyState::Incomplete,
                _ => reply.state(),
            };
            fence(&tx, turn, state, reply, condition).await?;
            let keeping = conversation.as_ref().filter(|row| !row.drops_text);
            if let Some(conversation) = keeping {
                match reply.is_counted() {
                    true => add_message(&tx, conversation, turn, reply, body, at).await?,
                    false if reply.is_message => add_version(&tx, turn, reply, at).await?,
                    false => {}
                }
                reply_parts::insert(&tx, turn, reply.parts).await?;
            }
            if let Some(cost) = cost {
                let ids = (turn.conversation_id, turn.reply_id);
                reply_calls::insert(&tx, owner, ids, cost, at).await?;
            }
            step(Step::ReplyCommitting, turn.conversation_id);
            Ok((tx, conversation))
        });
        match ended.await {
            Err(error) if error.cause::<NotRunning>().is_some() => {
                self.find_stored_reply(owner, turn, reply).await
            }
            ended => ended,
        }
    }

    /// Stores only the state of the turn.
    async fn end_turn(
        &self,
        turn: &Turn,
        reply: FinishedReply<'_>,
        condition: &Condition,
    ) -> Result<Option<Conversation>> {
        let ended = self.transaction(|tx| async move {
            // Locks the conversation, so that the reply's end is not announced before an earlier change.
            lock(&tx, turn.conversation_id).await?;
            fence(&tx, turn, reply.state(), reply, condition).await?;
            Ok((tx, ()))
        });
        match ended.await {
            Err(error) if error.cause::<NotRunning>().is_none() => Err(error),
            _ => Ok(None),
        }
    }

    /// The conversation, if it has the reply with exactly this outcome.
    async fn find_stored_reply(
        &self,
        owner: &Owner,
        turn: &Turn,
        reply: FinishedReply<'_>,
    ) -> Result<Option<Conversation>> {
        let message = self.find_message(owner, turn.reply_id).await?;
        let is_same = |message: &Message| {
            message.content == reply.text && message.status == reply.message_status()
        };
        match message.filter(is_same) {
            Some(_) => self.find_row(owner, turn.conversation_id).await,
            None => Ok(None),
        }
    }
}

/// Reverts the count of a reply in a conversation that drops texts: the reply is not stored.
async fn without_reply(
    tx: &Transaction,
    rows: Vec<conversation::Model>,
    reply: FinishedReply<'_>,
) -> Result<Vec<conversation::Model>> {
    use conversation::Column;
    let Some(row) = rows.first().filter(|row| row.drops_text()) else {
        return Ok(rows);
    };
    if reply.is_counted() {
        row_of(&row.owner(), row.id)
            .col_expr(Column::MessageCount, Expr::val(row.message_count - 1))
            .exec(tx)
            .await?;
    }
    settled_rows(tx, rows).await
}

/// The reply has ended already, or does not meet the caller's condition.
#[derive(Debug, thiserror::Error)]
#[error("the reply is not running")]
struct NotRunning;

/// Locks the conversation's row until the transaction ends. On SQLite this locks nothing, because there is one writer.
async fn lock(tx: &Transaction, id: ConversationId) -> Result<()> {
    conversation::Entity::find_by_id(id)
        .select_only()
        .column(conversation::Column::Id)
        .lock(LockType::NoKeyUpdate)
        .into_tuple::<ConversationId>()
        .one(tx)
        .await?;
    Ok(())
}

/// Ends the turn if it is running and meets the condition.
async fn fence(
    tx: &Transaction,
    turn: &Turn,
    state: ReplyState,
    reply: FinishedReply<'_>,
    condition: &Condition,
) -> Result<()> {
    let failure: Option<&str> = reply.failure.map(ErrorCode::known_before);
    let no_text: Option<String> = None;
    let fenced = Entity::update_many()
        .col_expr(Column::ReplyStatus, Expr::val(<&str>::from(state)))
        .col_expr(Column::ReplyFailure, Expr::val(failure))
        .col_expr(Column::ReplyReason, Expr::val(reply.reason))
        .col_expr(Column::RunText, Expr::val(no_text.clone()))
        .col_expr(Column::RunParts, Expr::val(no_text))
        .filter(Column::MessageId.eq(turn.id))
        .filter(is_running())
        .filter(condition.clone())
        .exec(tx)
        .await?;
    match fenced.rows_affected {
        0 => Err(Error::Database(Box::new(NotRunning))),
        _ => Ok(()),
    }
}

/// Inserts the reply at the position that [`count_message`] reserved.
async fn add_message(
    tx: &Transaction,
    conversation: &Conversation,
    turn: &Turn,
    reply: FinishedReply<'_>,
    body: Option<&str>,
    at: DateTime<Utc>,
) -> Result<()> {
    message::Entity::insert(message::ActiveModel {
        id: Set(turn.reply_id),
        conversation_id: Set(conversation.id),
        position: Set(conversation.message_count),
        role: Set(Role::Assistant.as_str().into()),
        content: Set(reply.text.into()),
        status: Set(reply.message_status().as_str().into()),
        created_at: Set(at),
        attachments: Set(None),
        in_reply_to: Set(Some(turn.message_id)),
        outcome: Set(Some(reply.outcome.as_str().into())),
        model: Set(reply.model()),
        external_id: Set(None),
        author: Set(None),
    })
    .exec_without_returning(tx)
    .await?;
    match body {
        Some(body) => {
            let body = Some(body.to_owned());
            index::index_message(tx, conversation, turn.reply_id, body, false).await
        }
        None => Ok(()),
    }
}

/// Inserts a reply that does not count, after the message that it answers.
async fn add_version(
    tx: &Transaction,
    turn: &Turn,
    reply: FinishedReply<'_>,
    at: DateTime<Utc>,
) -> Result<()> {
    let position: Option<i64> = message::Entity::find_by_id(turn.message_id)
        .select_only()
        .column(message::Column::Position)
        .into_tuple()
        .one(tx)
        .await?;
    // The message is missing only if rows were changed by hand.
    let Some(position) = position else {
        return Ok(());
    };
    version::Entity::insert(version::ActiveModel {
        id: Set(turn.reply_id),
        conversation_id: Set(turn.conversation_id),
        message_id: Set(turn.message_id),
        position: Set(position),
        role: Set(Role::Assistant.as_str().into()),
        content: Set(reply.text.into()),
        status: Set(reply.message_status().as_str().into()),
        attachments: Set(None),
        outcome: Set(Some(reply.outcome.as_str().into())),
        failure: Set(reply.failure.map(|code| code.as_str().into())),
        model: Set(reply.model()),
        created_at: Set(at),
        replaced_at: Set(None),
        author: Set(None),
    })
    .exec_without_returning(tx)
    .await?;
    Ok(())
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
