//! What a client may send, and how it is checked.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    conversation::{
        Attachment, ConversationId, attachment::MAX_ATTACHMENTS, text::without_nul, topic_hint,
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
    /// The conversation to continue, or the id that a new one shall have; `None`: a new one.
    pub conversation_id: Option<ConversationId>,
    /// The text; may be empty when something is attached.
    pub text: String,
    /// What is attached to it.
    pub attachments: Vec<Attachment>,
    /// What to show while there is no title.
    pub topic_hint: Option<String>,
    /// Makes a retry of the same request return the same turn.
    pub idempotency_key: Option<String>,
    /// Whether a new conversation gets a title.
    pub auto_title: bool,
    /// Who shall answer.
    pub agent: Option<String>,
}

impl SendMessage {
    /// The message as it will be stored.
    ///
    /// # Errors
    /// [`Error::InvalidInput`], naming the field.
    pub(super) fn checked(mut self) -> Result<Self> {
        self.text = checked_text(self.text, &self.attachments)?;
        self.topic_hint = self.topic_hint.as_deref().and_then(topic_hint::given);
        if let Some(key) = &self.idempotency_key
            && (key.is_empty()
                || key.len() > MAX_KEY_CHARS
                || !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(Error::invalid_field(
                "idempotency_key",
                format!(
                    "the idempotency key must be 1 to {MAX_KEY_CHARS} visible ASCII characters"
                ),
            ));
        }
        if let Some(agent) = &self.agent {
            check_agent(agent)?;
        }
        Ok(self)
    }

    /// The key, with a hash of all that the request asks for.
    pub(super) fn idempotency(&self) -> Option<(String, String)> {
        let key = self.idempotency_key.clone()?;
        let mut asked = vec![
            json!(self.conversation_id.map(|id| id.to_string())),
            json!(self.text),
            json!(self.topic_hint),
            json!(self.auto_title),
            json!(self.agent),
        ];
        // Only then: a retry must find what was stored before there were attachments.
        if !self.attachments.is_empty() {
            asked.push(json!(self.attachments));
        }
        let hash = Sha256::digest(Value::from(asked).to_string());
        Some((key, hash.iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

/// The text of a message as it is stored, with what is attached to it.
///
/// # Errors
/// [`Error::InvalidInput`] when it is empty, or too much.
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

/// Whether something can be the name of an agent.
///
/// # Errors
/// [`Error::InvalidInput`].
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
