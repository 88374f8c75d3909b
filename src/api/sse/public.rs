//! Encodes one turn as `public_sse_v1`, the alternative to the legacy contract for `POST /api/v1/chat/stream`.
//!
//! Frames have data only. An event has the common fields and those of its kind, and no others, because clients of this
//! contract reject unknown fields. The last event is `final` or `error`. Titles have no event here; clients use the
//! title stream.

use std::collections::HashMap;

use axum::body::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    TurnEncoder,
    blocks::{Block, Blocks},
    chat::timestamp,
    frame::frame,
};
use crate::{
    api::{
        observe::{HttpMetrics, Surface},
        turn::TurnEvent,
    },
    chat::SentMessage,
    conversation::{Conversation, MessageId, Part, PartContent, ToolState, Usage},
    error::{Error, ErrorCode},
    events::{ReplyEnd, run::Outcome},
};

/// Encodes the events of one stream.
pub(super) struct PublicEncoder {
    stream_id: String,
    conversation_id: String,
    reply_id: String,
    agent: String,
    event_id: u64,
    blocks: Blocks,
    /// How many items have begun.
    items: usize,
    /// The item of the reply's text. All text belongs to one item, even if other items come in between.
    text: Option<usize>,
    /// The item of the current reasoning.
    reasoning: usize,
    /// All reasoning so far.
    summary: String,
    /// The items of tool calls, by part index.
    tools: HashMap<usize, usize>,
    /// The timestamp of the events; `None` for the current time.
    at: Option<DateTime<Utc>>,
    /// Counts errors; `None` for a replay, which counts none.
    http: Option<HttpMetrics>,
}

/// An event's fields, in order.
pub(super) type Event = Map<String, Value>;

impl PublicEncoder {
    pub(super) fn new(sent: &SentMessage, http: HttpMetrics) -> Self {
        Self {
            http: Some(http),
            ..Self::of(&sent.conversation, sent.reply.turn_id, Uuid::now_v7(), None)
        }
    }

    /// Creates an encoder that replays a stored reply, always with the same events and ids.
    pub(super) fn replay(conversation: &Conversation, reply: MessageId, at: DateTime<Utc>) -> Self {
        Self::of(conversation, reply, reply.0, Some(at))
    }

    /// Sets the timestamp of the following events.
    pub(super) fn set_time(&mut self, at: DateTime<Utc>) {
        self.at = Some(at);
    }

    fn of(
        conversation: &Conversation,
        reply: MessageId,
        stream: Uuid,
        at: Option<DateTime<Utc>>,
    ) -> Self {
        Self {
            stream_id: format!("stream_{}", stream.simple()),
            conversation_id: conversation.id.to_string(),
            reply_id: reply.0.simple().to_string(),
            agent: conversation.active_agent.clone(),
            event_id: 0,
            blocks: Blocks::default(),
            items: 0,
            text: None,
            reasoning: 0,
            summary: String::new(),
            tools: HashMap::new(),
            at,
            http: None,
        }
    }

    /// Converts an event of the turn.
    pub(super) fn events(&mut self, event: &TurnEvent) -> Vec<Event> {
        let mut events = Vec::new();
        for step in self.blocks.of(event) {
            self.step(&step, &mut events);
        }
        match event {
            TurnEvent::Started(_) => {
                let own = json!({ "status": "in_progress" });
                events.push(self.event("lifecycle", None, own));
            }
            TurnEvent::Ended(_, end) => self.end(end, &mut events),
            _ => {}
        }
        events
    }

    fn event(&mut self, kind: &str, response_id: Option<&str>, own: Value) -> Event {
        self.event_id += 1;
        let mut event = Map::new();
        event.insert("schema".into(), "public_sse_v1".into());
        event.insert("event_id".into(), self.event_id.into());
        event.insert("stream_id".into(), self.stream_id.as_str().into());
        let at = self.at.unwrap_or_else(Utc::now);
        event.insert("server_timestamp".into(), timestamp(at).into());
        event.insert("kind".into(), kind.into());
        event.insert(
            "conversation_id".into(),
            self.conversation_id.as_str().into(),
        );
        event.insert("response_id".into(), response_id.into());
        event.insert("agent".into(), self.agent.as_str().into());
        if let Value::Object(own) = own {
            event.extend(own);
        }
        event
    }

    /// An event about an item.
    fn item(&mut self, kind: &str, prefix: &str, item: usize, mut own: Value) -> Event {
        own["output_index"] = item.into();
        own["item_id"] = format!("{prefix}_{}_{item}", self.reply_id).into();
        self.event(kind, None, own)
    }

    fn next_item(&mut self) -> usize {
        let item = self.items;
        self.items += 1;
        item
    }

