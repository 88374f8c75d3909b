//! Conversations of another system: stored as if they had been begun and continued here, and found again by the
//! next run, which adds what has come since.
//!
//! Nobody is told of a new one: its revision counts as told, so that no sweep goes through all that an import brought.
//! One without a title has no lease either: it waits for a backfill, or for its next message. A conversation that is
//! there and is continued is a change like any other, of which the servers' sweeps tell.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, SqlErr, prelude::Uuid, sea_query::Expr,
};

use super::{
    Database, commit,
    entity::{conversation, message},
    guarded::{Transaction, transact},
    scope::{change_of, these_of},
    search::index::{Text, index, indexed},
};
use crate::{
    conversation::{
        Attachment, Conversation, ConversationId, ConversationStatus, MessageId, MessageStatus,
        Owner, Role, Title, TitleSource, TitleStatus, attachment::shown_text, topic_hint::preview,
    },
    error::{Error, Result},
};

/// How often a conversation is looked at that somebody changes just then.
const TRIES: usize = 3;

/// Rows of one statement. A statement that takes more than one TLS record (16 KiB) waits for 40 ms: sqlx sets no
/// TCP_NODELAY, so the rest of it is sent when what went before is acknowledged. And statements of always as many rows
/// are prepared once.
const ROWS: usize = 20;

/// A conversation of another system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewConversation {
    /// Its id, the same in every run.
    pub id: ConversationId,
    /// Whose it shall be.
    pub owner: Owner,
    /// Its title, and who gave it; `None` waits for a backfill.
    pub title: Option<(Title, TitleSource)>,
    /// What is shown without a title.
    pub topic_hint: Option<String>,
    /// Who answers in it.
    pub agent: String,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// Its messages, the oldest first; at least one.
    pub messages: Vec<NewMessage>,
}

/// A message of another system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Its id; `None` gives it a new one.
    pub id: Option<MessageId>,
    /// Who wrote it.
    pub role: Role,
    /// The text.
    pub text: String,
    /// What is attached to it.
    pub attachments: Vec<Attachment>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// What becomes of a conversation of another system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is new here.
    Added,
    /// It is here, and these messages follow.
    Continued {
        /// How many.
        messages: usize,
    },
    /// It is here with all of its messages.
    Unchanged,
    /// It was here and was deleted. It stays deleted.
    Deleted,
    /// It is here with other messages: it was continued in both systems, or changed in the other.
    Diverged,
    /// Somebody else has a conversation with this id.
    Foreign,
    /// A message of it has the id of one that is here.
    MessageTaken,
}

impl Database {
    /// Stores conversations of another system, in one transaction if nobody comes in between; else in one each.
    ///
    /// # Errors
    /// [`Error::Database`]; the same conversations again find what was stored.
    pub async fn import(&self, batch: &[NewConversation]) -> Result<Vec<Imported>> {
        match transact(|| self.try_import(batch)).await {
            // The batch holds the same id twice, or somebody stored one of them just now.
            Err(error) if is_collision(&error) => {}
            result => return result,
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for one in batch {
            outcomes.extend(self.import_alone(one).await?);
        }
        Ok(outcomes)
    }

    /// What would become of these conversations, each by itself. Nothing is stored.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_imported(&self, batch: &[NewConversation]) -> Result<Vec<Imported>> {
        look_up(&self.reader, batch).await
    }

    async fn import_alone(&self, one: &NewConversation) -> Result<Vec<Imported>> {
        let mut tries = 1;
        loop {
            match transact(|| self.try_import(std::slice::from_ref(one))).await {
                Err(error) if tries < TRIES && is_collision(&error) => tries += 1,
                result => return result,
            }
        }
    }

    async fn try_import(&self, batch: &[NewConversation]) -> Result<Vec<Imported>> {
        let tx = self.begin().await?;
        let outcomes = look_up(&tx, batch).await?;
        add(&tx, batch, &outcomes).await?;
        let mut decided: Vec<_> = batch.iter().zip(&outcomes).collect();
        // In the order in which everybody locks several conversations.
        decided.sort_by_key(|(one, _)| one.id);
        for (one, outcome) in decided {
            if let Imported::Continued { messages } = outcome {
                go_on(&tx, one, *messages, self.now()).await?;
            }
        }
        commit(tx).await?;
        Ok(outcomes)
    }
}

