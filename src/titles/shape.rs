//! Shapes a cleaned title by its policy: an emoji at its beginning, and the letter case. Pure and total.
//!
//! The model is asked for both (`prompt`), and small models do not comply, so the answer is changed if that is safe:
//! - An emoji at the beginning that the policy does not allow is dropped, unless the message has it: then it is the
//!   subject. Of several that are allowed, the first stays.
//! - A title in all capitals gets the message's spelling of its words, or else initial capitals.
//! - Title case raises words of lower-case letters, except short function words.
//! - Sentence case raises the first word. It lowers a word only if the title is in title case, the message has capitals
//!   that identify names, and the word is not a name. A word of the message is lowered if the message writes it in
//!   lower case; any other word is lowered unless the language is German, whose nouns have capitals.
//! - A word with an inner capital, a digit or a sign stays: iPhone, KeyError, `node.js`.

use std::borrow::Cow;

use unicode_properties::{EmojiStatus, UnicodeEmoji};
use unicode_segmentation::UnicodeSegmentation;

use super::{
    TitleLanguage,
    file_name::is_cased,
    policy::{TitleCase, TitlePolicy},
};

/// Words that title case leaves in lower case, unless they are the first or the last.
const SMALL_WORDS: &str = "a an the and but or nor of in on for to with from by at as vs via into per \
     der die das und oder von vom zum zur mit für im am de la le les du des et ou un une en el los las y o del al con para \
     da do dos das e em il lo gli di";

/// Frequent German words that are not English words.
const GERMAN_WORDS: &str = "der das und nicht ist ein eine einen für mit wie ich auf zu den dem von wir mein meine kann bitte";

/// The shaped title. Empty if the title had only emoji.
pub(super) fn shaped<M>(title: &str, message: &str, policy: &TitlePolicy<M>) -> String {
    let title = with_emoji(title, message, policy.emoji);
    let is_turkic = is_turkic(message, &policy.language);
    match policy.case {
        TitleCase::AsWritten => title.into_owned(),
        TitleCase::Title => in_title_case(&without_capitals(&title, message, is_turkic), is_turkic),
        TitleCase::Sentence => {
            let title = without_capitals(&title, message, is_turkic);
            in_sentence_case(&title, message, &policy.language)
        }
    }
}

/// A text without trailing function words, which remain when the words after them were removed.
pub(super) fn without_dangling(text: &str) -> &str {
    let mut text = text.trim_end();
    while let Some((rest, last)) = text.rsplit_once(' ')
        && is_small(&last.to_lowercase())
    {
        text = rest.trim_end();
    }
    text
}

/// Respells a title of several long words in all capitals: in the message's spelling, or with initial capitals. Short
/// words stay: they may be abbreviations.
fn without_capitals<'t>(title: &'t str, message: &str, is_turkic: bool) -> Cow<'t, str> {
    let is_long = |word: &str| word.chars().nth(3).is_some() && is_plain(word);
    let long = title.split(' ').map(core).filter(|word| is_long(word));
    if long.count() < 2 || title.chars().any(char::is_lowercase) || is_turkic {
        return title.into();
    }
    let word = |word: &str| {
        let letters = core(word);
        let known = message
            .unicode_words()
            .find(|known| known.to_uppercase() == letters);
        let small = letters.to_lowercase();
        match known {
            Some(known) => word.replacen(letters, known, 1),
            None if is_small(&small) => word.replacen(letters, &small, 1),
            None if is_long(letters) => {
                let rest = letters.chars().skip(1).flat_map(char::to_lowercase);
                let spelled: String = letters.chars().take(1).chain(rest).collect();
                word.replacen(letters, &spelled, 1)
            }
            None => word.to_owned(),
        }
    };
    join(title.split(' ').map(word)).into()
}

/// Drops all emoji at the beginning, or all but the first.
fn with_emoji<'t>(title: &'t str, message: &str, is_allowed: bool) -> Cow<'t, str> {
    let mut first = None;
    let mut rest = title;
    while let Some(cluster) = rest.graphemes(true).next() {
        if !is_emoji(cluster) || !is_allowed && message.contains(cluster) {
            break;
        }
        first.get_or_insert(cluster);
        rest = rest[cluster.len()..].trim_start();
    }
    match first {
        Some(emoji) if is_allowed && !rest.is_empty() => {
            let is_only = title[emoji.len()..].trim_start() == rest;
            match is_only {
                true => title.into(),
                false => format!("{emoji} {rest}").into(),
            }
        }
        _ => rest.into(),
    }
}

