//! Descriptions of the streams' events, for openapi.json. The wires encode their events field by field; these types are
//! only described. `tests/it/event_schemas.rs` compares them with what the server sends.

#![expect(dead_code, reason = "only described")]

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One part of a UI message stream, version 1.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum UiPart {
    Known(UiKnownPart),
    Data(UiDataPart),
}

/// A part that the AI SDK defines, or the title.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum UiKnownPart {
    /// The reply begins.
    Start {
        /// The server's id of the reply.
        #[serde(rename = "messageId")]
        message_id: String,
        #[serde(rename = "messageMetadata")]
        message_metadata: UiMetadata,
    },
    StartStep {},
    TextStart {
        id: String,
    },
    TextDelta {
        id: String,
        /// Text to append; never empty.
        delta: String,
    },
    TextEnd {
        id: String,
    },
    ReasoningStart {
        id: String,
    },
    ReasoningDelta {
        id: String,
        /// Reasoning to append; never empty.
        delta: String,
    },
    ReasoningEnd {
        id: String,
    },
    ToolInputStart {
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        #[serde(rename = "toolName")]
        tool_name: String,
        /// Always true.
        dynamic: bool,
    },
    ToolInputAvailable {
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        #[serde(rename = "toolName")]
        tool_name: String,
        /// The arguments: JSON, or the text that the model wrote.
        input: Value,
        /// Always true.
        dynamic: bool,
    },
    ToolOutputAvailable {
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        output: Value,
        /// Always true.
        dynamic: bool,
    },
    ToolOutputError {
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        #[serde(rename = "errorText")]
        error_text: String,
        /// Always true.
        dynamic: bool,
    },
    /// The title was set or changed.
    DataConversationTitle {
        /// Always `title`.
        id: String,
        data: TitleState,
        /// Always true: the client does not store it in a message.
        transient: bool,
    },
    /// Sent before the `error` of a failed reply.
    MessageMetadata {
        #[serde(rename = "messageMetadata")]
        message_metadata: UiMetadata,
    },
    /// The reply failed.
    Error {
        #[serde(rename = "errorText")]
        error_text: String,
    },
    FinishStep {},
    /// The reply ended without failing.
    Finish {
        #[serde(rename = "messageMetadata")]
        message_metadata: UiMetadata,
    },
}

/// Data of a program that writes replies.
#[derive(Serialize, ToSchema)]
pub(super) struct UiDataPart {
    /// `data-` and a name.
    #[serde(rename = "type")]
    #[schema(pattern = "^data-")]
    kind: String,
    /// Further data of the same name and id replaces it.
    id: String,
    data: Value,
}

/// The state of the reply.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UiMetadata {
    /// The server's id of the conversation.
    #[schema(format = "uuid")]
    conversation_id: String,
    /// At the end: `completed`, `incomplete`, `stopped` or `failed`.
    #[schema(nullable = false)]
    outcome: Option<String>,
    /// Why it is incomplete, if that is known.
    #[schema(nullable = false)]
    reason: Option<String>,
    /// The error code of a failed reply.
    #[schema(nullable = false)]
    code: Option<String>,
    /// The model that wrote it; absent from a failed reply.
    #[schema(nullable = false)]
    model: Option<String>,
    #[schema(nullable = false)]
    usage: Option<UiUsage>,
}

/// Tokens, if the provider reported them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UiUsage {
    input_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    total_tokens: u64,
}

/// The title of a conversation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TitleState {
    /// The server's id of the conversation.
    #[schema(format = "uuid")]
    conversation_id: String,
    #[schema(required = true)]
    title: Option<String>,
    /// `READY`, `PENDING`, `FAILED` or `SKIPPED`.
    title_status: String,
    /// Of two titles, the one with the higher revision is newer.
    revision: i64,
}

/// One event of AG-UI 1.0.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum AgUiEvent {
    RunStarted {
        #[serde(rename = "threadId")]
        thread_id: String,
        #[serde(rename = "runId")]
        run_id: String,
    },
    TextMessageStart {
        #[serde(rename = "messageId")]
        message_id: String,
        /// Always `assistant`.
        role: String,
    },
    TextMessageContent {
        #[serde(rename = "messageId")]
        message_id: String,
        /// Text to append; never empty.
        delta: String,
    },
    TextMessageEnd {
        #[serde(rename = "messageId")]
        message_id: String,
    },
    ReasoningStart {
        #[serde(rename = "messageId")]
        message_id: String,
    },
    ReasoningMessageStart {
        #[serde(rename = "messageId")]
        message_id: String,
        /// Always `reasoning`.
        role: String,
    },
    ReasoningMessageContent {
        #[serde(rename = "messageId")]
        message_id: String,
        /// Reasoning to append; never empty.
        delta: String,
    },
    ReasoningMessageEnd {
        #[serde(rename = "messageId")]
        message_id: String,
    },
    ReasoningEnd {
        #[serde(rename = "messageId")]
        message_id: String,
    },
    ToolCallStart {
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        #[serde(rename = "toolCallName")]
        tool_call_name: String,
    },
    ToolCallArgs {
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        /// The arguments, as the model wrote them.
        delta: String,
    },
    ToolCallEnd {
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
    },
    ToolCallResult {
        #[serde(rename = "messageId")]
        message_id: String,
        #[serde(rename = "toolCallId")]
        tool_call_id: String,
        content: String,
        /// Always `tool`.
        role: String,
    },
    /// The title, named `conversation.title`, with a TitleState; or data of a program that writes replies.
    Custom { name: String, value: Value },
    RunFinished {
        #[serde(rename = "threadId")]
        thread_id: String,
        #[serde(rename = "runId")]
        run_id: String,
        /// Present only if the reply was stopped.
        #[schema(nullable = false)]
        outcome: Option<AgUiOutcome>,
    },
    /// The reply failed, or is incomplete.
    RunError {
        message: String,
        /// The code of an error in capitals, or the reason of an incomplete reply.
        code: String,
    },
}

