//! The topic hint, shown in lists while there is no title; and the preview of a message. Pure text rules.
//!
//! `titles::clean` has the rules for titles.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;

use super::{
    fence::{Fences, Line},
    markup::{without_inline_markup, without_leading_markup, without_tag_pair},
    redact::redact,
    text::{is_meaningful, single_line},
};

/// The maximum length of a hint made from a message, in graphemes.
const MAX_CHARACTERS: usize = 80;

/// The maximum length of a preview, in graphemes.
const MAX_PREVIEW_CHARACTERS: usize = 120;

/// The maximum length of any hint or preview in code points; the width of their columns.
const MAX_CODE_POINTS: usize = 256;

/// The maximum number of characters of a line that are scanned. Bounds the cost of a long line.
const MAX_SCANNED_CHARS: usize = 4096;

/// The maximum number of bytes of lines that are searched for a hint. Bounds the cost of many lines without one.
const MAX_SEARCHED_BYTES: usize = 64 * 1024;

/// The hint of a message: its first meaningful line without markup, cut at a word to at most 80 graphemes. Lines of
/// code and of tags are used only if there is no other. `redacts` removes secrets and personal numbers first. `None` if
/// no line has a letter, a digit or a symbol.
pub fn topic_hint(message: &str, redacts: bool) -> Option<String> {
    let mut fences = Fences::default();
    let mut code = None;
    let mut in_key = false;
    let mut searched = 0;
    for line in message.split([
        '\n', '\r', '\u{B}', '\u{C}', '\u{85}', '\u{2028}', '\u{2029}',
    ]) {
        if redacts {
            // The lines of a private key, up to its end.
            let is_inside = in_key;
            if line.contains("PRIVATE KEY-----") {
                in_key = line.contains("-----BEGIN") && !line.contains("-----END");
            }
            if is_inside {
                continue;
            }
        }
        let rest = without_leading_markup(line);
        match fences.read(rest) {
            Line::Fence => {}
            Line::Text if !is_tags(rest) => {
                if let Some(hint) = hint_of(rest, redacts) {
                    return Some(hint);
                }
                searched += rest.len().min(MAX_SCANNED_CHARS);
                if searched > MAX_SEARCHED_BYTES {
                    break;
                }
            }
            _ if code.is_none() => code = hint_of(line, redacts),
            _ => {}
        }
    }
    code
}

/// A hint from a client's input: one line, at most 256 code points. `None` if it is empty.
pub fn from_client(hint: &str) -> Option<String> {
    let line = single_line(hint);
    let hint = single_line(&line[..end_within(&line, MAX_CODE_POINTS)]);
    (!hint.is_empty()).then_some(hint)
}

/// The preview of a message: its beginning as one line, at most 120 graphemes. `redacts` removes secrets and personal
/// numbers first.
pub fn preview(message: &str, redacts: bool) -> String {
    let line = single_line(scanned_part(message));
    let line = redacted(&line, redacts);
    single_line(&line[..end_within(&line, MAX_PREVIEW_CHARACTERS)])
}

fn redacted(line: &str, redacts: bool) -> Cow<'_, str> {
    match redacts {
        true => redact(line),
        false => line.into(),
    }
}

/// Whether a line has only HTML or XML tags.
fn is_tags(line: &str) -> bool {
    line.starts_with('<')
        && line.ends_with('>')
        && line
            .split('>')
            .all(|tag| tag.is_empty() || tag.trim_start().starts_with('<'))
}

fn hint_of(line: &str, redacts: bool) -> Option<String> {
    let line = single_line(scanned_part(line));
    let line = redacted(&line, redacts);
    let line = without_tag_pair(without_leading_markup(&line));
    let cells = line
        .strip_prefix('|')
        .and_then(|l| l.strip_suffix('|'))
        .unwrap_or(line);
    let line = single_line(&without_inline_markup(cells));
    // Markup may have split a secret.
    let line = redacted(&line, redacts);
    let hint = single_line(cut_at_word(&line));
    is_meaningful(&hint).then_some(hint)
}

/// The part of a text that is scanned.
fn scanned_part(text: &str) -> &str {
    text.char_indices()
        .nth(MAX_SCANNED_CHARS)
        .map_or(text, |(end, _)| &text[..end])
}

