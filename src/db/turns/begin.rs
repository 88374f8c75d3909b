//! The start of a turn: one transaction stores the message, the turn, the conversation if it is new, and the title
//! claim.

use std::{borrow::Cow, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter, QuerySelect, SqlErr, prelude::Uuid, sea_query::Expr,
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
        retention::{UNTIL_TITLED, settled},
        scope::{conversations_of, row_of},
        search::index,
    },
    error::{Error, Result},
    step::{Step, step},
};

/// One try may end with an unknown commit outcome, and one may lose a race; the last one reads the result.
pub(in crate::db) const MAX_RETRIES: usize = 2;

/// A user message to store.
#[derive(Clone, Debug)]
pub struct NewTurn {
    /// The conversation; created if it does not exist.
    pub conversation_id: ConversationId,
    /// The conversation's id in the caller's own system.
    pub external_id: Option<String>,
    /// Whether the id was generated for this message, so that no conversation with it can exist.
    pub is_conversation_new: bool,
    /// The id of the message.
    pub message_id: MessageId,
    /// The message's id in the caller's own system.
    pub external_message_id: Option<String>,
    /// The id of its reply.
    pub reply_id: MessageId,
    /// The user who wrote it.
    pub author: String,
    /// The text.
    pub text: String,
    /// The attachments.
    pub attachments: Vec<Attachment>,
    /// The topic hint of a new conversation.
    pub topic_hint: Option<String>,
    /// Whether the preview leaves out secrets and personal numbers.
    pub redacts: bool,
    /// The agent that replies; `None` keeps the conversation's agent.
    pub agent: Option<String>,
    /// The requested agent, the entry point of a new conversation; `None` if the request names none.
    pub entrypoint: Option<String>,
    /// The agent that replies if `agent` is `None` and the conversation is new, or its agent is not one of
    /// `kept_agents`.
    pub default_agent: String,
    /// The agents that a conversation may keep; `None` for any.
    pub kept_agents: Option<Vec<String>>,
    /// The initial title state of a new conversation. Also lets an existing conversation claim its deferred title.
    pub title: NewTitle,
    /// Whether a new conversation keeps its texts only until its title is settled.
    pub is_until_titled: bool,
    /// The node that runs the reply, and the duration of its lease.
    pub run: (Uuid, Duration),
    /// The idempotency key, by which a retry finds this turn, and a hash of the request.
    pub idempotency: Option<(String, String)>,
}

impl NewTurn {
    fn shown_text(&self) -> Cow<'_, str> {
        shown_text(&self.text, &self.attachments)
    }

    fn preview(&self) -> String {
        preview(&self.shown_text(), self.redacts)
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
    /// [`Error::IdTaken`] if it has a message with this external id; [`Error::IdempotencyKeyReused`];
    /// [`Error::Database`].
    pub async fn begin_turn(&self, owner: &Owner, new: &NewTurn) -> Result<BegunTurn> {
        let body = &index::prepared(owner, &new.shown_text()).await?;
        // Either a concurrent transaction created the same conversation or used the same key, or the connection was
        // lost and the outcome of our commit is unknown. The retry reads the committed state; if that commit is still
        // in progress, the inserts wait for it.
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
        if let Some(known) = known_turn(tx, owner, new.idempotency.as_ref()).await? {
            return Ok(BegunTurn::Known(known));
        }
        let at = self.now();
        let continued = match new.is_conversation_new {
            true => None,
            false => continue_conversation(tx, owner, new, at).await?,
        };
        if let Some(name) = &new.external_message_id
            && continued.is_some()
            && is_named(tx, new.conversation_id, name).await?
        {
            return Err(Error::IdTaken {
                what: "message_id".into(),
            });
        }
        let (row, claim, is_first) = match continued {
            None => {
                let row = begin_conversation(tx, owner, new, at).await?;
                let claim = TitleClaim::of(&row);
                (row, claim, true)
            }
            Some(row) => match claim_deferred(tx, owner, &new.title, &row, at).await? {
                Some(claimed) => {
                    let claim = TitleClaim::of(&claimed);
                    (claimed, claim, false)
                }
                // An earlier claim belongs to another task.
                None => (row, None, false),
            },
        };
        let row = settled(tx, row).await?;
        let drops_text = row.drops_text();
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
            in_reply_to: None,
            outcome: None,
            model: None,
            external_id: new.external_message_id.clone(),
            author: Some(new.author.clone()),
        };
        message::Entity::insert(message.kept(drops_text).into_active_model())
            .exec_without_returning(tx)
            .await?;
        let message = Message::try_from(message)?;
        insert_turn(
            tx,
            owner,
            NewTurnRow {
                id: new.message_id,
                conversation: conversation.id,
                reply: new.reply_id,
                in_reply_to: None,
                source: None,
                run: new.run,
                idempotency: new.idempotency.clone(),
                at,
            },
        )
        .await?;
        let body = (!drops_text).then(|| body.to_owned());
        index::index_message(tx, &conversation, new.message_id, body, is_first).await?;
        step(Step::TurnCommitting, conversation.id);
        Ok(BegunTurn::New {
            conversation,
            message,
            claim,
        })
    }
}

