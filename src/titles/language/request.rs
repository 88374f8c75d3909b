//! Extracts a request's own words, without text quoted to be translated, explained or corrected.

use crate::conversation::{
    fence::{Fences, Line},
    markup::without_leading_markup,
};

/// The maximum number of characters of a sentence that are examined.
const SENTENCE_CHARS: usize = 1_000;

/// Pairs of quotation marks with a distinct opening and closing mark.
const QUOTES: [(char, char); 9] = [
    ('“', '”'),
    ('„', '“'),
    ('«', '»'),
    ('「', '」'),
    ('『', '』'),
    ('《', '》'),
    ('‹', '›'),
    ('〝', '〟'),
    ('‘', '’'),
];

/// Stems of verbs that request a translation. Text in another script next to such a sentence is quoted.
const TRANSLATE_STEMS: &str = "translat übersetz uebersetz traduis traduir traduct traduc traduz tradur tłumacz přelož fordít \
     çevir çeviri vertaal översätt oversæt oversett käännä перевед перевод переклад преведи мεταφρ μετάφρ 翻译 翻譯 翻訳 \
     訳して 번역 ترجم תרגם अनुवाद แปล dịch terjemah";

/// The first and the last sentence of a message, outside of code, quotations and URLs. Includes quotations if nothing
/// else is left. Linear in the message.
pub(super) struct RequestText {
    pub(super) first: String,
    /// Empty if there is only one sentence.
    pub(super) last: String,
}

impl RequestText {
    pub(super) fn of(message: &str) -> Self {
        let prose = prose(message);
        let own = without_quotations(&prose);
        let own = if own.chars().any(char::is_alphabetic) {
            own
        } else {
            prose
        };
        let mut pieces = own
            .lines()
            .flat_map(sentences)
            .filter(|sentence| sentence.chars().any(char::is_alphabetic));
        let first = pieces.next().unwrap_or_default();
        Self {
            first: first.chars().take(SENTENCE_CHARS).collect(),
            last: pieces.last().map_or_else(String::new, tail),
        }
    }
}

/// Whether a sentence introduces quoted text: it ends in a colon, or requests a translation.
pub(super) fn introduces_quote(sentence: &str) -> bool {
    let lower = sentence.to_lowercase();
    lower.trim_end().ends_with([':', '：'])
        || TRANSLATE_STEMS
            .split_whitespace()
            .any(|verb| lower.contains(verb))
}

/// The last [`SENTENCE_CHARS`] characters of a sentence.
fn tail(sentence: &str) -> String {
    let start = sentence.char_indices().rev().nth(SENTENCE_CHARS);
    sentence[start.map_or(0, |(start, _)| start)..].to_owned()
}

/// The sentences of a line, each with the mark that ends it.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.char_indices().find_map(|(at, c)| {
            let end = at + c.len_utf8();
            let pauses = || rest[end..].starts_with(char::is_whitespace) || end == rest.len();
            let ends = match c {
                '。' | '！' | '？' | '：' | '।' | '؟' => true,
                '.' | '!' | '?' | '…' | ':' => pauses(),
                _ => false,
            };
            ends.then_some(end)
        });
        let end = end.unwrap_or(rest.len());
        let (sentence, after) = rest.split_at(end);
        rest = after;
        Some(sentence)
    })
}

/// Removes text in quotation marks, and quoted lines.
fn without_quotations(text: &str) -> String {
    let mut own = String::with_capacity(text.len());
    for line in text.lines() {
        if line.trim_start().starts_with('>') {
            continue;
        }
        let mut rest = line;
        let mut before = ' ';
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            let is_word = std::mem::replace(&mut before, c).is_alphanumeric();
            let closer = match c {
                '"' => Some('"'),
                '\'' if !is_word => Some('\''),
                c => QUOTES
                    .iter()
                    .find_map(|(open, close)| (*open == c).then_some(*close)),
            };
            match closer.map(|closer| closing(rest, closer)) {
                Some(Some(after)) => {
                    rest = after;
                    own.push(' ');
                }
                // Unclosed: keep the rest of the line without another search, to stay linear.
                Some(None) => {
                    own.push_str(rest);
                    break;
                }
                None => own.push(c),
            }
        }
        own.push('\n');
    }
    own
}

/// The text after the closing mark. An apostrophe inside a word does not close.
fn closing(rest: &str, closer: char) -> Option<&str> {
    rest.match_indices(closer)
        .map(|(at, mark)| &rest[at + mark.len()..])
        .find(|after| closer != '\'' || !after.starts_with(char::is_alphanumeric))
}

/// Removes fenced code, code spans and URLs.
pub(super) fn prose(message: &str) -> String {
    let mut prose = String::with_capacity(message.len());
    let mut fences = Fences::default();
    for line in message.lines() {
        if fences.read(without_leading_markup(line)) == Line::Text {
            push_prose(&mut prose, line);
            prose.push('\n');
        }
    }
    prose
}

fn push_prose(prose: &mut String, line: &str) {
    // An unpaired last backtick opens no code span.
    let pieces = line.split('`').count();
    for (i, piece) in line.split('`').enumerate() {
        if i % 2 == 0 || i + 1 == pieces {
            push_without_urls(prose, piece);
            prose.push(' ');
        }
    }
}

/// Drops URLs, also in text without spaces: a scheme, `://` and the ASCII that follows.
fn push_without_urls(prose: &mut String, mut text: &str) {
    while let Some(at) = text.find("://") {
        let scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
        prose.push_str(text[..at].trim_end_matches(scheme));
        text = text[at..].trim_start_matches(|c: char| c.is_ascii_graphic());
    }
    prose.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_last_sentence_outside_of_quotations_are_the_request() {
        for (message, first, last) in [
            (
                "Plan a trip. Then book it. Thanks!",
                "Plan a trip.",
                " Thanks!",
            ),
            ("Explain «Привет» please", "Explain   please ", ""),
            ("How do I say 'ну'?", "How do I say  ?", ""),
            ("What is \"ありがとう\"?", "What is  ?", ""),
            ("> こんにちは\nTranslate that", "Translate that ", ""),
            ("「京都」", "「京都」 ", ""),
            ("Fix:\n```\nlet x\n```\nNow", "Fix:", "Now "),
            ("京都。東京", "京都。", "東京 "),
        ] {
            let request = RequestText::of(message);
            assert_eq!(
                (&*request.first, &*request.last),
                (first, last),
                "{message}"
            );
        }
    }

    #[test]
    fn a_hostile_message_costs_little() {
        let began = std::time::Instant::now();
        for piece in [
            "“", "\"", "« ", ". ", "a. ", "：", "`", "://", "> ", "‘’", "\n", "「a",
        ] {
            let request = RequestText::of(&piece.repeat((64 << 10) / piece.len()));
            assert!(request.first.chars().count() <= SENTENCE_CHARS);
            assert!(request.last.chars().count() <= SENTENCE_CHARS + 1);
        }
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    }
}
