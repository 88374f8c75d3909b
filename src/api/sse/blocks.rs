//! Splits the events of a turn into blocks of text and reasoning, for wires that mark the beginning and end of each.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use crate::{
    api::turn::TurnEvent,
    conversation::{Part, PartContent, ToolState},
    events::ReplySnapshot,
};

/// One operation on a block of a reply. Text indexes count from 0; a reasoning index is that of its part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block<'a> {
    /// A text begins.
    TextStart(usize),
    /// More of the open text; never empty.
    Text(usize, &'a str),
    /// The text ends.
    TextEnd(usize),
    /// Reasoning begins.
    ReasoningStart(usize),
    /// More of the open reasoning; never empty.
    Reasoning(usize, &'a str),
    /// The reasoning ends; includes its full text.
    ReasoningEnd(usize, String),
    /// A new tool call.
    ToolCalled(&'a Part),
    /// A tool call that has changed: it has returned a result or failed.
    ToolChanged(&'a Part),
    /// Data of the program that writes the reply.
    Data(&'a Part),
}

/// The open block.
enum Open {
    Text(usize),
    Reasoning(usize, String),
}

/// The state of one stream. At most one block is open: starting a block ends the previous one.
#[derive(Default)]
pub(super) struct Blocks {
    open: Option<Open>,
    texts: usize,
    /// Bytes of text sent so far.
    sent: usize,
    /// Bytes of reasoning sent so far, by part index.
    reasoning: HashMap<usize, usize>,
    /// Tool calls and data as last sent, by part index.
    parts: HashMap<usize, Arc<Part>>,
}

impl Blocks {
    /// Converts an event into block operations.
    pub(super) fn of<'a>(&mut self, event: &'a TurnEvent) -> Vec<Block<'a>> {
        let mut operations = Vec::new();
        match event {
            TurnEvent::Delta(delta) => {
                self.text(&delta.text, &mut operations);
                self.sent = delta.length;
            }
            TurnEvent::Snapshot(snapshot) => self.snapshot(snapshot, &mut operations),
            TurnEvent::Reasoning(delta) => {
                self.reasoning(delta.index, &delta.text, &mut operations)
            }
            TurnEvent::Part(part) => self.part(part, &mut operations),
            TurnEvent::Started(_) | TurnEvent::TitleChanged(_) | TurnEvent::Ended(..) => {}
        }
        operations
    }

    /// Ends the open block, if any.
    pub(super) fn close(&mut self) -> Option<Block<'static>> {
        Some(match self.open.take()? {
            Open::Text(index) => Block::TextEnd(index),
            Open::Reasoning(index, text) => Block::ReasoningEnd(index, text),
        })
    }

    /// The unsent rest of a snapshot: its parts, each after the text that precedes it.
    ///
    /// These wires cannot retract anything. If a reply's node died, the stored text is a prefix of the sent text or
    /// continues it.
    fn snapshot<'a>(&mut self, snapshot: &'a ReplySnapshot, operations: &mut Vec<Block<'a>>) {
        let begin = snapshot.length.saturating_sub(snapshot.text.len());
        let text_until = |blocks: &mut Self, operations: &mut Vec<Block<'a>>, to: usize| {
            let from = blocks.sent.max(begin);
            if let Some(text) = snapshot.text.get(from - begin..to - begin) {
                blocks.text(text, operations);
                blocks.sent = to;
            }
        };
        // A client that resumes has already received the parts before its offset.
        for part in snapshot.parts.iter().filter(|part| part.at >= begin) {
            text_until(self, operations, part.at);
            self.part(part, operations);
        }
        text_until(self, operations, snapshot.length);
    }

    fn text<'a>(&mut self, text: &'a str, operations: &mut Vec<Block<'a>>) {
        if text.is_empty() {
            return;
        }
        let index = match self.open {
            Some(Open::Text(index)) => index,
            _ => {
                operations.extend(self.close());
                let index = self.texts;
                self.texts += 1;
                self.open = Some(Open::Text(index));
                operations.push(Block::TextStart(index));
                index
            }
        };
        operations.push(Block::Text(index, text));
    }

    fn reasoning<'a>(&mut self, index: usize, text: &'a str, operations: &mut Vec<Block<'a>>) {
        if text.is_empty() {
            return;
        }
        let is_open = matches!(self.open, Some(Open::Reasoning(open, _)) if open == index);
        if !is_open {
            operations.extend(self.close());
            self.open = Some(Open::Reasoning(index, String::new()));
            operations.push(Block::ReasoningStart(index));
        }
        if let Some(Open::Reasoning(_, sent)) = &mut self.open {
            sent.push_str(text);
        }
        *self.reasoning.entry(index).or_default() += text.len();
        operations.push(Block::Reasoning(index, text));
    }

    /// The unsent rest of a part. A snapshot can repeat a part in the sent state or in an older one.
    fn part<'a>(&mut self, part: &'a Arc<Part>, operations: &mut Vec<Block<'a>>) {
        if let PartContent::Reasoning { text } = &part.content {
            let sent = self.reasoning.get(&part.index).copied().unwrap_or_default();
            self.reasoning(part.index, text.get(sent..).unwrap_or_default(), operations);
            return;
        }
        let is_new = match self.parts.entry(part.index) {
            Entry::Occupied(entry) if !is_newer(&part.content, &entry.get().content) => return,
            Entry::Occupied(mut entry) => {
                entry.insert(part.clone());
                false
            }
            Entry::Vacant(entry) => {
                entry.insert(part.clone());
                true
            }
        };
        if is_new {
            // The text after this part belongs to another block.
            operations.extend(self.close());
        }
        operations.push(match &part.content {
            PartContent::Tool { .. } if is_new => Block::ToolCalled(part),
            PartContent::Tool { .. } => Block::ToolChanged(part),
            _ => Block::Data(part),
        });
    }
}

