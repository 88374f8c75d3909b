//! Response bodies of the routes, as openapi.json describes them. Clients rely on which fields are `null` and which are
//! absent.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    conversation::{Conversation, Message, Rows},
    db::Hit,
};

/// A conversation in a list. Its title is `display_name`; until it has one, clients show `topic_hint`.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ConversationSummary {
    /// The server's id.
    #[schema(format = "uuid")]
    conversation_id: String,
    /// The title.
    #[schema(required = true)]
    display_name: Option<String>,
    /// The beginning of the first message, or the hint that the client gave.
    #[schema(required = true)]
    topic_hint: Option<String>,
    /// When the title was generated or set.
    #[schema(required = true)]
    title_generated_at: Option<DateTime<Utc>>,
    /// The agent that the first message asked for.
    agent_entrypoint: String,
    /// The agent that answers the next message.
    active_agent: String,
    /// `active`; in the feed also `deleted`.
    status: &'static str,
    /// The number of messages, without failed replies.
    message_count: i64,
    /// The beginning of the newest message.
    #[schema(required = true)]
    last_message_preview: Option<String>,
    /// When the first message was stored.
    created_at: DateTime<Utc>,
    /// When the newest message was stored; lists are sorted by it.
    last_message_at: DateTime<Utc>,
    /// When the conversation last changed in any way, its title among them.
    updated_at: DateTime<Utc>,
    /// The id in the caller's own system, if the conversation was named by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    external_id: Option<String>,
    /// The user who owns the conversation, if the tenant shares its conversations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    owner_id: Option<String>,
}

/// The owner's user, if the caller's `reach` extends beyond its own conversations.
pub(super) fn named_owner<'a>(
    conversation: &Conversation,
    reach: impl Into<Rows<'a>>,
) -> Option<String> {
    match reach.into() {
        Rows::Of(_) => None,
        Rows::OfTenant(_) => Some(conversation.owner.user.clone()),
    }
}

impl ConversationSummary {
    /// The conversation as a caller with this reach sees it.
    pub(super) fn of<'a>(conversation: &Conversation, reach: impl Into<Rows<'a>>) -> Self {
        Self {
            conversation_id: conversation.id.to_string(),
            display_name: conversation.display_name.clone(),
            topic_hint: conversation.topic_hint.clone(),
            title_generated_at: conversation.title_generated_at,
            agent_entrypoint: conversation.agent_entrypoint.clone(),
            active_agent: conversation.active_agent.clone(),
            status: conversation.status.as_str(),
            message_count: conversation.message_count,
            last_message_preview: conversation.last_message_preview.clone(),
            created_at: conversation.created_at,
            last_message_at: conversation.last_message_at,
            updated_at: conversation.updated_at,
            external_id: conversation.external_id.clone(),
            owner_id: named_owner(conversation, reach),
        }
    }

    /// Clears fields that may contain the beginning of a message.
    pub(super) fn without_text(mut self) -> Self {
        self.topic_hint = None;
        self.last_message_preview = None;
        self
    }
}

/// A conversation in the feed.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ChangedConversation {
    #[serde(flatten)]
    summary: ConversationSummary,
    /// Increases with each change of the conversation.
    revision: i64,
    /// When the conversation was archived.
    #[schema(required = true)]
    archived_at: Option<DateTime<Utc>>,
    /// When the conversation was pinned.
    #[schema(required = true)]
    pinned_at: Option<DateTime<Utc>>,
}

impl ChangedConversation {
    /// The conversation as a caller with this reach sees it.
    pub(in crate::api) fn of<'a>(conversation: &Conversation, reach: impl Into<Rows<'a>>) -> Self {
        Self {
            summary: ConversationSummary::of(conversation, reach),
            revision: conversation.revision,
            archived_at: conversation.archived_at,
            pinned_at: conversation.pinned_at,
        }
    }
}

/// A page of conversations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConversationPage {
    pub(super) items: Vec<ConversationSummary>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
}

/// A conversation that a search found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchResult {
    #[serde(flatten)]
    summary: ConversationSummary,
    /// The part of the text around the match.
    preview: String,
    /// Higher is better; comparable within one search.
    score: f64,
}

impl SearchResult {
    /// The search result as a caller with this reach sees it.
    pub(super) fn of<'a>(hit: &Hit, reach: impl Into<Rows<'a>>) -> Self {
        Self {
            summary: ConversationSummary::of(&hit.conversation, reach),
            preview: hit.snippet.clone(),
            score: hit.score,
        }
    }
}

/// A page of search results, best first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchPage {
    pub(super) items: Vec<SearchResult>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
}

