//! Request bodies, and response bodies that have no type of their own, for openapi.json. The handlers read bodies and
//! queries field by field, so that an error names the field; `tests/it/openapi.rs` compares them with these types.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{answers::StoredFile, described_events::PublicEvent};

/// The page of a list to return.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// The items of a page.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page. Opaque.
    cursor: Option<String>,
}

/// The page of search results to return.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchPaging {
    /// The items of a page.
    #[param(minimum = 1, maximum = 50, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page. Opaque.
    cursor: Option<String>,
}

/// The page of replayed events to return.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LedgerPaging {
    /// The events of a page.
    #[param(minimum = 1, maximum = 1000, default = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page. Opaque.
    cursor: Option<String>,
}

/// Which messages come first.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Direction {
    /// `desc`: the newest first.
    #[param(inline)]
    direction: Option<Order>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(default = "desc")]
pub(super) enum Order {
    Desc,
    Asc,
}

/// How a title stream sends titles.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TitleContract {
    /// Events as JSON.
    Legacy,
    /// The title as text.
    Text,
    /// The same as `text`.
    #[serde(rename = "public_sse_v1")]
    PublicSseV1,
}

/// Where a stream continues after a disconnect.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ResumeParams {
    /// The id of the last event received.
    #[param(rename = "lastEventId")]
    last_event_id_camel: Option<String>,
    /// The same as `lastEventId`, under another name.
    last_event_id: Option<String>,
}

/// The id of the last event received, which takes precedence over the query.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct LastEventId {
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<String>,
}

/// Makes a request safe to repeat.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IdempotencyKey {
    /// The same key with the same request returns the same turn, and stores no second message.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$"
    )]
    idempotency_key: Option<String>,
}

/// A message of the user. Unknown fields are ignored; `null` is the same as absent.
#[derive(ToSchema)]
pub(super) struct ChatRequest {
    /// The text; must not be blank unless there are attachments.
    #[schema(example = "How do I prune an apple tree?")]
    message: String,
    /// Absent: a new conversation. A UUID: the server's id of a conversation; an unused one creates it. Other text: an id
    /// of the caller's own system.
    #[schema(min_length = 1, max_length = 255)]
    conversation_id: Option<String>,
    /// The agent that answers. Unknown: the default agent.
    #[schema(min_length = 1, max_length = 64)]
    agent_type: Option<String>,
    context: Option<ChatContext>,
    /// Files of the message, by name: `filename` or `name`, `mime_type` or `media_type`, `object_id` or `id`.
    #[schema(value_type = Option<Vec<Value>>)]
    attachments: Option<Vec<Value>>,
}

/// Options for the title of a new conversation.
#[derive(ToSchema)]
pub(super) struct ChatContext {
    /// Shown until there is a title; cut at 256 characters.
    topic_hint: Option<String>,
    /// `false`: generate no title. Absent: true.
    auto_title: Option<bool>,
}

/// The new title of a conversation.
#[derive(ToSchema)]
pub(super) struct RenameRequest {
    /// The title: up to 128 characters, with white space collapsed.
    #[schema(min_length = 1, pattern = r"\S", example = "Pruning apple trees")]
    display_name: String,
}

/// A message of another program to record.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordMessage {
    role: RecordRole,
    /// The text; required unless there are attachments.
    #[schema(example = "How do I prune an apple tree?")]
    content: Option<String>,
    /// The message's id, unique across all conversations. Absent: derived from `external_id`, or generated.
    #[schema(format = "uuid")]
    message_id: Option<String>,
    /// The message's id in the caller's own system.
    #[schema(min_length = 1, max_length = 255)]
    external_id: Option<String>,
    /// When the message was written, at most one day in the future. Absent: now.
    created_at: Option<DateTime<Utc>>,
    /// The files; only names are stored.
    #[schema(max_items = 20)]
    attachments: Option<Vec<RecordAttachment>>,
    /// The agent that answers.
    #[schema(min_length = 1, max_length = 64)]
    agent: Option<String>,
    /// Shown until there is a title. The first one in the request that creates the conversation is used.
    topic_hint: Option<String>,
    /// `false`: a new conversation gets no title. Absent: true.
    auto_title: Option<bool>,
}

/// The author of a message. The first message of a conversation is the user's.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RecordRole {
    User,
    Assistant,
}

/// A file.
#[derive(Serialize, ToSchema)]
pub(super) struct RecordAttachment {
    #[schema(min_length = 1, max_length = 255, example = "report.pdf")]
    name: String,
    #[schema(example = "application/pdf")]
    media_type: Option<String>,
}

/// One message, or a list of up to 500. All of them are stored, or none.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum RecordRequest {
    /// One message.
    One(RecordMessage),
    /// A list.
    Many(Vec<RecordMessage>),
}

