//! Imports conversations from another system, or from an export of this one. Idempotent: a later run finds the stored
//! conversations and appends only new messages.
//!
//! A new conversation is not published: its revision counts as published, so that no sweep publishes a whole import. An
//! untitled one has no lease: its title waits for a backfill or for the next message. A continued conversation is a
//! normal change, which the servers' sweeps publish.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait, SqlErr,
    sea_query::{Expr, OnConflict},
};

use super::{
    Database,
    entity::{conversation, message, reply_call, reply_part, turn, version},
    exports::{Line, Reply, StoredRows},
    feed::lock_feeds,
    guarded::{Transaction, retry},
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

/// Retries for a conversation that concurrent transactions change.
const MAX_RETRIES: usize = 2;

/// Rows per statement.
///
/// A statement larger than one TLS record (16 KiB) takes 40 ms more: sqlx does not set TCP_NODELAY, so the second
/// record waits for a delayed ACK. A fixed number of rows also lets the driver reuse the prepared statement.
const ROWS: usize = 20;

/// A conversation to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewConversation {
    /// The id, the same in every run.
    pub id: ConversationId,
    /// The id in the other system, unless it is a UUID.
    pub external_id: Option<String>,
    /// The owner.
    pub owner: Owner,
    /// The title and its source; `None` waits for a backfill.
    pub title: Option<(Title, TitleSource)>,
    /// The text to show without a title.
    pub topic_hint: Option<String>,
    /// Whether previews leave out secrets and personal numbers.
    pub redacts: bool,
    /// The agent that replies.
    pub agent: String,
    /// The time of creation.
    pub created_at: DateTime<Utc>,
    /// The messages, oldest first.
    pub messages: Vec<NewMessage>,
    /// The rows of an exported conversation, stored unchanged instead of rows made from the fields above.
    pub stored: Option<StoredRows>,
}

/// A message to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// The id; `None` generates one.
    pub id: Option<MessageId>,
    /// The id in the other system, unless it is a UUID.
    pub external_id: Option<String>,
    /// The author's role.
    pub role: Role,
    /// The text.
    pub text: String,
    /// The attachments.
    pub attachments: Vec<Attachment>,
    /// The time of creation.
    pub created_at: DateTime<Utc>,
}

/// The outcome of the import of one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// The conversation is new.
    Added,
    /// The conversation exists, and new messages are appended.
    Continued {
        /// The number of new messages.
        messages: usize,
    },
    /// The conversation exists with all of its messages.
    Unchanged,
    /// The conversation was deleted here and stays deleted.
    Deleted,
    /// The stored messages differ: the conversation was continued here, or edited in the other system.
    Diverged,
    /// A conversation of another owner has this id.
    Foreign,
    /// The id of one of its messages is taken by a stored message.
    MessageTaken,
}

impl Database {
    /// Imports conversations in one transaction, or in one each if a concurrent transaction collides.
    ///
    /// # Errors
    /// [`Error::Database`]. A retry with the same batch is idempotent.
    pub async fn import(&self, batch: &[NewConversation]) -> Result<Vec<Imported>> {
        match self.try_import(batch).await {
            // The batch contains an id twice, or a concurrent transaction stored one of its conversations.
            Err(error) if is_collision(&error) => {}
            result => return result,
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for one in batch {
            let one = std::slice::from_ref(one);
            let imported = retry(MAX_RETRIES, is_collision, |_| self.try_import(one));
            outcomes.extend(imported.await?);
        }
        Ok(outcomes)
    }

    /// The outcome that [`Self::import`] would have for each conversation. Stores nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find_imported(&self, batch: &[NewConversation]) -> Result<Vec<Imported>> {
        classify(&self.reader, batch).await
    }

    async fn try_import(&self, batch: &[NewConversation]) -> Result<Vec<Imported>> {
        self.transaction(|tx| async move {
            let outcomes = classify(&tx, batch).await?;
            add(&tx, batch, &outcomes).await?;
            let mut decided: Vec<_> = batch.iter().zip(&outcomes).collect();
            // Every transaction that updates several conversations uses this lock order, to prevent deadlocks.
            decided.sort_by_key(|(one, _)| one.id);
            for (one, outcome) in decided {
                if let Imported::Continued { messages } = outcome {
                    append(&tx, one, *messages, self.now()).await?;
                }
            }
            let is_stored =
                |outcome| matches!(outcome, Imported::Added | Imported::Continued { .. });
            let stored = batch.iter().zip(&outcomes);
            let stored = stored.filter(|(_, outcome)| is_stored(**outcome));
            lock_feeds(&tx, stored.map(|(one, _)| &one.owner)).await?;
            Ok((tx, outcomes))
        })
        .await
    }
}

