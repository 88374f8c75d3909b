//! The words of a text as the search index holds them.
//!
//! Part of the schema: every indexed row was written by this function, so a change of it comes with a migration that
//! writes them again. It makes both databases agree on what a word is. Neither SQLite's nor PostgreSQL's own tokenizer
//! splits Chinese or Japanese, and they fold accents differently; here the Unicode word boundaries (UAX #29) do, which
//! give every ideograph a word of its own, so that a phrase of them finds any part of a sentence.
//!
//! Each word of a row begins with the mark of the row's owner. To look a word up is then to look at what its owner
//! wrote, however much there is of others, and how rare a word is counts among that.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// Lower-cased words without accents, one space between two.
pub fn words(text: &str) -> String {
    let folded: String = text
        .nfkd()
        .filter(|c| !('\u{300}'..='\u{36f}').contains(c))
        .nfc()
        .collect::<String>()
        .to_lowercase();
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

// PostgreSQL refuses a text of more than a mebibyte of different words with their places, and a word of more than two
// kibibytes. Such a text would be stored by one database and lost by the other, so the index holds its beginning.

/// The most words of a text, and what they have in bytes.
const MOST_WORDS: usize = 20_000;
const MOST_BYTES: usize = 256 * 1024;

/// The most places of one word; PostgreSQL keeps no more.
const MOST_PLACES: u16 = 256;

/// The characters of a word; a longer one is found by its beginning.
const WORD_CHARS: usize = 64;

/// These [`words`], as far as the index holds them.
pub fn capped(words: &str) -> String {
    let mut places: HashMap<&str, u16> = HashMap::new();
    let mut kept = String::with_capacity(words.len().min(MOST_BYTES));
    let mut count = 0;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let end = word.char_indices().nth(WORD_CHARS);
        let word = &word[..end.map_or(word.len(), |(end, _)| end)];
        let places = places.entry(word).or_default();
        if *places == MOST_PLACES {
            continue;
        }
        *places += 1;
        count += 1;
        if count > MOST_WORDS || kept.len() + word.len() >= MOST_BYTES {
            break;
        }
        if !kept.is_empty() {
            kept.push(' ');
        }
        kept.push_str(word);
    }
    kept
}

/// How many letters mark an owner. Some owners have the same mark, which costs time and nothing else: whoever reads
/// the index looks at the owner of what it finds.
const MARK_LETTERS: usize = 4;

/// The letters that an owner's words begin with.
pub fn owner_mark(tenant: &str, user: &str) -> String {
    // FNV-1a: the same for ever, on every machine.
    let bytes = tenant.bytes().chain([0]).chain(user.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The highest bits are the best mixed ones.
    let letter = |place: usize| char::from(b'a' + ((hash >> (60 - 4 * place)) & 15) as u8);
    (0..MARK_LETTERS).map(letter).collect()
}

/// These [`words`] with the mark before each. A tokenizer may break a word where a letter follows what is none
/// (`snake_case`), so the mark stands there as well.
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
        assert!(kept.len() <= MOST_BYTES && kept.split(' ').count() <= MOST_WORDS);
        assert!(kept.starts_with("w0 w1 "));

        assert_eq!(capped(&"a ".repeat(1_000)).split(' ').count(), 256);
        assert_eq!(capped(&"x".repeat(5_000)), "x".repeat(64));
        assert_eq!(capped("plan a trip"), "plan a trip");
        assert_eq!(capped(""), "");
    }
}
