//! Label values of metrics.
//!
//! The metrics library does not escape label values, so all values that are not constants have this type. [`Bounded`]
//! limits the number of series of a label.

use std::{
    collections::HashSet,
    fmt::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// The longest value, in characters.
const MAX_CHARS: usize = 128;

/// The value that replaces all values beyond the bound.
pub const OTHERS: &str = "(others)";

/// A label value, escaped on encoding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LabelText(Arc<str>);

impl From<&str> for LabelText {
    fn from(text: &str) -> Self {
        match text.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => Self(text[..end].into()),
            None => Self(text.into()),
        }
    }
}

impl EncodeLabelValue for LabelText {
    /// Escapes as the OpenMetrics specification requires ("Escaping"). Control characters become U+FFFD, because some
    /// parsers reject them.
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        for c in self.0.chars() {
            match c {
                '\\' => encoder.write_str(r"\\")?,
                '"' => encoder.write_str(r#"\""#)?,
                '\n' => encoder.write_str(r"\n")?,
                c if c.is_control() => encoder.write_char(char::REPLACEMENT_CHARACTER)?,
                c => encoder.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A bounded set of label values: the first `MOST`, then [`OTHERS`]. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Bounded<const MOST: usize>(Arc<Mutex<HashSet<LabelText>>>);

impl<const MOST: usize> Bounded<MOST> {
    /// The label value for a text.
    pub fn label(&self, text: &str) -> LabelText {
        let text = LabelText::from(text);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&text) {
            if known.len() >= MOST {
                return OTHERS.into();
            }
            known.insert(text.clone());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_beyond_the_bound_are_counted_together() {
        let labels = Bounded::<3>::default();
        for text in ["a", "b", "c", "a"] {
            assert_eq!(labels.label(text), text.into());
        }
        assert_eq!(labels.label("one more"), OTHERS.into());
        assert_eq!(labels.label("b"), "b".into());
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(
            LabelText::from("\u{e9}".repeat(500).as_str()),
            "\u{e9}".repeat(128).as_str().into()
        );
    }
}
