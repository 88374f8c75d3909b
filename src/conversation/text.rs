//! Text rules that titles, hints and messages share: one line of visible characters. Pure functions.
//!
//! `markup` handles markup; the modules of titles and hints have the rules specific to each.

use icu_properties::{
    CodePointSetData, CodePointSetDataBorrowed,
    props::{DefaultIgnorableCodePoint, NoncharacterCodePoint, VariationSelector},
};
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{
    GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory,
};

const VARIATION_SELECTORS: CodePointSetDataBorrowed<'static> =
    CodePointSetData::new::<VariationSelector>();
const IGNORABLES: CodePointSetDataBorrowed<'static> =
    CodePointSetData::new::<DefaultIgnorableCodePoint>();
const NONCHARACTERS: CodePointSetDataBorrowed<'static> =
    CodePointSetData::new::<NoncharacterCodePoint>();

const ZWNJ: char = '\u{200C}';
const ZWJ: char = '\u{200D}';

/// Normalises a text to one line of visible characters, in NFC.
///
/// - Runs of white space (any Unicode white space, including line ends) become one space. Both ends are trimmed.
/// - Control, format, private-use, tag, zero-width and other default-ignorable characters and noncharacters are
///   removed.
/// - A joiner (U+200C, U+200D) stays where it affects spelling: inside a word of a script that joins its letters, or,
///   for U+200D, between two emoji. A variation selector stays directly after a character that has variants.
///
/// Idempotent.
pub fn single_line(text: &str) -> String {
    if text.is_ascii() {
        return single_line_of_ascii(text);
    }
    single_line_of_any(text)
}

/// The fast path: ten times as fast, and most texts are ASCII.
fn single_line_of_ascii(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_whitespace() {
            if !c.is_ascii_control() {
                line.push(c);
            }
        } else if !line.is_empty() && !line.ends_with(' ') {
            line.push(' ');
        }
    }
    line.truncate(line.trim_end().len());
    line
}

fn single_line_of_any(text: &str) -> String {
    let visible = text.chars().filter_map(|c| match c {
        // Braille blank is a symbol in Unicode, but looks like a space.
        c if c.is_whitespace() || c == '\u{2800}' => Some(' '),
        c if is_joiner(c) || is_variation_selector(c) => Some(c),
        c if is_invisible(c) => None,
        c => Some(c),
    });
    let mut line: String = visible.nfc().collect();
    // Dropping a joiner lets its neighbours compose, which can leave another joiner without effect. Ends after two or
    // three rounds: a character after a kept joiner or selector cannot compose with one before it.
    loop {
        let mut next: String = without_stray_joiners(&line).nfc().collect();
        next.truncate(next.trim_end().len());
        if next == line {
            return line;
        }
        line = next;
    }
}

/// Removes U+0000, which PostgreSQL cannot store. Does not copy if there is none.
pub fn without_nul(mut text: String) -> String {
    if text.contains('\0') {
        text.retain(|c| c != '\0');
    }
    text
}

/// Whether a character is invisible and not white space.
pub fn is_invisible(c: char) -> bool {
    use GeneralCategory as Category;

    if c.is_ascii() {
        return c.is_ascii_control() && !c.is_whitespace();
    }
    match c.general_category() {
        Category::Control => !c.is_whitespace(),
        Category::Format | Category::PrivateUse | Category::Surrogate => true,
        // Unassigned characters count as visible: they may become emoji.
        _ => NONCHARACTERS.contains(c) || IGNORABLES.contains(c),
    }
}

/// Whether a text has a letter, a digit, an emoji or another symbol, except line drawing.
pub fn is_meaningful(text: &str) -> bool {
    text.chars().any(|c| match c.is_ascii() {
        true => c.is_ascii_alphanumeric(),
        false => match c.general_category_group() {
            GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number => true,
            GeneralCategoryGroup::Symbol => !matches!(c, '\u{2500}'..='\u{259F}'),
            _ => false,
        },
    })
}

