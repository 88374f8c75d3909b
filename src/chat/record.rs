//! Records messages of an external program, without making replies.
//!
//! Everything else is as for a sent message: the conversation, its title, its preview, the search index, and the change
//! that subscribers receive.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use tokio::time::timeout;
use tracing::Instrument;

use super::{Chat, STORE_TIMEOUT, check_agent, checked_text};
use crate::{
    clock::{PLAIN, is_plain},
    conversation::{
        Actor, Attachment, Conversation, ConversationName, Message, MessageId, Owner, Role,
        attachment::shown_text, external, topic_hint,
    },
    db::{NewRecord, NewTitle, Recorded, RecordedMessage},
    error::{Error, Result},
    step::{Step, step},
};

/// The maximum number of messages in one request.
pub const MAX_RECORDED_MESSAGES: usize = 500;

/// How far another system's clock may be ahead of ours.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::days(1);

/// A message to record.
#[derive(Clone, Debug)]
pub struct RecordMessage {
    /// Its author.
    pub role: Role,
    /// The text; may be empty if there are attachments.
    pub text: String,
    /// Attached files, by name and media type.
    pub attachments: Vec<Attachment>,
    /// Its id, by which a repeated request finds it.
    pub message_id: Option<MessageId>,
    /// Its id in the caller's own system, unique in its conversation. Our id is derived from it unless `message_id` is
    /// set.
    pub external_id: Option<String>,
    /// The time of creation; `None` for the current time.
    pub created_at: Option<DateTime<Utc>>,
    /// The agent that answers.
    pub agent: Option<String>,
    /// Shown while there is no title; used only in the request that creates the conversation.
    pub topic_hint: Option<String>,
    /// Whether a new conversation gets a title; used only for the message that creates it.
    pub auto_title: bool,
}

/// The recorded messages, and whether each is new.
#[derive(Clone, Debug)]
pub struct RecordedMessages {
    /// The conversation, including the messages.
    pub conversation: Conversation,
    /// The messages in the order of the request.
    pub messages: Vec<(Message, bool)>,
}

impl Chat {
    /// Stores the missing messages in one transaction, and starts the conversation's title at the first user message
    /// with content. Idempotent by the messages' ids.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if a field is invalid, or the first message of a new conversation is not the user's;
    /// [`Error::IdTaken`] if a message's id belongs to another message; [`Error::NotFound`] if the conversation belongs
    /// to another owner or was deleted; [`Error::ShuttingDown`]; [`Error::Database`].
    pub async fn record(
        &self,
        actor: &Actor,
        conversation: &ConversationName,
        messages: Vec<RecordMessage>,
    ) -> Result<RecordedMessages> {
        let (new, is_source_first) = self.new_record(actor, conversation, messages)?;
        let (chat, owner) = (self.clone(), actor.owner.clone());
        // A separate task, so that a disconnect does not cancel the transaction.
        let recording = async move { chat.store_record(&owner, new, is_source_first).await };
        match self.inner.tasks.spawn(recording.in_current_span()).await {
            Ok(recorded) => recorded,
            Err(died) => Err(Error::Internal(died.into())),
        }
    }

    /// `is_source_first`: whether the title would be made from the first message.
    async fn store_record(
        &self,
        owner: &Owner,
        new: NewRecord,
        is_source_first: bool,
    ) -> Result<RecordedMessages> {
        let inner = &self.inner;
        if inner.abort.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let Recorded {
            conversation,
            messages,
            claim,
        } = match timeout(STORE_TIMEOUT, inner.db.record(owner, &new)).await {
            Ok(recorded) => recorded?,
            Err(late) => return Err(Error::Database(late.into())),
        };
        if messages.iter().any(|(_, is_new)| *is_new) {
            step(Step::TurnCommitted, conversation.id);
            inner.events.publish(conversation.clone());
        }
        let first = messages.first().map(|(message, _)| message);
        let source = first.filter(|first| first.is_first() && is_source_first);
        match (claim, source) {
            (Some(claim), Some(first)) => {
                let text = first.content.clone();
                inner.titles.start(claim, first.id, text);
            }
            (Some(claim), None) => inner.titles.start_deferred(claim),
            (None, _) => {}
        }
        Ok(RecordedMessages {
            conversation,
            messages,
        })
    }

