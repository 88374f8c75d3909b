//! The content of a log: text, parts, and the pieces in which both arrived.

use std::{collections::BTreeMap, sync::Arc};

use super::{Delta, ReasoningDelta, ReplyEnd, ReplyLogEvent};
use crate::{
    conversation::{Part, PartContent, ToolState},
    events::Place,
};

/// How many pieces a reader may lag and still receive them one by one; beyond that, equal kinds are coalesced.
const MAX_SEPARATE_PIECES: usize = 32;

/// The content of a log.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Whether the content is known: in a copy of another node's log, only after the first answer.
    pub(super) is_known: bool,
    pub(super) text: String,
    /// The parts by index, each with the number of its last change.
    parts: BTreeMap<usize, (Arc<Part>, u64)>,
    /// The number of changes to parts.
    pub(super) changes: u64,
    /// Text and parts as they arrived.
    pieces: Vec<Piece>,
    pub(super) end: Option<Arc<ReplyEnd>>,
}

/// The content of one event for readers.
#[derive(Clone, Debug)]
enum Piece {
    Text(Delta),
    /// A part as it began or was changed.
    Part(Arc<Part>),
    /// The length of a part's reasoning before and after the piece.
    Reasoning {
        index: usize,
        from: usize,
        to: usize,
    },
}

impl Written {
    /// The number of pieces.
    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn append(&mut self, delta: &str) {
        self.is_known = true;
        self.text.push_str(delta);
        self.pieces.push(Piece::Text(Delta {
            text: delta.into(),
            length: self.text.len(),
        }));
    }

    /// Appends reasoning: to the last part if it is reasoning at the same place, else as a new part.
    pub(super) fn append_reasoning(&mut self, delta: &str) {
        let at = self.text.len();
        let last = self.parts.last_entry();
        let last = last.filter(|last| last.get().0.at == at && last.get().0.is_reasoning());
        let Some(mut last) = last else {
            let text = delta.to_owned();
            return self.add(PartContent::Reasoning { text });
        };
        let index = *last.key();
        let (part, change) = last.get_mut();
        if let PartContent::Reasoning { text } = &mut Arc::make_mut(part).content {
            let from = text.len();
            text.push_str(delta);
            let to = text.len();
            self.pieces.push(Piece::Reasoning { index, from, to });
        }
        self.changes += 1;
        *change = self.changes;
    }

    /// Adds a part after the others. The end of a tool call replaces the part with the same id; a call is always a new
    /// part, because some servers give all calls one id, or none.
    pub(super) fn add(&mut self, content: PartContent) {
        let call = match &content {
            PartContent::Tool { id, state, .. } if *state != ToolState::Called => self.call(id),
            _ => None,
        };
        let (index, at) = call.unwrap_or_else(|| {
            let index = self.parts.keys().next_back().map_or(0, |last| last + 1);
            (index, self.text.len())
        });
        self.put(Part { index, at, content });
    }

    /// The index of the call with this id: the first one that has not ended, else the last one.
    fn call(&self, wanted: &str) -> Option<(usize, usize)> {
        if wanted.is_empty() {
            return None;
        }
        let state = |part: &Part| match &part.content {
            PartContent::Tool { id, state, .. } if id == wanted => Some(*state),
            _ => None,
        };
        let parts = || self.parts.values().map(|(part, _)| part);
        let open = parts().find(|part| state(part) == Some(ToolState::Called));
        let call = open.or_else(|| parts().rfind(|part| state(part).is_some()))?;
        Some((call.index, call.at))
    }

    /// The part of the tool call with this id.
    pub(super) fn tool(&self, id: &str) -> Option<Arc<Part>> {
        let (index, _) = self.call(id)?;
        self.parts.get(&index).map(|(part, _)| part.clone())
    }

    /// The data part with this name and id.
    pub(super) fn data(&self, name: &str, id: &str) -> Option<Arc<Part>> {
        let is_it = |part: &Part| matches!(&part.content, PartContent::Data { id: Some(known), name: of, .. } if known == id && of == name);
        let mut parts = self.parts.values().map(|(part, _)| part);
        parts.find(|part| is_it(part)).cloned()
    }

