//! Input of [`send_message`](super::Chat::send_message) and its validation.

use std::borrow::Cow;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    conversation::{
        Actor, Attachment, ConversationId, ConversationName, attachment::MAX_ATTACHMENTS,
        text::without_nul, topic_hint,
    },
    error::{Error, Result},
};

/// The longest message, in bytes of UTF-8.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;

const MAX_AGENT_CHARS: usize = 64;
const MAX_KEY_CHARS: usize = 255;

/// A message that a user sends.
#[derive(Clone, Debug)]
pub struct SendMessage {
    /// The conversation to continue, or the id for a new one; `None` creates one with a new id.
    pub conversation: Option<ConversationName>,
    /// The message's id in the client's own system, by which later requests may name it.
    pub external_message_id: Option<String>,
    /// The text; may be empty if there are attachments.
    pub text: String,
    /// Attached files, by name and media type.
    pub attachments: Vec<Attachment>,
    /// Shown while there is no title.
    pub topic_hint: Option<String>,
    /// A retry with the same key and the same request returns the same turn.
    pub idempotency_key: Option<String>,
    /// Whether a new conversation gets a title.
    pub auto_title: bool,
    /// The agent that answers.
    pub agent: Option<String>,
}

impl SendMessage {
    /// Validates the message and normalises it to its stored form.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if a field is invalid; the error names it.
    pub(super) fn validated(mut self) -> Result<Self> {
        self.text = checked_text(self.text, &self.attachments)?;
        self.topic_hint = self.topic_hint.as_deref().and_then(topic_hint::from_client);
        if let Some(key) = &self.idempotency_key {
            check_key(key)?;
        }
        if let Some(agent) = &self.agent {
            check_agent(agent)?;
        }
        Ok(self)
    }

    /// The idempotency key, and a hash of the whole request.
    pub(super) fn idempotency(
        &self,
        actor: &Actor,
        conversation: Option<ConversationId>,
    ) -> Option<(String, String)> {
        let key = actor_key(actor, self.idempotency_key.as_deref()?).into_owned();
        let mut asked = vec![
            json!(conversation.map(|id| id.to_string())),
            json!(self.text),
            json!(self.topic_hint),
            json!(self.auto_title),
            json!(self.agent),
        ];
        // Added only if there are attachments, so that hashes stored before attachments existed stay valid.
        if !self.attachments.is_empty() {
            asked.push(json!(self.attachments));
        }
        Some((key, hash(asked)))
    }
}

/// The stored form of a client's idempotency key. Turns belong to the conversation's owner, so the key of another user
/// is stored in a form that no client can send: with a space. A key is therefore unique per author among the
/// conversations of one owner.
pub fn actor_key<'k>(actor: &Actor, key: &'k str) -> Cow<'k, str> {
    if !actor.is_guest() {
        return Cow::Borrowed(key);
    }
    Cow::Owned(format!(
        "guest {}",
        hash(vec![json!(actor.author), json!(key)])
    ))
}

/// The hash of a request, stored with its idempotency key.
pub(super) fn hash(asked: Vec<Value>) -> String {
    hex::encode(Sha256::digest(Value::from(asked).to_string()))
}

/// Validates an idempotency key.
pub(super) fn check_key(key: &str) -> Result<()> {
    let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if key.is_empty() || key.len() > MAX_KEY_CHARS || !is_visible {
        return Err(Error::invalid_field(
            "idempotency_key",
            format!("the idempotency key must be 1 to {MAX_KEY_CHARS} visible ASCII characters"),
        ));
    }
    Ok(())
}

/// Validates the text of a message with its attachments, and returns it without NUL characters.
///
/// # Errors
/// [`Error::InvalidInput`] if the message is empty or too large.
pub fn checked_text(text: String, attachments: &[Attachment]) -> Result<String> {
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(Error::invalid_field(
            "text",
            format!("the message is longer than {MAX_MESSAGE_BYTES} bytes"),
        ));
    }
    let text = without_nul(text);
    if text.trim().is_empty() && attachments.is_empty() {
        return Err(Error::invalid_field("text", "the message is empty"));
    }
    if attachments.len() > MAX_ATTACHMENTS {
        return Err(Error::invalid_field(
            "attachments",
            format!("the message has more than {MAX_ATTACHMENTS} attachments"),
        ));
    }
    Ok(text)
}

/// Validates the name of an agent.
///
/// # Errors
/// [`Error::InvalidInput`] if it is empty, too long or has control characters.
pub fn check_agent(agent: &str) -> Result<()> {
    if agent.is_empty()
        || agent.chars().count() > MAX_AGENT_CHARS
        || agent.chars().any(char::is_control)
    {
        return Err(Error::invalid_field(
            "agent",
            format!(
                "the agent must be 1 to {MAX_AGENT_CHARS} characters without control characters"
            ),
        ));
    }
    Ok(())
}