/// Whether a grapheme cluster is shown as an emoji.
fn is_emoji(cluster: &str) -> bool {
    use EmojiStatus as Status;

    let Some(first) = cluster.chars().next().filter(|c| !c.is_ascii()) else {
        return false;
    };
    let is_by_default = matches!(
        first.emoji_status(),
        Status::EmojiPresentation
            | Status::EmojiPresentationAndModifierBase
            | Status::EmojiPresentationAndEmojiComponent
            | Status::EmojiPresentationAndModifierAndEmojiComponent
    );
    is_by_default || first.is_emoji_char() && cluster.contains('\u{FE0F}')
}

fn in_title_case(title: &str, is_turkic: bool) -> String {
    let count = title.split(' ').count();
    let first = title.split(' ').position(|word| !core(word).is_empty());
    let word = |(at, word): (usize, &str)| {
        let is_edge = Some(at) == first || at + 1 == count;
        match is_edge || !is_small(word) {
            true => raised(word, is_turkic),
            false => word.to_owned(),
        }
    };
    join(title.split(' ').enumerate().map(word))
}

fn in_sentence_case(title: &str, message: &str, language: &TitleLanguage) -> String {
    let message = MessageWords::of(message);
    // In a message without capitals, names are not capitalised either.
    let lowers = is_in_title_case(title) && !message.capitals.is_empty();
    let is_german = is_german(&message, language);
    let is_turkic = is_turkic(message.text, language);
    let mut begins = true;
    let word = |word: &str| {
        let ends = word.ends_with([':', '.', '?', '!', '–', '—']);
        // An emoji does not begin a sentence.
        let is_first = begins;
        begins = ends || begins && core(word).is_empty();
        match is_first {
            true => raised(word, is_turkic),
            false if lowers && message.is_no_name(core(word), is_german) => {
                lowered(word, is_turkic, message.has(core(word)))
            }
            false => word.to_owned(),
        }
    };
    join(title.split(' ').map(word))
}

/// Whether all words but short and function words begin with a capital, and there are at least two of them.
fn is_in_title_case(title: &str) -> bool {
    let counts = |word: &&str| word.chars().nth(3).is_some() && !is_small(word);
    let words = || title.split(' ').map(core).filter(|word| is_plain(word));
    let words = || words().filter(counts);
    // "iPhone" is a name in any case.
    let begins = |word: &str| word.contains(char::is_uppercase);
    words().count() >= 2 && words().all(begins)
}

/// The words of a message, by their case and place.
struct MessageWords<'m> {
    text: &'m str,
    /// Words that begin with a capital and do not begin a sentence.
    capitals: Vec<&'m str>,
    /// All words, in lower case.
    all: Vec<String>,
}

impl<'m> MessageWords<'m> {
    fn of(text: &'m str) -> Self {
        let (mut capitals, mut all) = (Vec::new(), Vec::new());
        let mut end = None;
        for (at, word) in text.unicode_word_indices() {
            let begins = end.is_none_or(|end: usize| {
                text[end..at].contains(['.', '?', '!', ':', '\n', '"', '“', '•', '*', '#'])
            });
            if !begins && word.starts_with(char::is_uppercase) {
                capitals.push(word);
            }
            all.push(word.to_lowercase());
            end = Some(at + word.len());
        }
        Self {
            text,
            capitals,
            all,
        }
    }

    /// Whether the message has a word, in any letter case.
    fn has(&self, word: &str) -> bool {
        self.all.contains(&word.to_lowercase())
    }

    /// Whether a capitalised word of a title is a common word.
    fn is_no_name(&self, word: &str, is_german: bool) -> bool {
        let lower = word.to_lowercase();
        match self.has(word) {
            true => {
                !self
                    .capitals
                    .iter()
                    .any(|capital| capital.to_lowercase() == lower)
                    && self.text.unicode_words().any(|known| known == lower)
            }
            false => !is_german,
        }
    }
}

fn is_german(message: &MessageWords<'_>, language: &TitleLanguage) -> bool {
    match language {
        TitleLanguage::Tag(tag) => matches!(tag.language.as_str(), "de" | "gsw" | "lb" | "nds"),
        TitleLanguage::Auto => {
            let mut found: Vec<&str> = GERMAN_WORDS.split_whitespace().collect();
            found.retain(|word| message.all.iter().any(|known| known == word));
            found.len() >= 2
        }
    }
}

