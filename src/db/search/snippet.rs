//! The part of a text that shows why it was found.

use migration::search_text::words;
use unicode_segmentation::UnicodeSegmentation;

use crate::conversation::text::single_line;

/// How much is shown before the match and from it on, in characters as a reader counts them.
const BEFORE: usize = 40;
const FROM: usize = 120;

/// One line around the first word of `text` that begins with one of the `searched` words; the
/// beginning of the text when none does.
pub(super) fn around_match(text: &str, searched: &str) -> String {
    let start = text
        .unicode_word_indices()
        .find(|(_, word)| {
            let word = words(word);
            searched
                .split(' ')
                .any(|searched| word.starts_with(searched))
        })
        .map_or(0, |(start, _)| start);
    let before: usize = text[..start]
        .graphemes(true)
        .rev()
        .take(BEFORE)
        .map(str::len)
        .sum();
    let from: usize = text[start..].graphemes(true).take(FROM).map(str::len).sum();
    let shown = single_line(&text[start - before..start + from]);
    let head = if start > before { "…" } else { "" };
    let tail = if start + from < text.len() { "…" } else { "" };
    format!("{head}{shown}{tail}")
}

#[cfg(test)]
mod tests {
    use super::around_match;

    #[test]
    fn shows_the_match_with_what_stands_around_it() {
        let text = format!(
            "{} the Café\nin Kyoto {}",
            "before ".repeat(20),
            "after ".repeat(50)
        );
        let snippet = around_match(&text, "cafe");
        assert!(snippet.starts_with('…') && snippet.ends_with('…'));
        assert!(snippet.contains("the Café in Kyoto after"), "{snippet}");
        assert_eq!(around_match("京都旅行の計画", "旅 行"), "京都旅行の計画");
        assert_eq!(around_match("nothing here", "kyoto"), "nothing here");
    }
}
