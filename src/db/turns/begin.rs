//! The beginning of a turn: one transaction for the message, its turn, the conversation if it is new, and the
//! claim on its title.

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
        claims::another_attempt,
        commit,
        entity::{
            conversation, message,
            turn::{self, Column, Entity},
        },
        guarded::{Transaction, Undecided, transact},
        scope::{conversations_of, row_of},
        search::index,
    },
    error::{Error, Result},
    step::{Step, step},
};

/// A commit that nobody answered, one that came in between, and a look at both.
const TRIES: usize = 3;

/// A message that a user sends, before it is stored.
#[derive(Clone, Debug)]
pub struct NewTurn {
    /// The conversation; one that nobody has is begun.
    pub conversation_id: ConversationId,
    /// Whether that id was made for this message, so that nobody can have a conversation with it.
    pub is_conversation_new: bool,
    /// The id that the message gets.
    pub message_id: MessageId,
    /// The id that its reply gets.
    pub reply_id: MessageId,
    /// The text.
    pub text: String,
    /// What is attached to it.
    pub attachments: Vec<Attachment>,
    /// The hint, should the conversation be new.
    pub topic_hint: Option<String>,
    /// Who answers; `None` leaves it as it is.
    pub agent: Option<String>,
    /// Who answers in a new conversation, when `agent` is `None`.
    pub default_agent: &'static str,
    /// What a new conversation's title begins with. A conversation that waits for a message to make its
    /// title from is claimed as well.
    pub title: NewTitle,
    /// Who writes the reply, and how long others shall believe so without hearing of it again.
    pub run: (Uuid, Duration),
    /// The key that makes a retry find this turn, and a hash of the request that it stands for.
    pub idempotency: Option<(String, String)>,
}

impl NewTurn {
    fn shown_text(&self) -> Cow<'_, str> {
        shown_text(&self.text, &self.attachments)
    }
}

/// How a title begins, as the message has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewTitle {
    /// The caller makes it, and has so much time before others take over.
    Claimed(Duration),
    /// This message says nothing; a later one may.
    Deferred,
    /// It is there, from the name of a file; the time is as for [`Self::Claimed`], should the
    /// conversation have an earlier message to make it from.
    Known(Title, Duration),
    /// There shall be none.
    Skipped,
}

/// What became of a [`NewTurn`].
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum BegunTurn {
    /// It is stored.
    New {
        /// The conversation with the message in it.
        conversation: Conversation,
        /// The message.
        message: Message,
        /// The claim on its title, if that is the caller's to make.
        claim: Option<TitleClaim>,
    },
    /// Its idempotency key was used before, for the same request.
    Known(Turn),
}

impl Database {
    /// Stores a message and its turn in one transaction, and begins the conversation if there is none.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the conversation is somebody else's or was deleted;
    /// [`Error::IdempotencyKeyReused`]; [`Error::Database`].
    pub async fn begin_turn(&self, owner: &Owner, new: &NewTurn) -> Result<BegunTurn> {
        let body = index::prepared(owner, &new.shown_text()).await?;
        let mut tries = 1;
        loop {
            match transact(|| self.try_begin_turn(owner, new, &body, tries > 1)).await {
                // Somebody began the same conversation, or used the same key, between two statements of
                // ours. Or the connection broke, and nobody knows whether our own commit was done. The
                // next look sees it; while it is still being done, the inserts wait for it.
                Err(error) if tries < TRIES && is_worth_another_look(&error) => tries += 1,
                result => return result,
            }
        }
    }