    fn step(&mut self, step: &Block<'_>, events: &mut Vec<Event>) {
        match step {
            Block::TextStart(_) if self.text.is_none() => {
                let item = self.next_item();
                self.text = Some(item);
                events.push(self.message_item("output_item.added", item, "in_progress"));
            }
            // All text of a reply is one item, which ends with the reply.
            Block::TextStart(_) | Block::TextEnd(_) => {}
            Block::Text(_, text) => {
                if let Some(item) = self.text {
                    let own = json!({ "content_index": 0, "delta": text });
                    events.push(self.item("message.delta", "msg", item, own));
                }
            }
            Block::ReasoningStart(_) => {
                let item = self.next_item();
                self.reasoning = item;
                events.push(self.reasoning_item("output_item.added", "in_progress"));
                let own = json!({ "summary_index": 0, "part_type": "summary_text", "text": "" });
                events.push(self.item("reasoning_summary.part.added", "rs", item, own));
            }
            Block::Reasoning(_, text) => {
                let own = json!({ "summary_index": 0, "delta": text });
                events.push(self.item("reasoning_summary.delta", "rs", self.reasoning, own));
            }
            Block::ReasoningEnd(_, text) => {
                self.summary.push_str(text);
                let own = json!({ "summary_index": 0, "part_type": "summary_text", "text": text });
                let item = self.reasoning;
                events.push(self.item("reasoning_summary.part.done", "rs", item, own));
                events.push(self.reasoning_item("output_item.done", "completed"));
            }
            Block::ToolCalled(part) => {
                let item = self.next_item();
                self.tools.insert(part.index, item);
                events.extend(self.tool(part, item));
            }
            Block::ToolChanged(part) => {
                if let Some(item) = self.tools.get(&part.index).copied() {
                    events.extend(self.tool(part, item));
                }
            }
            // This contract has no events for data of other programs.
            Block::Data(_) => {}
        }
    }

    fn message_item(&mut self, kind: &str, item: usize, status: &str) -> Event {
        let own = json!({ "item_type": "message", "role": "assistant", "status": status });
        self.item(kind, "msg", item, own)
    }

    fn reasoning_item(&mut self, kind: &str, status: &str) -> Event {
        let own = json!({ "item_type": "reasoning_summary", "status": status });
        self.item(kind, "rs", self.reasoning, own)
    }

    fn tool(&mut self, part: &Part, item: usize) -> Option<Event> {
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
        let parsed: Option<Map<String, Value>> = serde_json::from_str(arguments).ok();
        let output = result.as_ref().map(|result| {
            serde_json::from_str(result).unwrap_or_else(|_| Value::from(result.as_str()))
        });
        let tool = json!({
            "tool_type": "function",
            "tool_call_id": id,
            "status": match state {
                ToolState::Called => "in_progress",
                ToolState::Completed => "completed",
                ToolState::Failed => "failed",
            },
            "name": name,
            "arguments_text": arguments,
            "arguments_json": parsed,
            "output": output,
        });
        Some(self.item("tool.status", "fc", item, json!({ "tool": tool })))
    }

    fn end(&mut self, end: &ReplyEnd, events: &mut Vec<Event>) {
        if let Some(step) = self.blocks.close() {
            self.step(&step, events);
        }
        let response_id = end.response_id.as_deref();
        let status = match &end.outcome {
            Outcome::Completed => "completed",
            Outcome::Stopped => "cancelled",
            Outcome::Incomplete if end.reason == Some("content_filter") => "refused",
            Outcome::Incomplete => "incomplete",
            Outcome::Failed(error) => {
                if let Some(http) = &self.http {
                    http.failed(Surface::Sse, error.code());
                }
                let error = json!({ "error": error_payload(error) });
                events.push(self.event("error", response_id, error));
                return;
            }
        };
        if let Some(item) = self.text {
            let status = if status == "completed" {
                status
            } else {
                "incomplete"
            };
            events.push(self.message_item("output_item.done", item, status));
        }
        let summary = (!self.summary.is_empty()).then_some(&self.summary);
        let payload = json!({
            "status": status,
            "response_text": end.text,
            "structured_output": null,
            "reasoning_summary_text": summary,
            "refusal_text": null,
            "attachments": [],
            "usage": end.usage.map(usage),
        });
        events.push(self.event("final", response_id, json!({ "final": payload })));
    }
}

impl TurnEncoder for PublicEncoder {
    fn encode(&mut self, event: &TurnEvent) -> Vec<Bytes> {
        let events = self.events(event);
        events.iter().map(|event| frame(event, None)).collect()
    }
}

/// The payload of an error. `source` says where it happened: at the provider or in this server.
fn error_payload(error: &Error) -> Value {
    let code = error.code();
    let source = match code {
        ErrorCode::ModelUnavailable
        | ErrorCode::ModelRateLimited
        | ErrorCode::ModelMisconfigured
        | ErrorCode::ContextTooLong => "provider",
        _ => "server",
    };
    let is_retryable = matches!(
        code,
        ErrorCode::ModelUnavailable
            | ErrorCode::ModelRateLimited
            | ErrorCode::DatabaseUnavailable
            | ErrorCode::ShuttingDown
            | ErrorCode::AuthExpired
            | ErrorCode::Overloaded
            | ErrorCode::Timeout
    );
    json!({
        "code": code.as_str(),
        "message": error.to_string(),
        "source": source,
        "is_retryable": is_retryable,
    })
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens(),
        "cached_input_tokens": null,
        "reasoning_output_tokens": usage.reasoning_tokens,
        "requests": null,
    })
}
