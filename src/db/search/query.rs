//! What a client looks for: a bounded number of words, the same ones for the index, the score and the snippet.

use std::collections::HashSet;

use migration::search_text::{capped, marked, words};

use crate::error::{Error, Result};

/// The most words in all, where each part of a phrase is one: an index is asked for each, and a database that
/// combines thousands of them takes seconds and gigabytes.
const MOST_WORDS: usize = 32;

/// The longest text, in bytes. Few words may stand there often.
const MOST_BYTES: usize = 64 * 1024;

/// The words of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SearchQuery {
    /// Each run of non-space, as the words that the index holds. All are required; the last word of the last phrase
    /// may be the beginning of one.
    phrases: Vec<String>,
}

impl SearchQuery {
    /// The words of a text; `None` when there are none. What stands there twice counts once.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when there are too many.
    pub(super) fn parse(text: &str) -> Result<Option<Self>> {
        if text.len() > MOST_BYTES {
            return Err(Error::invalid(format!(
                "the search is longer than {MOST_BYTES} bytes"
            )));
        }
        let phrases = text.split_whitespace().map(|run| capped(&words(run)));
        let mut phrases: Vec<String> = phrases.filter(|phrase| !phrase.is_empty()).collect();
        let mut seen = HashSet::new();
        // The last of equal ones stays, since the last of all is a prefix.
        phrases.reverse();
        phrases.retain(|phrase| seen.insert(phrase.clone()));
        phrases.reverse();
        if phrases.iter().flat_map(|phrase| runs(phrase)).count() > MOST_WORDS {
            return Err(Error::invalid(format!(
                "the search has more than {MOST_WORDS} words"
            )));
        }
        Ok((!phrases.is_empty()).then_some(Self { phrases }))
    }

    /// The different words.
    pub(super) fn words(&self) -> Vec<String> {
        let words = self.phrases.iter().flat_map(|phrase| runs(phrase));
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    /// The word that may be the beginning of one.
    pub(super) fn last_word(&self) -> Option<&str> {
        self.phrases.last().and_then(|phrase| runs(phrase).last())
    }

    /// The query in the form that both databases read: each phrase quoted, each word with the owner's mark.
    pub(super) fn quoted(&self, mark: &str) -> String {
        let phrases = self
            .phrases
            .iter()
            .map(|phrase| format!("\"{}\"", marked(mark, phrase)));
        phrases.collect::<Vec<_>>().join(" ")
    }
}

/// The parts of indexed words that a database counts: letters and digits next to each other.
pub(super) fn runs(words: &str) -> impl Iterator<Item = &str> {
    words
        .split(|c: char| !c.is_alphanumeric())
        .filter(|run| !run.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(text: &str) -> Vec<String> {
        let query = SearchQuery::parse(text).unwrap();
        query.map(|query| query.phrases).unwrap_or_default()
    }

    #[test]
    fn what_stands_there_twice_counts_once_and_the_last_stays_last() {
        assert_eq!(phrases("Kyoto trip KYOTO"), ["trip", "kyoto"]);
        assert_eq!(phrases(&"kyoto ".repeat(1_000)), ["kyoto"]);
        assert_eq!(phrases("snake_case 3.14"), ["snake_case", "3.14"]);
        assert_eq!(phrases("… \" '"), [""; 0]);
    }

    #[test]
    fn parts_of_phrases_count_as_words() {
        let joined = |count: usize, with: &str| {
            let parts: Vec<String> = (0..count).map(|n| format!("w{n}")).collect();
            parts.join(with)
        };
        for with in [" ", "-", "\u{3000}", "、"] {
            assert!(SearchQuery::parse(&joined(32, with)).is_ok(), "{with}");
            assert!(SearchQuery::parse(&joined(33, with)).is_err(), "{with}");
        }
        assert!(SearchQuery::parse(&"a-".repeat(30_000)).is_err());
        assert!(SearchQuery::parse(&"京都".repeat(17)).is_err());
    }
}