    async fn try_begin_turn(
        &self,
        owner: &Owner,
        new: &NewTurn,
        body: &str,
        is_another: bool,
    ) -> Result<BegunTurn> {
        let tx = self.begin().await?;
        if is_another && let Some(begun) = find_begun(&tx, owner, new).await? {
            return Ok(begun);
        }
        if let Some((key, hash)) = &new.idempotency
            && let Some(known) = find_by_key(&tx, owner, key).await?
        {
            if known.request_hash.as_ref() != Some(hash) {
                return Err(Error::IdempotencyKeyReused);
            }
            return Ok(BegunTurn::Known(known.try_into()?));
        }
        let at = self.now();
        let continued = match new.is_conversation_new {
            true => None,
            false => continue_conversation(&tx, owner, new, at).await?,
        };
        let (row, claim, is_first) = match continued {
            None => {
                let row = begin_conversation(&tx, owner, new, at).await?;
                let claim = TitleClaim::of(&row);
                (row, claim, true)
            }
            Some(row) => match claim_deferred(&tx, owner, new, &row, at).await? {
                Some(claimed) => {
                    let claim = TitleClaim::of(&claimed);
                    (claimed, claim, false)
                }
                // A claim that was there before is somebody else's.
                None => (row, None, false),
            },
        };
        let conversation = Conversation::try_from(row)?;
        let message = message::Model {
            id: new.message_id.0,
            conversation_id: conversation.id.0,
            position: conversation.message_count,
            role: Role::User.as_str().into(),
            content: new.text.clone(),
            status: MessageStatus::Complete.as_str().into(),
            created_at: at,
            attachments: message::write_attachments(&new.attachments)?,
        };
        message::Entity::insert(message.clone().into_active_model())
            .exec_without_returning(&tx)
            .await?;
        let message = Message::try_from(message)?;
        let (key, hash) = new.idempotency.clone().unzip();
        Entity::insert(turn::ActiveModel {
            message_id: Set(new.message_id.0),
            conversation_id: Set(conversation.id.0),
            reply_id: Set(new.reply_id.0),
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
        .exec_without_returning(&tx)
        .await?;
        index::index_message(&tx, &conversation, new.message_id, body.into(), is_first).await?;
        step(Step::TurnCommitting, conversation.id);
        commit(tx).await?;
        Ok(BegunTurn::New {
            conversation,
            message,
            claim,
        })
    }
}

/// Counts the message into an existing conversation; `None` when nobody has one with this id.
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
    let taken = Entity::find_by_id(new.conversation_id.0).one(tx).await?;
    let is_ours = |row: &conversation::Model| {
        row.tenant_id == owner.tenant
            && row.user_id == owner.user
            && row.status == ConversationStatus::Active.as_str()
    };
    match taken {
        None => Ok(None),
        // PostgreSQL shows each statement what was committed before it: this one was begun after
        // the update looked for it.
        Some(row) if is_ours(&row) => Err(Error::Database(Box::new(JustBegun))),
        // Somebody else's, or a tombstone: nobody learns which.
        Some(_) => Err(Error::no_conversation()),
    }
}

/// The same conversation with a claim on its title, if that has waited for this message.
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
            let claimed = another_attempt(row_of(owner, new.conversation_id), at + lease);
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
        id: new.conversation_id.0,
        tenant_id: owner.tenant.clone(),
        user_id: owner.user.clone(),
        topic_hint: new.topic_hint.clone(),
        agent_entrypoint: agent.into(),
        active_agent: agent.into(),
        status: ConversationStatus::Active.as_str().into(),
        message_count: 1,
        last_message_preview: Some(preview(&new.shown_text())),
        last_message_at: at,
        created_at: at,
        updated_at: at,
        title_generated_at: title.as_ref().map(|_| at),
        display_name: title,
        title_source: source.as_str().into(),
        title_status: status.as_str().into(),
        title_failure: None,
        revision: 1,
        title_token: lease.map(|_| Uuid::new_v4()),
        title_lease_until: lease.map(|lease| at + lease),
        title_attempts: i32::from(lease.is_some()),
        title_hint: None,
        published_revision: 0,
    };
    conversation::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(tx)
        .await?;
    Ok(row)
}

/// What a try before has stored, if it has: its message has an id that nobody else's has.
async fn find_begun(tx: &Transaction, owner: &Owner, new: &NewTurn) -> Result<Option<BegunTurn>> {
    let message = message::Entity::find_by_id(new.message_id.0)
        .one(tx)
        .await?;
    let Some(message) = message else {
        return Ok(None);
    };
    let message = Message::try_from(message)?;
    let row = conversations_of(owner)
        .filter(conversation::Column::Id.eq(new.conversation_id.0))
        .one(tx)
        .await?
        .ok_or_else(Error::no_conversation)?;
    // Whose claim a later message meets is not known any more. Should it be ours, a sweep takes it over.
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

/// The conversation was begun while we looked for it.
#[derive(Debug, thiserror::Error)]
#[error("the conversation was begun between two statements")]
struct JustBegun;

/// Whether another transaction came in between, or ours may be done, so that the next try sees that.
fn is_worth_another_look(error: &Error) -> bool {
    error.cause::<Undecided>().is_some()
        || error.cause::<JustBegun>().is_some()
        || matches!(
            error.cause::<DbErr>().and_then(DbErr::sql_err),
            Some(SqlErr::UniqueConstraintViolation(_))
        )
}