/// Cuts a line to the length of a hint: at white space, or between words in scripts without spaces. Names such as C++,
/// foo-bar or a.b/c stay whole, unless one alone is too long.
fn cut_at_word(line: &str) -> &str {
    let end = end_within(line, MAX_CHARACTERS);
    if end == line.len() {
        return line;
    }
    let is_edge = |at: &usize| {
        let before = line[..*at].chars().next_back();
        let after = line[*at..].chars().next();
        before.zip(after).is_some_and(|(before, after)| {
            before == ' ' || after == ' ' || !(before.is_ascii() || after.is_ascii())
        })
    };
    let words = line.split_word_bound_indices().map(|(at, _)| at);
    let edge = words.take_while(|&at| at <= end).filter(is_edge).last();
    &line[..edge.unwrap_or(end)]
}

/// The byte index after the graphemes that fit into `max_characters` and the column. Cuts inside a first grapheme that
/// exceeds the column.
fn end_within(line: &str, max_characters: usize) -> usize {
    if line.is_ascii() {
        // In one line of ASCII each character is a grapheme: CR LF, the only exception, cannot occur.
        return line.len().min(max_characters).min(MAX_CODE_POINTS);
    }
    let mut code_points = 0;
    let fits = |grapheme: &&str| {
        code_points += grapheme.chars().count();
        code_points <= MAX_CODE_POINTS
    };
    let end = line
        .graphemes(true)
        .take(max_characters)
        .take_while(fits)
        .map(str::len)
        .sum();
    if end == 0 {
        return line
            .char_indices()
            .nth(MAX_CODE_POINTS)
            .map_or(line.len(), |(at, _)| at);
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_normalization::is_nfc;

    use super::*;

    #[track_caller]
    fn assert_hint(message: &str, hint: Option<&str>) {
        assert_eq!(topic_hint(message, true).as_deref(), hint, "{message:?}");
    }

    #[test]
    fn the_first_meaningful_line_without_its_markup() {
        for (message, hint) in [
            ("hi", "hi"),
            (
                "\n\n  Plan a trip\tto Kyoto. \nIn spring",
                "Plan a trip to Kyoto.",
            ),
            ("---\n***\n...\n# Kyoto **trip**", "Kyoto trip"),
            ("> - 1. `foo()` fails", "foo() fails"),
            (">quoted", "quoted"),
            ("- [ ] Buy a rail pass", "Buy a rail pass"),
            ("=====\n│──│\nReport", "Report"),
            ("| Name | Age |\n|---|---|", "Name | Age"),
            (
                "See [the docs](https://a.example/x) first",
                "See the docs first",
            ),
            ("![](a.png)\nWhat is this?", "What is this?"),
            ("<!-- template -->\n<br>\nIt crashes", "It crashes"),
            ("<p>Kyoto</p>", "Kyoto"),
            ("How does <div> work", "How does <div> work"),
            ("京都旅行の計画\u{2028}春", "京都旅行の計画"),
            ("🚀🚀", "🚀🚀"),
            ("∑ €", "∑ €"),
            ("42", "42"),
            ("a\rb", "a"),
            ("C++ or C#?", "C++ or C#?"),
            (
                "Why is __init__ called *twice*",
                "Why is __init__ called twice",
            ),
        ] {
            assert_hint(message, Some(hint));
        }
        for nothing in [
            "",
            " \n\t",
            "...\n???\n---",
            "```\n```",
            "```rust",
            "\u{200B}\u{0}\u{E000}",
            "**",
            "|--|\n===",
        ] {
            assert_hint(nothing, None);
        }
    }

    #[test]
    fn code_counts_only_if_there_is_nothing_else() {
        assert_hint(
            "```rust\nfn main() {}\n```\nWhy does it fail?",
            Some("Why does it fail?"),
        );
        assert_hint("~~~\n```\ncode\n~~~\nWhy?", Some("Why?"));
        assert_hint("````\n```\ncode\n````\nWhy?", Some("Why?"));
        assert_hint("1. ```\n   code\n   ```\n2) Why?", Some("Why?"));
        assert_hint("```rust\n\nfn main() {}\n}\n```\n", Some("fn main() {}"));
        assert_hint("```python\nprint(1)", Some("print(1)"));
        assert_hint("```cargo run``` fails", Some("cargo run fails"));
        assert_hint("<div>\n</div>", Some("<div>"));
    }

    #[test]
    fn a_long_line_is_cut_at_a_word() {
        let words = "word ".repeat(40);
        assert_hint(&words, Some("word ".repeat(16).trim_end()));
        let exact = format!("{} {}", "a".repeat(39), "b".repeat(40));
        assert_hint(&format!("{exact} c"), Some(&exact));
        assert_hint(&format!("{exact}c"), Some(&"a".repeat(39)));
        assert_hint(&format!("see foo-{}", "bar".repeat(40)), Some("see"));
        assert_hint(&"x".repeat(200), Some(&"x".repeat(80)));
        assert_hint(&"京都".repeat(100), Some(&"京都".repeat(40)));
        assert_hint(
            &"e\u{323}\u{302}\u{301}".repeat(100),
            Some(&"\u{1EC7}\u{301}".repeat(80)),
        );
        assert_hint(
            &"👩\u{200D}👩\u{200D}👧\u{200D}👦".repeat(100),
            Some(&"👩\u{200D}👩\u{200D}👧\u{200D}👦".repeat(36)),
        );
        assert_hint(&format!("{}\nKyoto", "-".repeat(5000)), Some("Kyoto"));
        assert_hint(
            &"kyoto ".repeat(200_000),
            Some("kyoto ".repeat(13).trim_end()),
        );
    }

    #[test]
    fn a_preview_is_the_beginning_of_a_message_in_one_line() {
        assert_eq!(preview(" Plan a\n\ntrip ", true), "Plan a trip");
        assert_eq!(preview(&"é".repeat(500), true), "é".repeat(120));
        let family = "👩\u{200D}👩\u{200D}👧\u{200D}👦";
        assert_eq!(preview(&family.repeat(50), true), family.repeat(36));
    }

    #[test]
    fn hints_and_previews_leave_out_secrets() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----";
        for (message, hint) in [
            ("anna@example.com\nmoves out", Some("moves out")),
            (
                "Refund to 4111 1111 1111 1111, please",
                Some("Refund to, please"),
            ),
            (
                &format!("{key}\nIs this key valid?"),
                Some("Is this key valid?"),
            ),
            (&format!("My key: {key}"), Some("My key:")),
            ("4111111111111111", None),
        ] {
            assert_eq!(topic_hint(message, true).as_deref(), hint, "{message}");
            assert_ne!(topic_hint(message, false).as_deref(), hint, "{message}");
        }
        let message = format!(
            "{key}\n{} a@example.com, {}",
            "x".repeat(100),
            "y".repeat(100)
        );
        let left = format!("{}, {}", "x".repeat(100), "y".repeat(18));
        assert_eq!(preview(&message, true), left);
        assert!(preview(&message, false).starts_with("-----BEGIN"));
    }

    #[test]
    fn a_given_hint_is_kept_as_it_is() {
        assert_eq!(
            from_client(" # Kyoto\n**trip** ").as_deref(),
            Some("# Kyoto **trip**")
        );
        assert_eq!(from_client("...").as_deref(), Some("..."));
        assert_eq!(from_client(" \u{200B}\n"), None);
        assert_eq!(from_client(&"x".repeat(300)), Some("x".repeat(256)));
        let family = "👩\u{200D}👩\u{200D}👧\u{200D}👦";
        assert_eq!(from_client(&family.repeat(50)), Some(family.repeat(36)));
        assert_eq!(
            from_client(&format!("q{}", "\u{301}".repeat(300))).map(|h| h.chars().count()),
            Some(256)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..Default::default() })]

        #[test]
        fn hints_of_any_message_fit(message in prop_oneof![
            any::<String>(),
            "([ a_*~`\\[\\](!)>#1.京é🚀\u{200D}\u{301}-]{0,200}\n){0,3}",
            "([a-zа-я]{1,12}[ ,.-]){0,40}",
        ]) {
            for (hint, most) in [(topic_hint(&message, true), MAX_CHARACTERS), (from_client(&message), MAX_CODE_POINTS)] {
                let Some(hint) = hint else { continue };
                prop_assert_eq!(&single_line(&hint), &hint);
                prop_assert!(is_nfc(&hint) && !hint.is_empty());
                prop_assert!(hint.graphemes(true).count() <= most && hint.chars().count() <= MAX_CODE_POINTS);
            }
        }
    }
}
