//! The objects of the schema: conversations and messages.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Interface, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::{
    connections::{Connection, connection, cost, message_range},
    errors::Result,
    loaders::{MessageLoader, Part},
};
use crate::{
    auth::{Principal, Scope},
    conversation as domain,
    db::{Page, cursor::MessageCursor},
};

/// An object with a globally unique id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "&ID", desc = "The id; unique among all objects."))]
pub(super) enum Node {
    Conversation(Conversation),
    Message(Message),
}

/// A conversation as it stood after one change.
pub(super) struct Conversation {
    id: ID,
    row: Arc<domain::Conversation>,
}

impl From<Arc<domain::Conversation>> for Conversation {
    fn from(row: Arc<domain::Conversation>) -> Self {
        Self {
            id: row.id.to_string().into(),
            row,
        }
    }
}

impl From<domain::Conversation> for Conversation {
    fn from(row: domain::Conversation) -> Self {
        Arc::new(row).into()
    }
}

/// Whether the caller may read message text. The payload of a mutation returns the conversation to callers that may
/// not, so each field with text of a message checks it.
fn reads_messages(ctx: &Context<'_>) -> bool {
    ctx.data_unchecked::<Principal>().allows(Scope::Read)
}

/// A conversation: a title, and the messages of a user and a model.
#[Object]
impl Conversation {
    /// The id, a UUID in lower case; unique among all objects. Arguments also accept upper case.
    async fn id(&self) -> &ID {
        &self.id
    }

    /// The title to show: `displayName`, else `topicHint`, else "New conversation".
    async fn title(&self, ctx: &Context<'_>) -> &str {
        match reads_messages(ctx) {
            true => self.row.shown_title(),
            false => self.row.title_without_messages(),
        }
    }

    /// The title, generated or set by the user; null if there is none yet.
    async fn display_name(&self) -> Option<&str> {
        self.row.display_name.as_deref()
    }

    /// The fallback while there is no title: the client's hint, or the beginning of the first message. Null if the
    /// token cannot read conversations.
    async fn topic_hint(&self, ctx: &Context<'_>) -> Option<&str> {
        let hint = self.row.topic_hint.as_deref();
        hint.filter(|_| reads_messages(ctx))
    }

    /// When the title was generated; kept when the user replaces it.
    async fn title_generated_at(&self) -> Option<DateTime<Utc>> {
        let generated_at = self.row.title_generated_at;
        generated_at.filter(|_| !self.row.is_deleted())
    }

    /// The source of the shown title.
    async fn title_source(&self) -> TitleSource {
        // A tombstone has no title.
        match self.row.is_deleted() {
            true => TitleSource::Hint,
            false => self.row.title_source.into(),
        }
    }

    /// The state of title generation.
    async fn title_status(&self) -> TitleStatus {
        match self.row.is_deleted() {
            true => TitleStatus::Skipped,
            false => self.row.title_status.into(),
        }
    }

    /// What a pending title waits for; null if it is being generated or settled.
    async fn title_waits_for(&self) -> Option<TitleWaitsFor> {
        let waits = self.row.title_status == domain::TitleStatus::Pending
            && !self.row.title_begun
            && !self.row.title_waits
            && !self.row.is_deleted();
        waits.then_some(TitleWaitsFor::Message)
    }

    /// Why the last title generation failed; null if it succeeded or is still running.
    async fn title_error(&self) -> Option<TitleError> {
        let failure = self.row.title_failure.filter(|_| !self.row.is_deleted());
        failure.map(|failure| TitleError {
            code: failure.into(),
            message: failure.message(),
        })
    }

    /// Increases with each change of the conversation: the state with the higher revision is newer.
    async fn revision(&self) -> i32 {
        self.row.revision.try_into().unwrap_or(i32::MAX)
    }

    /// The agent that the conversation was started with.
    async fn agent_entrypoint(&self) -> &str {
        &self.row.agent_entrypoint
    }

    /// The agent that answers now.
    async fn active_agent(&self) -> &str {
        &self.row.active_agent
    }

    /// Whether the conversation is active or deleted.
    async fn status(&self) -> ConversationStatus {
        self.row.status.into()
    }

    /// The number of messages.
    async fn message_count(&self) -> i32 {
        self.row.message_count.try_into().unwrap_or(i32::MAX)
    }

    /// The beginning of the newest message, one line. Null if the token cannot read conversations.
    async fn last_message_preview(&self, ctx: &Context<'_>) -> Option<&str> {
        let preview = self.row.last_message_preview.as_deref();
        preview.filter(|_| reads_messages(ctx))
    }

    /// When the newest message was stored; lists are sorted by it.
    async fn last_message_at(&self) -> DateTime<Utc> {
        self.row.last_message_at
    }