/// A reply to open, for a program that appends to it in further requests.
#[derive(ToSchema)]
pub(super) struct OpenReplyRequest {
    /// An id that the client generates. If this reply exists already, the request opens no second one.
    #[schema(format = "uuid")]
    reply_id: Option<String>,
    /// The message of the user that it answers. Absent: the newest one.
    #[schema(format = "uuid")]
    in_reply_to: Option<String>,
    /// The agent that answers from now on.
    #[schema(min_length = 1, max_length = 64)]
    agent: Option<String>,
}

/// How a reply is uploaded; ignored with a JSON body.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadParams {
    /// An id that the client generates; required to resume after a disconnect.
    #[param(format = "uuid")]
    reply_id: Option<String>,
    /// The number of bytes of the reply's text before the body's first byte.
    #[param(minimum = 0, default = 0)]
    offset: Option<u64>,
    /// The message of the user that it answers. Absent: the newest one.
    #[param(format = "uuid")]
    in_reply_to: Option<String>,
    /// The agent that answers from now on.
    agent: Option<String>,
    /// The format of the body. Absent: detected from the content type and the first event.
    #[param(inline)]
    format: Option<UploadFormat>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UploadFormat {
    Ndjson,
    ChatCompletions,
    Responses,
    UiMessageStream,
}

/// More of a reply. Without text and parts it renews the lease.
#[derive(ToSchema)]
pub(super) struct AppendRequest {
    /// The number of bytes (UTF-8) of text before it: `offset` of the last answer.
    offset: u64,
    /// The text to append.
    text: Option<String>,
    /// Reasoning, tool calls and data.
    #[schema(max_items = 256)]
    parts: Option<Vec<ReplyPart>>,
}

/// A part of a reply other than text.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum ReplyPart {
    /// Reasoning, live only.
    Reasoning { text: String },
    /// A tool call, or the next state of the call with this id.
    Tool {
        #[schema(min_length = 1, max_length = 255)]
        id: String,
        #[schema(max_length = 255)]
        name: Option<String>,
        /// JSON, or JSON as text.
        arguments: Option<Value>,
        /// JSON.
        result: Option<Value>,
        #[schema(inline)]
        state: Option<CallState>,
    },
    /// Data of the program that writes the reply.
    Data {
        /// Further data of the same name and id replaces it.
        #[schema(max_length = 255)]
        id: Option<String>,
        #[schema(min_length = 1, max_length = 255)]
        name: String,
        data: Option<Value>,
    },
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum CallState {
    Called,
    Completed,
    Failed,
}

/// The end of a reply.
#[derive(ToSchema)]
pub(super) struct FinishRequest {
    /// How it ended. Absent: `completed`.
    #[schema(inline)]
    outcome: Option<FinishOutcome>,
    usage: Option<FinishUsage>,
    /// The model that wrote it.
    #[schema(max_length = 255)]
    model: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FinishOutcome {
    Completed,
    Incomplete,
    Failed,
    Stopped,
}

/// The tokens of a reply.
#[derive(ToSchema)]
pub(super) struct FinishUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

/// The messages, reasoning and tool calls of a conversation.
#[derive(ToSchema)]
pub(super) struct EventList {
    /// The server's id.
    #[schema(format = "uuid")]
    conversation_id: String,
    items: Vec<EventItem>,
}

/// A message, a tool call, a tool's result, or reasoning. Fields that belong to other kinds are null.
#[derive(ToSchema)]
pub(super) struct EventItem {
    /// The number of the item, from 1.
    sequence_no: u64,
    /// `user_message`, `assistant_message`, `reasoning`, `tool_call` or `tool_result`.
    run_item_type: String,
    /// The tool's name.
    #[schema(required = true)]
    run_item_name: Option<String>,
    #[schema(required = true)]
    role: Option<String>,
    /// Of replies: the conversation's agent.
    #[schema(required = true)]
    agent: Option<String>,
    #[schema(required = true)]
    tool_call_id: Option<String>,
    #[schema(required = true)]
    tool_name: Option<String>,
    #[schema(required = true)]
    model: Option<String>,
    #[schema(required = true)]
    content_text: Option<String>,
    #[schema(required = true)]
    reasoning_text: Option<String>,
    #[schema(required = true, value_type = Option<Object>)]
    call_arguments: Option<Value>,
    #[schema(required = true, value_type = Option<Object>)]
    call_output: Option<Value>,
    attachments: Vec<StoredFile>,
    /// Always null.
    #[schema(required = true)]
    response_id: Option<String>,
    /// Always null.
    #[schema(required = true)]
    workflow_run_id: Option<String>,
    timestamp: DateTime<Utc>,
}

/// A page of replayed events.
#[derive(ToSchema)]
pub(super) struct LedgerPage {
    /// The server's id.
    #[schema(format = "uuid")]
    conversation_id: String,
    /// Events of `public_sse_v1` (docs/sse.md).
    #[schema(value_type = Vec<PublicEvent>)]
    items: Vec<Value>,
    /// The `cursor` of the next page; null on the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}
