//! The tokenizer of the search index: the words of a text as the index stores them.
//!
//! Part of the schema: every indexed row was written by this function, so a change needs a migration that rewrites the
//! index. It gives both databases the same words. The tokenizers of SQLite and PostgreSQL do not split Chinese or
//! Japanese, and fold accents differently. This one splits at Unicode word boundaries (UAX #29), which make each
//! ideograph a word, so that a phrase matches any part of a sentence.
//!
//! Each word of a row is prefixed with the mark of the row's owner. A lookup therefore reads only the owner's entries,
//! regardless of the size of the whole index.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// The words of a text, in lower case and without accents, separated by single spaces.
pub fn words(text: &str) -> String {
    if text.is_ascii() {
        // ASCII needs no folding but that of case. The shortcut matters, because a search tokenizes many texts again.
        return joined(&text.to_ascii_lowercase());
    }
    let folded: String = text
        .nfkd()
        .filter(|c| !('\u{300}'..='\u{36f}').contains(c))
        .nfc()
        .collect::<String>()
        .to_lowercase();
    joined(&folded)
}

fn joined(folded: &str) -> String {
    let mut words = String::with_capacity(folded.len());
    // A quote between Hebrew letters is part of a word (UAX #29, WB7b); it would end a quoted phrase.
    for word in folded.split('"').flat_map(str::unicode_words) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    words
}

// PostgreSQL rejects a tsvector of more than 1 MiB (distinct words and positions), and a word of more than 2 KiB. To
// keep both databases equal, the index stores only the beginning of such a text.

/// The maximum number of words of a text, and their maximum size in bytes.
const MAX_WORDS: usize = 20_000;
const MAX_BYTES: usize = 256 * 1024;

/// The maximum number of positions of one word, PostgreSQL's own limit.
const MAX_POSITIONS: u16 = 256;

/// The maximum length of a word in characters; a longer word is indexed by its prefix.
const MAX_WORD_CHARS: usize = 64;

/// Limits the result of [`words`] to the size that the index stores.
pub fn capped(words: &str) -> String {
    let is_short = |word: &str| word.len() <= MAX_WORD_CHARS;
    let count = words.split(' ').count();
    if count <= usize::from(MAX_POSITIONS) && words.split(' ').all(is_short) {
        // No word can be too frequent, and the sum is far below the limits.
        return words.to_owned();
    }
    let mut positions: HashMap<&str, u16> = HashMap::new();
    let mut kept = String::with_capacity(words.len().min(MAX_BYTES));
    let mut count = 0;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let end = word.char_indices().nth(MAX_WORD_CHARS);
        let word = &word[..end.map_or(word.len(), |(end, _)| end)];
        let positions = positions.entry(word).or_default();
        if *positions == MAX_POSITIONS {
            continue;
        }
        *positions += 1;
        count += 1;
        if count > MAX_WORDS || kept.len() + word.len() >= MAX_BYTES {
            break;
        }
        if !kept.is_empty() {
            kept.push(' ');
        }
        kept.push_str(word);
    }
    kept
}

/// The length of an owner's mark in letters. A collision of marks costs only time, because every search filters its
/// matches by owner.
const MARK_LETTERS: usize = 4;

