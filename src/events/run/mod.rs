//! A running reply: a log that its owner writes and any number of readers follow.
//!
//! A reader is a place in the shared log and a wake-up, so a slow one costs nothing and can lose
//! nothing while the run lasts. A place is a number of bytes of the text, and the text of a reply only
//! grows: a reader that comes back with its place goes on there, in this log, in that of another node,
//! or in the row, which are all beginnings of the same text.
//!
//! The log goes with the run: whoever comes later reads the row, which is stored before the log ends.

mod log;
mod runs;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(super) use self::runs::Runs;
pub use self::{
    log::{LogOf, ReplyLog},
    runs::RunGuard,
};
use crate::{conversation::Usage, error::Error};

/// One step of a reply, for one reader.
#[derive(Clone, Debug)]
pub enum ReplyEvent {
    /// What there is; always the first event. Comes again, not recovered, when what the reader was
    /// told turns out to be more than what was kept: then this is all there is.
    SoFar(SoFar),
    /// More text.
    Delta(Delta),
    /// The last event: the row is stored.
    Ended(Arc<ReplyEnd>),
}

/// What there is of a reply when a reader joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoFar {
    /// What follows the reader's place; all of it if it was not recovered.
    pub text: Arc<str>,
    /// How many bytes the reply has with it.
    pub length: usize,
    /// Whether this goes on where the reader was. Otherwise what it has is worth nothing.
    pub recovered: bool,
}

impl SoFar {
    /// What a reader that came with this place, or with none, is told first.
    pub fn new(read: Read, after: Option<usize>) -> Self {
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
    /// How many bytes the reply has with it.
    pub length: usize,
}

/// How a reply ended.
#[derive(Debug)]
pub struct ReplyEnd {
    /// All of its text, as stored.
    pub text: String,
    /// The provider's id of it, if it gave one.
    pub response_id: Option<String>,
    /// What it cost, if the provider said so.
    pub usage: Option<Usage>,
    /// Whether it is whole.
    pub outcome: Outcome,
    /// Why the model left it incomplete, where that is known.
    pub reason: Option<&'static str>,
}

/// Whether a reply is whole.
#[derive(Debug)]
pub enum Outcome {
    /// It is.
    Completed,
    /// It was stopped, ran into a limit, or its process died.
    Incomplete,
    /// It broke; what had come until then is stored.
    Failed(Error),
}

/// What a reader at some place is told next.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Read {
    /// What follows the place; all of it if it was not recovered.
    pub text: String,
    /// How many bytes the reply has with it. Fewer than the reader has: what is missing may still come.
    pub length: usize,
    /// Whether the place is one of this text.
    pub recovered: bool,
}

impl Read {
    /// Reads a text from a place on. A text that is over and ends before the place is another one than
    /// the reader has read; one that grows may get there.
    pub fn of(text: &str, place: usize, is_over: bool) -> Self {
        let length = text.len();
        let (text, recovered) = match text.get(place..) {
            Some(rest) => (rest, true),
            None if place > length && !is_over => ("", true),
            None => (text, false),
        };
        Self {
            text: text.to_owned(),
            length,
            recovered,
        }
    }

    /// Reads a text that replaces what the reader has.
    pub fn anew(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            length: text.len(),
            recovered: false,
        }
    }
}
