//! Opaque keyset cursors: the sort key of a row, so that the next page is correct after inserts and deletions.
//!
//! A cursor contains its version, a position and its list, in base64url; without its beginning or its end it is none. It
//! is not authenticated, because it grants no access: each page is filtered by owner.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Datelike, Utc};

use crate::{
    conversation::{Conversation, ConversationId, Message},
    error::{Error, Result},
};

/// Version 2 had an HMAC.
const VERSION: &str = "3";

/// A position in a list of conversations, which is sorted by activity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConversationCursor {
    pub(super) last_message_at: DateTime<Utc>,
    pub(super) id: ConversationId,
}

/// A position in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageCursor {
    pub(super) position: i64,
}

/// A position in a conversation, with the direction of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor {
    /// The position.
    pub at: MessageCursor,
    /// Whether the page follows the position; otherwise it precedes it.
    pub is_forward: bool,
}

/// A position in the hits of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HitCursor {
    pub(super) score: f64,
    pub(super) id: ConversationId,
}

/// A cursor of one of the lists.
pub trait Cursor: Sized {
    /// The name of the list.
    const LIST: char;

    /// The position as plain text.
    fn position(&self) -> String;

    /// Parses what [`Self::position`] returns. May accept more: [`Self::decode`] does not.
    fn parse(position: &str) -> Option<Self>;

    /// The opaque text for the client.
    fn encode(&self) -> String {
        let plain = format!("{VERSION}:{}:{}", self.position(), Self::LIST);
        BASE64_URL_SAFE_NO_PAD.encode(plain)
    }

    /// Parses the text sent by a client.
    ///
    /// # Errors
    /// [`Error::InvalidCursor`] for any text that [`Self::encode`] of this list does not return.
    fn decode(text: &str) -> Result<Self> {
        let parse = || {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
            let plain = std::str::from_utf8(&bytes).ok()?;
            let plain = plain.strip_suffix(Self::LIST)?.strip_suffix(':')?;
            Self::parse(plain.strip_prefix(VERSION)?.strip_prefix(':')?)
        };
        parse()
            .filter(|cursor| cursor.encode() == text)
            .ok_or(Error::InvalidCursor)
    }
}

impl ConversationCursor {
    /// The position of this conversation.
    pub fn of(conversation: &Conversation) -> Self {
        Self {
            last_message_at: conversation.last_message_at,
            id: conversation.id,
        }
    }
}

impl MessageCursor {
    /// The position of this message.
    pub fn of(message: &Message) -> Self {
        Self {
            position: message.position,
        }
    }
}

impl Cursor for ConversationCursor {
    const LIST: char = 'c';

    fn position(&self) -> String {
        format!("{}:{}", self.last_message_at.timestamp_micros(), self.id)
    }

    fn parse(position: &str) -> Option<Self> {
        let (micros, id) = position.split_once(':')?;
        let last_message_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        let id = id.parse().ok()?;
        // PostgreSQL rejects times that chrono accepts. Imports accept the years that RFC 3339 can write.
        let is_in_range = (0..10_000).contains(&last_message_at.year());
        is_in_range.then_some(Self {
            last_message_at,
            id,
        })
    }
}

impl Cursor for MessageCursor {
    const LIST: char = 'm';

    fn position(&self) -> String {
        self.position.to_string()
    }

    fn parse(position: &str) -> Option<Self> {
        let position = position.parse().ok()?;
        Some(Self { position })
    }
}

impl Cursor for PageCursor {
    const LIST: char = 'p';

    fn position(&self) -> String {
        let direction = if self.is_forward { "next" } else { "previous" };
        format!("{direction}:{}", self.at.position)
    }

    fn parse(position: &str) -> Option<Self> {
        let (direction, position) = position.split_once(':')?;
        Some(Self {
            at: MessageCursor::parse(position)?,
            is_forward: direction == "next",
        })
    }
}

impl Cursor for HitCursor {
    const LIST: char = 's';

    fn position(&self) -> String {
        // The bits, because a decimal score might not compare equal after a round trip.
        format!("{}:{}", self.score.to_bits(), self.id)
    }

    fn parse(position: &str) -> Option<Self> {
        let (bits, id) = position.split_once(':')?;
        let score = f64::from_bits(bits.parse().ok()?);
        let id = id.parse().ok()?;
        score.is_finite().then_some(Self { score, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> ConversationCursor {
        ConversationCursor {
            last_message_at: DateTime::from_timestamp_micros(1_763_000_000_123_456).unwrap(),
            id: ConversationId::new(),
        }
    }

    #[track_caller]
    fn assert_refused<C: Cursor + std::fmt::Debug>(text: &str) {
        let opened = C::decode(text);
        assert!(
            matches!(opened, Err(Error::InvalidCursor)),
            "{text}: {opened:?}"
        );
    }

    #[test]
    fn cursors_survive_the_round_trip_and_stay_in_their_list() {
        let cursor = cursor();
        let text = cursor.encode();
        assert_eq!(ConversationCursor::decode(&text).unwrap(), cursor);
        assert_refused::<MessageCursor>(&text);
        assert_refused::<PageCursor>(&text);
        assert_refused::<HitCursor>(&text);
        let hit = HitCursor {
            score: 0.1 + 0.2,
            id: ConversationId::new(),
        };
        assert_eq!(HitCursor::decode(&hit.encode()).unwrap(), hit);
        for is_forward in [true, false] {
            let at = MessageCursor { position: 7 };
            let page = PageCursor { at, is_forward };
            assert_eq!(PageCursor::decode(&page.encode()).unwrap(), page);
        }
        for bad in ["", "x", "💥", "MWM6MTox", "AAAA", &text[1..]] {
            assert_refused::<ConversationCursor>(bad);
        }
    }

    #[test]
    fn what_no_list_returns_is_refused() {
        let id = ConversationId::new();
        let plain = |plain: &str| BASE64_URL_SAFE_NO_PAD.encode(plain);
        assert!(MessageCursor::decode(&plain("3:17:m")).is_ok());
        #[rustfmt::skip]
        let bad = [
            "3:07:m", "3:+7:m", "3:7 :m", "3::m", "3:7:7:m", "37:m", "3:7m", "7:m", "2:7:m", "3:1", "3:17", "3:17:",
        ];
        for bad in bad {
            assert_refused::<MessageCursor>(&plain(bad));
        }
        for bad in ["3:back:7:p", "3:next::p", "3:7:p"] {
            assert_refused::<PageCursor>(&plain(bad));
        }
        for score in [f64::NAN, f64::INFINITY] {
            assert_refused::<HitCursor>(&plain(&format!("3:{}:{id}:s", score.to_bits())));
        }
        // Years before 0 and after 9999, another form of a UUID, and a cursor of version 2.
        let simple = id.0.simple();
        for position in [
            format!("{}:{id}", i64::MIN),
            format!("{}:{id}", i64::MAX),
            format!("{}:{id}", 253_402_300_800_000_000_i64),
            format!("1763000000123456:{simple}"),
        ] {
            assert_refused::<ConversationCursor>(&plain(&format!("3:{position}:c")));
        }
        let plain = format!("2c:1763000000123456:{id}");
        let with_tag = [&[b'x'; 32], plain.as_bytes()].concat();
        assert_refused::<ConversationCursor>(&BASE64_URL_SAFE_NO_PAD.encode(with_tag));
    }
}
