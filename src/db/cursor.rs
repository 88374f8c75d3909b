//! Opaque keyset cursors: the sort key of a row, so that the next page is correct after inserts and deletions.
//!
//! A cursor contains its version and its list, and is authenticated with an HMAC. A modified, forged or foreign cursor
//! is rejected, so that clients cannot depend on its content. A cursor grants no access: each page is filtered by
//! owner.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use ring::hmac;
use sea_orm::EntityTrait;

use super::{Database, entity::cursor_key};
use crate::{
    conversation::{Conversation, ConversationId, Message},
    error::{Error, Result},
};

/// The HMAC key of cursors. All nodes read the same key from the database.
#[derive(Clone)]
pub struct CursorKey(Arc<hmac::Key>);

impl CursorKey {
    fn new(secret: &str) -> Self {
        Self(Arc::new(hmac::Key::new(
            hmac::HMAC_SHA256,
            secret.as_bytes(),
        )))
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CursorKey")
    }
}

impl Database {
    /// Reads the key of cursors, which a migration has generated.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Internal`] if the row was deleted.
    pub async fn cursor_key(&self) -> Result<CursorKey> {
        let row = cursor_key::Entity::find().one(&self.reader).await?;
        let row = row.ok_or_else(|| Error::Internal("there is no cursor key".into()))?;
        Ok(CursorKey::new(&row.secret))
    }
}

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
    /// The opaque text for the client.
    fn encode(&self, key: &CursorKey) -> String;

    /// Parses the text sent by a client.
    ///
    /// # Errors
    /// [`Error::InvalidCursor`] for any text not produced by [`Self::encode`] of this list with this key.
    fn decode(text: &str, key: &CursorKey) -> Result<Self>;
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
    fn encode(&self, key: &CursorKey) -> String {
        seal(
            key,
            'c',
            &[
                self.last_message_at.timestamp_micros().to_string(),
                self.id.to_string(),
            ],
        )
    }

    fn decode(text: &str, key: &CursorKey) -> Result<Self> {
        let [micros, id] = open(key, 'c', text)?;
        Ok(Self {
            last_message_at: DateTime::from_timestamp_micros(parse(&micros)?)
                .ok_or(Error::InvalidCursor)?,
            id: parse(&id)?,
        })
    }
}

impl Cursor for MessageCursor {
    fn encode(&self, key: &CursorKey) -> String {
        seal(key, 'm', &[self.position.to_string()])
    }

    fn decode(text: &str, key: &CursorKey) -> Result<Self> {
        let [position] = open(key, 'm', text)?;
        Ok(Self {
            position: parse(&position)?,
        })
    }
}

impl Cursor for PageCursor {
    fn encode(&self, key: &CursorKey) -> String {
        let direction = if self.is_forward { "next" } else { "previous" };
        let position = self.at.position.to_string();
        seal(key, 'p', &[direction.into(), position])
    }

    fn decode(text: &str, key: &CursorKey) -> Result<Self> {
        let [direction, position] = open(key, 'p', text)?;
        Ok(Self {
            at: MessageCursor {
                position: parse(&position)?,
            },
            is_forward: direction == "next",
        })
    }
}

impl Cursor for HitCursor {
    fn encode(&self, key: &CursorKey) -> String {
        // The bits, because a decimal score might not compare equal after a round trip.
        seal(
            key,
            's',
            &[self.score.to_bits().to_string(), self.id.to_string()],
        )
    }

    fn decode(text: &str, key: &CursorKey) -> Result<Self> {
        let [bits, id] = open(key, 's', text)?;
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

const VERSION: &str = "2";

/// The length of the truncated HMAC in bytes.
const TAG_BYTES: usize = 32;

fn seal(key: &CursorKey, list: char, fields: &[String]) -> String {
    let plain = format!("{VERSION}{list}:{}", fields.join(":"));
    let tag = hmac::sign(&key.0, plain.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode([tag.as_ref(), plain.as_bytes()].concat())
}

fn open<const N: usize>(key: &CursorKey, list: char, text: &str) -> Result<[String; N]> {
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Error::InvalidCursor)?;
    let (tag, plain) = bytes
        .split_at_checked(TAG_BYTES)
        .ok_or(Error::InvalidCursor)?;
    hmac::verify(&key.0, plain, tag).map_err(|_| Error::InvalidCursor)?;
    let plain = std::str::from_utf8(plain).map_err(|_| Error::InvalidCursor)?;
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

    fn cursor() -> ConversationCursor {
        ConversationCursor {
            last_message_at: DateTime::from_timestamp_micros(1_763_000_000_123_456).unwrap(),
            id: ConversationId::new(),
        }
    }

    #[track_caller]
    fn assert_refused(text: &str, key: &CursorKey) {
        let opened = ConversationCursor::decode(text, key);
        assert!(matches!(opened, Err(Error::InvalidCursor)), "{text}");
    }

    #[test]
    fn cursors_survive_the_round_trip_and_stay_in_their_list() {
        let key = CursorKey::new("a");
        let cursor = cursor();
        let text = cursor.encode(&key);
        assert_eq!(ConversationCursor::decode(&text, &key).unwrap(), cursor);
        let opened = MessageCursor::decode(&text, &key);
        assert!(matches!(opened, Err(Error::InvalidCursor)));
        let hit = HitCursor {
            score: 0.1 + 0.2,
            id: ConversationId::new(),
        };
        assert_eq!(HitCursor::decode(&hit.encode(&key), &key).unwrap(), hit);
        for is_forward in [true, false] {
            let at = MessageCursor { position: 7 };
            let page = PageCursor { at, is_forward };
            assert_eq!(PageCursor::decode(&page.encode(&key), &key).unwrap(), page);
        }
        for bad in ["", "x", "💥", "MWM6MTox", "AAAA", &text[1..]] {
            assert_refused(bad, &key);
        }
    }

    #[test]
    fn a_modified_or_forged_cursor_is_rejected() {
        let key = CursorKey::new("a");
        let text = cursor().encode(&key);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&text).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_refused(&BASE64_URL_SAFE_NO_PAD.encode(changed), &key);
        }
        assert_refused(&text, &CursorKey::new("b"));
        let plain = &bytes[TAG_BYTES..];
        assert_refused(&BASE64_URL_SAFE_NO_PAD.encode(plain), &key);
    }
}
