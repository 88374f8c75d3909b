//! The objects of the schema: conversations and messages.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Interface, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::{
    agents::{self, Agent},
    connections::{Connection, connection, cost, message_range},
    errors::Result,
    loaders::{CostOf, Loader, Part, PartsOf, RunningIn, VersionsOf},
    parts::{self, MessagePart},
    reply::ReplyError,
};
use crate::{
    auth::{Principal, Scope},
    chat::stored_error,
    conversation::{self as domain, MessageId},
    db::{Page, cursor::MessageCursor},
    error::ErrorCode,
};

/// An object with a globally unique id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "&ID", desc = "The id; unique among all objects."))]
#[expect(
    clippy::large_enum_variant,
    reason = "one value at a time, which is answered at once"
)]
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

/// Whether the caller may read message text. Mutations also return conversations to callers that may not, so every
/// field that contains message text checks this.
pub(super) fn reads_messages(ctx: &Context<'_>) -> bool {
    ctx.data_unchecked::<Principal>().allows(Scope::Read)
}

/// A conversation: a title, and the messages of a user and a model.
#[Object]
impl Conversation {
    /// The id, a UUID in lower case; unique among all objects. Arguments also accept upper case.
    async fn id(&self) -> &ID {
        &self.id
    }

    /// The id in the caller's own system; null if the conversation was not named by one.
    async fn external_id(&self) -> Option<&str> {
        self.row.external_id.as_deref()
    }

    /// The user who owns the conversation. Others of the tenant see it only if the tenant shares its conversations.
    async fn owner_id(&self) -> &str {
        &self.row.owner.user
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
        let waits = self.row.title_waits_for_message();
        waits.then_some(TitleWaitsFor::Message)
    }

    /// Why the last title generation failed; null if it succeeded or is still running.
    async fn title_error(&self) -> Option<TitleError> {
        let failure = self.row.title_failure.filter(|_| !self.row.is_deleted());
        failure.map(|failure| TitleError {
            code: failure.into(),
            message: failure.message(),
            retry_at: self.row.title_retry_at,
        })
    }

    /// The title that the present one replaced when it was generated; `restoreTitle` brings it back. Null if there is
    /// none, or the user set the present title.
    async fn previous_title(&self) -> Option<&str> {
        let previous = self.row.previous_title.as_deref();
        previous.filter(|_| !self.row.is_deleted())
    }

    /// Whether the user set or restored the title: only a request replaces it.
    async fn title_locked(&self) -> bool {
        self.row.title_locked && !self.row.is_deleted()
    }

    /// Increases with each change of the conversation: the state with the higher revision is newer.
    async fn revision(&self) -> i32 {
        self.row.revision.try_into().unwrap_or(i32::MAX)
    }

    /// The agent that answers the next message, unless that message names another agent.
    async fn agent(&self, ctx: &Context<'_>) -> Agent {
        agents::answering(ctx, &self.row.active_agent)
    }

    /// The agent that the first message asked for.
    async fn agent_entrypoint(&self) -> &str {
        &self.row.agent_entrypoint
    }

    /// The name of the agent that the newest message was for. If this agent is no longer available, another one answers
    /// the next message: see `agent`.
    async fn active_agent(&self) -> &str {
        &self.row.active_agent
    }

    /// Whether the conversation is active or deleted.
    async fn status(&self) -> ConversationStatus {
        self.row.status.into()
    }

    /// The number of messages. Replies that failed, have no text or were replaced do not count.
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

    /// When the conversation was archived; null if it is not. Lists leave archived conversations out.
    async fn archived_at(&self) -> Option<DateTime<Utc>> {
        self.row.archived_at
    }

    /// When the conversation was pinned; null if it is not.
    async fn pinned_at(&self) -> Option<DateTime<Utc>> {
        self.row.pinned_at
    }

