//! Which Han characters only some writing standards have: Simplified, Traditional and Japanese forms.
//!
//! The table is made by `tools/han/table.py` from Unicode's Unihan data. A character that is in none of its rows
//! belongs to all.

use std::{collections::HashMap, sync::LazyLock};

/// A writing standard of Han characters, by its ISO 15924 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standard {
    Hans,
    Hant,
    Jpan,
}

/// Lines of the standards that have some characters, a tab, and the characters.
static TABLE: LazyLock<HashMap<char, &'static str>> = LazyLock::new(|| {
    let rows = include_str!("han.txt").lines();
    rows.filter_map(|row| row.split_once('\t'))
        .flat_map(|(standards, characters)| characters.chars().map(move |c| (c, standards)))
        .collect()
});

impl Standard {
    fn code(self) -> &'static str {
        match self {
            Self::Hans => "Hans",
            Self::Hant => "Hant",
            Self::Jpan => "Jpan",
        }
    }

    /// Whether the standard has a character, or may have it.
    pub(super) fn has(self, c: char) -> bool {
        TABLE
            .get(&c)
            .is_none_or(|standards| standards.contains(self.code()))
    }

    /// The standard of a Chinese text: Simplified or Traditional, if three quarters of the characters that differ are.
    pub(super) fn of_chinese(text: &str) -> Option<Self> {
        let (mut hans, mut hant) = (0_usize, 0_usize);
        for standards in text.chars().filter_map(|c| TABLE.get(&c)) {
            hans += usize::from(standards.contains("Hans"));
            hant += usize::from(standards.contains("Hant"));
        }
        if hans > 3 * hant {
            Some(Self::Hans)
        } else if hant > 3 * hans {
            Some(Self::Hant)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_belong_to_the_standards_that_write_them() {
        for (c, hans, hant, jpan) in [
            ('计', true, false, false),
            ('計', false, true, true),
            ('画', true, false, true),
            ('畫', false, true, false),
            ('発', false, false, true),
            ('駅', false, false, true),
            ('国', true, false, true),
            ('國', false, true, false),
            ('着', true, true, true),
            ('旅', true, true, true),
            ('后', true, true, true),
        ] {
            assert_eq!(Standard::Hans.has(c), hans, "{c}");
            assert_eq!(Standard::Hant.has(c), hant, "{c}");
            assert_eq!(Standard::Jpan.has(c), jpan, "{c}");
        }
    }

    #[test]
    fn a_chinese_text_tells_its_standard_unless_it_mixes_them() {
        for (text, standard) in [
            ("请帮我写一封辞职信", Some(Standard::Hans)),
            ("請幫我寫一封辭職信", Some(Standard::Hant)),
            ("京都旅行", None),
            ("學习", None),
        ] {
            assert_eq!(Standard::of_chinese(text), standard, "{text}");
        }
    }
}
