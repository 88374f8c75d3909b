//! The parts of a message in the schema.

use async_graphql::{Enum, ID, SimpleObject, Union};

use crate::conversation::{self as domain, PartContent};

/// A part of a message.
#[derive(Union)]
pub(super) enum MessagePart {
    Text(TextPart),
    Reasoning(ReasoningPart),
    Tool(ToolPart),
    Data(DataPart),
}

/// Text. All text parts together are the `content`.
#[derive(SimpleObject)]
pub(super) struct TextPart {
    /// The text.
    text: String,
}

/// The model's reasoning, as far as its provider returns it.
#[derive(SimpleObject)]
pub(super) struct ReasoningPart {
    /// The text.
    text: String,
}

/// A call of a tool. The server relays and stores it, and never executes it.
#[derive(SimpleObject)]
pub(super) struct ToolPart {
    /// The id of the call.
    call_id: ID,
    /// The name of the tool.
    name: String,
    /// The arguments: JSON as the model wrote it; empty if it wrote none, or more than 64 KiB.
    arguments: String,
    /// The result: JSON; null until the call has ended.
    result: Option<String>,
    /// The state of the call.
    state: ToolState,
}

/// Data of the program that wrote the reply.
#[derive(SimpleObject)]
pub(super) struct DataPart {
    /// The id that the program chose, if any. Later data of the same name and id replaces this.
    data_id: Option<String>,
    /// The name.
    name: String,
    /// JSON.
    json: String,
}

/// The state of a tool call.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::ToolState")]
pub(super) enum ToolState {
    /// The model has called it.
    Called,
    /// It has returned a result.
    Completed,
    /// It has failed.
    Failed,
}

impl From<PartContent> for MessagePart {
    fn from(part: PartContent) -> Self {
        match part {
            PartContent::Reasoning { text } => Self::Reasoning(ReasoningPart { text }),
            PartContent::Tool {
                id,
                name,
                arguments,
                result,
                state,
            } => Self::Tool(ToolPart {
                call_id: id.into(),
                name,
                arguments,
                result,
                state: state.into(),
            }),
            PartContent::Data { id, name, json } => Self::Data(DataPart {
                data_id: id,
                name,
                json,
            }),
        }
    }
}

/// The parts of a message in order, with the text split at the other parts.
pub(super) fn of_message(text: &str, parts: Vec<domain::Part>) -> Vec<MessagePart> {
    let mut all = Vec::with_capacity(2 * parts.len() + 1);
    let mut rest = text;
    for part in parts {
        // The stored text can be shorter than the text that was written.
        let before = part.at.saturating_sub(text.len() - rest.len());
        let (now, later) = rest.split_at(rest.floor_char_boundary(before));
        all.extend(text_part(now));
        all.push(part.content.into());
        rest = later;
    }
    all.extend(text_part(rest));
    all
}

fn text_part(text: &str) -> Option<MessagePart> {
    let part = || MessagePart::Text(TextPart { text: text.into() });
    (!text.is_empty()).then(part)
}