/// Collapses white space, and drops joiners and variation selectors without effect at their position.
fn without_stray_joiners(line: &str) -> impl Iterator<Item = char> {
    let mut next = line.chars().peekable();
    // The last character kept, the letter or symbol that its marks sit on, and whether the text so far ends in an
    // emoji.
    let (mut last, mut base, mut emoji) = (' ', ' ', false);
    std::iter::from_fn(move || {
        loop {
            let c = next.next()?;
            let following = next.peek().copied().unwrap_or(' ');
            let keeps = match c {
                ' ' => last != ' ',
                c if is_joiner(c) => {
                    let in_word = (joins(base) || joins(following))
                        && last != ' '
                        && following != ' '
                        && !is_joiner(last)
                        && !is_joiner(following)
                        && !is_variation_selector(following);
                    in_word || (c == ZWJ && emoji && is_emoji(following))
                }
                c if is_variation_selector(c) => takes_variants(last, c),
                _ => true,
            };
            if keeps {
                emoji = is_emoji(c) || (emoji && is_variation_selector(c));
                if c.general_category_group() != GeneralCategoryGroup::Mark && !is_joiner(c) {
                    base = c;
                }
                last = c;
                return Some(c);
            }
        }
    })
}

fn is_joiner(c: char) -> bool {
    matches!(c, ZWNJ | ZWJ)
}

fn is_emoji(c: char) -> bool {
    !c.is_ascii() && c.is_emoji_char()
}

/// Whether a character is of a block whose letters join, so that a joiner next to it is spelling: Arabic to Myanmar,
/// the Philippine and Khmer to Vedic blocks, and their supplements.
fn joins(c: char) -> bool {
    let in_block = matches!(c,
        '\u{0600}'..='\u{109F}' | '\u{1700}'..='\u{1CFF}' | '\u{A800}'..='\u{ABFF}'
        | '\u{FB50}'..='\u{FEFC}' | '\u{10A00}'..='\u{11FFF}');
    in_block && c.general_category() == GeneralCategory::OtherLetter
}

fn takes_variants(base: char, selector: char) -> bool {
    match selector {
        '\u{FE0E}' | '\u{FE0F}' => base.is_emoji_char(),
        _ => matches!(
            base.general_category(),
            GeneralCategory::OtherLetter
                | GeneralCategory::MathSymbol
                | GeneralCategory::OtherSymbol
        ),
    }
}

