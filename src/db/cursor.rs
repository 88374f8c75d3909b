//! Opaque cursors: the place of a row in its list's order, so that a page begins where the last one
//! ended whatever came or went meanwhile.
//!
//! A cursor names its version and its list. It grants nothing: each page is asked for with the
//! owner, so a made-up cursor only moves about in one's own rows.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};

use crate::{
    conversation::{Conversation, ConversationId, Message},
    error::{Error, Result},
};

/// A place in a list of conversations, which is sorted by activity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConversationCursor {
    pub(super) last_message_at: DateTime<Utc>,
    pub(super) id: ConversationId,
}

/// A place in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageCursor {
    pub(super) position: i64,
}

/// A place in the hits of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HitCursor {
    pub(super) score: f64,
    pub(super) id: ConversationId,
}

/// A cursor of one of the lists.
pub trait Cursor: Sized {
    /// The text that a client gets.
    fn encode(&self) -> String;

    /// The cursor in a text that a client sent.
    ///
    /// # Errors
    /// [`Error::InvalidCursor`] for anything that [`Self::encode`] of this list did not make.
    fn decode(text: &str) -> Result<Self>;
}

impl ConversationCursor {
    /// The place of this conversation.
    pub fn of(conversation: &Conversation) -> Self {
        Self {
            last_message_at: conversation.last_message_at,
            id: conversation.id,
        }
    }
}

impl MessageCursor {
    /// The place of this message.
    pub fn of(message: &Message) -> Self {
        Self {
            position: message.position,
        }
    }
}

impl Cursor for ConversationCursor {
    fn encode(&self) -> String {
        seal(
            'c',
            &[
                self.last_message_at.timestamp_micros().to_string(),
                self.id.to_string(),
            ],
        )
    }

    fn decode(text: &str) -> Result<Self> {
        let [micros, id] = open('c', text)?;
        Ok(Self {
            last_message_at: DateTime::from_timestamp_micros(parse(&micros)?)
                .ok_or(Error::InvalidCursor)?,
            id: parse(&id)?,
        })
    }
}

impl Cursor for MessageCursor {
    fn encode(&self) -> String {
        seal('m', &[self.position.to_string()])
    }

    fn decode(text: &str) -> Result<Self> {
        let [position] = open('m', text)?;
        Ok(Self {
            position: parse(&position)?,
        })
    }
}

impl Cursor for HitCursor {
    fn encode(&self) -> String {
        // The bits, not the digits: the score has to compare equal to itself.
        seal(
            's',
            &[self.score.to_bits().to_string(), self.id.to_string()],
        )
    }

    fn decode(text: &str) -> Result<Self> {
        let [bits, id] = open('s', text)?;
        let score = f64::from_bits(parse(&bits)?);
        if !score.is_finite() {
            return Err(Error::InvalidCursor);
        }
        Ok(Self {
            score,
            id: parse(&id)?,
        })
    }
}

const VERSION: &str = "1";

fn seal(list: char, fields: &[String]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{VERSION}{list}:{}", fields.join(":")))
}

fn open<const N: usize>(list: char, text: &str) -> Result<[String; N]> {
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Error::InvalidCursor)?;
    let plain = String::from_utf8(bytes).map_err(|_| Error::InvalidCursor)?;
    let fields = plain
        .strip_prefix(VERSION)
        .and_then(|rest| rest.strip_prefix(list))
        .and_then(|rest| rest.strip_prefix(':'))
        .ok_or(Error::InvalidCursor)?;
    let fields: Vec<String> = fields.split(':').map(str::to_owned).collect();
    fields.try_into().map_err(|_| Error::InvalidCursor)
}

fn parse<T: std::str::FromStr>(field: &str) -> Result<T> {
    field.parse().map_err(|_| Error::InvalidCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_round_trip_and_stay_in_their_list() {
        let cursor = ConversationCursor {
            last_message_at: DateTime::from_timestamp_micros(1_763_000_000_123_456).unwrap(),
            id: ConversationId::new(),
        };
        let text = cursor.encode();
        assert_eq!(ConversationCursor::decode(&text).unwrap(), cursor);
        assert!(matches!(
            MessageCursor::decode(&text),
            Err(Error::InvalidCursor)
        ));
        let hit = HitCursor {
            score: 0.1 + 0.2,
            id: ConversationId::new(),
        };
        assert_eq!(HitCursor::decode(&hit.encode()).unwrap(), hit);
        for bad in ["", "x", "💥", "MWM6MTox", "AAAA", &text[1..]] {
            assert!(
                matches!(ConversationCursor::decode(bad), Err(Error::InvalidCursor)),
                "{bad}"
            );
        }
    }
}
