//! Encodes one turn as a UI message stream, version 1, the wire of the AI SDK's `useChat`.
//!
//! Clients validate strictly, so a part has only the keys that version 5.0.0 of the `ai` package knows. The message's
//! metadata says how the reply ended. The title is a transient data part: it reaches `onData`, but is not kept in a
//! message.

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

/// The last frame of every stream.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Encodes the events of one stream.
pub(super) struct UiEncoder {
    conversation_id: String,
    reply_id: String,
    blocks: Blocks,
    calls: CallIds,
    /// Counts errors.
    http: HttpMetrics,
}

impl UiEncoder {
    pub(super) fn new(sent: &SentMessage, http: HttpMetrics) -> Self {
        Self::of(
            sent.conversation.id.to_string(),
            sent.reply.reply_id.to_string(),
            http,
        )
    }

    fn of(conversation_id: String, reply_id: String, http: HttpMetrics) -> Self {
        Self {
            conversation_id,
            blocks: Blocks::default(),
            calls: CallIds::new(&reply_id),
            reply_id,
            http,
        }
    }

    fn end(&mut self, end: &ReplyEnd, frames: &mut Vec<Bytes>) {
        if let Some(step) = self.blocks.close() {
            frames.extend(encode(&step, &mut self.calls));
        }
        let mut metadata = json!({ "conversationId": self.conversation_id });
        let outcome = match &end.outcome {
            Outcome::Completed => "completed",
            Outcome::Stopped => "stopped",
            Outcome::Incomplete => "incomplete",
            Outcome::Failed(error) => {
                self.http.failed(Surface::Sse, error.code());
                let code = error.code().as_str();
                // The client shows the text; the code is for programs.
                metadata["outcome"] = "failed".into();
                metadata["code"] = code.into();
                frames.push(part(
                    &json!({ "type": "message-metadata", "messageMetadata": metadata }),
                ));
                frames.push(part(
                    &json!({ "type": "error", "errorText": error.to_string() }),
                ));
                frames.push(Bytes::from_static(DONE));
                return;
            }
        };
        metadata["outcome"] = outcome.into();
        if let Some(reason) = end.incomplete_reason() {
            metadata["reason"] = reason.into();
        }
        if let Some(model) = &end.model {
            metadata["model"] = model.as_str().into();
        }
        if let Some(usage) = end.usage {
            metadata["usage"] = json!({
                "inputTokens": usage.prompt_tokens,
                "outputTokens": usage.completion_tokens,
                "reasoningTokens": usage.reasoning_tokens,
                "totalTokens": usage.total_tokens(),
            });
        }
        frames.push(part(&json!({ "type": "finish-step" })));
        frames.push(part(
            &json!({ "type": "finish", "messageMetadata": metadata }),
        ));
        frames.push(Bytes::from_static(DONE));
    }
}

impl TurnEncoder for UiEncoder {
    fn encode(&mut self, event: &TurnEvent) -> Vec<Bytes> {
        let mut frames = Vec::new();
        for step in self.blocks.of(event) {
            frames.extend(encode(&step, &mut self.calls));
        }
        match event {
            TurnEvent::Started(_) => {
                frames.push(part(&json!({
                    "type": "start",
                    "messageId": self.reply_id,
                    "messageMetadata": { "conversationId": self.conversation_id },
                })));
                frames.push(part(&json!({ "type": "start-step" })));
            }
            TurnEvent::TitleChanged(conversation) => frames.push(title(conversation)),
            TurnEvent::Ended(_, end) => self.end(end, &mut frames),
            _ => {}
        }
        frames
    }
}

fn part(part: &Value) -> Bytes {
    frame(part, None)
}

fn title(conversation: &Conversation) -> Bytes {
    part(&json!({
        "type": "data-conversation-title",
        "id": "title",
        "data": {
            "conversationId": conversation.id.to_string(),
            "title": conversation.display_name,
            "titleStatus": conversation.title_status.as_str().to_uppercase(),
            "revision": conversation.revision,
        },
        "transient": true,
    }))
}

