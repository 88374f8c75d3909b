//! The vocabulary that every room speaks: ids, owners, conversations, messages, titles. Pure: no I/O, no clock, no
//! wire format.

pub mod attachment;
pub mod id;
pub mod markup;
mod tenant;
pub mod text;
pub mod title;
pub mod topic_hint;

use chrono::{DateTime, Utc};
use strum::{EnumString, IntoStaticStr};

pub use self::{
    attachment::{Attachment, InvalidAttachment},
    id::{ConversationId, MessageId},
    tenant::PerTenant,
    title::{InvalidTitle, Title, TitleFailure, TitleSource, TitleStatus},
};

/// Gives an enum's stored name, the one that its `FromStr` reads.
macro_rules! stored_name {
    ($($name:ident),*) => {$(
        impl $name {
            /// The name that is stored, logged and parsed.
            pub fn as_str(self) -> &'static str {
                self.into()
            }
        }
    )*};
}

stored_name!(
    ConversationStatus,
    MessageStatus,
    Role,
    TitleFailure,
    TitleSource,
    TitleStatus
);

/// Whose data something is. Every query, subscription and event starts from one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The organisation; `local` without authentication.
    pub tenant: String,
    /// The person in it; `local` without authentication.
    pub user: String,
}

impl Owner {
    /// The one owner of a server that has no authentication.
    pub fn local() -> Self {
        Self {
            tenant: "local".into(),
            user: "local".into(),
        }
    }
}

/// One conversation as it stood after one committed change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id, chosen by the server or by the client that began it.
    pub id: ConversationId,
    /// Whose it is.
    pub owner: Owner,
    /// The title, generated or given by hand. NULL stays NULL: no fallback is ever stored here.
    pub display_name: Option<String>,
    /// When the title was generated; kept when a rename replaces it.
    pub title_generated_at: Option<DateTime<Utc>>,
    /// Where the shown title comes from.
    pub title_source: TitleSource,
    /// How far the generated title has come.
    pub title_status: TitleStatus,
    /// Whether somebody has begun to make the title. A pending one that nobody has waits for a message
    /// that says something.
    pub title_begun: bool,
    /// Whether the title waits until the provider may be asked again.
    pub title_waits: bool,
    /// Why the last attempt brought no title.
    pub title_failure: Option<TitleFailure>,
    /// The fallback: what the client gave, or the first meaningful line of the first message.
    pub topic_hint: Option<String>,
    /// The agent that the conversation was begun with.
    pub agent_entrypoint: String,
    /// The agent that answers now.
    pub active_agent: String,
    /// Whether it is there or only its tombstone.
    pub status: ConversationStatus,
    /// How many messages it has.
    pub message_count: i64,
    /// The beginning of the newest message.
    pub last_message_preview: Option<String>,
    /// When the newest message was stored; lists are sorted by it.
    pub last_message_at: DateTime<Utc>,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// When it last changed in any way.
    pub updated_at: DateTime<Utc>,
    /// Rises by one with each committed change.
    pub revision: i64,
}

impl Conversation {
    /// What a list shows when neither a title nor a hint exists.
    pub const UNTITLED: &'static str = "New conversation";

    /// The text to show: the title, else the topic hint, else [`Self::UNTITLED`].
    pub fn shown_title(&self) -> &str {
        self.display_name
            .as_deref()
            .or(self.topic_hint.as_deref())
            .unwrap_or(Self::UNTITLED)
    }

    /// Whether it was deleted and only its tombstone is left.
    pub fn is_deleted(&self) -> bool {
        self.status == ConversationStatus::Deleted
    }
}

/// Whether a conversation is there. A deleted one keeps its row, without any text, so that nothing still in flight can
/// bring it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ConversationStatus {
    /// It is there.
    Active,
    /// It was deleted.
    Deleted,
}

/// One stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, made by the server before it is stored.
    pub id: MessageId,
    /// The conversation that it is part of.
    pub conversation_id: ConversationId,
    /// Its place in the conversation, from 1.
    pub position: i64,
    /// Who wrote it.
    pub role: Role,
    /// The text.
    pub content: String,
    /// What is attached to it.
    pub attachments: Vec<Attachment>,
    /// Whether the text is all of it.
    pub status: MessageStatus,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

impl Message {
    /// Whether it began its conversation: the title is made from it.
    pub fn is_first(&self) -> bool {
        self.position == 1
    }
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// Whether a message is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum MessageStatus {
    /// All of it is there.
    Complete,
    /// The reply was stopped or broke off; this is what had come.
    Incomplete,
}

/// Tokens of one model call, as the provider counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Tokens of the input.
    pub prompt_tokens: u64,
    /// Tokens of the output, reasoning included.
    pub completion_tokens: u64,
    /// The part of `completion_tokens` that was reasoning.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// The most tokens that one count of one call may have. No context window is that large; a larger count is a
    /// provider's mistake, and must not overflow what it is added to.
    pub const MAX_TOKENS: u64 = 10_000_000;

    /// Input and output together; reasoning is part of the output.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}