/// Whether the conversation, which the transaction has locked, has a message with this external id.
async fn is_named(tx: &Transaction, conversation: ConversationId, name: &str) -> Result<bool> {
    let named: Option<MessageId> = message::Entity::find()
        .select_only()
        .column(message::Column::Id)
        .filter(message::Column::ConversationId.eq(conversation))
        .filter(message::Column::ExternalId.eq(name))
        .into_tuple()
        .one(tx)
        .await?;
    Ok(named.is_some())
}

/// Counts the message in an existing conversation; `None` if no conversation has this id.
async fn continue_conversation(
    tx: &Transaction,
    owner: &Owner,
    new: &NewTurn,
    at: DateTime<Utc>,
) -> Result<Option<conversation::Model>> {
    use conversation::{Column, Entity};
    let mut update = count_message(owner, new.conversation_id, &new.preview(), at);
    if let Some(agent) = &new.agent {
        update = update.col_expr(Column::ActiveAgent, Expr::val(agent));
    }
    if let Some(id) = &new.external_id {
        // Rows imported by an earlier version have none.
        update = update.col_expr(Column::ExternalId, Expr::val(id));
    }
    if let Some(row) = update.exec_with_returning(tx).await?.pop() {
        let kept = new.kept_agents.as_ref();
        if kept.is_none_or(|kept| kept.contains(&row.active_agent)) {
            return Ok(Some(row));
        }
        // The agent was removed from the configuration, or belongs to another tenant now.
        let replaced = row_of(owner, new.conversation_id)
            .col_expr(Column::ActiveAgent, Expr::val(&new.default_agent));
        return Ok(replaced.exec_with_returning(tx).await?.pop());
    }
    check_unused(
        owner,
        Entity::find_by_id(new.conversation_id).one(tx).await?,
    )?;
    Ok(None)
}

/// Checks that an id is unused, after an update found no conversation of the owner under it. `taken` is the row with
/// this id.
///
/// # Errors
/// [`Error::NotFound`] if the row is another owner's or a tombstone; a retryable error if the owner's conversation was
/// created in the meantime.
pub(in crate::db) fn check_unused(owner: &Owner, taken: Option<conversation::Model>) -> Result<()> {
    let is_ours = |row: &conversation::Model| {
        row.owner() == *owner && row.status == ConversationStatus::Active.as_str()
    };
    match taken {
        None => Ok(()),
        // PostgreSQL's READ COMMITTED gives each statement a new snapshot: a concurrent transaction created the
        // conversation after the update's snapshot.
        Some(row) if is_ours(&row) => Err(Error::Database(Box::new(ConcurrentCreation))),
        // Another owner's conversation, or a tombstone. The error does not disclose which.
        Some(_) => Err(Error::no_conversation()),
    }
}

