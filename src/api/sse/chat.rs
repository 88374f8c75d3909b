//! Encodes one turn in the legacy contract, for `POST /api/v1/chat/stream` and `GET /api/v1/conversations/{id}/reply`.

use std::fmt::Display;

use axum::body::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{StreamOptions, TurnEncoder, frame::frame};
use crate::{
    api::{
        observe::{HttpMetrics, Surface},
        turn::TurnEvent,
    },
    chat::SentMessage,
    conversation::{Conversation, MessageId, Part, PartContent, TitleSource, ToolState, Usage},
    error::Error,
    events::{Place, ReplyCursor, ReplyEnd, ReplySnapshot, run::Outcome},
};

/// One event of a turn. Fields without a value are left out.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamEvent)]
pub(in crate::api) struct Event<'a> {
    /// `raw_response_event`, `run_item_stream_event`, `lifecycle`, `usage` or `error`.
    kind: &'static str,
    /// Of `lifecycle`: `conversation.title.generated` or `conversation.title.updated`; of a tool: `tool_called` or
    /// `tool_output`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event: Option<&'static str>,
    /// The server's id.
    conversation_id: String,
    /// The id in the caller's own system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    external_id: Option<String>,
    /// The title.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    display_name: Option<&'a str>,
    /// True on the last event, and on no other.
    is_terminal: bool,
    /// 0, 1, 2 … in this stream.
    sequence_number: u64,
    /// The step of the reply: `response.created`, `response.in_progress`, `response.output_text.delta`,
    /// `response.completed`, `response.incomplete` or `response.failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    raw_type: Option<&'static str>,
    /// Text to append.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    text_delta: Option<&'a str>,
    /// The full reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    response_text: Option<&'a str>,
    /// The provider's id of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    response_id: Option<&'a str>,
    /// The agent that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    agent: Option<&'a str>,
    /// The same as `agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    agent_used: Option<&'a str>,
    /// By `kind`: an error with `code` and `error`, token counts, a tool call, or `recovered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    payload: Option<Value>,
    /// RFC 3339, UTC, with milliseconds.
    server_timestamp: String,
}

/// Encodes the events of one stream. Tracks the sequence number and the offset in the reply.
pub(super) struct LegacyEncoder {
    conversation_id: String,
    external_id: Option<String>,
    turn: MessageId,
    sequence_number: u64,
    length: usize,
    /// Whether the end of the reply has been sent; the cursor is then `end`.
    is_over: bool,
    options: StreamOptions,
    /// Counts errors.
    http: HttpMetrics,
}

impl LegacyEncoder {
    pub(super) fn new(sent: &SentMessage, options: StreamOptions, http: HttpMetrics) -> Self {
        Self {
            conversation_id: sent.conversation.id.to_string(),
            external_id: sent.conversation.external_id.clone(),
            turn: sent.reply.turn_id,
            sequence_number: 0,
            length: 0,
            is_over: false,
            options,
            http,
        }
    }
}

impl TurnEncoder for LegacyEncoder {
    fn encode(&mut self, event: &TurnEvent) -> Vec<Bytes> {
        match event {
            TurnEvent::Started(_) if self.options.is_resumed => Vec::new(),
            TurnEvent::Started(conversation) => vec![self.frame(|event| Event {
                raw_type: Some("response.created"),
                agent: Some(&conversation.active_agent),
                agent_used: Some(&conversation.active_agent),
                ..event
            })],
            TurnEvent::Snapshot(snapshot) => self.snapshot(snapshot),
            TurnEvent::Delta(delta) => {
                self.length = delta.length;
                vec![self.delta(&delta.text)]
            }
            TurnEvent::Part(part) => self.tool(part).into_iter().collect(),
            // This wire does not carry reasoning.
            TurnEvent::Reasoning(_) => Vec::new(),
            TurnEvent::TitleChanged(conversation) => vec![self.frame(|event| Event {
                kind: "lifecycle",
                event: Some(title_event(conversation)),
                display_name: conversation.display_name.as_deref(),
                ..event
            })],
            TurnEvent::Ended(conversation, end) => {
                let usage = end.usage.map(|usage| {
                    self.frame(|event| Event {
                        kind: "usage",
                        payload: Some(tokens(usage)),
                        ..event
                    })
                });
                let terminal = self.terminal(conversation, end);
                usage.into_iter().chain([terminal]).collect()
            }
        }
    }
}

