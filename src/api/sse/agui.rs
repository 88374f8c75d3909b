//! Encodes one turn as AG-UI 1.0.
//!
//! Nothing may follow `RUN_FINISHED` or `RUN_ERROR`, and everything open must be closed before them. Fields without a
//! value are left out, because clients reject null.

use axum::body::Bytes;
use serde_json::{Value, json};

use super::{
    TurnEncoder,
    blocks::{Block, Blocks},
    frame::frame,
    tools::{CallIds, error_text},
};
use crate::{
    api::{
        observe::{HttpMetrics, Surface},
        turn::TurnEvent,
    },
    chat::SentMessage,
    conversation::{Conversation, Part, PartContent, ToolState},
    events::{ReplyEnd, run::Outcome},
};

/// The ids that a client sends with a run and that its events repeat.
#[derive(Clone, Debug)]
pub(in crate::api) struct RunIds {
    /// The client's id of the conversation.
    pub(in crate::api) thread_id: String,
    /// The client's id of the run.
    pub(in crate::api) run_id: String,
}

/// Encodes the events of one stream.
pub(super) struct AgUiEncoder {
    ids: RunIds,
    reply_id: String,
    blocks: Blocks,
    calls: CallIds,
    /// Counts errors.
    http: HttpMetrics,
}

impl AgUiEncoder {
    pub(super) fn new(sent: &SentMessage, ids: RunIds, http: HttpMetrics) -> Self {
        let reply_id = sent.reply.reply_id.to_string();
        Self {
            ids,
            blocks: Blocks::default(),
            calls: CallIds::new(&reply_id),
            reply_id,
            http,
        }
    }

    /// Message id of a text block. The first block reuses the reply's id, because most replies have only one block.
    fn text_id(&self, index: usize) -> String {
        match index {
            0 => self.reply_id.clone(),
            index => format!("{}-{index}", self.reply_id),
        }
    }

    fn encode_block(&mut self, step: &Block<'_>) -> Vec<Bytes> {
        match step {
            Block::TextStart(index) => vec![event(json!({
                "type": "TEXT_MESSAGE_START", "messageId": self.text_id(*index), "role": "assistant",
            }))],
            Block::Text(index, text) => vec![event(json!({
                "type": "TEXT_MESSAGE_CONTENT", "messageId": self.text_id(*index), "delta": text,
            }))],
            Block::TextEnd(index) => vec![event(json!({
                "type": "TEXT_MESSAGE_END", "messageId": self.text_id(*index),
            }))],
            Block::ReasoningStart(index) => {
                let id = self.reasoning_id(*index);
                vec![
                    event(json!({ "type": "REASONING_START", "messageId": id })),
                    event(json!({
                        "type": "REASONING_MESSAGE_START", "messageId": id, "role": "reasoning",
                    })),
                ]
            }
            Block::Reasoning(index, text) => vec![event(json!({
                "type": "REASONING_MESSAGE_CONTENT", "messageId": self.reasoning_id(*index),
                "delta": text,
            }))],
            Block::ReasoningEnd(index, _) => {
                let id = self.reasoning_id(*index);
                vec![
                    event(json!({ "type": "REASONING_MESSAGE_END", "messageId": id })),
                    event(json!({ "type": "REASONING_END", "messageId": id })),
                ]
            }
            Block::ToolCalled(part) => self.called(part),
            Block::ToolChanged(part) => self.result(part).into_iter().collect(),
            Block::Data(part) => data(part).into_iter().collect(),
        }
    }

    fn reasoning_id(&self, index: usize) -> String {
        format!("{}-reasoning-{index}", self.reply_id)
    }

    fn called(&mut self, part: &Part) -> Vec<Bytes> {
        let PartContent::Tool {
            id,
            name,
            arguments,
            ..
        } = &part.content
        else {
            return Vec::new();
        };
        let id = self.calls.of(part.index, id);
        let mut frames = vec![event(json!({
            "type": "TOOL_CALL_START", "toolCallId": id, "toolCallName": name,
        }))];
        if !arguments.is_empty() {
            frames.push(event(json!({
                "type": "TOOL_CALL_ARGS", "toolCallId": id, "delta": arguments,
            })));
        }
        frames.push(event(json!({ "type": "TOOL_CALL_END", "toolCallId": id })));
        frames.extend(self.result(part));
        frames
    }

    /// The result of a tool call, if it has returned.
    fn result(&mut self, part: &Part) -> Option<Bytes> {
        let PartContent::Tool {
            id, result, state, ..
        } = &part.content
        else {
            return None;
        };
        if *state == ToolState::Called {
            return None;
        }
        let text = result.as_deref().unwrap_or_default();
        let content = match state {
            ToolState::Failed => error_text(text),
            _ => text.to_owned(),
        };
        Some(event(json!({
            "type": "TOOL_CALL_RESULT",
            "messageId": format!("{}-tool-{}", self.reply_id, part.index),
            "toolCallId": self.calls.of(part.index, id),
            "content": content,
            "role": "tool",
        })))
    }

    fn end(&mut self, end: &ReplyEnd, frames: &mut Vec<Bytes>) {
        if let Some(step) = self.blocks.close() {
            frames.extend(self.encode_block(&step));
        }
        let mut finished = json!({
            "type": "RUN_FINISHED", "threadId": self.ids.thread_id, "runId": self.ids.run_id,
        });
        frames.push(event(match &end.outcome {
            Outcome::Completed => finished,
            Outcome::Stopped => {
                finished["outcome"] = json!({ "type": "cancelled" });
                finished
            }
            Outcome::Incomplete => json!({
                "type": "RUN_ERROR",
                "message": "the reply is incomplete",
                "code": end.reason.unwrap_or("incomplete"),
            }),
            Outcome::Failed(error) => {
                self.http.failed(Surface::Sse, error.code());
                json!({
                    "type": "RUN_ERROR",
                    "message": error.to_string(),
                    "code": error.code().as_str(),
                })
            }
        }));
    }
}

impl TurnEncoder for AgUiEncoder {
    fn encode(&mut self, turn_event: &TurnEvent) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for step in self.blocks.of(turn_event) {
            frames.extend(self.encode_block(&step));
        }
        match turn_event {
            TurnEvent::Started(_) => frames.push(event(json!({
                "type": "RUN_STARTED", "threadId": self.ids.thread_id, "runId": self.ids.run_id,
            }))),
            TurnEvent::TitleChanged(conversation) => frames.push(title(conversation)),
            TurnEvent::Ended(_, end) => self.end(end, &mut frames),
            _ => {}
        }
        frames
    }
}

#[expect(clippy::needless_pass_by_value, reason = "always a new value")]
fn event(event: Value) -> Bytes {
    frame(&event, None)
}

fn title(conversation: &Conversation) -> Bytes {
    event(json!({
        "type": "CUSTOM",
        "name": "conversation.title",
        "value": {
            "conversationId": conversation.id.to_string(),
            "title": conversation.display_name,
            "titleStatus": conversation.title_status.as_str().to_uppercase(),
            "revision": conversation.revision,
        },
    }))
}

fn data(part: &Part) -> Option<Bytes> {
    let PartContent::Data { name, json, .. } = &part.content else {
        return None;
    };
    let value: Value = serde_json::from_str(json).unwrap_or_else(|_| json.as_str().into());
    Some(event(
        json!({ "type": "CUSTOM", "name": name, "value": value }),
    ))
}