/// Compares each conversation with the stored one.
async fn classify(db: &impl ConnectionTrait, batch: &[NewConversation]) -> Result<Vec<Imported>> {
    let ids = batch.iter().map(|one| one.id);
    let rows = conversation::Entity::find()
        .filter(conversation::Column::Id.is_in(ids))
        .all(db)
        .await?;
    let rows: HashMap<ConversationId, conversation::Model> =
        rows.into_iter().map(|row| (row.id, row)).collect();
    let mut outcomes = Vec::with_capacity(batch.len());
    for one in batch {
        outcomes.push(match rows.get(&one.id) {
            None => Imported::Added,
            Some(row) if row.owner() != one.owner => Imported::Foreign,
            Some(row) if row.status != ConversationStatus::Active.as_str() => Imported::Deleted,
            Some(row) => compare(db, one, row.message_count).await?,
        });
    }
    let taken = find_taken(db, batch, &outcomes).await?;
    for (one, outcome) in batch.iter().zip(&mut outcomes) {
        let mut versions = one.unstored_versions(*outcome);
        if one.unstored(*outcome).iter().any(|new| new.is_of(&taken))
            || versions.any(|version| taken.contains(&version.row.id))
        {
            *outcome = Imported::MessageTaken;
        }
    }
    Ok(outcomes)
}

/// Compares the imported messages with the stored messages at the same positions, up to the end of the shorter list.
/// `count` is the stored conversation's message count. Messages that retention removed here count as stored: an import
/// does not bring them back.
async fn compare(db: &impl ConnectionTrait, one: &NewConversation, count: i64) -> Result<Imported> {
    let before = one.removed();
    let end = before + one.messages.len() as i64;
    if count < before {
        // The line lacks messages that would have to be stored first.
        return Ok(Imported::Diverged);
    }
    let conversation = these_of(&one.owner, [one.id])
        .select_only()
        .expr(Expr::value(1))
        .into_query();
    let stored = message::Entity::find()
        .filter(Expr::exists(conversation))
        .filter(message::Column::ConversationId.eq(one.id))
        .filter(message::Column::Position.gt(before))
        .filter(message::Column::Position.lte(end))
        .order_by_asc(message::Column::Position)
        .all(db)
        .await?;
    let is_same = |row: &message::Model| {
        let place = usize::try_from(row.position - before - 1).ok();
        let new = place.and_then(|place| one.messages.get(place));
        new.is_some_and(|new| row.role == new.role.as_str() && row.content == new.text)
    };
    Ok(match usize::try_from(end - count) {
        _ if !stored.iter().all(is_same) => Imported::Diverged,
        Ok(0) | Err(_) => Imported::Unchanged,
        Ok(messages) => Imported::Continued { messages },
    })
}

/// The ids of new messages that stored messages of any owner already use.
async fn find_taken(
    db: &impl ConnectionTrait,
    batch: &[NewConversation],
    outcomes: &[Imported],
) -> Result<HashSet<MessageId>> {
    let new = || batch.iter().zip(outcomes);
    let messages = new().flat_map(|(one, outcome)| one.unstored(*outcome));
    let versions = new().flat_map(|(one, outcome)| one.unstored_versions(*outcome));
    let versions: Vec<MessageId> = versions.map(|version| version.row.id).collect();
    let mut ids: Vec<MessageId> = messages.filter_map(|new| new.id).collect();
    ids.extend(&versions);
    let mut taken = HashSet::new();
    for ids in ids.chunks(ROWS) {
        let found: Vec<MessageId> = message::Entity::find()
            .select_only()
            .column(message::Column::Id)
            .filter(message::Column::Id.is_in(ids.iter().copied()))
            .into_tuple()
            .all(db)
            .await?;
        taken.extend(found);
    }
    for ids in versions.chunks(ROWS) {
        let found: Vec<MessageId> = version::Entity::find()
            .select_only()
            .column(version::Column::Id)
            .filter(version::Column::Id.is_in(ids.iter().copied()))
            .into_tuple()
            .all(db)
            .await?;
        taken.extend(found);
    }
    Ok(taken)
}

impl NewConversation {
    /// The messages to store.
    fn unstored(&self, outcome: Imported) -> &[NewMessage] {
        match outcome {
            Imported::Added => &self.messages,
            Imported::Continued { messages } => &self.messages[self.messages.len() - messages..],
            _ => &[],
        }
    }

    /// The exported rows.
    fn line(&self) -> Option<&Line> {
        self.stored.as_ref().map(|stored| &*stored.0)
    }

    /// The number of messages that retention removed before the export: they precede those of the line.
    fn removed(&self) -> i64 {
        self.line().map_or(0, |line| {
            line.conversation.message_count - line.messages.len() as i64
        })
    }

