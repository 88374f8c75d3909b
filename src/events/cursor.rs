//! Cursors of replies: a client sends back the last one to resume after a disconnect.

use std::{fmt, str::FromStr};

use crate::{conversation::MessageId, error::Error};

/// A position in the reply of a turn. Clients receive it as an opaque text: `{turn}.{bytes}`, `{turn}.{bytes}.{part}`
/// or `{turn}.end`. The first turn of a message has the message's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyCursor {
    /// The turn.
    pub turn: MessageId,
    /// The position in the reply.
    pub offset: ReplyOffset,
}

/// A position in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyOffset {
    /// After this place in the reply.
    At(Place),
    /// After the end: no event is left.
    End,
}

/// A place in the log of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The number of bytes of text (UTF-8) before it.
    pub bytes: usize,
    /// The index of the last part before it; `None` for a reader that received no part. That part may have grown since.
    pub part: Option<usize>,
}

impl ReplyCursor {
    /// The position at a place.
    pub fn at(turn: MessageId, place: Place) -> Self {
        let offset = ReplyOffset::At(place);
        Self { turn, offset }
    }

    /// The position after the end.
    pub fn end(turn: MessageId) -> Self {
        let offset = ReplyOffset::End;
        Self { turn, offset }
    }
}

impl Place {
    /// The position after this many bytes of text, for a reader of text only.
    pub fn bytes(bytes: usize) -> Self {
        Self { bytes, part: None }
    }
}

impl fmt::Display for ReplyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            ReplyOffset::At(Place { bytes, part: None }) => write!(f, "{}.{bytes}", self.turn),
            ReplyOffset::At(Place {
                bytes,
                part: Some(part),
            }) => write!(f, "{}.{bytes}.{part}", self.turn),
            ReplyOffset::End => write!(f, "{}.end", self.turn),
        }
    }
}

impl FromStr for ReplyCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (turn, offset) = text.split_once('.').ok_or(Error::InvalidCursor)?;
        let turn = turn.parse().map_err(|_| Error::InvalidCursor)?;
        if offset == "end" {
            return Ok(Self::end(turn));
        }
        let (bytes, part) = match offset.split_once('.') {
            Some((bytes, part)) => (bytes, Some(number(part)?)),
            None => (offset, None),
        };
        let bytes = number(bytes)?;
        Ok(Self::at(turn, Place { bytes, part }))
    }
}

/// Parses only digits: no sign, no space.
fn number(digits: &str) -> Result<usize, Error> {
    let number = digits.parse().map_err(|_| Error::InvalidCursor)?;
    match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(number),
        false => Err(Error::InvalidCursor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_was_written_and_nothing_else_does() {
        let message = MessageId::new();
        for cursor in [
            ReplyCursor::at(message, Place::bytes(0)),
            ReplyCursor::at(message, Place::bytes(524_288)),
            ReplyCursor::at(
                message,
                Place {
                    bytes: 7,
                    part: Some(0),
                },
            ),
            ReplyCursor::end(message),
        ] {
            assert_eq!(cursor.to_string().parse::<ReplyCursor>().unwrap(), cursor);
        }
        let id = message.to_string();
        for text in [
            "",
            ".",
            "7",
            ".7",
            "x.7",
            &id,
            &format!("{id}."),
            &format!("{id}.-1"),
            &format!("{id}.+1"),
            &format!("{id}. 1"),
            &format!("{id}.END"),
            &format!("{id}.1."),
            &format!("{id}.1.+2"),
            &format!("{id}.1.2.3"),
            &format!("{id}.1.end"),
            &format!("{id}.end.1"),
            &format!("{id}.99999999999999999999"),
        ] {
            assert!(text.parse::<ReplyCursor>().is_err(), "{text}");
        }
    }
}