/// Whether "i" is raised to "İ".
fn is_turkic(message: &str, language: &TitleLanguage) -> bool {
    match language {
        TitleLanguage::Tag(tag) => matches!(tag.language.as_str(), "tr" | "az"),
        TitleLanguage::Auto => message.contains(['ı', 'ğ', 'İ']),
    }
}

fn is_small(word: &str) -> bool {
    SMALL_WORDS.split_whitespace().any(|small| small == word)
}

/// A word without the punctuation around it.
fn core(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// Whether a word has only letters, hyphens and apostrophes.
fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_alphabetic() || matches!(c, '-' | '\'' | '’'))
}

/// The word with an initial capital, if all of its letters are lower-case.
fn raised(word: &str, is_turkic: bool) -> String {
    let letters = core(word);
    let Some(first) = letters.chars().next() else {
        return word.to_owned();
    };
    let is_lower = is_plain(letters) && is_cased(first) && !letters.chars().any(char::is_uppercase);
    let mut upper = first.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(_), None) if is_lower && is_turkic && first == 'i' => replaced(word, letters, 'İ'),
        // The capital of "ß" is two letters.
        (Some(upper), None) if is_lower => replaced(word, letters, upper),
        _ => word.to_owned(),
    }
}

/// The word without its initial capital, if its other letters are lower-case.
fn lowered(word: &str, is_turkic: bool, is_known: bool) -> String {
    let letters = core(word);
    let mut rest = letters.chars();
    let Some(first) = rest.next() else {
        return word.to_owned();
    };
    let is_capitalised = is_plain(letters)
        && is_cased(first)
        && first.is_uppercase()
        && !rest.clone().any(char::is_uppercase);
    // "I", and the names of languages, vitamins and plans.
    let is_letter = rest.next().is_none() && first != 'A' && !is_known;
    let mut lower = first.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(_), None) if is_capitalised && is_turkic && first == 'I' => {
            replaced(word, letters, 'ı')
        }
        (Some(lower), None) if is_capitalised && !is_letter => replaced(word, letters, lower),
        _ => word.to_owned(),
    }
}