    /// The exported versions of the messages to store.
    fn unstored_versions(&self, outcome: Imported) -> impl Iterator<Item = &Reply<version::Model>> {
        let ids: HashSet<_> = self.unstored(outcome).iter().map(|new| new.id).collect();
        let versions = self.line().map(|line| line.versions.as_slice());
        let versions = versions.unwrap_or_default().iter();
        versions.filter(move |version| ids.contains(&Some(version.row.message_id)))
    }

    /// The messages after the first `stored` ones, with their positions.
    fn positioned(&self, stored: usize) -> impl Iterator<Item = Positioned<'_>> {
        let new = self.messages.iter().enumerate().skip(stored);
        new.map(|(index, message)| Positioned {
            conversation: self,
            message,
            position: index + 1,
        })
    }

    fn row(&self) -> conversation::Model {
        if let Some(line) = self.line() {
            return line.conversation.clone();
        }
        let (display_name, source) = match &self.title {
            Some((title, source)) => (Some(title.as_str().to_owned()), *source),
            None => (None, TitleSource::Hint),
        };
        let status = match display_name {
            Some(_) => TitleStatus::Ready,
            None => TitleStatus::Pending,
        };
        let last = self.messages.last();
        let last_message_at = newest_time(&self.messages).unwrap_or(self.created_at);
        conversation::Model {
            external_id: self.external_id.clone(),
            topic_hint: self.topic_hint.clone(),
            message_count: self.messages.len() as i64,
            last_message_preview: last.map(|last| last.preview(self.redacts)),
            last_message_at,
            updated_at: last_message_at,
            display_name,
            title_generated_at: (source == TitleSource::Generated).then_some(self.created_at),
            title_source: source.as_str().into(),
            title_status: status.as_str().into(),
            published_revision: 1,
            ..conversation::Model::new(&self.owner, self.id, &self.agent, self.created_at)
        }
    }
}

impl NewMessage {
    fn is_of(&self, ids: &HashSet<MessageId>) -> bool {
        self.id.is_some_and(|id| ids.contains(&id))
    }

    fn shown_text(&self) -> Cow<'_, str> {
        shown_text(&self.text, &self.attachments)
    }

    fn preview(&self, redacts: bool) -> String {
        preview(&self.shown_text(), redacts)
    }
}

/// The time of the newest message. The last message of a line may be older.
fn newest_time(messages: &[NewMessage]) -> Option<DateTime<Utc>> {
    messages.iter().map(|message| message.created_at).max()
}

/// A message and its position in its conversation, from 1.
struct Positioned<'a> {
    conversation: &'a NewConversation,
    message: &'a NewMessage,
    position: usize,
}

impl Positioned<'_> {
    fn row(&self) -> Result<message::Model> {
        let message = self.message;
        let line = self.conversation.line();
        if let Some(stored) = line.and_then(|line| line.messages.get(self.position - 1)) {
            return Ok(stored.row.clone());
        }
        Ok(message::Model {
            id: message.id.unwrap_or_default(),
            conversation_id: self.conversation.id,
            position: self.position as i64,
            role: message.role.as_str().into(),
            content: message.text.clone(),
            status: MessageStatus::Complete.as_str().into(),
            created_at: message.created_at,
            attachments: message::write_attachments(&message.attachments)?,
            in_reply_to: None,
            outcome: None,
            model: None,
            external_id: message.external_id.clone(),
            author: (message.role == Role::User).then(|| self.conversation.owner.user.clone()),
        })
    }
}

/// Stores the new conversations.
async fn add(tx: &Transaction, batch: &[NewConversation], outcomes: &[Imported]) -> Result<()> {
    let new = batch.iter().zip(outcomes);
    let new: Vec<_> = new
        .filter(|(_, outcome)| **outcome == Imported::Added)
        .map(|(one, _)| one)
        .collect();
    let mut rows: Vec<_> = new.iter().map(|one| one.row()).collect();
    // A fixed order of inserts prevents deadlocks between processes that store the same conversations.
    rows.sort_unstable_by_key(|row| row.id);
    for rows in rows.chunks(ROWS) {
        let rows = rows.iter().cloned().map(IntoActiveModel::into_active_model);
        conversation::Entity::insert_many(rows)
            .exec_without_returning(tx)
            .await?;
    }
    let messages = new.iter().flat_map(|one| one.positioned(0));
    add_messages(tx, &messages.collect::<Vec<_>>()).await?;
    for one in &new {
        add_beside(tx, one, Imported::Added).await?;
    }
    let rows = rows.into_iter().map(Conversation::try_from);
    let conversations = rows.collect::<Result<Vec<_>>>()?;
    for conversations in conversations.chunks(ROWS) {
        index(tx, conversations.iter().map(Text::title).collect()).await?;
    }
    Ok(())
}

