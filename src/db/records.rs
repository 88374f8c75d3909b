//! Messages recorded by other programs: stored without a turn, because no reply is made here.
//!
//! One transaction stores all messages of a request, and whatever else a sent message stores: a new conversation, the
//! title's claim, the preview, the search index. Idempotent by message id, which is the primary key, and by external id
//! for messages that a client sent.

use std::{borrow::Cow, collections::HashMap};

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter,
    sea_query::Expr,
};

use super::{
    Database, NewTitle, TitleClaim,
    entity::{conversation, message, version},
    guarded::{Transaction, retry},
    retention::settled,
    scope::{change_of, conversations_of, locked},
    search::index::{self, Text, index},
    turns::{
        MAX_RETRIES, NewConversationRow, claim_deferred, insert_conversation, is_retryable,
        open_reply,
    },
};
use crate::{
    conversation::{
        Attachment, Conversation, ConversationId, Message, MessageId, MessageStatus, Owner, Role,
        attachment::shown_text, external, topic_hint::preview,
    },
    error::{Error, Result},
    step::{Step, step},
};

/// Rows per statement; see `imports`.
const ROWS: usize = 20;

/// Messages to record in one conversation.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// The conversation; created if it does not exist.
    pub conversation_id: ConversationId,
    /// The conversation's id in the caller's own system.
    pub external_id: Option<String>,
    /// The author of the user messages.
    pub author: String,
    /// The messages, at least one, in their order; no two have the same id.
    pub messages: Vec<RecordedMessage>,
    /// The topic hint of a new conversation.
    pub topic_hint: Option<String>,
    /// Whether the preview leaves out secrets and personal numbers.
    pub redacts: bool,
    /// The agent that replies; `None` keeps the conversation's agent.
    pub agent: Option<String>,
    /// The requested agent, the entry point of a new conversation; `None` if the request names none.
    pub entrypoint: Option<String>,
    /// The agent of a new conversation if `agent` is `None`.
    pub default_agent: String,
    /// Whether a new conversation keeps its texts only until its title is settled.
    pub is_until_titled: bool,
    /// The title state of a new conversation.
    pub new_title: NewTitle,
    /// The title state of an existing conversation whose title waits for a message with content.
    pub deferred_title: NewTitle,
}

/// A message to record.
#[derive(Clone, Debug)]
pub struct RecordedMessage {
    /// The id.
    pub id: MessageId,
    /// The id in the caller's own system.
    pub external_id: Option<String>,
    /// The author's role.
    pub role: Role,
    /// The text.
    pub text: String,
    /// The attachments.
    pub attachments: Vec<Attachment>,
    /// The time of creation; `None`: now.
    pub created_at: Option<DateTime<Utc>>,
}

impl RecordedMessage {
    fn shown_text(&self) -> Cow<'_, str> {
        shown_text(&self.text, &self.attachments)
    }

    /// Whether a stored message is this one.
    fn is(&self, stored: &Message, conversation: ConversationId, drops_text: bool) -> bool {
        let has_text = stored.content == self.text && stored.attachments == self.attachments;
        stored.conversation_id == conversation
            && stored.role == self.role
            && (has_text || drops_text && stored.content.is_empty())
    }
}

/// The outcome of a [`NewRecord`].
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The conversation after the update.
    pub conversation: Conversation,
    /// The messages in the order of the request, and whether each is new.
    pub messages: Vec<(Message, bool)>,
    /// The title claim, if the caller must generate the title.
    pub claim: Option<TitleClaim>,
}

impl Database {
    /// Stores the messages that are missing, in one transaction, and creates the conversation if it does not exist.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the first message of a new conversation is not the user's; [`Error::IdTaken`] if a
    /// message's id belongs to another message; [`Error::NotFound`] if the conversation belongs to another owner or was
    /// deleted; [`Error::Database`].
    pub async fn record(&self, owner: &Owner, new: &NewRecord) -> Result<Recorded> {
        let mut bodies = Vec::with_capacity(new.messages.len());
        for message in &new.messages {
            bodies.push(index::prepared(owner, &message.shown_text()).await?);
        }
        let bodies = &bodies;
        // As in `begin_turn`: a retry reads what a concurrent transaction stored, or ours, whose outcome is unknown.
        retry(MAX_RETRIES, is_retryable, |_| {
            self.transaction(move |tx| async move {
                let recorded = self.record_in(&tx, owner, new, bodies).await?;
                Ok((tx, recorded))
            })
        })
        .await
    }