    /// Inserts a part at its index, unless it is already there.
    pub(super) fn put(&mut self, part: Part) {
        let known = self.parts.get(&part.index).map(|(known, _)| known);
        let piece = match known.map(|known| (&known.content, &part.content)) {
            Some((known, new)) if known == new => return,
            // A reasoning part from another node that has grown.
            Some((PartContent::Reasoning { text: known }, PartContent::Reasoning { text }))
                if text.starts_with(known.as_str()) =>
            {
                Some(Piece::Reasoning {
                    index: part.index,
                    from: known.len(),
                    to: text.len(),
                })
            }
            _ => None,
        };
        let part = Arc::new(part);
        self.is_known = true;
        self.changes += 1;
        self.parts.insert(part.index, (part.clone(), self.changes));
        self.pieces.push(piece.unwrap_or(Piece::Part(part)));
    }

    /// The parts in order.
    pub(super) fn parts(&self) -> Vec<Arc<Part>> {
        self.parts.values().map(|(part, _)| part.clone()).collect()
    }

    /// The parts changed after a change, in the order of their changes, each with its change number.
    pub(super) fn changed(&self, after: u64) -> Vec<(Arc<Part>, u64)> {
        let changed = self.parts.values().filter(|(_, change)| *change > after);
        let mut changed: Vec<_> = changed.cloned().collect();
        changed.sort_by_key(|(_, change)| *change);
        changed
    }

    /// The next event after this many pieces, and the new number of pieces. The event is one piece, or all following
    /// pieces of its kind coalesced.
    pub(super) fn next_event(&self, pieces: usize) -> Option<(ReplyLogEvent, usize)> {
        let new = self.pieces.get(pieces..)?;
        let first = new.first()?;
        let run = match new.len() > MAX_SEPARATE_PIECES {
            true => new
                .iter()
                .take_while(|piece| piece.continues(first))
                .count()
                .max(1),
            false => 1,
        };
        let event = match (first, &new[run - 1]) {
            (Piece::Text(delta), Piece::Text(last)) if run > 1 => {
                let from = delta.length - delta.text.len();
                ReplyLogEvent::Delta(Delta {
                    text: self.text[from..last.length].into(),
                    length: last.length,
                })
            }
            (Piece::Text(delta), _) => ReplyLogEvent::Delta(delta.clone()),
            (Piece::Part(part), _) => ReplyLogEvent::Part(part.clone()),
            (Piece::Reasoning { index, from, to }, last) => {
                let to = match last {
                    Piece::Reasoning { to, .. } => to,
                    _ => to,
                };
                ReplyLogEvent::Reasoning(self.reasoning(*index, *from, *to))
            }
        };
        Some((event, pieces + run))
    }

    fn reasoning(&self, index: usize, from: usize, to: usize) -> ReasoningDelta {
        let part = self.parts.get(&index).map(|(part, _)| &part.content);
        let text = match part {
            Some(PartContent::Reasoning { text }) => text.get(from..to).unwrap_or_default(),
            _ => "",
        };
        ReasoningDelta {
            index,
            text: text.into(),
        }
    }
}

impl Piece {
    fn continues(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(_), Self::Text(_)) => true,
            (Self::Reasoning { index, .. }, Self::Reasoning { index: other, .. }) => index == other,
            _ => false,
        }
    }
}

/// The parts that a reader at this position has not received in their current state.
pub(super) fn parts_after(parts: Vec<Arc<Part>>, after: Option<Place>) -> Vec<Arc<Part>> {
    let is_behind = |part: &Arc<Part>| match after {
        None => true,
        Some(Place {
            part: Some(last), ..
        }) => part.index >= last || part.may_have_changed(),
        // The cursor of a reader that receives only text.
        Some(Place { part: None, .. }) => true,
    };
    parts.into_iter().filter(is_behind).collect()
}
