//! The turns and the wires of front ends, for openapi.json: these functions and types only carry the descriptions.
//! `tests/it/openapi.rs` compares them with what the server answers.

#![expect(dead_code, reason = "only described")]

use utoipa::ToSchema;

use super::bodies::{ChatRequest, IdempotencyKey, LastEventId, ResumeParams};
use crate::api::sse::Contract;

/// One turn: the reply to a message, and the title if it is there.
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
    /// The title, if it is there.
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

/// A message as both wires have it: text in `parts` or `content`.
#[derive(ToSchema)]
struct ClientMessage {
    /// The client's id, unique in the conversation.
    id: Option<String>,
    /// `user` for the message that counts, the last one.
    role: String,
    /// The AI SDK's parts.
    parts: Option<Vec<ClientPart>>,
    /// AG-UI's content: a text, or a list of parts.
    content: Option<serde_json::Value>,
}

/// One piece. Other members, such as the bytes of a file, are skipped.
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
    /// Only the last one is read. It has to be the user's. Not needed with `message`.
    messages: Option<Vec<ClientMessage>>,
    /// The newest message, from applications that send it alone.
    message: Option<ClientMessage>,
    /// `submit-message`, or `regenerate-message` for another reply.
    trigger: Option<String>,
    /// With `submit-message` the message that is replaced, with `regenerate-message` the reply.
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
    /// Only the last one is read. It has to be the user's.
    messages: Vec<ClientMessage>,
    /// `agent` chooses the agent.
    forwarded_props: Option<serde_json::Value>,
}

/// Sends a message, and answers when the reply has ended.
#[utoipa::path(
    post, path = "/api/v1/chat", operation_id = "chat", tag = "chat",
    params(IdempotencyKey),
    request_body = ChatRequest,
    security(("bearer" = ["conversations:write"])),
    responses((status = 200, description = "The reply, and the title if it was there in time", body = ChatAnswer)),
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
        description = "Frames of one line, `data: ` and a StreamEvent: `response.created`, deltas, tool calls and the title \
            among them, `usage`, and one with `is_terminal: true`. An end without it is a disconnect. With \
            `contract=public_sse_v1` each is a PublicEvent, and the last one is `final` or `error` (docs/sse.md)",
        extensions(("x-event" = json!({ "oneOf": [
            { "$ref": "#/components/schemas/StreamEvent" },
            { "$ref": "#/components/schemas/PublicEvent" },
        ] }))),
    )),
    extensions(("x-error-codes" = json!(["IDEMPOTENCY_KEY_REUSED", "INVALID_CURSOR", "NOT_FOUND"]))),
)]
pub(super) fn streamed() {}

/// Streams the reply of a cursor from there, or the newest reply from the beginning.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/reply", operation_id = "resumeReply", tag = "chat",
    params(
        LastEventId, ResumeParams,
        ("after" = Option<String>, Query, description = "The same, for an id that was stored"),
    ),
    security(("bearer" = ["conversations:read"])),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "As of `streamChat`, with `id:` lines. It begins with `response.in_progress`",
            extensions(("x-event" = json!({ "$ref": "#/components/schemas/StreamEvent" }))),
        ),
        (status = 204, description = "The reader has received the end, or no message was sent yet"),
    ),
    extensions(("x-error-codes" = json!(["INVALID_CURSOR", "NOT_FOUND"]))),
)]
pub(super) fn reply() {}

/// Sends a message, edits one, or answers one again, and streams the reply to the AI SDK.
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

/// Streams the running reply from its beginning; 204 if none runs, also of a conversation that the caller has not.
#[utoipa::path(
    get, path = "/api/v1/ui/chat/{id}/stream", operation_id = "uiResume", tag = "front ends",
    security(("bearer" = ["conversations:read"])),
    responses(
        (
            status = 200, content_type = "text/event-stream", body = String,
            description = "As of `uiChat`",
            headers(("x-vercel-ai-ui-message-stream" = String, description = "`v1`")),
            extensions(("x-event" = json!({ "$ref": "#/components/schemas/UiPart" }))),
        ),
        (status = 204, description = "No reply is running"),
    ),
)]
pub(super) fn ui_resume() {}

/// Stops the running replies of a conversation: a client that disconnects does not.
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
