//! Descriptions of turns and of the front ends' wires, for openapi.json; none of this runs. `tests/it/openapi.rs`
//! compares them with the server's answers.

#![expect(dead_code, reason = "only described")]

use utoipa::ToSchema;

use super::bodies::{ChatRequest, IdempotencyKey, LastEventId, ResumeParams};
use crate::api::sse::Contract;

/// One turn: the reply to a message, and the title if there is one by then.
#[derive(ToSchema)]
struct ChatAnswer {
    /// The server's id of the conversation.
    #[schema(format = "uuid")]
    conversation_id: String,
    /// The text of the reply.
    response: String,
    /// The agent that answered.
    agent_used: String,
    /// Always false.
    handoff_occurred: bool,
    /// The title; null if there is none yet.
    #[schema(required = true)]
    display_name: Option<String>,
    metadata: ChatMetadata,
    /// The id in the caller's own system, if the conversation was named by one.
    #[schema(nullable = false)]
    external_id: Option<String>,
}

/// How the reply ended.
#[derive(ToSchema)]
struct ChatMetadata {
    /// The provider's id of the reply.
    #[schema(required = true)]
    response_id: Option<String>,
    /// False if the reply was stopped or is incomplete.
    is_complete: bool,
    /// Why the reply is incomplete, if that is known.
    #[schema(nullable = false)]
    reason: Option<String>,
}

/// Whether a reply was stopped.
#[derive(ToSchema)]
struct StopAnswer {
    /// False if none was running.
    stopped: bool,
}

/// A message of a front end. The AI SDK sends its text in `parts`, AG-UI in `content`.
#[derive(ToSchema)]
struct ClientMessage {
    /// The client's id, unique in the conversation.
    id: Option<String>,
    /// The last message, which is the one that is read, has `user`.
    role: String,
    /// The AI SDK's parts.
    parts: Option<Vec<ClientPart>>,
    /// AG-UI's content: a text, or a list of parts.
    content: Option<serde_json::Value>,
}

/// One part of a message. Other members, such as the bytes of a file, are ignored.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct ClientPart {
    /// `text`, `file` and others.
    #[schema(rename = "type")]
    kind: String,
    text: Option<String>,
    filename: Option<String>,
    media_type: Option<String>,
}

/// The body of `POST /api/v1/ui/chat`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct UiRequest {
    /// The client's own id of the conversation, or the server's.
    #[schema(min_length = 1, max_length = 255)]
    id: String,
    /// Only the last message is read. It must be the user's. Not needed with `message`.
    messages: Option<Vec<ClientMessage>>,
    /// The newest message, in place of `messages`.
    message: Option<ClientMessage>,
    /// `submit-message`, or `regenerate-message` to regenerate a reply.
    trigger: Option<String>,
    /// With `submit-message`: the message to replace. With `regenerate-message`: the reply to regenerate.
    message_id: Option<String>,
    agent: Option<String>,
    topic_hint: Option<String>,
    auto_title: Option<bool>,
}

/// AG-UI's RunAgentInput.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct RunAgentInput {
    /// The client's own id of the conversation, or the server's.
    #[schema(min_length = 1, max_length = 255)]
    thread_id: String,
    /// The idempotency key.
    run_id: String,
    /// Only the last message is read. It must be the user's.
    messages: Vec<ClientMessage>,
    /// Its member `agent` names the agent that answers.
    forwarded_props: Option<serde_json::Value>,
}

/// Sends a message, and answers when the reply has ended.
#[utoipa::path(
    post, path = "/api/v1/chat", operation_id = "chat", tag = "chat",
    params(IdempotencyKey),
    request_body = ChatRequest,
    security(("bearer" = ["conversations:write"])),
    responses((status = 200, description = "The reply, and the title if it was ready in time", body = ChatAnswer)),
    extensions(("x-error-codes" = json!([
        "IDEMPOTENCY_KEY_REUSED", "NOT_FOUND", "MODEL_UNAVAILABLE", "MODEL_RATE_LIMITED", "MODEL_MISCONFIGURED",
        "CONTEXT_TOO_LONG", "BUDGET_EXCEEDED",
    ]))),
)]
pub(super) fn whole() {}