fn encode(step: &Block<'_>, calls: &mut CallIds) -> Vec<Bytes> {
    match step {
        Block::TextStart(index) => vec![block("text-start", "text", *index, None)],
        Block::Text(index, text) => vec![block("text-delta", "text", *index, Some(text))],
        Block::TextEnd(index) => vec![block("text-end", "text", *index, None)],
        Block::ReasoningStart(index) => vec![block("reasoning-start", "reasoning", *index, None)],
        Block::Reasoning(index, text) => {
            vec![block("reasoning-delta", "reasoning", *index, Some(text))]
        }
        Block::ReasoningEnd(index, _) => vec![block("reasoning-end", "reasoning", *index, None)],
        Block::ToolCalled(part) => called(part, calls),
        Block::ToolChanged(part) => result(part, calls).into_iter().collect(),
        Block::Data(part) => data(part).into_iter().collect(),
    }
}

fn block(kind: &str, prefix: &str, index: usize, delta: Option<&str>) -> Bytes {
    let mut value = json!({ "type": kind, "id": format!("{prefix}-{index}") });
    if let Some(delta) = delta {
        value["delta"] = delta.into();
    }
    part(&value)
}

/// Parses JSON from a model or a program; text that is not JSON stays a string.
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| json.into())
}

fn called(of: &Part, calls: &mut CallIds) -> Vec<Bytes> {
    let PartContent::Tool {
        id,
        name,
        arguments,
        ..
    } = &of.content
    else {
        return Vec::new();
    };
    let id = calls.of(of.index, id);
    let input = match arguments.is_empty() {
        true => json!({}),
        false => parsed(arguments),
    };
    let start = json!({
        "type": "tool-input-start", "toolCallId": id, "toolName": name, "dynamic": true,
    });
    let available = json!({
        "type": "tool-input-available", "toolCallId": id, "toolName": name, "input": input,
        "dynamic": true,
    });
    let mut frames = vec![part(&start), part(&available)];
    frames.extend(result(of, calls));
    frames
}

/// The result of a tool call, if it has returned.
fn result(of: &Part, calls: &mut CallIds) -> Option<Bytes> {
    let PartContent::Tool {
        id, result, state, ..
    } = &of.content
    else {
        return None;
    };
    let id = calls.of(of.index, id);
    let text = result.as_deref().unwrap_or_default();
    match state {
        ToolState::Called => None,
        ToolState::Completed => Some(part(&json!({
            "type": "tool-output-available", "toolCallId": id, "output": parsed(text), "dynamic": true,
        }))),
        ToolState::Failed => Some(part(&json!({
            "type": "tool-output-error", "toolCallId": id, "errorText": error_text(text),
            "dynamic": true,
        }))),
    }
}

fn data(of: &Part) -> Option<Bytes> {
    let PartContent::Data { id, name, json } = &of.content else {
        return None;
    };
    let id = id.clone().unwrap_or_else(|| format!("part-{}", of.index));
    Some(part(
        &json!({ "type": format!("data-{name}"), "id": id, "data": parsed(json) }),
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_call_has_an_id_and_an_error_has_no_quotes() {
        let mut encoder = UiEncoder::of("c".into(), "r".into(), HttpMetrics::default());
        let mut frames = Vec::new();
        let failed = Some(r#""no deer""#);
        for (index, result) in [(0, None), (1, None), (0, failed)] {
            let content = PartContent::Tool {
                id: "same".into(),
                name: "search".into(),
                arguments: String::new(),
                result: result.map(Into::into),
                state: match result {
                    Some(_) => ToolState::Failed,
                    None => ToolState::Called,
                },
            };
            let part = Arc::new(Part {
                index,
                at: 0,
                content,
            });
            frames.extend(encoder.encode(&TurnEvent::Part(part)));
        }
        let value = |frame: &Bytes| -> Value {
            let data = frame.strip_prefix(b"data: ").unwrap();
            serde_json::from_slice(data).unwrap()
        };
        let values: Vec<Value> = frames.iter().map(value).collect();
        let ids = values.iter().map(|value| value["toolCallId"].clone());
        assert_eq!(
            ids.collect::<Vec<_>>(),
            ["same", "same", "r-call-1", "r-call-1", "same"]
        );
        assert_eq!(values[4]["errorText"], "no deer");
    }
}
