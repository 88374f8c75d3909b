//! The start of a turn: one transaction stores the message, the turn, the conversation if it is new, and the title
//! claim.

use std::{borrow::Cow, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter, SqlErr, prelude::Uuid, sea_query::Expr,
};

use super::{ReplyState, Turn, count_message};
use crate::{
    conversation::{
        Attachment, Conversation, ConversationId, ConversationStatus, Message, MessageId,
        MessageStatus, Owner, Role, Title, TitleSource, TitleStatus, attachment::shown_text,
        topic_hint::preview,
    },
    db::{
        Database, TitleClaim,
        claims::with_attempt,
        entity::{
            conversation, message,
            turn::{self, Column, Entity},
        },
        fault::UnknownCommit,
        guarded::{Transaction, retry},
        scope::{conversations_of, row_of},
        search::index,
    },
    error::{Error, Result},
    step::{Step, step},
};

/// One transaction may end in an unknown commit, one in a race with another transaction; the last one reads the result.
const MAX_RETRIES: usize = 2;

/// A user message to store.
#[derive(Clone, Debug)]
pub struct NewTurn {
    /// The conversation; created if it does not exist.
    pub conversation_id: ConversationId,
    /// Whether the id was generated for this message, so that no conversation with it can exist.
    pub is_conversation_new: bool,
    /// The id of the message.
    pub message_id: MessageId,
    /// The id of its reply.
    pub reply_id: MessageId,
    /// The text.
    pub text: String,
    /// The attachments.
    pub attachments: Vec<Attachment>,
    /// The topic hint of a new conversation.
    pub topic_hint: Option<String>,
    /// The agent that replies; `None` keeps the conversation's agent.
    pub agent: Option<String>,
    /// The agent of a new conversation if `agent` is `None`.
    pub default_agent: &'static str,
    /// The initial title state of a new conversation. A conversation whose title is deferred gets a claim as well.
    pub title: NewTitle,
    /// The node that runs the reply, and the duration of its lease.
    pub run: (Uuid, Duration),
    /// The idempotency key, by which a retry finds this turn, and a hash of the request.
    pub idempotency: Option<(String, String)>,
}

impl NewTurn {
    fn shown_text(&self) -> Cow<'_, str> {
        shown_text(&self.text, &self.attachments)
    }
}

/// The initial title state, derived from the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewTitle {
    /// The caller generates the title, under a lease of this duration.
    Claimed(Duration),
    /// This message has too little content; the title waits for a later one.
    Deferred,
    /// The title is known, from a file name. The lease is for a conversation whose title was deferred by an earlier
    /// message.
    Known(Title, Duration),
    /// The conversation gets no title.
    Skipped,
}

/// The outcome of a [`NewTurn`].
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one value at a time, which is destructured at once"
)]
pub enum BegunTurn {
    /// The turn was stored.
    New {
        /// The conversation after the update.
        conversation: Conversation,
        /// The message.
        message: Message,
        /// The title claim, if the caller must generate the title.
        claim: Option<TitleClaim>,
    },
    /// The idempotency key was used before with the same request.
    Known(Turn),
}

impl Database {
    /// Stores a message and its turn in one transaction, and creates the conversation if it does not exist.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the conversation belongs to another owner or was deleted;
    /// [`Error::IdempotencyKeyReused`]; [`Error::Database`].
    pub async fn begin_turn(&self, owner: &Owner, new: &NewTurn) -> Result<BegunTurn> {
        let body = &index::prepared(owner, &new.shown_text()).await?;
        // Either a concurrent transaction created the same conversation or used the same key, or the connection was lost
        // and the outcome of our commit is unknown. The retry reads the committed state; if that commit is still in
        // progress, the inserts wait for it.
        retry(MAX_RETRIES, is_retryable, |retries| {
            self.transaction(move |tx| async move {
                if retries > 0
                    && let Some(stored) = find_stored_turn(&tx, owner, new).await?
                {
                    return Ok((tx, stored));
                }
                let begun = self.begin_turn_in(&tx, owner, new, body).await?;
                Ok((tx, begun))
            })
        })
        .await
    }