/// What each of these conversations is to what is stored.
async fn look_up(db: &impl ConnectionTrait, batch: &[NewConversation]) -> Result<Vec<Imported>> {
    let ids = batch.iter().map(|one| one.id.0);
    let rows = conversation::Entity::find()
        .filter(conversation::Column::Id.is_in(ids))
        .all(db)
        .await?;
    let rows: HashMap<Uuid, conversation::Model> =
        rows.into_iter().map(|row| (row.id, row)).collect();
    let mut outcomes = Vec::with_capacity(batch.len());
    for one in batch {
        outcomes.push(match rows.get(&one.id.0) {
            None => Imported::Added,
            Some(row) if row.owner() != one.owner => Imported::Foreign,
            Some(row) if row.status != ConversationStatus::Active.as_str() => Imported::Deleted,
            Some(_) => compare(db, one).await?,
        });
    }
    let taken = find_taken(db, batch, &outcomes).await?;
    for (one, outcome) in batch.iter().zip(&mut outcomes) {
        if one.unstored(*outcome).iter().any(|new| new.is_of(&taken)) {
            *outcome = Imported::MessageTaken;
        }
    }
    Ok(outcomes)
}

/// Whether the stored messages are those of the other system, as far as both go.
async fn compare(db: &impl ConnectionTrait, one: &NewConversation) -> Result<Imported> {
    let conversation = these_of(&one.owner, [one.id])
        .select_only()
        .expr(Expr::value(1))
        .into_query();
    let stored = message::Entity::find()
        .filter(Expr::exists(conversation))
        .filter(message::Column::ConversationId.eq(one.id.0))
        .order_by_asc(message::Column::Position)
        .limit(one.messages.len() as u64)
        .all(db)
        .await?;
    let is_same = |(row, new): (&message::Model, &NewMessage)| {
        row.role == new.role.as_str() && row.content == new.text
    };
    Ok(match one.messages.len() - stored.len() {
        _ if !stored.iter().zip(&one.messages).all(is_same) => Imported::Diverged,
        0 => Imported::Unchanged,
        messages => Imported::Continued { messages },
    })
}

/// Those ids of messages yet to be stored that some message has already, whoever's.
async fn find_taken(
    db: &impl ConnectionTrait,
    batch: &[NewConversation],
    outcomes: &[Imported],
) -> Result<HashSet<Uuid>> {
    let new = batch.iter().zip(outcomes);
    let new = new.flat_map(|(one, outcome)| one.unstored(*outcome));
    let ids: Vec<Uuid> = new.filter_map(|new| new.id).map(|id| id.0).collect();
    let mut taken = HashSet::new();
    for ids in ids.chunks(ROWS) {
        let found: Vec<Uuid> = message::Entity::find()
            .select_only()
            .column(message::Column::Id)
            .filter(message::Column::Id.is_in(ids.iter().copied()))
            .into_tuple()
            .all(db)
            .await?;
        taken.extend(found);
    }
    Ok(taken)
}

impl NewConversation {
    /// The messages that are to be stored.
    fn unstored(&self, outcome: Imported) -> &[NewMessage] {
        match outcome {
            Imported::Added => &self.messages,
            Imported::Continued { messages } => &self.messages[self.messages.len() - messages..],
            _ => &[],
        }
    }

    /// The messages behind so many.
    fn placed(&self, stored: usize) -> impl Iterator<Item = Placed<'_>> {
        let new = self.messages.iter().enumerate().skip(stored);
        new.map(|(place, message)| Placed {
            of: self,
            message,
            position: place + 1,
        })
    }

    fn row(&self) -> conversation::Model {
        let (display_name, source) = match &self.title {
            Some((title, source)) => (Some(title.as_str().to_owned()), *source),
            None => (None, TitleSource::Hint),
        };
        let status = match display_name {
            Some(_) => TitleStatus::Ready,
            None => TitleStatus::Pending,
        };
        let last = self.messages.last();
        let last_message_at = last.map_or(self.created_at, |last| last.created_at);
        conversation::Model {
            id: self.id.0,
            tenant_id: self.owner.tenant.clone(),
            user_id: self.owner.user.clone(),
            topic_hint: self.topic_hint.clone(),
            agent_entrypoint: self.agent.clone(),
            active_agent: self.agent.clone(),
            status: ConversationStatus::Active.as_str().into(),
            message_count: self.messages.len() as i64,
            last_message_preview: last.map(NewMessage::preview),
            last_message_at,
            created_at: self.created_at,
            updated_at: last_message_at,
            display_name,
            title_generated_at: (source == TitleSource::Generated).then_some(self.created_at),
            title_source: source.as_str().into(),
            title_status: status.as_str().into(),
            title_failure: None,
            revision: 1,
            title_token: None,
            title_lease_until: None,
            title_attempts: 0,
            title_hint: None,
            published_revision: 1,
        }
    }
}

