//! Highlights: the ranges of a snippet whose words match.

use migration::search_text::{runs, words};
use unicode_segmentation::UnicodeSegmentation;

use super::query::SearchQuery;

/// Marks the cut ends of a snippet.
pub(super) const CUT: char = '…';

/// A range of a snippet, in UTF-16 code units: those that JavaScript, Java and C# count in strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Highlight {
    /// The first unit.
    pub start: usize,
    /// The position after the last unit.
    pub end: usize,
}

/// The ranges of the matching words, in order; adjacent ranges are merged. The last word of the query matches as a
/// prefix, and the whole word is highlighted. Leaves out words that a cut may have shortened.
///
/// Linear in the length of the snippet, which is bounded.
pub(super) fn highlights(query: &SearchQuery, snippet: &str) -> Vec<Highlight> {
    let (searched, last) = (query.words(), query.last_word());
    let matches = |word: &str| {
        let indexed = words(word);
        runs(&indexed).any(|run| {
            searched
                .iter()
                .any(|searched| match last == Some(searched) {
                    true => run.starts_with(searched.as_str()),
                    false => run == searched,
                })
        })
    };
    let body = snippet.strip_prefix(CUT).unwrap_or(snippet);
    let offset = snippet.len() - body.len();
    let is_cut = |start: usize, end: usize| {
        (start == 0 && offset > 0) || body[end..].chars().eq(std::iter::once(CUT))
    };
    let mut found: Vec<Highlight> = Vec::new();
    // The position in bytes and in units up to which units are counted.
    let (mut byte, mut unit) = (0, snippet[..offset].encode_utf16().count());
    for (start, word) in body.unicode_word_indices() {
        let end = start + word.len();
        if is_cut(start, end) || !matches(word) {
            continue;
        }
        let begin = unit + body[byte..start].encode_utf16().count();
        unit = begin + word.encode_utf16().count();
        byte = end;
        match found.last_mut() {
            Some(before) if before.end == begin => before.end = unit,
            _ => found.push(Highlight {
                start: begin,
                end: unit,
            }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The marked parts of a snippet, as JavaScript would cut them.
    fn marked(query: &str, snippet: &str) -> Vec<String> {
        let query = SearchQuery::parse(query).unwrap().unwrap();
        let units: Vec<u16> = snippet.encode_utf16().collect();
        let part = |one: &Highlight| String::from_utf16(&units[one.start..one.end]).unwrap();
        highlights(&query, snippet).iter().map(part).collect()
    }

    #[test]
    fn whole_words_are_marked_and_only_the_last_of_the_query_is_a_prefix() {
        let snippet = "🎏 A plan: planning the Café in KYOTO, 🏳️‍🌈 and a cafeteria";
        assert_eq!(marked("kyoto", snippet), ["KYOTO"]);
        assert_eq!(marked("plan cafe", snippet), ["plan", "Café", "cafeteria"]);
        assert_eq!(marked("cafe plan", snippet), ["plan", "planning", "Café"]);
        assert_eq!(marked("a kyo", snippet), ["A", "KYOTO", "a"]);
        assert_eq!(marked("nothing", snippet), [""; 0]);
        assert_eq!(marked("kyoto", ""), [""; 0]);
    }

    #[test]
    fn characters_in_a_row_are_one_range() {
        assert_eq!(marked("旅行", "京都旅行の計画"), ["旅行"]);
        assert_eq!(
            marked("twenty-one", "twenty-one or twenty"),
            ["twenty", "one", "twenty"]
        );
    }

    #[test]
    fn a_word_that_was_cut_is_not_marked() {
        assert_eq!(marked("art", "…art is an art"), ["art"]);
        assert_eq!(marked("pla now", "pla plan now pla…"), ["pla", "now"]);
        assert_eq!(marked("end", "… the end …"), ["end"]);
        assert_eq!(marked("end", "the end… or not"), ["end"]);
    }
}