    /// The pairs of text that applications attached to the conversation, sorted by key. Empty if the token cannot read
    /// conversations.
    #[graphql(complexity = "cost(None, 5, child_complexity)")]
    async fn metadata(&self, ctx: &Context<'_>) -> Vec<MetadataEntry> {
        let pairs = self.row.metadata.pairs();
        pairs
            .filter(|_| reads_messages(ctx))
            .map(|(key, value)| MetadataEntry {
                key: key.into(),
                value: value.into(),
            })
            .collect()
    }

    /// The replies that are being written, oldest first.
    async fn active_replies(&self, ctx: &Context<'_>) -> Result<Vec<ActiveReply>> {
        let loader = ctx.data_unchecked::<Loader>();
        let turns = loader.load_one(RunningIn(self.row.id)).await?;
        let turns = turns.unwrap_or_default().into_iter();
        let replies = turns.map(|turn| ActiveReply {
            reply_id: turn.reply_id.to_string().into(),
            in_reply_to: turn.message_id.to_string().into(),
        });
        Ok(replies.collect())
    }

    /// The messages, oldest first: the first 50, or a page from either end. If the messages of a query hold more than
    /// 4 MiB of text, pages are shorter, and `pageInfo` reports that more follow. A reply that failed, or has no
    /// text, follows the message that it answers until another reply replaces it.
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
        let loader = ctx.data_unchecked::<Loader>();
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

    /// The id in the caller's own system; null if the message was not named by one.
    async fn external_id(&self) -> Option<&str> {
        self.row.external_id.as_deref()
    }

    /// The id of the conversation that it is part of.
    async fn conversation_id(&self) -> ID {
        self.row.conversation_id.to_string().into()
    }

    /// The author of the message.
    async fn role(&self) -> Role {
        self.row.role.into()
    }

    /// The user who wrote a message of role USER, of the same tenant as the conversation's owner. Null for replies, and for
    /// messages that an earlier version stored: the conversation's owner (`Conversation.ownerId`) wrote those.
    async fn author(&self) -> Option<&str> {
        self.row.author.as_deref()
    }

    /// The text.
    async fn content(&self) -> &str {
        &self.row.content
    }