    async fn record_in(
        &self,
        tx: &Transaction,
        owner: &Owner,
        new: &NewRecord,
        bodies: &[String],
    ) -> Result<Recorded> {
        // Locks the row before reading the stored ids, because a concurrent transaction may be storing some of these
        // messages.
        let row =
            || conversations_of(owner).filter(conversation::Column::Id.eq(new.conversation_id));
        let mut known = locked(tx, row()).await?;
        let mut stored = find_stored(tx, new).await?;
        if known.is_none() && !stored.is_empty() {
            // A concurrent transaction created the conversation after the first statement.
            known = locked(tx, row()).await?;
            stored = find_stored(tx, new).await?;
        }
        if known.is_some() {
            add_named(tx, new, &mut stored).await?;
        }
        let drops_text = known.as_ref().is_some_and(conversation::Model::drops_text);
        for (place, message) in new.messages.iter().enumerate() {
            if let Some(stored) = stored.get(&message.id)
                && !message.is(stored, new.conversation_id, drops_text)
            {
                return Err(id_taken(new, place));
            }
        }
        let missing: Vec<(&RecordedMessage, &String)> = new.messages.iter().zip(bodies).collect();
        let missing: Vec<_> = missing
            .into_iter()
            .filter(|(message, _)| !stored.contains_key(&message.id))
            .collect();
        let Some((last, _)) = missing.last() else {
            let row = known.ok_or_else(Error::no_conversation)?;
            return Ok(Recorded {
                // If the first try stored a claim, it is taken over when its lease expires.
                conversation: row.try_into()?,
                messages: in_order(new, &mut stored, &[]),
                claim: None,
            });
        };
        // If a recorded message had a running reply's id, the end of that reply could not be stored.
        let ids = missing.iter().map(|(message, _)| message.id);
        if let Some(id) = open_reply(tx, ids).await? {
            let place = new.messages.iter().position(|message| message.id == id);
            return Err(id_taken(new, place.unwrap_or_default()));
        }
        let at = self.now();
        let last_at = last.created_at.unwrap_or(at);
        // A conversation created since `known` was read is not updated, because it may have messages with these
        // external ids. The insert fails, and the retry reads them.
        let counted = match known {
            Some(_) => count_messages(tx, owner, new, (last, missing.len(), last_at), at).await?,
            None => None,
        };
        let (row, claim, is_new) = match counted {
            Some(row) => match claim_deferred(tx, owner, &new.deferred_title, &row, at).await? {
                Some(claimed) => {
                    let claim = TitleClaim::of(&claimed);
                    (claimed, claim, false)
                }
                None => (row, None, false),
            },
            None => {
                let taken = conversation::Entity::find_by_id(new.conversation_id);
                super::turns::check_unused(owner, taken.one(tx).await?)?;
                let first = missing.first().map(|(first, _)| first.role);
                if first != Some(Role::User) {
                    return Err(Error::invalid_field(
                        "role",
                        "the first message of a conversation must be the user's",
                    ));
                }
                let row = begin_conversation(tx, owner, new, (last, missing.len(), last_at), at);
                let row = row.await?;
                let claim = TitleClaim::of(&row);
                (row, claim, true)
            }
        };
        let conversation = Conversation::try_from(settled(tx, row).await?)?;
        let added = add_messages(tx, &conversation, &new.author, &missing, at).await?;
        if is_new {
            index(tx, vec![Text::title(&conversation)]).await?;
        }
        step(Step::TurnCommitting, conversation.id);
        Ok(Recorded {
            messages: in_order(new, &mut stored, &added),
            conversation,
            claim,
        })
    }
}

/// The error for a message whose id is taken. In a list, it names the message.
fn id_taken(new: &NewRecord, place: usize) -> Error {
    let what = match new.messages.len() {
        1 => "the id of the message".into(),
        _ => format!("the id of messages[{place}]").into(),
    };
    Error::IdTaken { what }
}

/// The stored messages with these ids, of any owner, whether or not they count.
async fn find_stored(
    db: &impl ConnectionTrait,
    new: &NewRecord,
) -> Result<HashMap<MessageId, Message>> {
    let mut found = HashMap::new();
    for messages in new.messages.chunks(ROWS) {
        let ids = || messages.iter().map(|message| message.id);
        let rows = message::Entity::find()
            .filter(message::Column::Id.is_in(ids()))
            .all(db)
            .await?;
        // A message that was replaced here is not recorded again.
        let replaced = version::Entity::find()
            .filter(version::Column::Id.is_in(ids()))
            .all(db)
            .await?;
        let replaced = replaced.into_iter().map(Message::try_from);
        for message in rows.into_iter().map(Message::try_from).chain(replaced) {
            let message = message?;
            found.insert(message.id, message);
        }
    }
    Ok(found)
}

/// Adds the stored messages that the request names by their external ids: those that a client sent under its own id.
async fn add_named(
    db: &impl ConnectionTrait,
    new: &NewRecord,
    stored: &mut HashMap<MessageId, Message>,
) -> Result<()> {
    // With a `message_id`, the external id does not identify the message.
    let named = new.messages.iter().filter_map(|message| {
        let name = message.external_id.as_deref()?;
        let derived = external::recorded_message_id(new.conversation_id, name);
        (message.id == derived && !stored.contains_key(&derived)).then_some((name, message))
    });
    let named: HashMap<&str, &RecordedMessage> = named.collect();
    let names: Vec<&str> = named.keys().copied().collect();
    for names in names.chunks(ROWS) {
        let rows = message::Entity::find()
            .filter(message::Column::ConversationId.eq(new.conversation_id))
            .filter(message::Column::ExternalId.is_in(names.iter().copied()))
            .all(db)
            .await?;
        for row in rows {
            let message = Message::try_from(row)?;
            let name = message.external_id.as_deref().unwrap_or_default();
            let Some(asked) = named.get(name) else {
                continue;
            };
            // A program may have stored the same external id with several of our ids.
            if !stored.contains_key(&asked.id) || asked.is(&message, new.conversation_id, false) {
                stored.insert(asked.id, message);
            }
        }
    }
    Ok(())
}