impl NewMessage {
    fn is_of(&self, ids: &HashSet<Uuid>) -> bool {
        self.id.is_some_and(|id| ids.contains(&id.0))
    }

    fn shown_text(&self) -> Cow<'_, str> {
        shown_text(&self.text, &self.attachments)
    }

    fn preview(&self) -> String {
        preview(&self.shown_text())
    }
}

/// A message and its place in its conversation, from 1.
struct Placed<'a> {
    of: &'a NewConversation,
    message: &'a NewMessage,
    position: usize,
}

impl Placed<'_> {
    fn row(&self) -> Result<message::Model> {
        let message = self.message;
        Ok(message::Model {
            id: message.id.unwrap_or_default().0,
            conversation_id: self.of.id.0,
            position: self.position as i64,
            role: message.role.as_str().into(),
            content: message.text.clone(),
            status: MessageStatus::Complete.as_str().into(),
            created_at: message.created_at,
            attachments: message::write_attachments(&message.attachments)?,
        })
    }
}

/// Stores those that are new.
async fn add(tx: &Transaction, batch: &[NewConversation], outcomes: &[Imported]) -> Result<()> {
    let new = batch.iter().zip(outcomes);
    let new: Vec<_> = new
        .filter(|(_, outcome)| **outcome == Imported::Added)
        .map(|(one, _)| one)
        .collect();
    let mut rows: Vec<_> = new.iter().map(|one| one.row()).collect();
    // Two processes that store the same conversations wait for each other in the same order.
    rows.sort_unstable_by_key(|row| row.id);
    for rows in rows.chunks(ROWS) {
        let rows = rows.iter().cloned().map(IntoActiveModel::into_active_model);
        conversation::Entity::insert_many(rows)
            .exec_without_returning(tx)
            .await?;
    }
    let messages = new.iter().flat_map(|one| one.placed(0));
    add_messages(tx, &messages.collect::<Vec<_>>()).await?;
    let rows = rows.into_iter().map(Conversation::try_from);
    let conversations = rows.collect::<Result<Vec<_>>>()?;
    for conversations in conversations.chunks(ROWS) {
        index(tx, conversations.iter().map(Text::title).collect()).await?;
    }
    Ok(())
}

/// Stores the last messages of a conversation that is here with all others.
async fn go_on(
    tx: &Transaction,
    one: &NewConversation,
    messages: usize,
    at: DateTime<Utc>,
) -> Result<()> {
    use conversation::Column;
    let Some(last) = one.messages.last() else {
        return Ok(());
    };
    let stored = one.messages.len() - messages;
    let counted = change_of(&one.owner, one.id, at)
        .col_expr(Column::MessageCount, Expr::val(one.messages.len() as i64))
        .col_expr(Column::LastMessagePreview, Expr::val(last.preview()))
        .col_expr(Column::LastMessageAt, Expr::val(last.created_at))
        .filter(Column::MessageCount.eq(stored as i64))
        .exec(tx)
        .await?;
    if counted.rows_affected == 0 {
        return Err(Error::Database(Box::new(JustChanged)));
    }
    add_messages(tx, &one.placed(stored).collect::<Vec<_>>()).await
}

async fn add_messages(tx: &Transaction, messages: &[Placed<'_>]) -> Result<()> {
    for messages in messages.chunks(ROWS) {
        let rows = messages.iter().map(Placed::row);
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let texts = messages.iter().zip(&rows).map(|(placed, row)| Text {
            conversation: placed.of.id,
            message: Some(MessageId(row.id)),
            body: indexed(&placed.of.owner, &placed.message.shown_text()),
        });
        let texts = texts.collect();
        let models = rows.iter().cloned().map(IntoActiveModel::into_active_model);
        message::Entity::insert_many(models)
            .exec_without_returning(tx)
            .await?;
        index(tx, texts).await?;
    }
    Ok(())
}

/// The conversation was changed between two statements of ours.
#[derive(Debug, thiserror::Error)]
#[error("the conversation was changed between two statements")]
struct JustChanged;

/// Whether somebody else stored or changed the same thing, so that another look sees that.
fn is_collision(error: &Error) -> bool {
    let sql_error = error.cause::<DbErr>().and_then(DbErr::sql_err);
    matches!(sql_error, Some(SqlErr::UniqueConstraintViolation(_)))
        || error.cause::<JustChanged>().is_some()
}