impl LegacyEncoder {
    /// A tool call, or its result.
    fn tool(&mut self, part: &Part) -> Option<Bytes> {
        let PartContent::Tool {
            id,
            name,
            arguments,
            result,
            state,
        } = &part.content
        else {
            return None;
        };
        let mut payload = json!({ "call_id": id, "name": name, "arguments": arguments });
        if let Some(result) = result {
            payload["output"] = result.as_str().into();
        }
        Some(self.frame(|event| Event {
            kind: "run_item_stream_event",
            event: Some(match state {
                ToolState::Called => "tool_called",
                ToolState::Completed | ToolState::Failed => "tool_output",
            }),
            payload: Some(payload),
            ..event
        }))
    }

    fn delta(&mut self, text: &str) -> Bytes {
        self.frame(|event| Event {
            raw_type: Some("response.output_text.delta"),
            text_delta: Some(text),
            ..event
        })
    }

    /// The position of a reconnecting client, then the missed text as a delta; or the full text to start over.
    fn snapshot(&mut self, snapshot: &ReplySnapshot) -> Vec<Bytes> {
        let ReplySnapshot {
            text,
            length,
            recovered,
            parts: _,
        } = snapshot;
        self.length = length - if *recovered { text.len() } else { 0 };
        let position = self.frame(|event| Event {
            raw_type: Some("response.in_progress"),
            response_text: (!recovered).then_some(text),
            payload: Some(json!({ "recovered": recovered })),
            ..event
        });
        self.length = *length;
        let missed = (*recovered && !text.is_empty()).then(|| self.delta(text));
        [position].into_iter().chain(missed).collect()
    }

    fn terminal(&mut self, conversation: &Conversation, end: &ReplyEnd) -> Bytes {
        if let Outcome::Failed(error) = &end.outcome {
            self.http.failed(Surface::Sse, error.code());
        }
        // These two errors end only the stream: the reply continues, or another node closes it.
        self.is_over = !matches!(
            end.outcome,
            Outcome::Failed(Error::AuthExpired | Error::ShuttingDown)
        );
        self.frame(|event| {
            let usage = end.usage.map(|usage| json!({ "usage": tokens(usage) }));
            let event = Event {
                is_terminal: true,
                payload: usage.clone(),
                display_name: conversation.display_name.as_deref(),
                agent: Some(&conversation.active_agent),
                agent_used: Some(&conversation.active_agent),
                response_id: end.response_id.as_deref(),
                response_text: Some(&end.text),
                ..event
            };
            match &end.outcome {
                Outcome::Completed => Event {
                    raw_type: Some("response.completed"),
                    ..event
                },
                Outcome::Stopped | Outcome::Incomplete => Event {
                    raw_type: Some("response.incomplete"),
                    payload: match (end.incomplete_reason(), usage) {
                        (Some(reason), Some(mut payload)) => {
                            payload["reason"] = reason.into();
                            Some(payload)
                        }
                        (Some(reason), None) => Some(json!({ "reason": reason })),
                        (None, usage) => usage,
                    },
                    ..event
                },
                Outcome::Failed(error) => Event {
                    kind: "error",
                    raw_type: Some("response.failed"),
                    payload: Some(json!({
                        "error": error.to_string(),
                        "code": error.code().as_str(),
                    })),
                    ..event
                },
            }
        })
    }

    fn frame<'a>(&mut self, fill: impl FnOnce(Event<'a>) -> Event<'a>) -> Bytes {
        let number = self.sequence_number;
        self.sequence_number += 1;
        let event = fill(Event {
            kind: "raw_response_event",
            conversation_id: self.conversation_id.clone(),
            external_id: self.external_id.clone(),
            is_terminal: false,
            sequence_number: number,
            server_timestamp: timestamp(Utc::now()),
            event: None,
            display_name: None,
            raw_type: None,
            text_delta: None,
            response_text: None,
            response_id: None,
            agent: None,
            agent_used: None,
            payload: None,
        });
        let cursor = match self.is_over {
            true => ReplyCursor::end(self.turn),
            false => ReplyCursor::at(self.turn, Place::bytes(self.length)),
        };
        let id: &dyn Display = &cursor;
        frame(&event, self.options.with_ids.then_some(id))
    }
}

/// Token counts in this wire's format.
fn tokens(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_tokens": usage.total_tokens(),
    })
}

/// This wire's event name for a generated title, or for one set by the user.
pub(super) fn title_event(conversation: &Conversation) -> &'static str {
    match conversation.title_source {
        TitleSource::Manual => "conversation.title.updated",
        TitleSource::Generated | TitleSource::Hint => "conversation.title.generated",
    }
}

pub(super) fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