/// Appends the last `messages` messages to a stored conversation.
async fn append(
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
    let newest = newest_time(&one.messages[stored..]).unwrap_or(last.created_at);
    let before = one.removed();
    let counted = change_of(&one.owner, one.id, at)
        .col_expr(
            Column::MessageCount,
            Expr::val(before + one.messages.len() as i64),
        )
        .col_expr(
            Column::LastMessagePreview,
            Expr::val(last.preview(one.redacts)),
        )
        // Older messages do not move the conversation down the list.
        .col_expr(
            Column::LastMessageAt,
            Expr::case(
                Expr::col(Column::LastMessageAt).lt(newest),
                Expr::val(newest),
            )
            .finally(Expr::col(Column::LastMessageAt))
            .into(),
        )
        .filter(Column::MessageCount.eq(before + stored as i64))
        .exec(tx)
        .await?;
    if counted.rows_affected == 0 {
        return Err(Error::Database(Box::new(ConcurrentChange)));
    }
    add_messages(tx, &one.positioned(stored).collect::<Vec<_>>()).await?;
    add_beside(tx, one, Imported::Continued { messages }).await
}

/// Stores an export's other rows for the new messages: versions, parts, usage and turns.
async fn add_beside(tx: &Transaction, one: &NewConversation, outcome: Imported) -> Result<()> {
    let Some(line) = one.line() else {
        return Ok(());
    };
    let new = &line.messages[line.messages.len() - one.unstored(outcome).len()..];
    let versions: Vec<_> = one.unstored_versions(outcome).collect();
    let rows: Vec<_> = versions.iter().map(|version| version.row.clone()).collect();
    for rows in rows.chunks(ROWS) {
        let rows = rows.iter().cloned().map(IntoActiveModel::into_active_model);
        version::Entity::insert_many(rows)
            .exec_without_returning(tx)
            .await?;
    }
    let part = |reply, message, parts: &Option<String>| {
        Some(reply_part::Model {
            reply_id: reply,
            conversation_id: one.id,
            message_id: message,
            parts: parts.clone()?,
        })
    };
    let replies = new.iter().filter_map(|reply| {
        let row = &reply.row;
        part(row.id, row.in_reply_to?, &reply.parts)
    });
    let others = versions
        .iter()
        .filter_map(|reply| part(reply.row.id, reply.row.message_id, &reply.parts));
    let parts: Vec<_> = replies.chain(others).collect();
    for rows in parts.chunks(ROWS) {
        let rows = rows.iter().cloned().map(IntoActiveModel::into_active_model);
        reply_part::Entity::insert_many(rows)
            .exec_without_returning(tx)
            .await?;
    }
    // Costs outlive a conversation, and a deleted conversation's key may have been reused: existing rows stay.
    let there = || OnConflict::new().do_nothing().to_owned();
    let usage = new.iter().filter_map(|reply| reply.usage.clone());
    let others = versions.iter().filter_map(|reply| reply.usage.clone());
    let usage: Vec<_> = usage.chain(others).collect();
    for rows in usage.chunks(ROWS) {
        let rows = rows.iter().cloned().map(IntoActiveModel::into_active_model);
        reply_call::Entity::insert_many(rows)
            .on_conflict(there())
            .exec_without_returning(tx)
            .await?;
    }
    for rows in line.turns.chunks(ROWS) {
        let rows = rows.iter().cloned().map(IntoActiveModel::into_active_model);
        turn::Entity::insert_many(rows)
            .on_conflict(there())
            .exec_without_returning(tx)
            .await?;
    }
    Ok(())
}

async fn add_messages(tx: &Transaction, messages: &[Positioned<'_>]) -> Result<()> {
    for messages in messages.chunks(ROWS) {
        let rows = messages.iter().map(Positioned::row);
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let texts = messages.iter().zip(&rows).filter(|(new, _)| {
            let line = new.conversation.line();
            !line.is_some_and(|line| line.conversation.drops_text())
        });
        let texts = texts.map(|(new, row)| Text {
            conversation: new.conversation.id,
            message: Some(row.id),
            body: indexed(&new.conversation.owner, &new.message.shown_text()),
        });
        let texts: Vec<Text> = texts.collect();
        let models = rows.iter().cloned().map(IntoActiveModel::into_active_model);
        message::Entity::insert_many(models)
            .exec_without_returning(tx)
            .await?;
        if !texts.is_empty() {
            index(tx, texts).await?;
        }
    }
    Ok(())
}

/// A concurrent transaction changed the conversation.
#[derive(Debug, thiserror::Error)]
#[error("a concurrent transaction changed the conversation between two statements")]
struct ConcurrentChange;

/// Whether a concurrent transaction stored or changed the same row, so that a retry reads the committed state.
fn is_collision(error: &Error) -> bool {
    let sql_error = error.cause::<DbErr>().and_then(DbErr::sql_err);
    matches!(sql_error, Some(SqlErr::UniqueConstraintViolation(_)))
        || error.cause::<ConcurrentChange>().is_some()
}
