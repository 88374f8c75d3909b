//! Snippets: the part of a text around the match.

use std::ops::Range;

use migration::search_text::words;
use unicode_segmentation::UnicodeSegmentation;

use super::highlight::CUT;
use crate::{conversation::text::single_line, work::Stop};

/// Graphemes kept before the match, and from its start on.
const BEFORE: usize = 40;
const FROM: usize = 120;

/// The limits in bytes, because a grapheme cluster may have thousands of combining marks.
const BEFORE_BYTES: usize = 8 * BEFORE;
const FROM_BYTES: usize = 8 * FROM;

/// The number of bytes at the start of a text that are searched for the match.
const LOOKED_AT: usize = 256 * 1024;

/// The number of words between two polls of [`Stop`].
const STRIDE: usize = 256;

/// One line around the first word of `text` that begins with one of the `searched` words.
///
/// Falls back to the beginning of the text if no word matches or the time is over. Linear in the length of the text.
pub(super) fn around_match(text: &str, searched: &[String], stop: &Stop) -> String {
    let looked_at = &text[..text.floor_char_boundary(LOOKED_AT)];
    let start = looked_at
        .unicode_word_indices()
        .enumerate()
        .take_while(|(count, _)| count % STRIDE != STRIDE - 1 || !stop.is_due())
        .map(|(_, found)| found)
        .find(|(_, word)| begins_with_any(word, searched))
        .map_or(0, |(start, _)| start);
    let shown = around(text, start);
    let mut snippet = String::new();
    snippet.extend((shown.start > 0).then_some(CUT));
    let is_cut = shown.end < text.len();
    snippet.push_str(&single_line(&text[shown]));
    snippet.extend(is_cut.then_some(CUT));
    snippet
}

/// The range around a position, cut at grapheme boundaries unless a cluster exceeds the limit in bytes.
fn around(text: &str, start: usize) -> Range<usize> {
    let first = text.ceil_char_boundary(start.saturating_sub(BEFORE_BYTES));
    let before: usize = text[first..start]
        .graphemes(true)
        .rev()
        .take(BEFORE)
        .map(str::len)
        .sum();
    let last = text.floor_char_boundary(start + FROM_BYTES);
    let from: usize = text[start..last]
        .graphemes(true)
        .take(FROM)
        .map(str::len)
        .sum();
    start - before..start + from
}

/// Whether a word of the text, tokenized like the index, begins with one of the searched words. One word of the text
/// may be several index words.
fn begins_with_any(word: &str, searched: &[String]) -> bool {
    if word.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return searched.iter().any(|searched| {
            let start = word.as_bytes().get(..searched.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(searched.as_bytes()))
        });
    }
    let word = words(word);
    let parts = || word.split(' ');
    searched
        .iter()
        .any(|searched| parts().any(|part| part.starts_with(searched.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, searched: &[&str]) -> String {
        let searched: Vec<String> = searched.iter().map(|&word| word.into()).collect();
        around_match(text, &searched, &Stop::never())
    }

    #[test]
    fn shows_the_match_with_what_stands_around_it() {
        let text = format!(
            "{} the Café\nin Kyoto {}",
            "before ".repeat(20),
            "after ".repeat(50)
        );
        let snippet = shown(&text, &["cafe"]);
        assert!(snippet.starts_with('…') && snippet.ends_with('…'));
        assert!(snippet.contains("the Café in Kyoto after"), "{snippet}");
        assert_eq!(shown("京都旅行の計画", &["旅", "行"]), "京都旅行の計画");
        assert_eq!(shown("nothing here", &["kyoto"]), "nothing here");
        let word = format!("{}KYOTO", "x ".repeat(200));
        assert!(shown(&word, &["kyo"]).ends_with("KYOTO"));
    }

    #[test]
    fn characters_with_thousands_of_accents_make_no_long_snippet() {
        let accents = "\u{301}".repeat(50_000);
        for text in [
            format!("a{accents} needle b{accents}"),
            format!("needle{accents}"),
            format!("{} needle", "🏳️‍🌈".repeat(20_000)),
        ] {
            let snippet = shown(&text, &["needle"]);
            assert!(
                snippet.len() < 2 * (BEFORE_BYTES + FROM_BYTES),
                "{}",
                snippet.len()
            );
        }
    }
}