    async fn begin_turn_in(
        &self,
        tx: &Transaction,
        owner: &Owner,
        new: &NewTurn,
        body: &str,
    ) -> Result<BegunTurn> {
        if let Some((key, hash)) = &new.idempotency
            && let Some(known) = find_by_key(tx, owner, key).await?
        {
            if known.request_hash.as_ref() != Some(hash) {
                return Err(Error::IdempotencyKeyReused);
            }
            return Ok(BegunTurn::Known(known.try_into()?));
        }
        let at = self.now();
        let continued = match new.is_conversation_new {
            true => None,
            false => continue_conversation(tx, owner, new, at).await?,
        };
        let (row, claim, is_first) = match continued {
            None => {
                let row = begin_conversation(tx, owner, new, at).await?;
                let claim = TitleClaim::of(&row);
                (row, claim, true)
            }
            Some(row) => match claim_deferred(tx, owner, new, &row, at).await? {
                Some(claimed) => {
                    let claim = TitleClaim::of(&claimed);
                    (claimed, claim, false)
                }
                // An earlier claim belongs to another task.
                None => (row, None, false),
            },
        };
        let conversation = Conversation::try_from(row)?;
        let message = message::Model {
            id: new.message_id,
            conversation_id: conversation.id,
            position: conversation.message_count,
            role: Role::User.as_str().into(),
            content: new.text.clone(),
            status: MessageStatus::Complete.as_str().into(),
            created_at: at,
            attachments: message::write_attachments(&new.attachments)?,
        };
        message::Entity::insert(message.clone().into_active_model())
            .exec_without_returning(tx)
            .await?;
        let message = Message::try_from(message)?;
        let (key, hash) = new.idempotency.clone().unzip();
        Entity::insert(turn::ActiveModel {
            message_id: Set(new.message_id),
            conversation_id: Set(conversation.id),
            reply_id: Set(new.reply_id),
            tenant_id: Set(owner.tenant.clone()),
            user_id: Set(owner.user.clone()),
            idempotency_key: Set(key),
            request_hash: Set(hash),
            reply_status: Set(<&str>::from(ReplyState::Running).into()),
            reply_failure: Set(None),
            created_at: Set(at),
            run_node: Set(Some(new.run.0)),
            run_lease_until: Set(Some(at + new.run.1)),
            run_text: Set(None),
            stop_asked: Set(false),
        })
        .exec_without_returning(tx)
        .await?;
        index::index_message(tx, &conversation, new.message_id, body.into(), is_first).await?;
        step(Step::TurnCommitting, conversation.id);
        Ok(BegunTurn::New {
            conversation,
            message,
            claim,
        })
    }
}

/// Counts the message in an existing conversation; `None` if no conversation has this id.
async fn continue_conversation(
    tx: &Transaction,
    owner: &Owner,
    new: &NewTurn,
    at: DateTime<Utc>,
) -> Result<Option<conversation::Model>> {
    use conversation::{Column, Entity};
    let mut update = count_message(owner, new.conversation_id, &new.shown_text(), at);
    if let Some(agent) = &new.agent {
        update = update.col_expr(Column::ActiveAgent, Expr::val(agent));
    }
    if let Some(row) = update.exec_with_returning(tx).await?.pop() {
        return Ok(Some(row));
    }
    let taken = Entity::find_by_id(new.conversation_id).one(tx).await?;
    let is_ours = |row: &conversation::Model| {
        row.tenant_id == owner.tenant
            && row.user_id == owner.user
            && row.status == ConversationStatus::Active.as_str()
    };
    match taken {
        None => Ok(None),
        // PostgreSQL's READ COMMITTED gives each statement a new snapshot: a concurrent transaction created the
        // conversation after the update's snapshot.
        Some(row) if is_ours(&row) => Err(Error::Database(Box::new(ConcurrentCreation))),
        // Another owner's conversation, or a tombstone. The error does not disclose which.
        Some(_) => Err(Error::no_conversation()),
    }
}

