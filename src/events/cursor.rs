//! Cursors of replies: a client sends back the last one to resume after a disconnect.

use std::{fmt, str::FromStr};

use crate::{conversation::MessageId, error::Error};

/// A position in the reply to a message. Clients receive it as an opaque text, `{message}.{bytes}` or `{message}.end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyCursor {
    /// The message that is replied to.
    pub message: MessageId,
    /// The position in the reply.
    pub offset: ReplyOffset,
}

/// A position in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyOffset {
    /// After this many bytes (UTF-8) of the text.
    Bytes(usize),
    /// After the end: no event is left.
    End,
}

impl ReplyCursor {
    /// The position after this many bytes.
    pub fn at(message: MessageId, bytes: usize) -> Self {
        let offset = ReplyOffset::Bytes(bytes);
        Self { message, offset }
    }

    /// The position after the end.
    pub fn end(message: MessageId) -> Self {
        let offset = ReplyOffset::End;
        Self { message, offset }
    }
}

impl fmt::Display for ReplyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            ReplyOffset::Bytes(bytes) => write!(f, "{}.{bytes}", self.message),
            ReplyOffset::End => write!(f, "{}.end", self.message),
        }
    }
}

impl FromStr for ReplyCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (message, offset) = text.split_once('.').ok_or(Error::InvalidCursor)?;
        let message = message.parse().map_err(|_| Error::InvalidCursor)?;
        let offset = match offset {
            "end" => ReplyOffset::End,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                ReplyOffset::Bytes(digits.parse().map_err(|_| Error::InvalidCursor)?)
            }
            _ => return Err(Error::InvalidCursor),
        };
        Ok(Self { message, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_was_written_and_nothing_else_does() {
        let message = MessageId::new();
        for cursor in [
            ReplyCursor::at(message, 0),
            ReplyCursor::at(message, 524_288),
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
            &format!("{id}.1.2"),
            &format!("{id}.99999999999999999999"),
        ] {
            assert!(text.parse::<ReplyCursor>().is_err(), "{text}");
        }
    }
}
