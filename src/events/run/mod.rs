//! A running reply: an append-only log with one writer and any number of readers.
//!
//! A reader holds only an offset into the shared log, so a slow reader uses no memory and loses no text. An offset is a
//! number of bytes (UTF-8). The text only grows, so a reader that reconnects can resume at its offset in this log, in
//! another node's copy, or in the row: all are prefixes of the same text.
//!
//! The log exists only while the run does. Later readers read the row, which is stored before the log ends.

mod log;
mod runs;
#[cfg(test)]
mod tests;
mod written;

use std::sync::Arc;

use self::written::parts_after;
pub(super) use self::{log::LogSlice, runs::Runs};
pub use self::{
    log::{ReplyIds, ReplyLog},
    runs::RunGuard,
};
use crate::{
    conversation::{Part, Usage},
    error::Error,
    events::Place,
};

/// One event of a reply, for one reader.
#[derive(Clone, Debug)]
pub enum ReplyLogEvent {
    /// The text so far; always the first event. Sent again, with `recovered: false`, if the stored text differs from
    /// the text that was sent: it replaces that text.
    Snapshot(ReplySnapshot),
    /// More text.
    Delta(Delta),
    /// A part that began or changed: it replaces the part of the same index.
    Part(Arc<Part>),
    /// More reasoning of a part.
    Reasoning(ReasoningDelta),
    /// The last event: the row is stored.
    Ended(Arc<ReplyEnd>),
}

/// The text of a reply when a reader joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplySnapshot {
    /// The text after the reader's offset; the full text if not recovered.
    pub text: Arc<str>,
    /// The length of the reply including this text, in bytes.
    pub length: usize,
    /// Whether the text continues at the reader's offset. If not, the reader must discard what it has.
    pub recovered: bool,
    /// The parts that the reader has not received, or not as a whole; all of them if not recovered.
    pub parts: Vec<Arc<Part>>,
}

impl ReplySnapshot {
    /// The first event for a reader that joins at this place, or at the start. `parts` are all parts of the reply.
    pub fn new(read: ReplySlice, parts: Vec<Arc<Part>>, after: Option<Place>) -> Self {
        let recovered = read.recovered && after.is_some();
        Self {
            text: read.text.into(),
            length: read.length,
            recovered,
            parts: parts_after(parts, after.filter(|_| recovered)),
        }
    }
}

/// More text of a reply.
#[derive(Clone, Debug)]
pub struct Delta {
    /// The text.
    pub text: Arc<str>,
    /// The length of the reply including this text, in bytes.
    pub length: usize,
}

/// More reasoning of a reply.
#[derive(Clone, Debug)]
pub struct ReasoningDelta {
    /// The index of the part.
    pub index: usize,
    /// The text.
    pub text: Arc<str>,
}

/// How a reply ended.
#[derive(Debug)]
pub struct ReplyEnd {
    /// The full text, as stored.
    pub text: String,
    /// The provider's response id, if it sent one.
    pub response_id: Option<String>,
    /// The token usage, if the provider reported it and this node knows it.
    pub usage: Option<Usage>,
    /// The model that wrote it, if known.
    pub model: Option<String>,
    /// Whether the text is complete.
    pub outcome: Outcome,
    /// Why the model stopped early, if known.
    pub reason: Option<&'static str>,
}

impl ReplyEnd {
    /// Why the reply is incomplete, if it is and the reason is known: `stopped`, or the source's.
    pub fn incomplete_reason(&self) -> Option<&'static str> {
        match self.outcome {
            Outcome::Stopped => Some("stopped"),
            Outcome::Incomplete => self.reason,
            Outcome::Completed | Outcome::Failed(_) => None,
        }
    }
}

/// Whether a reply is complete.
#[derive(Debug)]
pub enum Outcome {
    /// The text is complete.
    Completed,
    /// A client stopped the reply.
    Stopped,
    /// The reply reached a limit, or its process died.
    Incomplete,
    /// The reply failed; its text up to then is stored.
    Failed(Error),
}

/// The text after an offset.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReplySlice {
    /// The text after the offset; the full text if not recovered.
    pub text: String,
    /// The length of the reply including this text, in bytes. May be less than the offset while the reply runs.
    pub length: usize,
    /// Whether the offset belongs to this text.
    pub recovered: bool,
}

impl ReplySlice {
    /// Reads a text from an offset. If a finished text is shorter than the offset, the reader has read another text; a
    /// growing text may still reach the offset.
    pub fn from_offset(text: &str, offset: usize, is_over: bool) -> Self {
        let length = text.len();
        let (text, recovered) = match text.get(offset..) {
            Some(rest) => (rest, true),
            None if offset > length && !is_over => ("", true),
            None => (text, false),
        };
        Self {
            text: text.to_owned(),
            length,
            recovered,
        }
    }

    /// The full text, to replace what the reader has.
    pub fn replacement(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            length: text.len(),
            recovered: false,
        }
    }
}