/// Claims the title of an existing conversation if the title was deferred until this message.
async fn claim_deferred(
    tx: &Transaction,
    owner: &Owner,
    new: &NewTurn,
    row: &conversation::Model,
    at: DateTime<Utc>,
) -> Result<Option<conversation::Model>> {
    let waits =
        row.title_status == TitleStatus::Pending.as_str() && row.title_lease_until.is_none();
    match new.title {
        NewTitle::Claimed(lease) | NewTitle::Known(_, lease) if waits => {
            let claimed = with_attempt(row_of(owner, new.conversation_id), at + lease);
            Ok(claimed.exec_with_returning(tx).await?.pop())
        }
        _ => Ok(None),
    }
}

async fn begin_conversation(
    tx: &Transaction,
    owner: &Owner,
    new: &NewTurn,
    at: DateTime<Utc>,
) -> Result<conversation::Model> {
    let agent = new.agent.as_deref().unwrap_or(new.default_agent);
    let title = match &new.title {
        NewTitle::Known(title, _) => Some(title.as_str().to_owned()),
        _ => None,
    };
    let lease = match new.title {
        NewTitle::Claimed(lease) => Some(lease),
        _ => None,
    };
    let (source, status) = match new.title {
        NewTitle::Claimed(_) | NewTitle::Deferred => (TitleSource::Hint, TitleStatus::Pending),
        NewTitle::Known(..) => (TitleSource::Generated, TitleStatus::Ready),
        NewTitle::Skipped => (TitleSource::Hint, TitleStatus::Skipped),
    };
    let row = conversation::Model {
        topic_hint: new.topic_hint.clone(),
        message_count: 1,
        last_message_preview: Some(preview(&new.shown_text())),
        title_generated_at: title.as_ref().map(|_| at),
        display_name: title,
        title_source: source.as_str().into(),
        title_status: status.as_str().into(),
        title_token: lease.map(|_| Uuid::new_v4()),
        title_lease_until: lease.map(|lease| at + lease),
        title_attempts: i32::from(lease.is_some()),
        ..conversation::Model::new(owner, new.conversation_id, agent, at)
    };
    conversation::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(tx)
        .await?;
    Ok(row)
}

/// The turn that an earlier try has stored. Its message id is unique to this request.
async fn find_stored_turn(
    tx: &Transaction,
    owner: &Owner,
    new: &NewTurn,
) -> Result<Option<BegunTurn>> {
    let message = message::Entity::find_by_id(new.message_id).one(tx).await?;
    let Some(message) = message else {
        return Ok(None);
    };
    let message = Message::try_from(message)?;
    let row = conversations_of(owner)
        .filter(conversation::Column::Id.eq(new.conversation_id))
        .one(tx)
        .await?
        .ok_or_else(Error::no_conversation)?;
    // For a later message, the claim may belong to another task. If it is ours, the lease expires and a sweep takes
    // over.
    let claim = TitleClaim::of(&row).filter(|_| message.is_first());
    Ok(Some(BegunTurn::New {
        conversation: row.try_into()?,
        message,
        claim,
    }))
}

pub(super) async fn find_by_key(
    db: &impl ConnectionTrait,
    owner: &Owner,
    key: &str,
) -> Result<Option<turn::Model>> {
    Ok(Entity::find()
        .filter(Column::TenantId.eq(&owner.tenant))
        .filter(Column::UserId.eq(&owner.user))
        .filter(Column::IdempotencyKey.eq(key))
        .one(db)
        .await?)
}

/// A concurrent transaction created the conversation.
#[derive(Debug, thiserror::Error)]
#[error("a concurrent transaction created the conversation between two statements")]
struct ConcurrentCreation;

/// Whether a retry helps: a concurrent transaction won a race, or our commit may have succeeded.
fn is_retryable(error: &Error) -> bool {
    error.cause::<UnknownCommit>().is_some()
        || error.cause::<ConcurrentCreation>().is_some()
        || matches!(
            error.cause::<DbErr>().and_then(DbErr::sql_err),
            Some(SqlErr::UniqueConstraintViolation(_))
        )
}