/// The word with the first letter of its part `letters` replaced.
fn replaced(word: &str, letters: &str, first: char) -> String {
    let start = word.len()
        - word
            .trim_start_matches(|c: char| !c.is_alphanumeric())
            .len();
    let rest = letters.chars().next().map_or(0, char::len_utf8);
    format!("{}{first}{}", &word[..start], &word[start + rest..])
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(case: TitleCase, emoji: bool, language: &str) -> TitlePolicy<()> {
        TitlePolicy {
            case,
            emoji,
            language: language.parse().unwrap(),
            ..TitlePolicy::new(())
        }
    }

    #[test]
    fn an_emoji_at_the_beginning_is_dropped_or_is_the_only_one() {
        let table = [
            // Title, message, without emoji, with one.
            ("🚀 Launch Plan", "plan", "Launch Plan", "🚀 Launch Plan"),
            ("🚀🌍 Launch", "plan", "Launch", "🚀 Launch"),
            ("🚀 🌍 Launch", "plan", "Launch", "🚀 Launch"),
            ("👩\u{200D}🚀 Space", "plan", "Space", "👩\u{200D}🚀 Space"),
            ("☎\u{FE0F} Calls", "plan", "Calls", "☎\u{FE0F} Calls"),
            ("🇯🇵 Trip", "plan", "Trip", "🇯🇵 Trip"),
            (
                "🚀 Emoji Meaning",
                "what is 🚀",
                "🚀 Emoji Meaning",
                "🚀 Emoji Meaning",
            ),
            ("Trip 🗾 Plans", "plan", "Trip 🗾 Plans", "Trip 🗾 Plans"),
            ("™ Law", "plan", "™ Law", "™ Law"),
            (
                "1\u{FE0F}\u{20E3} First",
                "plan",
                "1\u{FE0F}\u{20E3} First",
                "1\u{FE0F}\u{20E3} First",
            ),
            ("🚀", "plan", "", ""),
        ];
        for (title, message, without, with) in table {
            let shape =
                |emoji| shaped(title, message, &policy(TitleCase::AsWritten, emoji, "AUTO"));
            assert_eq!(shape(false), without, "{title}");
            assert_eq!(shape(true), with, "{title}");
        }
    }

    #[test]
    fn an_emoji_begins_no_sentence() {
        for (case, expected) in [
            (TitleCase::Sentence, "🚀 The journey through Berlin"),
            (TitleCase::Title, "🚀 The Journey Through Berlin"),
        ] {
            let title = "🚀 the Journey Through Berlin";
            let shaped = shaped(title, "a trip to Berlin", &policy(case, true, "AUTO"));
            assert_eq!(shaped, expected);
        }
    }

    #[test]
    fn letter_case_where_the_language_has_case() {
        let trip = "Please plan a trip to Kyoto for us";
        let error = "fix this Python error: KeyError: 'id' in my script";
        let german = "Bitte plane mir eine Reise nach Kyoto, wie geht das?";
        #[rustfmt::skip]
        let table = [
            // Title, message, language, sentence case, title case.
            ("Planning a Trip to Kyoto", trip, "AUTO", "Planning a trip to Kyoto", "Planning a Trip to Kyoto"),
            ("planning a trip to Kyoto", trip, "AUTO", "Planning a trip to Kyoto", "Planning a Trip to Kyoto"),
            // A message without capitals does not identify names.
            ("Planning a Trip to Kyoto", "plan a trip to kyoto", "AUTO", "Planning a Trip to Kyoto", "Planning a Trip to Kyoto"),
            ("Python KeyError in Script", error, "AUTO", "Python KeyError in script", "Python KeyError in Script"),
            ("iPhone battery life", "my iPhone dies", "AUTO", "iPhone battery life", "iPhone Battery Life"),
            ("node.js event loop", "node", "AUTO", "node.js event loop", "node.js Event Loop"),
            ("Reise Nach Kyoto Planen", german, "AUTO", "Reise nach Kyoto Planen", "Reise Nach Kyoto Planen"),
            ("Kyoto-Reise planen", german, "AUTO", "Kyoto-Reise planen", "Kyoto-Reise Planen"),
            ("Reiseplanung Kyoto", "Plan a trip", "de", "Reiseplanung Kyoto", "Reiseplanung Kyoto"),
            ("istanbul gezisi", "istanbul gezisi planı", "AUTO", "İstanbul gezisi", "İstanbul Gezisi"),
            ("istanbul trip", "trip", "tr", "İstanbul trip", "İstanbul Trip"),
            ("京都旅行の計画", "京都", "AUTO", "京都旅行の計画", "京都旅行の計画"),
            ("ქართული ანბანი", "ანბანი", "AUTO", "ქართული ანბანი", "ქართული ანბანი"),
            ("ßtart", "x", "AUTO", "ßtart", "ßtart"),
            ("Rust: Borrow Checker Basics", "the borrow checker of Rust", "AUTO", "Rust: Borrow checker basics", "Rust: Borrow Checker Basics"),
            ("What Should I Do With My iPhone", "what should I do with my iPhone in Berlin", "AUTO", "What should I do with my iPhone", "What Should I Do With My iPhone"),
            ("Aller À Paris En Train", "Comment aller à Paris?", "AUTO", "Aller à Paris en train", "Aller À Paris En Train"),
            ("Дорога С Вокзала", "Как доехать с вокзала в Москве", "AUTO", "Дорога с вокзала", "Дорога С Вокзала"),
            ("Why Do I Forget Names", "why do I forget Anna", "AUTO", "Why do I forget names", "Why Do I Forget Names"),
            ("(draft) plan", "x", "AUTO", "(Draft) plan", "(Draft) Plan"),
            ("Journey Through Europe", "can you plan a trip to berlin", "AUTO", "Journey Through Europe", "Journey Through Europe"),
            ("Rocket Launch Plan", "plan my rocket please", "AUTO", "Rocket Launch Plan", "Rocket Launch Plan"),
            ("JOURNEY THROUGH BERLIN BY TRAIN", "a trip to Berlin", "AUTO", "Journey through Berlin by train", "Journey Through Berlin by Train"),
            ("RELEASE NOTES FOR THE API", "write release notes for Acme", "AUTO", "Release notes for the API", "Release Notes for the API"),
            ("API KEY", "my API", "AUTO", "API KEY", "API KEY"),
            ("Vitamin C Intake Guide", "is vitamin C good in Berlin", "AUTO", "Vitamin C intake guide", "Vitamin C Intake Guide"),
        ];
        for (title, message, language, sentence, capitals) in table {
            let shape = |case| shaped(title, message, &policy(case, false, language));
            assert_eq!(shape(TitleCase::Sentence), sentence, "{title}");
            assert_eq!(shape(TitleCase::Title), capitals, "{title}");
            assert_eq!(shape(TitleCase::AsWritten), title);
            for case in [TitleCase::Sentence, TitleCase::Title] {
                let once = shape(case);
                let twice = shaped(&once, message, &policy(case, false, language));
                assert_eq!(twice, once, "{title}");
            }
        }
    }
}
