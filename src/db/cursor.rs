//! Opaque keyset cursors: the sort key of a row, so that the next page is correct after inserts and deletions.
//!
//! A cursor contains its version, a position and its list, in base64url; a truncated one is invalid. It is not
//! authenticated, because it grants no access: each page is filtered by owner.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Datelike, Utc};
use uuid::Uuid;

use crate::{
    conversation::{ConversationId, Message},
    error::{Error, Result},
};

/// Version 2 had an HMAC.
const VERSION: &str = "3";

/// A position in a list of conversations: the time by which it is sorted, and the id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConversationCursor {
    pub(super) at: DateTime<Utc>,
    pub(super) id: ConversationId,
    /// `None`: a list by activity, without a filter or only with an agent.
    pub(super) list: Option<ListMark>,
}

/// Distinguishes lists with different orders and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListMark {
    /// The order, and the part of the list that the position is in: one lower-case letter.
    pub(super) order: char,
    /// A digest of the filter.
    pub(super) filter: u32,
}

/// A position in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageCursor {
    pub(super) position: i64,
    /// Whether it follows the message at this position: a reply that does not count.
    pub(super) is_behind: bool,
}

/// A position in a conversation, with the direction of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor {
    /// The position.
    pub at: MessageCursor,
    /// Whether the page follows the position; otherwise it precedes it.
    pub is_forward: bool,
}

/// A position in the replayed events of a conversation's replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerCursor {
    /// The conversation. A position is valid only in its own conversation.
    pub conversation: ConversationId,
    /// The last message whose events were all sent; `None` at the beginning.
    pub at: Option<MessageCursor>,
    /// The number of events of the next reply that were sent.
    pub events: usize,
}

/// A position in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditCursor {
    pub(super) at: DateTime<Utc>,
    pub(super) id: Uuid,
}

/// A position in the hits of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HitCursor {
    pub(super) score: f64,
    pub(super) id: ConversationId,
}

/// A position in a feed of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeedCursor {
    /// Identifies the feed: an erased or restarted feed has another epoch.
    pub(super) epoch: i64,
    /// The number of the last change.
    pub(super) change: i64,
    /// The position at which the reader was last up to date. It stays until the reader is up to date again: a
    /// conversation created after it is new to the reader, however often it has changed since.
    pub(super) since: i64,
}

/// A cursor of one of the lists.
pub trait Cursor: Sized {
    /// The name of the list.
    const LIST: char;

    /// The position as plain text.
    fn position(&self) -> String;

    /// Parses a text from [`Self::position`]. May accept other texts too, which [`Self::decode`] rejects.
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

impl MessageCursor {
    /// The position of this message.
    pub fn of(message: &Message) -> Self {
        Self {
            position: message.position,
            is_behind: !message.is_counted,
        }
    }
}

impl Cursor for ConversationCursor {
    const LIST: char = 'c';

    fn position(&self) -> String {
        let place = format!("{}:{}", self.at.timestamp_micros(), self.id);
        match self.list {
            Some(ListMark { order, filter }) => format!("{place}:{order}{filter:08x}"),
            None => place,
        }
    }

    fn parse(position: &str) -> Option<Self> {
        let (micros, id) = position.split_once(':')?;
        let (id, list) = match id.split_once(':') {
            Some((id, list)) => (id, Some(list)),
            None => (id, None),
        };
        let at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        let id = id.parse().ok()?;
        let list = match list {
            Some(list) => Some(ListMark::parse(list)?),
            None => None,
        };
        // PostgreSQL rejects times that chrono accepts. Imports accept the years that RFC 3339 can write.
        let is_in_range = (0..10_000).contains(&at.year());
        is_in_range.then_some(Self { at, id, list })
    }
}

impl Cursor for AuditCursor {
    const LIST: char = 'a';

    fn position(&self) -> String {
        format!("{}:{}", self.at.timestamp_micros(), self.id)
    }

    fn parse(position: &str) -> Option<Self> {
        let (micros, id) = position.split_once(':')?;
        let at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        let is_in_range = (0..10_000).contains(&at.year());
        let id = id.parse().ok()?;
        is_in_range.then_some(Self { at, id })
    }
}

impl ListMark {
    fn parse(text: &str) -> Option<Self> {
        let order = text.chars().next().filter(char::is_ascii_lowercase)?;
        let filter = u32::from_str_radix(&text[1..], 16).ok()?;
        Some(Self { order, filter })
    }
}

impl Cursor for MessageCursor {
    const LIST: char = 'm';

    fn position(&self) -> String {
        let behind = if self.is_behind { "+" } else { "" };
        format!("{}{behind}", self.position)
    }

    fn parse(position: &str) -> Option<Self> {
        let (position, is_behind) = match position.strip_suffix('+') {
            Some(position) => (position, true),
            None => (position, false),
        };
        Some(Self {
            position: position.parse().ok()?,
            is_behind,
        })
    }
}

impl Cursor for PageCursor {
    const LIST: char = 'p';