fn is_variation_selector(c: char) -> bool {
    VARIATION_SELECTORS.contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::is_nfc;

    use super::*;

    #[test]
    fn white_space_collapses_and_invisible_characters_go() {
        for (text, line) in [
            ("", ""),
            (" \n\t ", ""),
            (
                "a\tb\r\nc\u{85}d\u{2028}e\u{2029}f\u{A0}\u{3000}g\u{B}\u{C}h",
                "a b c d e f g h",
            ),
            ("\u{2800}Kyoto\u{2800}", "Kyoto"),
            ("Ky\u{200B}o\u{2060}t\u{FEFF}o\u{AD}", "Kyoto"),
            ("a\0b\u{7}c\u{1B}d\u{9F}e\u{7F}", "abcde"),
            ("\u{202E}a\u{2066}b\u{2069}\u{200E}\u{200F}\u{61C}c", "abc"),
            ("a\u{E0041}\u{E007F}\u{E0001}b", "ab"),
            ("a\u{E000}\u{F0000}\u{10FFFD}b", "ab"),
            ("a\u{FDD0}\u{FFFE}\u{10FFFF}b", "ab"),
            (
                "\u{3164}\u{115F}\u{1160}\u{FFA0}\u{34F}\u{17B4}\u{2065}\u{E0100}",
                "",
            ),
            ("a\u{FFF9}b\u{FFFB}", "ab"),
            ("a \u{200B} b", "a b"),
            ("Cafe\u{301}", "Café"),
            ("Cafe\u{200B}\u{301}", "Café"),
            ("Cafe\u{200D}\u{301}", "Café"),
            ("Cafe\u{FE0F}\u{301}", "Café"),
            ("\u{1112}\u{1161}\u{11AB}\u{1100}\u{1173}\u{11AF}", "한글"),
        ] {
            assert_eq!(single_line(text), line, "{text:?}");
        }
    }

    #[test]
    fn joiners_and_selectors_stay_where_they_carry_meaning() {
        for kept in [
            "می\u{200C}خواهم سفر کنم",
            "فایل PDF\u{200C}ها",
            "۲\u{200C}تایی",
            "ශ්\u{200D}රී ලංකා",
            "র\u{200D}্যাব",
            "क्\u{200D}ष और क्\u{200C}ष",
            "👩\u{200D}👩\u{200D}👧\u{200D}👦 Family",
            "🏳\u{FE0F}\u{200D}🌈 Pride",
            "🧑🏽\u{200D}🚀 Space",
            "❤\u{FE0F}\u{200D}🔥",
            "1\u{FE0F}\u{20E3} First",
            "葛\u{E0100}城市",
            "🇯🇵 Trip",
        ] {
            assert_eq!(single_line(kept), kept);
        }
        for (text, line) in [
            ("Ky\u{200D}oto", "Kyoto"),
            ("京\u{200D}都\u{200C}旅", "京都旅"),
            ("\u{200D}می\u{200C}", "می"),
            ("می\u{200C} خواهم", "می خواهم"),
            ("می \u{200C}خواهم", "می خواهم"),
            ("می\u{200C}\u{200C}خواهم", "می\u{200C}خواهم"),
            ("🚀\u{200D}Kyoto", "🚀Kyoto"),
            ("🚀\u{200C}🚀", "🚀🚀"),
            ("a\u{FE0F}b", "ab"),
            ("🚀\u{FE0F}\u{FE01}\u{E0101}\u{E0102}", "🚀\u{FE0F}"),
            ("🙂\u{200D}\u{2194}\u{200D}\u{338}", "🙂\u{21AE}"),
        ] {
            assert_eq!(single_line(text), line, "{text:?}");
        }
    }

    #[test]
    fn ascii_is_what_its_categories_say() {
        use GeneralCategory::Control;
        for c in (0..128_u8).map(char::from) {
            let (category, group) = (c.general_category(), c.general_category_group());
            assert_eq!(
                is_invisible(c),
                category == Control && !c.is_whitespace(),
                "{c:?}"
            );
            let says = matches!(
                group,
                GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number
            );
            assert_eq!(is_meaningful(&c.to_string()), says, "{c:?}");
        }
    }

    #[test]
    fn only_nul_goes_from_a_message() {
        assert_eq!(without_nul("a\0b\0".into()), "ab");
        assert_eq!(without_nul("a\u{7}\n\u{200B}".into()), "a\u{7}\n\u{200B}");
    }

    /// Strings dense in the characters that the rules examine.
    fn tricky() -> impl Strategy<Value = String> {
        let special = proptest::sample::select(
            "ae\u{301}\u{338}\u{308} \n\u{A0}\u{200B}\u{200C}\u{200D}\u{FE0F}\u{FE0E}\u{FE00}\u{180B}\u{E0100}\u{202E}\
             \u{E0041}\u{E000}\u{FFFF}🙂↔🏽❤1=<م\u{64B}ی京क\u{94D}\u{1100}\u{1161}\u{11A8}\u{115F}\u{2800}\u{34F}\0"
                .chars()
                .collect::<Vec<_>>(),
        );
        proptest::collection::vec(prop_oneof![4 => special, 1 => any::<char>()], 0..24)
            .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..Default::default() })]

        #[test]
        fn the_short_way_leads_to_the_same_line(text in "[\\x00-\\x7f]{0,40}") {
            prop_assert_eq!(single_line_of_ascii(&text), single_line_of_any(&text));
        }

        #[test]
        fn one_visible_line_of_any_string(text in prop_oneof![tricky(), any::<String>()]) {
            let line = single_line(&text);
            prop_assert_eq!(&single_line(&line), &line);
            prop_assert!(is_nfc(&line));
            prop_assert!(!line.contains("  ") && line.trim() == line);
            prop_assert!(line.chars().all(|c| c == ' ' || !c.is_whitespace()));
            prop_assert!(line.chars().all(|c| is_joiner(c) || is_variation_selector(c) || !is_invisible(c)));
            prop_assert!(!line.starts_with(is_joiner) && !line.ends_with(is_joiner));
        }
    }
}
