//! Metadata that an application attaches to a conversation: a few text pairs, which the service never interprets.

use std::collections::BTreeMap;

/// The maximum number of pairs of one conversation.
const MAX_PAIRS: usize = 16;

/// The maximum length of a key and of a value, in characters.
const MAX_KEY_CHARS: usize = 64;
const MAX_VALUE_CHARS: usize = 512;

/// The pairs of one conversation, sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

/// Why metadata is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// A key is empty, too long, or contains a character that is not allowed.
    #[error("a key of metadata is 1 to 64 letters, digits, underscores, dots and hyphens")]
    Key,
    /// A value is too long or has a control character.
    #[error("a value of metadata has at most 512 characters, none of them a control character")]
    Value,
    /// There are too many pairs.
    #[error("a conversation has at most 16 pairs of metadata")]
    TooMany,
}

impl Metadata {
    /// Validates the pairs of a filter or a change. If a key repeats, its last value is used.
    ///
    /// # Errors
    /// [`InvalidMetadata`].
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, InvalidMetadata> {
        let mut all = BTreeMap::new();
        for (key, value) in pairs {
            check_key(&key)?;
            if value.chars().count() > MAX_VALUE_CHARS || value.contains(char::is_control) {
                return Err(InvalidMetadata::Value);
            }
            all.insert(key, value);
        }
        Self(all).checked()
    }

    /// These pairs without the keys in `remove`, and with the pairs of `set` added or replaced.
    ///
    /// # Errors
    /// [`InvalidMetadata::TooMany`].
    pub fn changed(&self, set: &Self, remove: &[String]) -> Result<Self, InvalidMetadata> {
        let mut all = self.0.clone();
        all.retain(|key, _| !remove.contains(key));
        all.extend(set.0.clone());
        Self(all).checked()
    }

    fn checked(self) -> Result<Self, InvalidMetadata> {
        match self.0.len() <= MAX_PAIRS {
            true => Ok(self),
            false => Err(InvalidMetadata::TooMany),
        }
    }

    /// The pairs, sorted by key.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The stored form: compact JSON; `None` if there are no pairs.
    pub fn stored(&self) -> Option<String> {
        (!self.is_empty()).then(|| serde_json::json!(self.0).to_string())
    }

    /// Parses [`Self::stored`]. Anything else is read as empty, so that the row can still be read.
    pub fn from_stored(stored: &str) -> Self {
        Self(serde_json::from_str(stored).unwrap_or_default())
    }

    /// For each pair, a text that the stored form of metadata contains if and only if the metadata has the pair.
    ///
    /// Keys contain no quotation marks, and quotation marks in values are escaped. So `"key":"` always begins a pair,
    /// and the next unescaped quotation mark ends its value.
    pub fn stored_pairs(&self) -> impl Iterator<Item = String> {
        let json = |text: &str| serde_json::Value::from(text).to_string();
        self.pairs()
            .map(move |(key, value)| format!("{}:{}", json(key), json(value)))
    }
}

/// Checks the key of a pair.
///
/// # Errors
/// [`InvalidMetadata::Key`].
pub fn check_key(key: &str) -> Result<(), InvalidMetadata> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match (1..=MAX_KEY_CHARS).contains(&key.len()) && key.bytes().all(is_allowed) {
        true => Ok(()),
        false => Err(InvalidMetadata::Key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> Result<Metadata, InvalidMetadata> {
        Metadata::new(pairs.iter().map(|&(key, value)| (key.into(), value.into())))
    }

    #[test]
    fn limits_are_inclusive() {
        let (key, value) = ("k".repeat(64), "ü".repeat(512));
        metadata(&[(&key, &value), ("A-z_0.9", "")]).unwrap();
        for key in ["", "a b", "ü", "a\"b", &"k".repeat(65)] {
            assert_eq!(metadata(&[(key, "")]), Err(InvalidMetadata::Key), "{key}");
        }
        for value in ["a\nb", "\u{0}", "\u{85}", &"v".repeat(513)] {
            assert_eq!(metadata(&[("key", value)]), Err(InvalidMetadata::Value));
        }
        let keys: Vec<String> = (0..17).map(|number| format!("key{number}")).collect();
        let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "")).collect();
        assert_eq!(metadata(&pairs), Err(InvalidMetadata::TooMany));
        let full = metadata(&pairs[..16]).unwrap();
        let one = metadata(&pairs[16..]).unwrap();
        assert_eq!(full.changed(&one, &[]), Err(InvalidMetadata::TooMany));
        full.changed(&one, &["key3".into()]).unwrap();
        full.changed(&metadata(&[("key3", "new")]).unwrap(), &[])
            .unwrap();
    }

    #[test]
    fn the_stored_form_survives_the_round_trip_and_nothing_is_null() {
        let one = metadata(&[("b", "\"quoted\" \\ ü 🎏"), ("a", "1")]).unwrap();
        let stored = one.stored().unwrap();
        assert_eq!(stored, r#"{"a":"1","b":"\"quoted\" \\ ü 🎏"}"#);
        assert_eq!(Metadata::from_stored(&stored), one);
        assert_eq!(Metadata::default().stored(), None);
        assert_eq!(Metadata::from_stored("[1"), Metadata::default());
    }

    #[test]
    fn a_stored_pair_is_found_only_where_it_is_a_pair() {
        let contains = |all: &[(&str, &str)], one: (&str, &str)| {
            let stored = metadata(all).unwrap().stored().unwrap();
            let mut pairs = metadata(&[one]).unwrap().stored_pairs().collect::<Vec<_>>();
            stored.contains(&pairs.remove(0))
        };
        let all = [
            ("key", "value"),
            ("path", "a\\"),
            ("quoted", r#"","key":"other""#),
        ];
        for (key, value) in all {
            assert!(contains(&all, (key, value)), "{key}");
        }
        for absent in [
            ("key", "val"),
            ("ey", "value"),
            ("key", "other"),
            ("path", "a"),
            ("quoted", ""),
            ("quoted", r#"","key":"#),
            ("key", "other\\"),
        ] {
            assert!(!contains(&all, absent), "{absent:?}");
        }
    }
}
