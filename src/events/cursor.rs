//! Where a reader of a reply is, so that it can go on there after a cut.

use std::{fmt, str::FromStr};

use crate::{conversation::MessageId, error::Error};

/// A place in the reply to a message. A text for clients, who give it back as it is:
/// `{message}.{bytes}` or `{message}.end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyCursor {
    /// The message that is replied to.
    pub message: MessageId,
    /// How far into the reply.
    pub place: ReplyPlace,
}

/// How far a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyPlace {
    /// Behind so many bytes (UTF-8) of the text.
    Behind(usize),
    /// Behind the end: there is nothing left to tell.
    End,
}

impl ReplyCursor {
    /// The place behind so many bytes.
    pub fn behind(message: MessageId, bytes: usize) -> Self {
        let place = ReplyPlace::Behind(bytes);
        Self { message, place }
    }

    /// The place behind the end.
    pub fn end(message: MessageId) -> Self {
        let place = ReplyPlace::End;
        Self { message, place }
    }
}

impl fmt::Display for ReplyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            ReplyPlace::Behind(bytes) => write!(f, "{}.{bytes}", self.message),
            ReplyPlace::End => write!(f, "{}.end", self.message),
        }
    }
}

impl FromStr for ReplyCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (message, place) = text.split_once('.').ok_or(Error::InvalidCursor)?;
        let message = message.parse().map_err(|_| Error::InvalidCursor)?;
        let place = match place {
            "end" => ReplyPlace::End,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                ReplyPlace::Behind(digits.parse().map_err(|_| Error::InvalidCursor)?)
            }
            _ => return Err(Error::InvalidCursor),
        };
        Ok(Self { message, place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_was_written_and_nothing_else_does() {
        let message = MessageId::new();
        for cursor in [
            ReplyCursor::behind(message, 0),
            ReplyCursor::behind(message, 524_288),
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
