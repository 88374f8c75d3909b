//! Detects several titles on one line: "Shop Names | Naming a Shop | Shop Ideas".
//!
//! A title may list three things ("Docker / Kubernetes / Helm"). Three titles of one message each have several words,
//! and have one in common.

use super::refusals::{is_in_message, words};
use crate::titles::clean::phrases::straighten;

const SEPARATORS: [&str; 6] = [" / ", " | ", " • ", "; ", " or ", " // "];

/// The minimum number of titles in a list.
const FEWEST: usize = 3;

/// The shortest word that titles have in common, in characters.
const WORD_CHARS: usize = 3;

/// Whether a text is a list of titles that the message does not contain.
pub(super) fn are_titles(text: &str, message: &str) -> bool {
    let is_list = SEPARATORS.iter().any(|separator| {
        let titles: Vec<String> = text.split(separator).map(straighten).collect();
        titles.len() >= FEWEST && are_alike(&titles)
    });
    is_list && !is_in_message(text, message)
}

/// Whether each title has several words, and all have one in common.
fn are_alike(titles: &[String]) -> bool {
    let is_phrase = |title: &String| words(title).nth(1).is_some();
    let mut common = words(&titles[0]).filter(|word| word.chars().count() >= WORD_CHARS);
    let is_common = |word: &str| {
        titles[1..]
            .iter()
            .all(|title| words(title).any(|known| known == word))
    };
    titles.iter().all(is_phrase) && common.any(is_common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_titles_are_none() {
        let message = "help me name a shop for beer";
        for text in [
            "Shop Names | Naming a Shop | Shop Ideas",
            "Brewery Names / Lyon Brewery Ideas / Naming a Brewery",
            "Shop Names or Naming a Shop or Shop Ideas",
        ] {
            assert!(are_titles(text, message), "{text}");
        }
        for text in [
            "Docker / Kubernetes / Helm",
            "Shop Names | Shop Ideas",
            "Client API | Server Setup | Test Plan",
            "TCP/IP Basics",
            "Beer or Wine or Cider",
        ] {
            assert!(!are_titles(text, message), "{text}");
        }
        let message = "Shorten this: Shop Names | Naming a Shop | Shop Ideas";
        assert!(!are_titles(
            "Shop Names | Naming a Shop | Shop Ideas",
            message
        ));
    }
}
