//! Domain types that all modules share: ids, owners, conversations, messages, titles. Pure: no I/O, no clock, no wire
//! format.
//!
//! - `title`, `topic_hint`: a title, and the fallback shown without one
//! - `part`: the parts of a reply other than its text
//! - `attachment`, `id`, `external`, `tenant`: attachments, typed UUIDs, ids of other systems, settings per tenant
//! - `metadata`: pairs that an application attaches to a conversation
//! - `retention`: how long conversations and their messages are kept
//! - `sharing`: which other users read and write a conversation
//! - `redact`: removes secrets and personal numbers from the texts that lists show
//! - `text`, `markup`, `fence`: text rules that titles, hints and messages share

pub mod attachment;
pub mod external;
pub mod fence;
pub mod id;
pub mod markup;
mod metadata;
pub mod part;
pub mod redact;
pub mod retention;
mod sharing;
mod tenant;
pub mod text;
pub mod title;
pub mod topic_hint;

use chrono::{DateTime, Utc};
use strum::{EnumString, IntoStaticStr};

pub use self::{
    attachment::{Attachment, InvalidAttachment},
    external::{ConversationName, InvalidName},
    id::{ConversationId, MessageId},
    metadata::{InvalidMetadata, Metadata, check_key},
    part::{Part, PartContent, ToolState},
    sharing::{Actor, Audience, Rows, Visibility},
    tenant::PerTenant,
    title::{InvalidTitle, Title, TitleFailure, TitleFrom, TitleSource, TitleStatus},
};

/// Implements `as_str`: an enum's stored name, which its `FromStr` parses.
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
    ReplyOutcome,
    Role,
    TitleFailure,
    TitleFrom,
    TitleSource,
    TitleStatus
);

/// The owner of data: a user of a tenant. Every query, subscription and event is scoped to one owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The organisation; `local` without authentication.
    pub tenant: String,
    /// The user in it; `local` without authentication.
    pub user: String,
}

impl Owner {
    /// The only owner of a server without authentication.
    pub fn local() -> Self {
        Self {
            tenant: "local".into(),
            user: "local".into(),
        }
    }
}

/// A snapshot of a conversation after one committed change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id, chosen by the server or by the client that created it.
    pub id: ConversationId,
    /// Its id in the caller's own system, if the caller gave one.
    pub external_id: Option<String>,
    /// Its owner.
    pub owner: Owner,
    /// The title, generated or manual; `None` without a title: no fallback is ever stored here.
    pub display_name: Option<String>,
    /// When the title was generated; kept when a rename replaces it.
    pub title_generated_at: Option<DateTime<Utc>>,
    /// Where the shown title comes from.
    pub title_source: TitleSource,
    /// The state of the generated title.
    pub title_status: TitleStatus,
    /// Whether the title has been claimed. A pending title without a claim waits for a message with content.
    pub title_begun: bool,
    /// Whether the previous version deferred the title because the provider refused calls.
    pub title_waits: bool,
    /// Why the last attempt failed.
    pub title_failure: Option<TitleFailure>,
    /// The earliest time at which a failed title is tried again; `None` if it is not.
    pub title_retry_at: Option<DateTime<Utc>>,
    /// The title before the current one; `None` if there was none, or the user replaced it.
    pub previous_title: Option<String>,
    /// Whether the title is locked: the user gave or restored it, and a generated title replaces it only on request.
    pub title_locked: bool,
    /// The fallback: the client's hint, or the first meaningful line of the first message.
    pub topic_hint: Option<String>,
    /// The agent that the conversation was created with.
    pub agent_entrypoint: String,
    /// The agent that answers now.
    pub active_agent: String,
    /// Whether it exists or is only a tombstone.
    pub status: ConversationStatus,
    /// The number of messages.
    pub message_count: i64,
    /// The beginning of the newest message.
    pub last_message_preview: Option<String>,
    /// When the newest message was stored; lists are sorted by it.
    pub last_message_at: DateTime<Utc>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// Increases by one with each committed change.
    pub revision: i64,
    /// Whether its texts are not stored, because its agent keeps them elsewhere and its title is settled.
    pub drops_text: bool,
    /// When it was archived; lists leave it out. `None` if it is not archived.
    pub archived_at: Option<DateTime<Utc>>,
    /// When it was pinned; `None` if it is not pinned.
    pub pinned_at: Option<DateTime<Utc>>,
    /// Pairs that an application attached to it.
    pub metadata: Metadata,
}