/// Sends a message, and streams the reply and the title.
///
/// With the id of the last event received, and the same message, it resumes the reply and stores no second message.
#[utoipa::path(
    post, path = "/api/v1/chat/stream", operation_id = "streamChat", tag = "chat",
    params(
        IdempotencyKey, LastEventId, ResumeParams,
        ("contract" = Option<Contract>, Query, description = "The shape of the events; absent, `--legacy-contract` decides"),
        ("ids" = Option<bool>, Query, description = "`true` adds `id:` lines, which resuming needs"),
    ),
    request_body = ChatRequest,
    security(("bearer" = ["conversations:write"])),
    responses((
        status = 200, content_type = "text/event-stream", body = String,
        description = "Frames of one line: `data: ` and a StreamEvent. First `response.created`, or after a resume \
            `response.in_progress`; then deltas, tool calls, the title and `usage`; last an event with \
            `is_terminal: true`. A stream that ends without it was cut. With \
            `contract=public_sse_v1` each is a PublicEvent, and the last one is `final` or `error` (docs/sse.md)",
        extensions(("x-event" = json!({ "oneOf": [
            { "$ref": "#/components/schemas/StreamEvent" },
            { "$ref": "#/components/schemas/PublicEvent" },
        ] }))),
    )),
    extensions(("x-error-codes" = json!(["IDEMPOTENCY_KEY_REUSED", "INVALID_CURSOR", "NOT_FOUND"]))),
)]
pub(super) fn streamed() {}

/// Streams the reply of a cursor from that position; without a cursor, the newest reply from its beginning.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/reply", operation_id = "resumeReply", tag = "chat",
    params(
        LastEventId, ResumeParams,
        ("after" = Option<String>, Query, description = "The same as `Last-Event-ID`, for a client that stored the id"),
    ),
    security(("bearer" = ["conversations:read"])),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "The events of `streamChat`, with `id:` lines. The first is `response.in_progress`",
            extensions(("x-event" = json!({ "$ref": "#/components/schemas/StreamEvent" }))),
        ),
        (status = 204, description = "The reader has received the end, or no message was sent yet"),
    ),
    extensions(("x-error-codes" = json!(["INVALID_CURSOR", "NOT_FOUND"]))),
)]
pub(super) fn reply() {}

/// Sends a message, edits one, or regenerates its reply, and streams the reply to the AI SDK.
#[utoipa::path(
    post, path = "/api/v1/ui/chat", operation_id = "uiChat", tag = "front ends",
    request_body = UiRequest,
    security(("bearer" = ["conversations:write"])),
    responses((
        status = 200, content_type = "text/event-stream", body = String,
        description = "A UI message stream, version 1: parts from `start` to `finish` or `error`, with the title as \
            `data-conversation-title`, then `[DONE]` (docs/front-ends.md)",
        headers(("x-vercel-ai-ui-message-stream" = String, description = "`v1`")),
        extensions(("x-event" = json!({ "$ref": "#/components/schemas/UiPart" }))),
    )),
    extensions(("x-error-codes" = json!([
        "IDEMPOTENCY_KEY_REUSED", "NOT_FOUND", "NOT_NEWEST", "REPLY_RUNNING", "ID_TAKEN", "NO_TEXT",
    ]))),
)]
pub(super) fn ui_chat() {}

/// Streams the running reply from its beginning; 204 if no reply is running, or if the caller has no such conversation.
#[utoipa::path(
    get, path = "/api/v1/ui/chat/{id}/stream", operation_id = "uiResume", tag = "front ends",
    security(("bearer" = ["conversations:read"])),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "The parts of `uiChat`",
            headers(("x-vercel-ai-ui-message-stream" = String, description = "`v1`")),
            extensions(("x-event" = json!({ "$ref": "#/components/schemas/UiPart" }))),
        ),
        (status = 204, description = "No reply is running"),
    ),
)]
pub(super) fn ui_resume() {}

/// Stops the running replies of a conversation. Disconnecting does not stop them.
#[utoipa::path(
    post, path = "/api/v1/ui/chat/{id}/stop", operation_id = "uiStop", tag = "front ends",
    security(("bearer" = ["conversations:write"])),
    responses((status = 200, description = "Whether a reply was running", body = StopAnswer)),
)]
pub(super) fn ui_stop() {}

/// Runs the agent on the newest message of an AG-UI thread.
#[utoipa::path(
    post, path = "/api/v1/agui", operation_id = "agui", tag = "front ends",
    request_body = RunAgentInput,
    security(("bearer" = ["conversations:write"])),
    responses((
        status = 200, content_type = "text/event-stream", body = String,
        description = "AG-UI events from `RUN_STARTED` to `RUN_FINISHED` or `RUN_ERROR`, with the title as `CUSTOM` named \
            `conversation.title` (docs/front-ends.md)",
        extensions(("x-event" = json!({ "$ref": "#/components/schemas/AgUiEvent" }))),
    )),
    extensions(("x-error-codes" = json!([
        "IDEMPOTENCY_KEY_REUSED", "NOT_FOUND", "NOT_NEWEST", "REPLY_RUNNING", "ID_TAKEN", "NO_TEXT",
    ]))),
)]
pub(super) fn agui() {}