    /// When the conversation was created.
    async fn created_at(&self) -> DateTime<Utc> {
        self.row.created_at
    }

    /// When the conversation last changed in any way.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.row.updated_at
    }

    /// The messages, oldest first: the first 50, or a page from either end. If the messages of a query hold more than
    /// 4 MiB of text, pages are shorter, and `pageInfo` reports that more follow.
    #[graphql(complexity = "cost(first.or(last), 50, child_complexity)")]
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the beginning, or after `after`: 1 to 100.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, or before `before`: 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<MessageCursor, Message>> {
        let range = message_range(first, after.as_deref(), last, before.as_deref())?;
        let loader = ctx.data_unchecked::<MessageLoader>();
        let part = Part {
            conversation: self.row.id,
            range,
        };
        let page = loader.load_one(part).await?;
        let page = page.unwrap_or(Page {
            items: Vec::new(),
            has_next: false,
            has_previous: false,
        });
        Ok(connection(page, MessageCursor::of, Message::from))
    }
}

/// One message of a conversation.
pub(super) struct Message {
    id: ID,
    row: domain::Message,
}

impl From<domain::Message> for Message {
    fn from(row: domain::Message) -> Self {
        Self {
            id: row.id.to_string().into(),
            row,
        }
    }
}

/// One message of a conversation.
#[Object]
impl Message {
    /// The id, a UUID; unique among all objects.
    async fn id(&self) -> &ID {
        &self.id
    }

    /// The id of the conversation that it is part of.
    async fn conversation_id(&self) -> ID {
        self.row.conversation_id.to_string().into()
    }

    /// The author of the message.
    async fn role(&self) -> Role {
        self.row.role.into()
    }

    /// The text.
    async fn content(&self) -> &str {
        &self.row.content
    }

    /// Attached files.
    async fn attachments(&self) -> Vec<Attachment> {
        let files = self.row.attachments.iter();
        files
            .map(|file| Attachment {
                name: file.name.clone(),
                media_type: file.media_type.clone(),
            })
            .collect()
    }

    /// Whether the text is complete.
    async fn status(&self) -> MessageStatus {
        self.row.status.into()
    }

    /// When it was stored.
    async fn created_at(&self) -> DateTime<Utc> {
        self.row.created_at
    }
}

/// The source of the shown title.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::TitleSource")]
pub(super) enum TitleSource {
    /// There is no title yet: the topic hint is shown.
    Hint,
    /// Generated by the title model.
    Generated,
    /// Set by the user.
    Manual,
}

/// The state of title generation.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::TitleStatus")]
pub(super) enum TitleStatus {
    /// Not generated yet, or being generated.
    Pending,
    /// There is a title.
    Ready,
    /// Generation failed for good: the topic hint stays.
    Failed,
    /// Not generated: not requested, nothing to title, or the conversation was deleted.
    Skipped,
}

/// What a pending title waits for.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum TitleWaitsFor {
    /// A message with a topic: the conversation has only openers ("hi") so far.
    Message,
}

/// Why there is no title.
#[derive(SimpleObject)]
pub(super) struct TitleError {
    /// The reason, for programs.
    code: TitleErrorCode,
    /// The reason, for people.
    message: &'static str,
}

/// Why there is no title.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::TitleFailure")]
pub(super) enum TitleErrorCode {
    /// The title model took too long.
    Timeout,
    /// The provider limits the rate of calls.
    RateLimited,
    /// The provider's quota is used up.
    QuotaExceeded,
    /// The provider refuses the key.
    Unauthorized,
    /// The provider does not know the model.
    ModelNotFound,
    /// The provider rejects the request itself.
    InvalidRequest,
    /// The provider could not be reached, or failed.
    Unavailable,
    /// The answer was cut off.
    Truncated,
    /// The answer was not usable as a title.
    Rejected,
    /// The budget of tokens for the day is used up.
    BudgetExceeded,
    /// Generation was started several times and never finished.
    Abandoned,
    /// A newer version of the server stored a reason that this one does not know.
    Unknown,
}

/// A file that is attached to a message.
#[derive(SimpleObject)]
pub(super) struct Attachment {
    /// The name of the file.
    name: String,
    /// Its media type, if the client sent one.
    media_type: Option<String>,
}

/// Whether a conversation is active or deleted.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::ConversationStatus")]
pub(super) enum ConversationStatus {
    /// The conversation exists.
    Active,
    /// The conversation and its text were deleted.
    Deleted,
}

/// The author of a message.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::Role")]
pub(super) enum Role {
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// Whether a message is complete.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::MessageStatus")]
pub(super) enum MessageStatus {
    /// The text is complete.
    Complete,
    /// The reply was stopped or failed; the text is partial.
    Incomplete,
}