/// Claims the title of an existing conversation if the title was deferred until this message.
pub(in crate::db) async fn claim_deferred(
    tx: &Transaction,
    owner: &Owner,
    title: &NewTitle,
    row: &conversation::Model,
    at: DateTime<Utc>,
) -> Result<Option<conversation::Model>> {
    let waits =
        row.title_status == TitleStatus::Pending.as_str() && row.title_lease_until.is_none();
    match title {
        NewTitle::Claimed(lease) | NewTitle::Known(_, lease) if waits => {
            let claimed = with_attempt(row_of(owner, row.id), at + *lease);
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
    let agent = new.agent.as_ref().unwrap_or(&new.default_agent);
    let row = NewConversationRow {
        id: new.conversation_id,
        external_id: new.external_id.as_ref(),
        entrypoint: new.entrypoint.as_ref().unwrap_or(agent),
        agent,
        topic_hint: new.topic_hint.as_ref(),
        preview: new.preview(),
        message_count: 1,
        title: &new.title,
        created_at: at,
        last_message_at: at,
        is_until_titled: new.is_until_titled,
    };
    insert_conversation(tx, owner, row, at).await
}

/// A conversation with its first messages.
pub(in crate::db) struct NewConversationRow<'a> {
    pub(in crate::db) id: ConversationId,
    pub(in crate::db) external_id: Option<&'a String>,
    pub(in crate::db) entrypoint: &'a String,
    pub(in crate::db) agent: &'a String,
    pub(in crate::db) topic_hint: Option<&'a String>,
    pub(in crate::db) preview: String,
    pub(in crate::db) message_count: i64,
    pub(in crate::db) title: &'a NewTitle,
    pub(in crate::db) created_at: DateTime<Utc>,
    pub(in crate::db) last_message_at: DateTime<Utc>,
    pub(in crate::db) is_until_titled: bool,
}

pub(in crate::db) async fn insert_conversation(
    tx: &Transaction,
    owner: &Owner,
    new: NewConversationRow<'_>,
    at: DateTime<Utc>,
) -> Result<conversation::Model> {
    let title = match new.title {
        NewTitle::Known(title, _) => Some(title.as_str().to_owned()),
        _ => None,
    };
    let lease = match new.title {
        NewTitle::Claimed(lease) => Some(*lease),
        _ => None,
    };
    let (source, status) = match new.title {
        NewTitle::Claimed(_) | NewTitle::Deferred => (TitleSource::Hint, TitleStatus::Pending),
        NewTitle::Known(..) => (TitleSource::Generated, TitleStatus::Ready),
        NewTitle::Skipped => (TitleSource::Hint, TitleStatus::Skipped),
    };
    let row = conversation::Model {
        external_id: new.external_id.cloned(),
        retain: new.is_until_titled.then(|| UNTIL_TITLED.to_owned()),
        agent_entrypoint: new.entrypoint.clone(),
        topic_hint: new.topic_hint.cloned(),
        message_count: new.message_count,
        last_message_preview: Some(new.preview),
        last_message_at: new.last_message_at,
        updated_at: at,
        title_generated_at: title.as_ref().map(|_| at),
        display_name: title,
        title_source: source.as_str().into(),
        title_status: status.as_str().into(),
        title_token: lease.map(|_| Uuid::new_v4()),
        title_lease_until: lease.map(|lease| at + lease),
        title_attempts: i32::from(lease.is_some()),
        ..conversation::Model::new(owner, new.id, new.agent, new.created_at)
    };
    conversation::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(tx)
        .await?;
    Ok(row)
}

/// The turn that an earlier try stored, found by the message id, which is unique to this request.
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

/// The turn that used this idempotency key before.
///
/// # Errors
/// [`Error::IdempotencyKeyReused`] if it was another request; [`Error::Database`].
pub(super) async fn known_turn(
    tx: &impl ConnectionTrait,
    owner: &Owner,
    idempotency: Option<&(String, String)>,
) -> Result<Option<Turn>> {
    let Some((key, hash)) = idempotency else {
        return Ok(None);
    };
    match find_by_key(tx, owner, key).await? {
        Some(known) if known.request_hash.as_ref() != Some(hash) => {
            Err(Error::IdempotencyKeyReused)
        }
        known => known.map(Turn::try_from).transpose(),
    }
}

/// The values of a new turn's row.
pub(super) struct NewTurnRow {
    pub(super) id: MessageId,
    pub(super) conversation: ConversationId,
    pub(super) reply: MessageId,
    pub(super) in_reply_to: Option<MessageId>,
    /// The source of the reply; `None` for a model.
    pub(super) source: Option<&'static str>,
    pub(super) run: (Uuid, Duration),
    pub(super) idempotency: Option<(String, String)>,
    pub(super) at: DateTime<Utc>,
}

/// Stores a turn whose reply is running.
pub(super) async fn insert_turn(tx: &Transaction, owner: &Owner, new: NewTurnRow) -> Result<()> {
    let (key, hash) = new.idempotency.unzip();
    let row = turn::ActiveModel {
        message_id: Set(new.id),
        conversation_id: Set(new.conversation),
        reply_id: Set(new.reply),
        tenant_id: Set(owner.tenant.clone()),
        user_id: Set(owner.user.clone()),
        idempotency_key: Set(key),
        request_hash: Set(hash),
        reply_status: Set(<&str>::from(ReplyState::Running).into()),
        reply_failure: Set(None),
        reply_reason: Set(None),
        created_at: Set(new.at),
        run_node: Set(Some(new.run.0)),
        run_lease_until: Set(Some(new.at + new.run.1)),
        run_text: Set(None),
        stop_asked: Set(false),
        in_reply_to: Set(new.in_reply_to),
        run_parts: Set(None),
        source: Set(new.source.map(Into::into)),
    };
    Entity::insert(row).exec_without_returning(tx).await?;
    Ok(())
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
pub(in crate::db) fn is_retryable(error: &Error) -> bool {
    error.cause::<UnknownCommit>().is_some()
        || error.cause::<ConcurrentCreation>().is_some()
        || matches!(
            error.cause::<DbErr>().and_then(DbErr::sql_err),
            Some(SqlErr::UniqueConstraintViolation(_))
        )
}