impl Conversation {
    /// The text shown if there is neither a title nor a hint.
    pub const UNTITLED: &'static str = "New conversation";

    /// The text to show: the title, else the topic hint, else [`Self::UNTITLED`].
    pub fn shown_title(&self) -> &str {
        self.display_name
            .as_deref()
            .or(self.topic_hint.as_deref())
            .unwrap_or(Self::UNTITLED)
    }

    /// The text to show to callers that may not read messages: the title, else [`Self::UNTITLED`]. The topic hint may
    /// be the beginning of a message.
    pub fn title_without_messages(&self) -> &str {
        self.display_name.as_deref().unwrap_or(Self::UNTITLED)
    }

    /// Whether its title waits for a message with content: no title is being made.
    pub fn title_waits_for_message(&self) -> bool {
        self.title_status == TitleStatus::Pending
            && !self.title_begun
            && !self.title_waits
            && !self.is_deleted()
    }

    /// Whether it was deleted; only its tombstone remains.
    pub fn is_deleted(&self) -> bool {
        self.status == ConversationStatus::Deleted
    }
}

/// Whether a conversation exists. A deleted one keeps its row as a tombstone without text, so that a request in flight
/// cannot recreate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ConversationStatus {
    /// It exists.
    Active,
    /// It was deleted.
    Deleted,
}

/// One stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, assigned by the server before it is stored, or by the service that records it.
    pub id: MessageId,
    /// Its id in the caller's own system, if the caller gave one.
    pub external_id: Option<String>,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its 1-based position in the conversation.
    pub position: i64,
    /// Its author.
    pub role: Role,
    /// The text.
    pub content: String,
    /// Its attachments.
    pub attachments: Vec<Attachment>,
    /// Whether the text is complete.
    pub status: MessageStatus,
    /// When it was stored, or edited.
    pub created_at: DateTime<Utc>,
    /// Whether it counts as a message of its conversation. A reply that failed, has no text or was replaced does not,
    /// nor does the former text of an edited message.
    pub is_counted: bool,
    /// The message that a reply answers; `None` for replies stored by older versions and by imports.
    pub in_reply_to: Option<MessageId>,
    /// How a reply ended; `None` for replies stored by older versions and by imports.
    pub outcome: Option<ReplyOutcome>,
    /// The error code of a failed reply.
    pub failure: Option<String>,
    /// The model that wrote a reply, if known.
    pub model: Option<String>,
    /// The user who wrote a user message; `None` for the conversation's owner, and for replies.
    pub author: Option<String>,
}

impl Message {
    /// Whether it is the first of its conversation.
    pub fn is_first(&self) -> bool {
        self.position == 1
    }
}

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// Whether a message is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum MessageStatus {
    /// The text is complete.
    Complete,
    /// The reply was stopped or interrupted; the text is the part that was received.
    Incomplete,
    /// The reply failed; the text is the part that was received. Stored only for messages that do not count.
    Failed,
}

/// How a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ReplyOutcome {
    /// The text is complete.
    Completed,
    /// A client stopped it.
    Stopped,
    /// It reached a limit, or its process died.
    Incomplete,
    /// It failed.
    Failed,
}

/// Tokens of one model call, as reported by the provider.
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
    /// The cap on each count. Above every context window; a larger count is a provider's mistake and must not overflow
    /// sums.
    pub const MAX_TOKENS: u64 = 10_000_000;

    /// The sum of both for each count, capped at [`Self::MAX_TOKENS`].
    pub fn plus(self, other: Self) -> Self {
        let sum = |a: u64, b: u64| a.saturating_add(b).min(Self::MAX_TOKENS);
        Self {
            prompt_tokens: sum(self.prompt_tokens, other.prompt_tokens),
            completion_tokens: sum(self.completion_tokens, other.completion_tokens),
            reasoning_tokens: sum(self.reasoning_tokens, other.reasoning_tokens),
        }
    }

    /// Input and output together; reasoning is part of the output.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}
