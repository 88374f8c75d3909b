//! Detects near-duplicates among an owner's titles: they differ only in letter case, white space or punctuation.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Whether a title is a near-duplicate of one of these.
pub(super) fn is_among(title: &str, others: &[String]) -> bool {
    let key = key(title);
    others.iter().any(|other| self::key(other) == key)
}

/// A key that is equal for near-duplicates. The key of a title of punctuation alone is the title.
pub fn key(title: &str) -> String {
    let counts = |c: &char| {
        !c.is_whitespace() && c.general_category_group() != GeneralCategoryGroup::Punctuation
    };
    // Upper-casing first folds letters that have two lower-case forms: ß and ss, ς and σ.
    let folded = title.to_uppercase().to_lowercase().replace('ς', "σ");
    let key: String = folded.chars().filter(counts).collect();
    match key.is_empty() {
        true => folded,
        false => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_white_space_and_punctuation_do_not_distinguish_and_digits_do() {
        for (one, other) in [
            ("Python Help", "python help"),
            ("Python Help", "Python: Help!"),
            ("Three-Day Trip", "Three Day Trip"),
            ("Straße", "STRASSE"),
            ("Οδός", "ΟΔΌΣ"),
            ("京都 旅行", "京都旅行"),
            ("Привет, мир", "привет мир"),
        ] {
            assert!(is_among(one, &[other.to_owned()]), "{one} {other}");
        }
        for (one, other) in [
            ("Chapter 1", "Chapter 2"),
            ("Report 2024", "Report 2025"),
            ("C Help", "C++ Help"),
            ("Python Help", "Python Helper"),
            ("?!", "!?"),
            ("日本", "日本語"),
        ] {
            assert!(!is_among(one, &[other.to_owned()]), "{one} {other}");
        }
    }
}