    fn position(&self) -> String {
        let direction = if self.is_forward { "next" } else { "previous" };
        format!("{direction}:{}", self.at.position())
    }

    fn parse(position: &str) -> Option<Self> {
        let (direction, position) = position.split_once(':')?;
        Some(Self {
            at: MessageCursor::parse(position)?,
            is_forward: direction == "next",
        })
    }
}

impl Cursor for LedgerCursor {
    const LIST: char = 'l';

    fn position(&self) -> String {
        let at = self.at.map(|at| at.position()).unwrap_or_default();
        format!("{}:{}:{at}", self.conversation, self.events)
    }

    fn parse(position: &str) -> Option<Self> {
        let (conversation, place) = position.split_once(':')?;
        let (events, at) = place.split_once(':')?;
        let at = match at {
            "" => None,
            at => Some(MessageCursor::parse(at)?),
        };
        Some(Self {
            conversation: conversation.parse().ok()?,
            at,
            events: events.parse().ok()?,
        })
    }
}

impl Cursor for FeedCursor {
    const LIST: char = 'f';

    fn position(&self) -> String {
        format!("{}:{}:{}", self.epoch, self.change, self.since)
    }

    fn parse(position: &str) -> Option<Self> {
        let mut numbers = position.splitn(3, ':').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            epoch: next()?,
            change: next()?,
            since: next()?,
        })
    }
}

impl Cursor for HitCursor {
    const LIST: char = 's';

    fn position(&self) -> String {
        // Writes the bits, because a decimal score might not compare equal after a round trip.
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
            at: DateTime::from_timestamp_micros(1_763_000_000_123_456).unwrap(),
            id: ConversationId::new(),
            list: None,
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
        let in_order = ConversationCursor {
            list: Some(ListMark {
                order: 'c',
                filter: 0x0a_bc,
            }),
            ..cursor
        };
        let marked = in_order.encode();
        assert_eq!(ConversationCursor::decode(&marked).unwrap(), in_order);
        let hit = HitCursor {
            score: 0.1 + 0.2,
            id: ConversationId::new(),
        };
        assert_eq!(HitCursor::decode(&hit.encode()).unwrap(), hit);
        for (is_forward, is_behind) in [(true, false), (false, true)] {
            let position = 7;
            let at = MessageCursor {
                position,
                is_behind,
            };
            let page = PageCursor { at, is_forward };
            assert_eq!(PageCursor::decode(&page.encode()).unwrap(), page);
        }
        for at in [
            None,
            Some(MessageCursor {
                position: 7,
                is_behind: true,
            }),
        ] {
            let place = LedgerCursor {
                conversation: cursor.id,
                at,
                events: 3,
            };
            assert_eq!(LedgerCursor::decode(&place.encode()).unwrap(), place);
        }
        let feed = FeedCursor {
            epoch: 9_007_199_254_740_991,
            change: 17,
            since: 3,
        };
        assert_eq!(FeedCursor::decode(&feed.encode()).unwrap(), feed);
        assert_refused::<FeedCursor>(&text);
        for bad in ["", "x", "💥", "MWM6MTox", "AAAA", &text[1..]] {
            assert_refused::<ConversationCursor>(bad);
            assert_refused::<FeedCursor>(bad);
        }
    }

    #[test]
    fn what_no_list_returns_is_refused() {
        let id = ConversationId::new();
        let plain = |plain: &str| BASE64_URL_SAFE_NO_PAD.encode(plain);
        for good in ["3:17:m", "3:17+:m"] {
            assert!(MessageCursor::decode(&plain(good)).is_ok());
        }
        #[rustfmt::skip]
        let bad = [
            "3:07:m", "3:+7:m", "3:7++:m", "3:+:m", "3:7 :m", "3::m", "3:7:7:m", "37:m", "3:7m", "7:m", "2:7:m", "3:1", "3:17", "3:17:",
        ];
        for bad in bad {
            assert_refused::<MessageCursor>(&plain(bad));
        }
        for bad in ["3:back:7:p", "3:next::p", "3:7:p"] {
            assert_refused::<PageCursor>(&plain(bad));
        }
        for bad in [
            "3:1:2:f",
            "3:1:2:3:4:f",
            "3:1:2:x:f",
            "3:1:2::f",
            "3:+1:2:3:f",
            "3:1:02:3:f",
        ] {
            assert_refused::<FeedCursor>(&plain(bad));
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
            format!("1763000000123456:{id}:"),
            format!("1763000000123456:{id}:c"),
            format!("1763000000123456:{id}:cABCDEF01"),
            format!("1763000000123456:{id}:C00000abc"),
            format!("1763000000123456:{id}:c00000abc:"),
            format!("1763000000123456:{id}:💥0000abc"),
        ] {
            assert_refused::<ConversationCursor>(&plain(&format!("3:{position}:c")));
        }
        let plain = format!("2c:1763000000123456:{id}");
        let with_tag = [&[b'x'; 32], plain.as_bytes()].concat();
        assert_refused::<ConversationCursor>(&BASE64_URL_SAFE_NO_PAD.encode(with_tag));
    }
}