    /// The text and the other parts, in order. Reasoning is stored only where the agent keeps it.
    #[graphql(complexity = "cost(None, 5, child_complexity)")]
    async fn parts(&self, ctx: &Context<'_>) -> Result<Vec<MessagePart>> {
        let parts = match self.row.role {
            domain::Role::User => None,
            domain::Role::Assistant => {
                let loader = ctx.data_unchecked::<Loader>();
                loader.load_one(PartsOf(self.row.id)).await?
            }
        };
        Ok(parts::of_message(
            &self.row.content,
            parts.unwrap_or_default(),
        ))
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

    /// The id of the message that a reply answers; null for the user's messages, and for replies that were imported or
    /// stored by an earlier version.
    async fn in_reply_to(&self) -> Option<ID> {
        self.row.in_reply_to.map(|id| id.to_string().into())
    }

    /// How a reply ended; null for the user's messages.
    async fn outcome(&self) -> Option<MessageOutcome> {
        if self.row.role == domain::Role::User {
            return None;
        }
        let outcome = self.row.outcome.unwrap_or(match self.row.status {
            domain::MessageStatus::Complete => domain::ReplyOutcome::Completed,
            domain::MessageStatus::Incomplete => domain::ReplyOutcome::Incomplete,
            domain::MessageStatus::Failed => domain::ReplyOutcome::Failed,
        });
        Some(outcome.into())
    }

    /// Why a reply failed; null if it did not.
    async fn error(&self) -> Option<ReplyError> {
        let code = self.row.failure.as_deref()?;
        let code = code.parse().unwrap_or(ErrorCode::Internal);
        Some(ReplyError::of(&stored_error(code, self.row.created_at)))
    }

    /// The model that wrote a reply; of a failed reply, the last model that was asked. Null if unknown, and for the user's
    /// messages.
    async fn model(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        if self.row.role == domain::Role::User || self.row.model.is_some() {
            return Ok(self.row.model.clone());
        }
        let cost = cost_of(ctx, self.row.id).await?;
        Ok(cost
            .map(|(model, _)| model)
            .filter(|model| !model.is_empty()))
    }

    /// The tokens of a reply, if the provider reported them.
    async fn usage(&self, ctx: &Context<'_>) -> Result<Option<TokenUsage>> {
        if self.row.role == domain::Role::User {
            return Ok(None);
        }
        let cost = cost_of(ctx, self.row.id).await?;
        Ok(cost.map(|(_, usage)| usage.into()))
    }

    /// The former versions, oldest first: of a reply those that it replaced, of an edited message its former texts. At
    /// most the newest 100.
    #[graphql(complexity = "cost(None, 10, child_complexity)")]
    async fn versions(&self, ctx: &Context<'_>) -> Result<Vec<Message>> {
        let of = match self.row.role {
            domain::Role::User => Some(self.row.id),
            domain::Role::Assistant => self.row.in_reply_to,
        };
        let Some(of) = of else {
            return Ok(Vec::new());
        };
        let loader = ctx.data_unchecked::<Loader>();
        let versions = loader.load_one(VersionsOf(self.row.role, of)).await?;
        let is_former =
            |row: &domain::Message| (row.created_at, row.id) < (self.row.created_at, self.row.id);
        let versions = versions.unwrap_or_default().into_iter();
        Ok(versions.filter(is_former).map(Message::from).collect())
    }

    /// When it was stored, or edited.
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
    /// Generation failed: the topic hint is shown. `titleError.retryAt` says whether it is tried again.
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
    /// When the title is tried again, at the earliest; null if it is not.
    retry_at: Option<DateTime<Utc>>,
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
    /// The reply was stopped or reached a limit; the text is partial.
    Incomplete,
    /// The reply failed; the text is what was written up to then, possibly empty. Such a message does not count in
    /// `messageCount`, and no model sees it.
    Failed,
}

/// How a reply ended.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::ReplyOutcome")]
pub(super) enum MessageOutcome {
    /// The text is complete.
    Completed,
    /// It was stopped.
    Stopped,
    /// It reached a limit, or its server died.
    Incomplete,
    /// It failed.
    Failed,
}

/// One pair of text that an application attached to a conversation.
#[derive(SimpleObject)]
pub(super) struct MetadataEntry {
    /// The key, unique in its conversation.
    key: String,
    /// The value.
    value: String,
}

/// A reply that is being written.
#[derive(SimpleObject)]
pub(super) struct ActiveReply {
    /// The id of the reply's message, for `reply(messageId:)` and `stopReply`.
    reply_id: ID,
    /// The id of the message that it answers.
    in_reply_to: ID,
}

/// Tokens of a reply, as reported by the provider.
#[derive(SimpleObject)]
pub(super) struct TokenUsage {
    /// Tokens of the input.
    prompt_tokens: i32,
    /// Tokens of the output, reasoning included.
    completion_tokens: i32,
    /// The part of `completionTokens` that was reasoning.
    reasoning_tokens: i32,
    /// Input and output together.
    total_tokens: i32,
}

impl From<domain::Usage> for TokenUsage {
    fn from(usage: domain::Usage) -> Self {
        let count = |tokens: u64| i32::try_from(tokens).unwrap_or(i32::MAX);
        Self {
            prompt_tokens: count(usage.prompt_tokens),
            completion_tokens: count(usage.completion_tokens),
            reasoning_tokens: count(usage.reasoning_tokens),
            total_tokens: count(usage.total_tokens()),
        }
    }
}

/// The model and the tokens of a reply, if the provider reported them.
pub(super) async fn cost_of(
    ctx: &Context<'_>,
    reply: MessageId,
) -> Result<Option<(String, domain::Usage)>> {
    let loader = ctx.data_unchecked::<Loader>();
    Ok(loader.load_one(CostOf(reply)).await?)
}