/// Whether a part has changed since it was sent. A call never loses its result.
fn is_newer(part: &PartContent, sent: &PartContent) -> bool {
    let is_called = |content: &PartContent| matches!(content, PartContent::Tool { state, .. } if *state == ToolState::Called);
    part != sent && (is_called(sent) || !is_called(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Delta, ReasoningDelta};

    fn delta(text: &str, length: usize) -> TurnEvent {
        TurnEvent::Delta(Delta {
            text: text.into(),
            length,
        })
    }

    fn part(index: usize, at: usize, content: PartContent) -> Arc<Part> {
        Arc::new(Part { index, at, content })
    }

    fn reasoning(index: usize, text: &str) -> TurnEvent {
        TurnEvent::Reasoning(ReasoningDelta {
            index,
            text: text.into(),
        })
    }

    /// The stored state of a reply whose node died.
    fn stored(text: &str, parts: Vec<Arc<Part>>) -> TurnEvent {
        TurnEvent::Snapshot(ReplySnapshot {
            text: text.into(),
            length: text.len(),
            recovered: false,
            parts,
        })
    }

    fn tool(index: usize, result: Option<&str>) -> TurnEvent {
        TurnEvent::Part(part(
            index,
            0,
            PartContent::Tool {
                id: "call_1".into(),
                name: "search".into(),
                arguments: "{}".into(),
                result: result.map(Into::into),
                state: match result {
                    Some(_) => ToolState::Completed,
                    None => ToolState::Called,
                },
            },
        ))
    }

    fn names(blocks: &mut Blocks, events: &[TurnEvent]) -> Vec<String> {
        let mut names = Vec::new();
        for event in events {
            for operation in blocks.of(event) {
                names.push(match operation {
                    Block::ToolCalled(_) => "called".into(),
                    Block::ToolChanged(_) => "changed".into(),
                    operation => format!("{operation:?}"),
                });
            }
        }
        names.extend(blocks.close().map(|operation| format!("{operation:?}")));
        names
    }

    #[test]
    fn a_block_that_begins_ends_the_one_before_it() {
        let events = [
            reasoning(0, "Hm"),
            reasoning(0, ", deer"),
            delta("In ", 3),
            delta("Nara", 7),
            tool(1, None),
            delta(" live", 12),
            tool(1, Some("[]")),
            delta(" deer", 17),
        ];
        assert_eq!(
            names(&mut Blocks::default(), &events),
            [
                "ReasoningStart(0)",
                "Reasoning(0, \"Hm\")",
                "Reasoning(0, \", deer\")",
                "ReasoningEnd(0, \"Hm, deer\")",
                "TextStart(0)",
                "Text(0, \"In \")",
                "Text(0, \"Nara\")",
                "TextEnd(0)",
                "called",
                "TextStart(1)",
                "Text(1, \" live\")",
                "changed",
                "Text(1, \" deer\")",
                "TextEnd(1)",
            ]
        );
    }

    #[test]
    fn text_that_was_sent_is_not_sent_again() {
        let shorter = names(
            &mut Blocks::default(),
            &[delta("Nara", 4), stored("Na", Vec::new())],
        );
        assert_eq!(shorter, ["TextStart(0)", "Text(0, \"Nara\")", "TextEnd(0)"]);
        let longer = names(
            &mut Blocks::default(),
            &[delta("Na", 2), stored("Nara", Vec::new())],
        );
        assert_eq!(
            longer,
            [
                "TextStart(0)",
                "Text(0, \"Na\")",
                "Text(0, \"ra\")",
                "TextEnd(0)"
            ]
        );
    }

    #[test]
    fn text_behind_data_is_a_block_of_its_own() {
        let content = PartContent::Data {
            id: None,
            name: "map".into(),
            json: "1".into(),
        };
        let events = [
            delta("In", 2),
            TurnEvent::Part(part(0, 2, content)),
            delta(" Nara", 7),
        ];
        let names = names(&mut Blocks::default(), &events);
        let data = names.iter().position(|name| name.starts_with("Data"));
        assert_eq!(data, Some(3), "{names:?}");
        assert_eq!(
            [&names[..3], &names[4..]].concat(),
            [
                "TextStart(0)",
                "Text(0, \"In\")",
                "TextEnd(0)",
                "TextStart(1)",
                "Text(1, \" Nara\")",
                "TextEnd(1)",
            ]
        );
    }

    #[test]
    fn parts_that_were_sent_are_not_sent_again() {
        let thought = |index, at, text: &str| {
            let text = text.into();
            part(index, at, PartContent::Reasoning { text })
        };
        let data = |index, json: &str| {
            let (name, json) = ("map".into(), json.into());
            part(
                index,
                2,
                PartContent::Data {
                    id: None,
                    name,
                    json,
                },
            )
        };
        let TurnEvent::Part(called) = tool(2, None) else {
            unreachable!()
        };
        let sent = [
            reasoning(0, "Hm"),
            delta("In", 2),
            reasoning(1, "Deer"),
            tool(2, None),
            tool(2, Some("[]")),
            TurnEvent::Part(data(3, "1")),
            delta(" Na", 5),
        ];
        let mut blocks = Blocks::default();
        let before: Vec<_> = sent.iter().flat_map(|event| blocks.of(event)).collect();
        assert_eq!(before.len(), 14);

        // The stored call is older than the sent one, reasoning 1 is only the beginning, and part 4 is new.
        let parts = vec![
            thought(0, 0, "Hm"),
            thought(1, 2, "De"),
            called,
            data(3, "1"),
            thought(4, 7, "So"),
        ];
        let mut repeated: Vec<_> = parts.iter().cloned().map(TurnEvent::Part).collect();
        repeated.insert(0, stored("In Nara", parts));
        assert_eq!(
            names(&mut blocks, &repeated),
            [
                "Text(1, \"ra\")",
                "TextEnd(1)",
                "ReasoningStart(4)",
                "Reasoning(4, \"So\")",
                "ReasoningEnd(4, \"So\")",
            ]
        );
        let changed = TurnEvent::Part(data(3, "2"));
        assert!(matches!(blocks.of(&changed)[..], [Block::Data(_)]));
    }

    #[test]
    fn reasoning_that_is_open_goes_on_with_what_is_stored() {
        let text = "Hm, deer".into();
        let whole = part(0, 0, PartContent::Reasoning { text });
        let events = [reasoning(0, "Hm"), stored("Nara", vec![whole])];
        assert_eq!(
            names(&mut Blocks::default(), &events),
            [
                "ReasoningStart(0)",
                "Reasoning(0, \"Hm\")",
                "Reasoning(0, \", deer\")",
                "ReasoningEnd(0, \"Hm, deer\")",
                "TextStart(0)",
                "Text(0, \"Nara\")",
                "TextEnd(0)",
            ]
        );
    }
}
