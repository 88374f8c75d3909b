//! Keys and names in the file: which are valid, how messages show them, and which known name was probably meant.

use super::MAX_NAME_CHARS;

/// The longest part of a key or name that a message shows, in characters.
const SHOWN_CHARS: usize = 64;

/// The most characters and digits of a text that still looks like a key, misspelt or not.
const KEY_CHARS: usize = 32;
const KEY_DIGITS: usize = 2;

/// How similar a known name must be to be suggested, from 0 to 1 (Jaro-Winkler).
const MIN_SIMILARITY: f64 = 0.8;

/// Checks the name of a provider or agent. Names appear in metrics, logs and `provider/model`.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match (1..=MAX_NAME_CHARS).contains(&name.len()) && name.chars().all(is_known) {
        true => Ok(()),
        false => Err(format!(
            "the name must be 1 to {MAX_NAME_CHARS} letters of a to z, digits, \".\", \"-\" or \"_\""
        )),
    }
}

/// A name in the form that messages show.
pub(super) fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN_CHARS).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '…');
    match !shown.is_empty() && shown.chars().all(is_bare) {
        true => shown,
        false => format!("{shown:?}"),
    }
}

/// The most similar known name, phrased as the end of a message.
pub(in crate::config) fn suggestion<'n>(
    name: &str,
    known: impl Iterator<Item = &'n str>,
) -> String {
    let similar = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let best = similar
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match best {
        Some((_, known)) => format!("; did you mean {known}?"),
        None => String::new(),
    }
}

/// An unknown name in the form that messages show; hidden unless it looks like a key rather than a secret.
pub(in crate::config) fn shown_unknown(name: &str) -> String {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    let digits = name.chars().filter(char::is_ascii_digit).count();
    let is_key = name.chars().all(is_usual)
        && name.len() <= KEY_CHARS
        && digits <= KEY_DIGITS
        && !name.to_ascii_lowercase().starts_with("sk-");
    match is_key {
        true => shown(name),
        false => format!("(a name of {} characters)", name.chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_shown_unless_it_may_be_a_secret() {
        for (name, expected) in [
            ("modles", "modles"),
            ("X-Team", "X-Team"),
            ("a b", "\"a b\""),
            ("", "\"\""),
            ("gpt-5", "gpt-5"),
            ("sk-proj-abc", "(a name of 11 characters)"),
            (
                "a-secret-that-no-output-may-contain-0123",
                "(a name of 40 characters)",
            ),
            ("dGhpcyBpcyBhIHNlY3JldA==", "(a name of 24 characters)"),
            ("AKIA1234567890", "(a name of 14 characters)"),
            ("two\nlines", "(a name of 9 characters)"),
        ] {
            assert_eq!(shown_unknown(name), expected, "{name:?}");
        }
    }
}
