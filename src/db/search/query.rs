//! The parsed query: a bounded number of words, used for the index, the score and the snippet.

use std::collections::HashSet;

use migration::search_text::{capped, marked, runs, words};

use crate::error::{Error, Result};

/// The maximum number of words, where each part of a phrase counts. The database looks up each word, and combining
/// thousands takes seconds and gigabytes.
const MOST_WORDS: usize = 32;

/// The maximum length of the text in bytes. A long text may repeat few words.
const MOST_BYTES: usize = 64 * 1024;

/// The words of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SearchQuery {
    /// Each run of non-space characters as index words. All phrases must match; the last word of the last phrase
    /// matches as a prefix.
    phrases: Vec<String>,
}

impl SearchQuery {
    /// Parses a text; `None` if it has no words. Duplicates count once.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if there are too many words, or the text is too long.
    pub(super) fn parse(text: &str) -> Result<Option<Self>> {
        if text.len() > MOST_BYTES {
            return Err(Error::invalid(format!(
                "the search is longer than {MOST_BYTES} bytes"
            )));
        }
        let phrases = text.split_whitespace().map(|run| capped(&words(run)));
        let mut phrases: Vec<String> = phrases
            .filter(|phrase| runs(phrase).next().is_some())
            .collect();
        let mut seen = HashSet::new();
        // Keeps the last of several duplicates, because the last word is a prefix.
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

    /// The distinct words.
    pub(super) fn words(&self) -> Vec<String> {
        let words = self.phrases.iter().flat_map(|phrase| runs(phrase));
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    /// The word that matches as a prefix.
    pub(super) fn last_word(&self) -> Option<&str> {
        self.phrases.last().and_then(|phrase| runs(phrase).last())
    }

    /// The query in the database's syntax for the texts of several owners, given by their marks.
    pub(super) fn of_any(&self, marks: &[String], is_embedded: bool) -> String {
        let of_one = |mark: &String| match is_embedded {
            true => self.quoted(mark),
            false => self.lexemes(mark),
        };
        let or = if is_embedded { ") OR (" } else { ") | (" };
        match marks {
            [mark] => of_one(mark),
            marks => {
                let each: Vec<String> = marks.iter().map(of_one).collect();
                format!("({})", each.join(or))
            }
        }
    }

    /// The query of FTS5: each phrase quoted, each word with the owner's mark.
    pub(super) fn quoted(&self, mark: &str) -> String {
        let phrases = self
            .phrases
            .iter()
            .map(|phrase| format!("\"{}\"", marked(mark, phrase)));
        format!("{} *", phrases.collect::<Vec<_>>().join(" "))
    }

    /// PostgreSQL's tsquery of all words, each with the owner's mark. It has no phrases: see [`Self::phrases`].
    pub(super) fn lexemes(&self, mark: &str) -> String {
        let words = self.phrases.iter().flat_map(|phrase| runs(phrase));
        let lexemes = words.map(|word| format!("'{mark}{word}'"));
        format!("{}:*", lexemes.collect::<Vec<_>>().join(" & "))
    }

    /// The phrases in the form of PostgreSQL's entries: a space before each word and after the last one, but not after
    /// the prefix.
    pub(super) fn phrases(&self) -> Vec<String> {
        let phrases = self.phrases.iter();
        let mut phrases: Vec<String> = phrases
            .map(|phrase| runs(phrase).map(|run| format!(" {run}")).collect())
            .collect();
        let behind = phrases.len().saturating_sub(1);
        for phrase in &mut phrases[..behind] {
            phrase.push(' ');
        }
        phrases
    }

    /// Whether a phrase has several words, whose order matters.
    pub(super) fn has_order(&self) -> bool {
        self.phrases.iter().any(|phrase| runs(phrase).count() > 1)
    }
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
    fn each_database_is_asked_in_its_way() {
        let query = SearchQuery::parse("Kyoto twenty-one 都旅")
            .unwrap()
            .unwrap();
        assert_eq!(
            query.quoted("abcd"),
            "\"abcdkyoto\" \"abcdtwenty abcdone\" \"abcd都 abcd旅\" *"
        );
        assert_eq!(
            query.lexemes("abcd"),
            "'abcdkyoto' & 'abcdtwenty' & 'abcdone' & 'abcd都' & 'abcd旅':*"
        );
        assert_eq!(query.phrases(), [" kyoto ", " twenty one ", " 都 旅"]);
        let plan = SearchQuery::parse("plan it").unwrap().unwrap();
        let marks = ["abcd".to_owned(), "efgh".to_owned()];
        assert_eq!(
            plan.of_any(&marks, true),
            r#"("abcdplan" "abcdit" *) OR ("efghplan" "efghit" *)"#
        );
        assert_eq!(
            plan.of_any(&marks, false),
            "('abcdplan' & 'abcdit':*) | ('efghplan' & 'efghit':*)"
        );
        assert_eq!(plan.of_any(&marks[..1], true), plan.quoted("abcd"));
        assert!(query.has_order());
        assert!(!SearchQuery::parse("plan it").unwrap().unwrap().has_order());
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