    /// Validates the messages and plans the title. Also returns whether the first message is the title's source.
    fn new_record(
        &self,
        Actor { owner, author }: &Actor,
        name: &ConversationName,
        messages: Vec<RecordMessage>,
    ) -> Result<(NewRecord, bool)> {
        let conversation_id = name.id(owner);
        let latest = self.inner.db.clock().now() + MAX_CLOCK_SKEW;
        let mut new: Vec<RecordedMessage> = Vec::with_capacity(messages.len());
        let (mut hint, mut derived_hint, mut auto_title) = (None, None, true);
        let (mut named, mut entrypoint) = (None, None);
        let mut titles = Vec::new();
        let (agents, redacts) = (self.agents(), self.inner.titles.redacts(&owner.tenant));
        let default_agent = &agents.default_agent().name;
        let count = messages.len();
        for (place, message) in messages.into_iter().enumerate() {
            let in_message = |error: Error| match count {
                1 => error,
                _ => error.of_item("messages", place),
            };
            let message = validated(message, latest).map_err(in_message)?;
            if let Some(agent) = &message.agent {
                self.check_agent(owner, agent).map_err(in_message)?;
            }
            if place == 0 {
                auto_title = message.auto_title;
                let shown = shown_text(&message.text, &message.attachments);
                derived_hint = topic_hint::topic_hint(&shown, redacts);
                entrypoint.clone_from(&message.agent);
            }
            hint = hint.or(message.topic_hint);
            named = message.agent.or(named);
            let is_claimed =
                |title: &NewTitle| matches!(title, NewTitle::Claimed(_) | NewTitle::Known(..));
            if message.role == Role::User && !titles.iter().any(is_claimed) {
                let agent = named.as_deref().unwrap_or(default_agent);
                let (text, files) = (&message.text, &message.attachments);
                let plan = self
                    .inner
                    .titles
                    .plan((&owner.tenant, agent), text, files, auto_title);
                titles.push(plan);
            }
            let external_id = message.external_id;
            let derived = external_id
                .as_deref()
                .map(|id| external::recorded_message_id(conversation_id, id));
            let id = message.message_id.or(derived).unwrap_or_default();
            if new.iter().any(|earlier| earlier.id == id) {
                let error = Error::invalid("the id repeats that of an earlier message");
                return Err(in_message(error));
            }
            new.push(RecordedMessage {
                id,
                external_id,
                role: message.role,
                text: message.text,
                attachments: message.attachments,
                created_at: message.created_at,
            });
        }
        let stored_name = |asked: &String| agents.stored_name(&owner.tenant, asked).to_owned();
        let is_source_first = matches!(titles.first(), Some(NewTitle::Claimed(_)));
        let (new_title, deferred_title) = planned(titles);
        let record = NewRecord {
            conversation_id,
            external_id: name.clone().into_external(),
            author: author.clone(),
            messages: new,
            topic_hint: hint.or(derived_hint),
            redacts,
            agent: named.as_ref().map(stored_name),
            entrypoint,
            default_agent: default_agent.clone(),
            is_until_titled: agents
                .answering(&owner.tenant, named.as_deref().unwrap_or(default_agent))
                .is_until_titled,
            new_title,
            deferred_title,
        };
        Ok((record, is_source_first))
    }
}

/// The title plans of the user's messages, in order: for a new conversation, and for one whose title waits for a
/// message with content.
fn planned(titles: Vec<NewTitle>) -> (NewTitle, NewTitle) {
    let lease = titles.iter().find_map(|title| match title {
        NewTitle::Claimed(lease) | NewTitle::Known(_, lease) => Some(*lease),
        NewTitle::Deferred | NewTitle::Skipped => None,
    });
    let deferred = lease.map_or(NewTitle::Deferred, NewTitle::Claimed);
    let new = match titles.into_iter().next() {
        Some(NewTitle::Deferred) => deferred.clone(),
        Some(title) => title,
        None => NewTitle::Deferred,
    };
    (new, deferred)
}

/// Validates a message and normalises it to its stored form.
fn validated(mut message: RecordMessage, latest: DateTime<Utc>) -> Result<RecordMessage> {
    message.text = checked_text(message.text, &message.attachments)?;
    message.topic_hint = message
        .topic_hint
        .as_deref()
        .and_then(topic_hint::from_client);
    if let Some(agent) = &message.agent {
        check_agent(agent)?;
    }
    if let Some(id) = &message.external_id
        && let Err(invalid) = external::checked_external_id(id)
    {
        return Err(Error::invalid_field("external_id", invalid.to_string()));
    }
    // Rows hold microseconds, and an answer must equal what is stored.
    message.created_at = message.created_at.map(|at| at.trunc_subsecs(6));
    match message.created_at {
        Some(at) if at > latest => Err(Error::invalid_field(
            "created_at",
            "created_at is more than a day ahead",
        )),
        Some(at) if !is_plain(at) => Err(Error::invalid_field(
            "created_at",
            format!("created_at must be {PLAIN}"),
        )),
        _ => Ok(message),
    }
}