/// A stored message.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StoredMessage {
    /// The server's id.
    #[schema(format = "uuid")]
    message_id: String,
    /// `user` or `assistant`.
    role: &'static str,
    /// The text.
    content: String,
    /// When the message was stored; of a recorded message, when it was written (`created_at`).
    timestamp: DateTime<Utc>,
    attachments: Vec<StoredFile>,
    /// The id in the caller's own system, if the message was recorded with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    external_id: Option<String>,
    /// The user who wrote a message of role `user`. Absent in messages of earlier versions: the owner of the
    /// conversation wrote those.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    author: Option<String>,
}

impl From<&Message> for StoredMessage {
    fn from(message: &Message) -> Self {
        Self {
            message_id: message.id.to_string(),
            role: message.role.as_str(),
            content: message.content.clone(),
            timestamp: message.created_at,
            attachments: attachments(message),
            external_id: message.external_id.clone(),
            author: message.author.clone(),
        }
    }
}

/// A file of a message. The server stores no files.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StoredFile {
    /// The id in the client's own store.
    #[schema(required = true)]
    object_id: Option<String>,
    filename: String,
    #[schema(required = true)]
    mime_type: Option<String>,
    /// Always null.
    #[schema(required = true)]
    size_bytes: Option<u64>,
    /// Always null.
    #[schema(required = true)]
    url: Option<String>,
    /// Always null.
    #[schema(required = true)]
    tool_call_id: Option<String>,
}

/// The files of a message, in the format that deployed clients expect.
pub(super) fn attachments(message: &Message) -> Vec<StoredFile> {
    let files = message.attachments.iter().map(|file| StoredFile {
        object_id: file.object_id.clone(),
        filename: file.name.clone(),
        mime_type: file.media_type.clone(),
        size_bytes: None,
        url: None,
        tool_call_id: None,
    });
    files.collect()
}

/// Which agent answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentContext {
    /// The agent that the first message asked for.
    pub(super) agent_entrypoint: String,
    /// The agent that answers the next message.
    pub(super) active_agent: String,
    /// The same as in the conversation.
    #[schema(required = true)]
    pub(super) topic_hint: Option<String>,
    /// The same as in the conversation.
    pub(super) status: &'static str,
}

/// A conversation with its newest messages.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct History {
    /// The server's id.
    #[schema(format = "uuid")]
    pub(super) conversation_id: String,
    /// The title.
    #[schema(required = true)]
    pub(super) display_name: Option<String>,
    /// The beginning of the first message, or the hint that the client gave.
    #[schema(required = true)]
    pub(super) topic_hint: Option<String>,
    /// When the title was generated or set.
    #[schema(required = true)]
    pub(super) title_generated_at: Option<DateTime<Utc>>,
    /// The newest 1,000 messages and at most 4 MiB of text, oldest first.
    pub(super) messages: Vec<StoredMessage>,
    /// When the first message was stored.
    pub(super) created_at: DateTime<Utc>,
    /// When the newest message was stored.
    pub(super) last_message_at: DateTime<Utc>,
    /// When the conversation last changed in any way, its title among them.
    pub(super) updated_at: DateTime<Utc>,
    pub(super) agent_context: AgentContext,
    /// The id in the caller's own system, if the conversation was named by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) external_id: Option<String>,
    /// The user who owns the conversation, if the tenant shares its conversations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) owner_id: Option<String>,
}

/// A page of messages.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MessagePage {
    pub(super) items: Vec<StoredMessage>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
    /// The `cursor` of the previous page; null on the first one.
    #[schema(required = true)]
    pub(super) prev_cursor: Option<String>,
}

/// A recorded message.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordedItem {
    /// The server's id.
    #[schema(format = "uuid")]
    pub(super) message_id: String,
    /// `created`, or `exists` if the message was already stored.
    pub(super) status: &'static str,
}

/// The answer to one message has `message_id` and `status`; the answer to a list has `items`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordAnswer {
    /// The server's id of the conversation.
    #[schema(format = "uuid")]
    pub(super) conversation_id: String,
    /// The id in the caller's own system, if the conversation was named by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) external_id: Option<String>,
    /// The server's id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid", nullable = false)]
    pub(super) message_id: Option<String>,
    /// `created`, or `exists` if the message was already stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) status: Option<&'static str>,
    /// The messages, in the order of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) items: Option<Vec<RecordedItem>>,
}

/// The progress of a reply that another program writes. If an upload ended it, the fields of its message follow.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReplyAnswer {
    /// The id of the reply, which becomes that of its message.
    #[schema(format = "uuid")]
    pub(super) reply_id: String,
    /// The number of bytes (UTF-8) of text that are stored.
    pub(super) offset: usize,
    /// `running`, or the outcome: `completed`, `incomplete`, `failed` or `stopped`.
    pub(super) status: &'static str,
    /// The seconds after which the reply ends as incomplete, if nothing more arrives.
    pub(super) lease_seconds: u64,
    /// The id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid", nullable = false)]
    pub(super) message_id: Option<String>,
    /// `assistant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) role: Option<&'static str>,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) content: Option<String>,
    /// When the reply was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) timestamp: Option<DateTime<Utc>>,
}
