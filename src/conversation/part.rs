//! The parts of a reply other than its text: reasoning, tool calls, data.
//!
//! A reply is one text, with parts at byte offsets in it. Titles, previews, searches and models use only the text.

use serde::{Deserialize, Serialize};

/// One part of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its 0-based number in the reply, assigned when it begins. A part that is not stored leaves a gap.
    pub index: usize,
    /// Its offset in the reply's text, in bytes.
    pub at: usize,
    /// Its content.
    #[serde(flatten)]
    pub content: PartContent,
}

/// The content of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PartContent {
    /// The model's reasoning, as far as its provider shows it.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A tool call. The server passes it on, and never executes it.
    Tool {
        /// The id of the call.
        id: String,
        /// The name of the tool.
        name: String,
        /// The arguments, JSON as the model wrote it; empty if there are none or they are too long.
        arguments: String,
        /// The result, JSON; `None` until the call has ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<String>,
        /// The state of the call.
        state: ToolState,
    },
    /// Data from the program that writes the reply.
    Data {
        /// The program's id: later data of the same name and id replaces this data.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The name.
        name: String,
        /// JSON.
        json: String,
    },
}

/// The state of a tool call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolState {
    /// The model has made the call.
    Called,
    /// The tool has returned a result.
    Completed,
    /// The call has failed.
    Failed,
}

impl Part {
    /// The size of its texts in bytes.
    pub fn size(&self) -> usize {
        self.content.size()
    }

    /// Whether it may have changed after later parts were added: a call that has ended, or data with an id.
    pub fn may_have_changed(&self) -> bool {
        match &self.content {
            PartContent::Tool { state, .. } => *state != ToolState::Called,
            PartContent::Data { id, .. } => id.is_some(),
            PartContent::Reasoning { .. } => false,
        }
    }

    /// Whether it is reasoning.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.content, PartContent::Reasoning { .. })
    }
}

impl PartContent {
    /// The size of its texts in bytes.
    pub fn size(&self) -> usize {
        let names = match self {
            Self::Reasoning { .. } => 0,
            Self::Tool { id, name, .. } => id.len() + name.len(),
            Self::Data { id, name, .. } => id.as_ref().map_or(0, String::len) + name.len(),
        };
        names + self.content_size()
    }

    /// The size in bytes without ids and names.
    pub fn content_size(&self) -> usize {
        match self {
            Self::Reasoning { text } => text.len(),
            Self::Tool {
                arguments, result, ..
            } => arguments.len() + result.as_ref().map_or(0, String::len),
            Self::Data { json, .. } => json.len(),
        }
    }
}

/// Encodes parts for a row; `None` if there are none.
pub fn encode(parts: &[Part]) -> Option<String> {
    // Plain strings and numbers always serialise.
    let encode = || serde_json::to_string(parts).ok();
    (!parts.is_empty()).then(encode).flatten()
}

/// Decodes the parts of a row. Skips parts of a newer version, so that the others stay readable.
pub fn decode(json: &str) -> Vec<Part> {
    let entries: Vec<serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    let readable = entries.into_iter().map(serde_json::from_value);
    readable.filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_parts_are_read_back_and_unknown_ones_are_skipped() {
        let parts = vec![
            Part {
                index: 0,
                at: 0,
                content: PartContent::Reasoning { text: "Hm".into() },
            },
            Part {
                index: 2,
                at: 7,
                content: PartContent::Tool {
                    id: "call_1".into(),
                    name: "search".into(),
                    arguments: r#"{"q":"deer"}"#.into(),
                    result: None,
                    state: ToolState::Called,
                },
            },
        ];
        let json = encode(&parts).unwrap();
        assert_eq!(decode(&json), parts);
        let newer = json.replace("\"reasoning\"", "\"hologram\"");
        assert_eq!(decode(&newer), parts[1..]);
        assert_eq!(encode(&[]), None);
        assert_eq!(decode("none"), []);
    }
}