/// The messages in the order of the request: those that were already stored, and the added ones.
fn in_order(
    new: &NewRecord,
    stored: &mut HashMap<MessageId, Message>,
    added: &[Message],
) -> Vec<(Message, bool)> {
    let mut added = added.iter().cloned();
    let messages = new.messages.iter();
    let find = |message: &RecordedMessage| match stored.remove(&message.id) {
        Some(stored) => Some((stored, false)),
        None => added.next().map(|added| (added, true)),
    };
    messages.filter_map(find).collect()
}

/// Reserves the positions of new messages in an existing conversation; `None` if no conversation has this id.
async fn count_messages(
    tx: &Transaction,
    owner: &Owner,
    new: &NewRecord,
    (last, count, last_at): (&RecordedMessage, usize, DateTime<Utc>),
    at: DateTime<Utc>,
) -> Result<Option<conversation::Model>> {
    use conversation::Column;
    let mut update = change_of(owner, new.conversation_id, at)
        .col_expr(
            Column::MessageCount,
            Expr::col(Column::MessageCount).add(count as i64),
        )
        .col_expr(
            Column::LastMessagePreview,
            Expr::val(preview(&last.shown_text(), new.redacts)),
        )
        // Older messages, recorded to catch up, do not move the conversation down the list.
        .col_expr(
            Column::LastMessageAt,
            Expr::case(
                Expr::col(Column::LastMessageAt).lt(last_at),
                Expr::val(last_at),
            )
            .finally(Expr::col(Column::LastMessageAt))
            .into(),
        );
    if let Some(agent) = &new.agent {
        update = update.col_expr(Column::ActiveAgent, Expr::val(agent));
    }
    if let Some(id) = &new.external_id {
        update = update.col_expr(Column::ExternalId, Expr::val(id));
    }
    Ok(update.exec_with_returning(tx).await?.pop())
}

async fn begin_conversation(
    tx: &Transaction,
    owner: &Owner,
    new: &NewRecord,
    (last, count, last_at): (&RecordedMessage, usize, DateTime<Utc>),
    at: DateTime<Utc>,
) -> Result<conversation::Model> {
    let created_at = new.messages.first().and_then(|first| first.created_at);
    let agent = new.agent.as_ref().unwrap_or(&new.default_agent);
    let row = insert_conversation(
        tx,
        owner,
        NewConversationRow {
            id: new.conversation_id,
            external_id: new.external_id.as_ref(),
            entrypoint: new.entrypoint.as_ref().unwrap_or(agent),
            agent,
            topic_hint: new.topic_hint.as_ref(),
            preview: preview(&last.shown_text(), new.redacts),
            message_count: count as i64,
            title: &new.new_title,
            created_at: created_at.unwrap_or(at),
            last_message_at: last_at,
            is_until_titled: new.is_until_titled,
        },
        at,
    );
    row.await
}

/// Stores the messages at the last positions of the conversation.
async fn add_messages(
    tx: &Transaction,
    conversation: &Conversation,
    author: &str,
    messages: &[(&RecordedMessage, &String)],
    at: DateTime<Utc>,
) -> Result<Vec<Message>> {
    let before = conversation.message_count - messages.len() as i64;
    let mut added = Vec::with_capacity(messages.len());
    for (position, (message, _)) in (before + 1..).zip(messages) {
        added.push(message::Model {
            id: message.id,
            conversation_id: conversation.id,
            position,
            role: message.role.as_str().into(),
            content: message.text.clone(),
            status: MessageStatus::Complete.as_str().into(),
            created_at: message.created_at.unwrap_or(at),
            attachments: message::write_attachments(&message.attachments)?,
            in_reply_to: None,
            outcome: None,
            model: None,
            external_id: message.external_id.clone(),
            author: (message.role == Role::User).then(|| author.to_owned()),
        });
    }
    for (rows, messages) in added.chunks(ROWS).zip(messages.chunks(ROWS)) {
        let models = rows.iter().map(|row| row.kept(conversation.drops_text));
        let models = models.map(IntoActiveModel::into_active_model);
        message::Entity::insert_many(models)
            .exec_without_returning(tx)
            .await?;
        if conversation.drops_text {
            continue;
        }
        let texts = messages.iter().map(|(message, body)| Text {
            conversation: conversation.id,
            message: Some(message.id),
            body: (*body).clone(),
        });
        index(tx, texts.collect()).await?;
    }
    added.into_iter().map(Message::try_from).collect()
}
