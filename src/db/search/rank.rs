//! The score of a match, computed only from the words of the query and of the text.
//!
//! Other owners' texts do not influence a score, and both databases return the same scores.

use migration::search_text::runs;

use super::query::SearchQuery;

/// The saturation of the term frequency (k1 of BM25).
const SATURATION: f64 = 1.2;

/// The weight of the length normalization (b of BM25), and the reference length. A constant, because a measured average
/// would depend on other texts.
const LENGTH_SHARE: f64 = 0.75;
const USUAL_WORDS: f64 = 64.0;

/// The weight of a match in the title.
const TITLE: f64 = 2.0;

/// The score of a text by its index words: between 0 and 2.
pub(super) fn score(query: &SearchQuery, indexed: &str, is_title: bool) -> f64 {
    let words = query.words();
    if words.is_empty() {
        return 0.0;
    }
    let last = query.last_word();
    let mut places = vec![0_u32; words.len()];
    let mut length = 0_u32;
    for run in runs(indexed) {
        length += 1;
        for (word, places) in words.iter().zip(&mut places) {
            let is_match = match last == Some(word) {
                true => run.starts_with(word.as_str()),
                false => run == word,
            };
            *places += u32::from(is_match);
        }
    }
    let share = 1.0 - LENGTH_SHARE + LENGTH_SHARE * f64::from(length) / USUAL_WORDS;
    let half = SATURATION * share;
    let sum: f64 = places
        .iter()
        .map(|&places| f64::from(places) / (f64::from(places) + half))
        .sum();
    let factor = if is_title { TITLE } else { 1.0 };
    factor * sum / words.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str, body: &str, is_title: bool) -> f64 {
        let query = SearchQuery::parse(query).unwrap().unwrap();
        score(&query, body, is_title)
    }

    #[test]
    fn more_places_and_shorter_texts_are_better_and_titles_count_twice() {
        let once = of("kyoto", "a trip to kyoto", false);
        assert!(once > 0.0);
        assert!(of("kyoto", "kyoto and kyoto again", false) > once);
        assert!(of("kyoto", &format!("kyoto {}", "word ".repeat(90)), false) < once);
        assert_eq!(of("kyoto", "a trip to kyoto", true), 2.0 * once);
        assert_eq!(of("kyo", "a trip to kyoto", false), once);
        assert_eq!(of("kyo trip", "a trip to kyoto", false), once / 2.0);
    }
}
