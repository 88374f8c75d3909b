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

use std::sync::Arc;

pub(super) use self::runs::Runs;
pub use self::{
    log::{ReplyIds, ReplyLog},
    runs::RunGuard,
};
use crate::{conversation::Usage, error::Error};

/// One event of a reply, for one reader.
#[derive(Clone, Debug)]
pub enum ReplyLogEvent {
    /// The text so far; always the first event. Sent again, with `recovered: false`, if the stored text differs from
    /// the text that was sent: it replaces that text.
    SoFar(SoFar),
    /// More text.
    Delta(Delta),
    /// The last event: the row is stored.
    Ended(Arc<ReplyEnd>),
}

/// The text of a reply when a reader joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// The text after the reader's offset; the full text if not recovered.
    pub text: Arc<str>,
    /// The length of the reply including this text, in bytes.
    pub length: usize,
    /// Whether the text continues at the reader's offset. If not, the reader must discard what it has.
    pub recovered: bool,
}

impl SoFar {
    /// The first event for a reader with this offset, or with none.
    pub fn new(read: ReplySlice, after: Option<usize>) -> Self {
        Self {
            text: read.text.into(),
            length: read.length,
            recovered: read.recovered && after.is_some(),
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

/// How a reply ended.
#[derive(Debug)]
pub struct ReplyEnd {
    /// The full text, as stored.
    pub text: String,
    /// The provider's response id, if it sent one.
    pub response_id: Option<String>,
    /// The token usage, if the provider reported it.
    pub usage: Option<Usage>,
    /// Whether the text is complete.
    pub outcome: Outcome,
    /// Why the model stopped early, if known.
    pub reason: Option<&'static str>,
}

/// Whether a reply is complete.
#[derive(Debug)]
pub enum Outcome {
    /// The text is complete.
    Completed,
    /// The reply was stopped, reached a limit, or its process died.
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
    /// Reads a text from an offset. A finished text that is shorter than the offset is not the text that the reader
    /// read; a growing one may still reach the offset.
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