/// The prefix of an owner's words in the index.
pub fn owner_mark(tenant: &str, user: &str) -> String {
    // FNV-1a: stable across versions and platforms.
    let bytes = tenant.bytes().chain([0]).chain(user.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The highest bits are mixed best.
    let letter = |place: usize| char::from(b'a' + ((hash >> (60 - 4 * place)) & 15) as u8);
    (0..MARK_LETTERS).map(letter).collect()
}

/// Prefixes each word in a result of [`words`] with the mark.
///
/// The database's tokenizer may split a word before a letter that follows a non-letter (`snake_case`), so each such
/// part gets the mark as well.
pub fn marked(mark: &str, words: &str) -> String {
    let mut text = String::with_capacity(words.len() * 2);
    let mut is_inside = false;
    for c in words.chars() {
        if c.is_alphanumeric() && !is_inside {
            text.push_str(mark);
        }
        is_inside = c.is_alphanumeric();
        text.push(c);
    }
    text
}

/// The tokens of index words: runs of letters and digits.
pub fn runs(words: &str) -> impl Iterator<Item = &str> {
    words
        .split(|c: char| !c.is_alphanumeric())
        .filter(|run| !run.is_empty())
}

/// A text in PostgreSQL's index: the mark, each run after a space, and a space at the end. Empty without words.
///
/// So a word or phrase is found between two spaces, and the index adds the mark to each run ([`LEXEMES`]).
pub fn entry_of_marked(marked: &str) -> String {
    let mut entry = String::with_capacity(marked.len());
    for run in runs(marked) {
        let (mark, run) = run.split_at_checked(MARK_LETTERS).unwrap_or(("", run));
        if entry.is_empty() {
            entry.push_str(mark);
        }
        entry.push(' ');
        entry.push_str(run);
    }
    if !entry.is_empty() {
        entry.push(' ');
    }
    entry
}

/// The runs of such an entry.
pub fn runs_of_entry(entry: &str) -> &str {
    entry.get(MARK_LETTERS..).unwrap_or_default()
}

/// The marked runs of an entry, in SQL, for PostgreSQL's index.
pub const LEXEMES: &str =
    "array_to_tsvector(string_to_array(replace(body, ' ', ' ' || \"left\"(body, 4)), ' '))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_the_same_for_ever_and_stand_before_every_word() {
        assert_eq!(owner_mark("local", "local"), "ajlj");
        assert_ne!(owner_mark("a", "bc"), owner_mark("ab", "c"));
        assert_eq!(
            marked("xy", "plan 京 都 snake_case"),
            "xyplan xy京 xy都 xysnake_xycase"
        );
        assert_eq!(marked("xy", ""), "");
    }

    #[test]
    fn an_entry_has_the_mark_once_and_spaces_around_each_run() {
        let marked = marked("abcd", "plan 京 都 snake_case abcdef");
        assert_eq!(
            entry_of_marked(&marked),
            "abcd plan 京 都 snake case abcdef "
        );
        assert_eq!(entry_of_marked(""), "");
        assert_eq!(runs_of_entry("abcd plan it "), " plan it ");
    }

    #[test]
    fn the_short_way_of_ascii_leads_to_the_same_words() {
        for text in ["Don't \"quote\" 3.14, e.g. a_B-c@d.ORG", "\u{7f}A\r\nb\tC"] {
            // The accent is folded away, but avoids the shortcut.
            assert_eq!(words(text), words(&format!("{text} \u{301}")));
        }
    }

    #[test]
    fn words_are_folded_and_ideographs_stand_alone() {
        assert_eq!(words("  Café, NAÏVE & 2 more… "), "cafe naive 2 more");
        assert_eq!(words("京都旅行の計画"), "京 都 旅 行 の 計 画");
        assert_eq!(words("\"; DROP TABLE x --*"), "drop table x");
        assert_eq!(words("🚀 ... "), "");
    }

    #[test]
    fn a_text_is_indexed_as_far_as_every_database_takes_it() {
        let distinct: String = (0..80_000).map(|n| format!("w{n} ")).collect();
        let kept = capped(&distinct);
        assert!(kept.len() <= MAX_BYTES && kept.split(' ').count() <= MAX_WORDS);
        assert!(kept.starts_with("w0 w1 "));

        assert_eq!(capped(&"a ".repeat(1_000)).split(' ').count(), 256);
        assert_eq!(capped(&"x".repeat(5_000)), "x".repeat(64));
        assert_eq!(capped("plan a trip"), "plan a trip");
        assert_eq!(capped(""), "");
    }
}
