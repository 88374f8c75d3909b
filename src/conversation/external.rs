//! Ids of conversations and messages in the caller's own system: how they are distinguished from ours, and mapped to
//! ours.
//!
//! Imports, routes and GraphQL share the mapping: the same tenant, user and external id always name the same
//! conversation.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{ConversationId, MessageId, Owner};

/// The longest external id, in characters; the size of the columns.
pub const MAX_EXTERNAL_ID_CHARS: usize = 255;

/// Names below `/api/v1/conversations/` that are routes, not conversations.
const RESERVED: [&str; 4] = [".", "..", "search", "changes"];

/// A client's reference to a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConversationName {
    /// Our id.
    Ours(ConversationId),
    /// The id in the caller's own system.
    External(String),
}

/// Why a text is not a valid name of a conversation or message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It is empty, too long, or has control characters.
    #[error(
        "an external id must be 1 to {MAX_EXTERNAL_ID_CHARS} characters without control characters"
    )]
    Malformed,
    /// A route has this name.
    #[error("an external id must not be \".\", \"..\", \"search\" or \"changes\"")]
    Reserved,
    /// It is a UUID, which is never external.
    #[error("an external id must not be a UUID; pass it as the id")]
    Ours,
}

impl ConversationName {
    /// Our id if the text has the form of a UUID, else an external id.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Ours(id));
        }
        if RESERVED.contains(&text) {
            return Err(InvalidName::Reserved);
        }
        external_id(text).map(Self::External)
    }

    /// An external id, for inputs that take a UUID in another argument.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn external(text: &str) -> Result<Self, InvalidName> {
        match Self::parse(text)? {
            Self::Ours(_) => Err(InvalidName::Ours),
            name => Ok(name),
        }
    }

    /// Our id of the owner's conversation with this name, whether or not it exists.
    pub fn id(&self, owner: &Owner) -> ConversationId {
        match self {
            Self::Ours(id) => *id,
            Self::External(id) => conversation_id(owner, id),
        }
    }

    /// The external id, if it is one.
    pub fn into_external(self) -> Option<String> {
        match self {
            Self::Ours(_) => None,
            Self::External(id) => Some(id),
        }
    }
}

impl From<ConversationId> for ConversationName {
    fn from(id: ConversationId) -> Self {
        Self::Ours(id)
    }
}

/// Validates an external id of a conversation or message. A UUID is rejected.
///
/// # Errors
/// [`InvalidName`].
pub fn external_id(text: &str) -> Result<String, InvalidName> {
    if text.parse::<Uuid>().is_ok() {
        return Err(InvalidName::Ours);
    }
    checked_external_id(text)
}

/// Like [`external_id`], but accepts a UUID, for inputs that take none of our ids.
///
/// # Errors
/// [`InvalidName::Malformed`].
pub fn checked_external_id(text: &str) -> Result<String, InvalidName> {
    let length = text.chars().take(MAX_EXTERNAL_ID_CHARS + 1).count();
    match (1..=MAX_EXTERNAL_ID_CHARS).contains(&length) && !text.contains(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(InvalidName::Malformed),
    }
}

/// The id of a conversation: a UUID is kept, any other id is hashed to one.
pub fn conversation_id(owner: &Owner, id: &str) -> ConversationId {
    let Owner { tenant, user } = owner;
    ConversationId(Uuid::parse_str(id).unwrap_or_else(|_| named(&[tenant, user, id])))
}

/// The id of a message: a UUID is kept. Any other id is hashed with the conversation's id, because it may repeat across
/// conversations.
pub fn message_id(conversation: ConversationId, id: &str) -> MessageId {
    let conversation = conversation.to_string();
    MessageId(Uuid::parse_str(id).unwrap_or_else(|_| named(&[&conversation, id])))
}

/// The id of a recorded message. Unlike in an import, a UUID is not taken as one of our ids: like any other external
/// id, it is unique only in its conversation.
pub fn recorded_message_id(conversation: ConversationId, id: &str) -> MessageId {
    MessageId(named(&[&conversation.to_string(), id]))
}

/// A stable UUID of a name: version 8 from SHA-256 (RFC 9562, appendix B.2).
fn named(name: &[&str]) -> Uuid {
    let mut hash = Sha256::new();
    for part in name {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_ours_in_every_form_and_any_other_text_is_external() {
        let uuid = "0199d0a0-1234-7000-8000-0123456789ab";
        for ours in [uuid, &uuid.to_uppercase(), &uuid.replace('-', "")] {
            let name = ConversationName::parse(ours).unwrap();
            assert_eq!(name.id(&Owner::local()).to_string(), uuid);
            assert_eq!(name.into_external(), None);
            assert_eq!(ConversationName::external(ours), Err(InvalidName::Ours));
        }
        let long = "ä".repeat(255);
        for external in [
            "thread-1", "T/1?x#y", "1", " ", "...", "Search", "会話", &long,
        ] {
            let name = ConversationName::parse(external).unwrap();
            assert_eq!(name.into_external().as_deref(), Some(external));
        }
        for (text, error) in [
            ("", InvalidName::Malformed),
            ("a\nb", InvalidName::Malformed),
            ("a\u{85}", InvalidName::Malformed),
            (&"a".repeat(256), InvalidName::Malformed),
            (".", InvalidName::Reserved),
            ("..", InvalidName::Reserved),
            ("search", InvalidName::Reserved),
            ("changes", InvalidName::Reserved),
        ] {
            assert_eq!(ConversationName::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn an_external_id_is_another_conversation_for_each_owner() {
        let owner = |tenant: &str, user: &str| Owner {
            tenant: tenant.into(),
            user: user.into(),
        };
        let name = ConversationName::parse("thread-1").unwrap();
        let ids = [("a", "b"), ("ab", ""), ("a", "c"), ("b", "b")];
        let ids = ids.map(|(tenant, user)| name.id(&owner(tenant, user)));
        for (place, id) in ids.iter().enumerate() {
            assert!(!ids[..place].contains(id));
        }
        // Stable forever: stored rows have ids from this mapping.
        assert_eq!(
            name.id(&Owner::local()).to_string(),
            "936f6a6b-32b7-89a0-823f-430833488f28"
        );
    }
}
