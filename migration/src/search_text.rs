//! The words of a text as the search index holds them.
//!
//! Part of the schema: every indexed row was written by this function, so a change of it comes with a migration that
//! writes them again. It makes both databases agree on what a word is. Neither SQLite's nor PostgreSQL's own tokenizer
//! splits Chinese or Japanese, and they fold accents differently; here the Unicode word boundaries (UAX #29) do, which
//! give every ideograph a word of its own, so that a phrase of them finds any part of a sentence.

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

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_folded_and_ideographs_stand_alone() {
        assert_eq!(words("  Café, NAÏVE & 2 more… "), "cafe naive 2 more");
        assert_eq!(words("京都旅行の計画"), "京 都 旅 行 の 計 画");
        assert_eq!(words("\"; DROP TABLE x --*"), "drop table x");
        assert_eq!(words("🚀 ... "), "");
    }
}
