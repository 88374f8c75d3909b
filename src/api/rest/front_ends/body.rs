//! Request bodies of front ends: they hold all messages of a conversation, of which only the newest is read.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::Value;

use super::TextError;
use crate::{
    conversation::{Attachment, attachment::MAX_ATTACHMENTS, external::checked_external_id},
    error::Error,
};

/// The newest of the messages that a client sends.
#[derive(Debug, Default)]
pub(super) struct Newest(pub(super) Option<ClientMessage>);

/// A message in the format of either wire, with its text in `parts` or `content`. Unknown content is skipped, because
/// older messages are not read, and clients add parts and roles of their own.
#[derive(Debug)]
pub(super) struct ClientMessage {
    id: Option<String>,
    is_of_person: bool,
    text: String,
    files: Vec<Attachment>,
}

impl From<Value> for ClientMessage {
    fn from(message: Value) -> Self {
        let id = match &message["id"] {
            Value::String(id) if !id.is_empty() => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        };
        let mut read = Self {
            id,
            is_of_person: message["role"] == "user",
            text: String::new(),
            files: Vec::new(),
        };
        let pieces = [&message["parts"], &message["content"]];
        match pieces
            .into_iter()
            .find(|pieces| pieces.is_array() || pieces.is_string())
        {
            Some(Value::String(text)) => read.text.clone_from(text),
            Some(Value::Array(pieces)) => pieces.iter().for_each(|piece| read.add(piece)),
            _ => {}
        }
        read
    }
}

impl ClientMessage {
    fn add(&mut self, piece: &Value) {
        let string = |name: &str| piece.get(name).and_then(Value::as_str);
        match string("type") {
            Some("text") => {
                if !self.text.is_empty() {
                    self.text.push('\n');
                }
                self.text.push_str(string("text").unwrap_or_default());
            }
            // Accept one file more than allowed, so that the message is refused later.
            Some(kind @ ("file" | "image" | "audio" | "video" | "document" | "binary"))
                if self.files.len() <= MAX_ATTACHMENTS =>
            {
                // The type can be empty: browsers send that for files that they do not recognise.
                let name = string("filename").filter(|name| !name.trim().is_empty());
                let media_type = string("mediaType").or_else(|| string("mimeType"));
                let file = Attachment::lenient(name.or(Some(kind)), media_type, None);
                self.files.extend(file);
            }
            // Skip steps, sources, and the front end's own data.
            _ => {}
        }
    }
}

impl<'de> Deserialize<'de> for ClientMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

impl<'de> Deserialize<'de> for Newest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Messages;

        impl<'de> Visitor<'de> for Messages {
            type Value = Newest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of messages")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<Newest, A::Error> {
                let mut newest = None;
                while let Some(message) = messages.next_element::<Value>()? {
                    newest = Some(message);
                }
                Ok(Newest(newest.map(ClientMessage::from)))
            }
        }

        deserializer.deserialize_seq(Messages)
    }
}

/// The user's message, ready to store.
pub(super) struct PersonMessage {
    pub(super) id: Option<String>,
    pub(super) text: String,
    pub(super) attachments: Vec<Attachment>,
}

impl PersonMessage {
    /// The client's id, if it is valid as an external id.
    pub(super) fn external_id(&self) -> Option<String> {
        self.id.clone().filter(|id| checked_external_id(id).is_ok())
    }
}

impl Newest {
    /// The newest message, which must be the user's.
    pub(super) fn of_person(self) -> Result<PersonMessage, TextError> {
        let message = self
            .0
            .ok_or_else(|| Error::invalid("messages must contain a message"))?;
        match message.is_of_person {
            true => Ok(PersonMessage {
                id: message.id,
                text: message.text,
                attachments: message.files,
            }),
            false => Err(TextError::NotPersonLast),
        }
    }
}

/// The body of `POST /api/v1/ui/chat`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UiRequest {
    pub(super) id: String,
    #[serde(default)]
    pub(super) messages: Newest,
    /// The newest message, sent by applications in place of `messages`.
    #[serde(default)]
    pub(super) message: Option<ClientMessage>,
    #[serde(default)]
    pub(super) trigger: Option<String>,
    #[serde(default)]
    pub(super) message_id: Option<String>,
    #[serde(default)]
    pub(super) agent: Option<String>,
    #[serde(default)]
    pub(super) topic_hint: Option<String>,
    #[serde(default)]
    pub(super) auto_title: Option<bool>,
}

/// AG-UI's RunAgentInput.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunAgentInput {
    pub(super) thread_id: String,
    pub(super) run_id: String,
    #[serde(default)]
    pub(super) messages: Newest,
    #[serde(default)]
    pub(super) forwarded_props: Option<ForwardedProps>,
}

/// The properties that an AG-UI client can forward to the server.
#[derive(Debug, Default)]
pub(super) struct ForwardedProps {
    pub(super) agent: Option<String>,
}

impl<'de> Deserialize<'de> for ForwardedProps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Props {
            Known {
                #[serde(default)]
                agent: Option<String>,
            },
            Other(IgnoredAny),
        }
        Ok(match Props::deserialize(deserializer)? {
            Props::Known { agent } => Self { agent },
            Props::Other(_) => Self::default(),
        })
    }
}