/// How a stopped run ended.
#[derive(Serialize, ToSchema)]
pub(super) struct AgUiOutcome {
    /// `cancelled`.
    #[serde(rename = "type")]
    kind: String,
}

/// Defines the events of `public_sse_v1`: the fields that all events have, and those of each kind.
macro_rules! public_events {
    ($($(#[$about:meta])* $name:ident { $($(#[$note:meta])* $field:ident: $type:ty,)* })*) => {
        /// One event of `public_sse_v1`. Events of titles and data of programs are not in this contract.
        #[derive(Serialize, ToSchema)]
        #[serde(tag = "kind")]
        pub(super) enum PublicEvent {
            $($(#[$about])* $name {
                /// Always `public_sse_v1`.
                schema: String,
                /// From 1 in each stream.
                event_id: u64,
                /// The same in all events of a reply.
                stream_id: String,
                /// RFC 3339, UTC, with milliseconds.
                server_timestamp: String,
                /// The server's id of the conversation.
                #[schema(format = "uuid")]
                conversation_id: String,
                /// The provider's id of the reply; null before the end, and in replays.
                #[schema(required = true)]
                response_id: Option<String>,
                /// The agent that answers.
                agent: String,
                $($(#[$note])* $field: $type,)*
            },)*
        }
    };
}

public_events! {
    /// The first event.
    #[serde(rename = "lifecycle")]
    Lifecycle {
        /// Always `in_progress`.
        status: String,
    }
    #[serde(rename = "output_item.added")]
    ItemAdded {
        output_index: u64,
        item_id: String,
        /// `message` or `reasoning_summary`.
        item_type: String,
        /// `assistant`, of a message.
        #[schema(nullable = false)]
        role: Option<String>,
        /// `in_progress`.
        status: String,
    }
    #[serde(rename = "output_item.done")]
    ItemDone {
        output_index: u64,
        item_id: String,
        /// `message` or `reasoning_summary`.
        item_type: String,
        /// `assistant`, of a message.
        #[schema(nullable = false)]
        role: Option<String>,
        /// `completed` or `incomplete`.
        status: String,
    }
    #[serde(rename = "message.delta")]
    MessageDelta {
        output_index: u64,
        item_id: String,
        /// Always 0.
        content_index: u64,
        /// Text to append.
        delta: String,
    }
    #[serde(rename = "reasoning_summary.part.added")]
    SummaryAdded {
        output_index: u64,
        item_id: String,
        /// Always 0.
        summary_index: u64,
        /// Always `summary_text`.
        part_type: String,
        /// Always empty.
        text: String,
    }
    #[serde(rename = "reasoning_summary.delta")]
    SummaryDelta {
        output_index: u64,
        item_id: String,
        /// Always 0.
        summary_index: u64,
        /// Reasoning to append.
        delta: String,
    }
    #[serde(rename = "reasoning_summary.part.done")]
    SummaryDone {
        output_index: u64,
        item_id: String,
        /// Always 0.
        summary_index: u64,
        /// Always `summary_text`.
        part_type: String,
        /// The whole of it.
        text: String,
    }
    #[serde(rename = "tool.status")]
    ToolStatus {
        output_index: u64,
        item_id: String,
        tool: PublicTool,
    }
    /// The last event of a reply that did not fail.
    #[serde(rename = "final")]
    Final {
        #[serde(rename = "final")]
        end: PublicFinal,
    }
    /// The last event of a reply that failed.
    #[serde(rename = "error")]
    Error {
        error: PublicError,
    }
}

/// A tool call.
#[derive(Serialize, ToSchema)]
pub(super) struct PublicTool {
    /// Always `function`.
    tool_type: String,
    tool_call_id: String,
    /// `in_progress`, `completed` or `failed`.
    status: String,
    name: String,
    /// The arguments, as the model wrote them.
    arguments_text: String,
    /// The same, if they are an object.
    #[schema(required = true, value_type = Option<Object>)]
    arguments_json: Option<Value>,
    /// The result; null if there is none.
    output: Value,
}

/// How a reply ended, unless it failed.
#[derive(Serialize, ToSchema)]
pub(super) struct PublicFinal {
    /// `completed`, `incomplete`, `refused` (by a content filter) or `cancelled`.
    status: String,
    /// The full text.
    response_text: String,
    /// Always null.
    structured_output: Value,
    /// All reasoning; null if there is none.
    #[schema(required = true)]
    reasoning_summary_text: Option<String>,
    /// Always null.
    refusal_text: Value,
    /// Always empty.
    attachments: Vec<Value>,
    #[schema(required = true)]
    usage: Option<PublicUsage>,
}

/// Tokens, if the provider reported them.
#[derive(Serialize, ToSchema)]
pub(super) struct PublicUsage {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
    /// Always null.
    cached_input_tokens: Value,
    reasoning_output_tokens: u64,
    /// Always null.
    requests: Value,
}

/// Why a reply failed.
#[derive(Serialize, ToSchema)]
pub(super) struct PublicError {
    code: String,
    message: String,
    /// `provider` or `server`.
    source: String,
    is_retryable: bool,
}
