//! Detects openers: messages without content for a title. Pure and total.
//!
//! After an opener ("hi", "Hola, ¿qué tal?", "你好", "???") the title is deferred to the next user message. The rule:
//! fewer than three words, no digit and no proper content. A false deferral is worse than the title "Greeting", since
//! often no other message follows. So "Can you help me?" gets a title, and a message is an opener only if it is short
//! and every word of it is known to have no content:
//! - It has no word at all: punctuation, white space, emoji, emoticons.
//! - Or it is small talk: a few phrases from [`greetings`], and words that address someone ("Hi! How are you doing
//!   today?").
//! - Or it has one or two words, which are phrases from [`greetings`] or stop words of one language ("hi you", "so
//!   what"). A single stop word is content, because many are words with content in some other language: "die", "hat",
//!   "war", "more". In scripts without spaces a phrase is a word.
//!
//! A digit and a sign of code, mathematics or a currency are content; so, outside of phrases, are an acronym ("WHO")
//! and a capital after the first word ("the Who").
//!
//! Stop words are the NLTK lists in the crate `stop-words`, for languages with spaces. Its ISO lists contain "help",
//! "computer", "system" and "problem", so they are not used. No stop word list has greetings; [`greetings`] is our own.
//! UAX #29 splits text into words; scripts without spaces are split into characters, and so are their phrases.

mod greetings;

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use unicode_normalization::{UnicodeNormalization, char::canonical_combining_class};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

use self::greetings::{ADDRESSEES, EMOTICONS, GREETINGS};

/// The maximum length of an opener, in characters; a longer message counts as content.
const MAX_CHARS: usize = 160;

/// The maximum number of words in an opener: "fewer than 3".
const MAX_WORDS: usize = 2;

/// The maximum number of words in small talk, and of words in it that address someone.
const MAX_TALK_WORDS: usize = 12;
const MAX_ADDRESSEES: usize = 2;

/// The maximum number of words in an opener that are not part of a phrase.
const MAX_OTHER_WORDS: usize = MAX_WORDS;

/// The stop words' languages. Left out: `zh`, which has no spaces; `hinglish` and `sl`, whose lists are dictionaries.
#[rustfmt::skip]
const STOP_WORD_LANGUAGES: [&str; 29] = [
    "ar", "az", "be", "bn", "ca", "da", "de", "el", "en", "es", "eu", "fi", "fr", "he", "hu", "id", "it", "kk", "ne",
    "nl", "no", "pt", "ro", "ru", "sq", "sv", "ta", "tr", "uz",
];

/// Whether a message has content for a title.
pub(super) fn has_content(message: &str) -> bool {
    let message = message.trim();
    if message.chars().nth(MAX_CHARS).is_some() {
        return true;
    }
    let tokens = message
        .split_whitespace()
        .filter(|token| !is_emoticon(token));
    let text = tokens.collect::<Vec<_>>().join(" ").replace('’', "'");
    text.contains("()") || text.chars().any(is_content) || !is_opener(&text)
}

/// Whether a character is always content: a digit, or a sign of code, mathematics or a currency.
fn is_content(c: char) -> bool {
    match c {
        '~' | '～' => false,
        '{' | '}' | '[' | ']' | '\\' | '/' | '@' | '#' | '`' | '%' | '_' => true,
        c => {
            c.is_numeric()
                || matches!(
                    c.general_category(),
                    GeneralCategory::MathSymbol | GeneralCategory::CurrencySymbol
                )
        }
    }
}

fn is_emoticon(token: &str) -> bool {
    // The longest emoticon has seven characters.
    token.len() <= 8 && {
        let token = token.to_ascii_lowercase();
        EMOTICONS.split_whitespace().any(|known| known == token)
    }
}

/// Whether phrases and stop words cover a text.
///
/// `covered[n][others]` is the set of languages, one bit each, in which the first `n` words are covered with that many
/// words outside of phrases.
fn is_opener(text: &str) -> bool {
    let words: Vec<(usize, &str)> = text.unicode_word_indices().collect();
    let keys: Vec<String> = words.iter().map(|(_, word)| key(word)).collect();
    if count_words(&words, &keys) > MAX_WORDS {
        return is_small_talk(&keys);
    }
    let mut covered = vec![[0_u32; MAX_OTHER_WORDS + 1]; words.len() + 1];
    covered[0][0] = u32::MAX;
    for at in 0..words.len() {
        let here = covered[at];
        let longest = WORDS.longest_phrase.min(words.len() - at);
        for length in 1..=longest {
            if WORDS.has_phrase(&keys[at..at + length]) {
                for (others, languages) in here.iter().enumerate() {
                    covered[at + length][others] |= languages;
                }
            }
        }
        let (start, word) = words[at];
        let languages = match text[..start].ends_with('-') {
            true => 0, // "hi-fi"
            false => WORDS.languages_of(&keys[at], word, at == 0),
        };
        for others in 0..MAX_OTHER_WORDS {
            covered[at + 1][others + 1] |= here[others] & languages;
        }
    }
    let [only_phrases, one_other, two_others] = covered[words.len()];
    let stop_words_only = || keys.len() == 2 && !keys.iter().any(|k| WORDS.addressees.contains(k));
    only_phrases != 0
        || (one_other != 0 && words.len() > 1)
        || (two_others != 0 && (words.len() > 2 || stop_words_only()))
}

/// Whether phrases cover the words, except for a few addressees after a phrase.
fn is_small_talk(keys: &[String]) -> bool {
    if keys.len() > MAX_TALK_WORDS {
        return false;
    }
    // The fewest addressees in the first `n` words.
    let mut covered: Vec<Option<usize>> = vec![None; keys.len() + 1];
    covered[0] = Some(0);
    for at in 0..keys.len() {
        let Some(addressees) = covered[at] else {
            continue;
        };
        let mut reach = |end: usize, addressees: usize| {
            let known = covered[end].unwrap_or(usize::MAX);
            covered[end] = Some(known.min(addressees));
        };
        for length in 1..=WORDS.longest_phrase.min(keys.len() - at) {
            if WORDS.has_phrase(&keys[at..at + length]) {
                reach(at + length, addressees);
            }
        }
        if at > 0 && WORDS.addressees.contains(&keys[at]) {
            reach(at + 1, addressees + 1);
        }
    }
    covered[keys.len()].is_some_and(|addressees| addressees <= MAX_ADDRESSEES)
}

/// The number of words; in scripts without spaces a phrase is one word.
fn count_words(words: &[(usize, &str)], keys: &[String]) -> usize {
    let mut least = vec![0_usize; words.len() + 1];
    for end in 1..=words.len() {
        // "哈哈哈哈" is one laugh.
        let repeats = end > 1
            && keys[end - 1] == keys[end - 2]
            && words[end - 1].1.starts_with(has_no_spaces);
        least[end] = least[end - 1] + usize::from(!repeats);
        for length in 2..=WORDS.longest_phrase.min(end) {
            let start = end - length;
            let is_dense = words[start..end]
                .iter()
                .all(|(_, word)| word.starts_with(has_no_spaces));
            if is_dense && least[start] + 1 < least[end] && WORDS.has_phrase(&keys[start..end]) {
                least[end] = least[start] + 1;
            }
        }
    }
    least[words.len()]
}

/// Whether a letter is of a script without spaces between words.
fn has_no_spaces(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0FFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}')
}

static WORDS: LazyLock<WordLists> = LazyLock::new(WordLists::load);

/// Loads the word lists, which takes about 10 ms: at startup, so that no message waits for it on an async worker.
pub(super) fn load() {
    LazyLock::force(&WORDS);
}

/// All word lists, by [`key`].
struct WordLists {
    phrases: HashSet<Vec<String>>,
    /// The phrases [`without_repeats`].
    squeezed_phrases: HashSet<Vec<String>>,
    /// The length of the longest phrase, in words.
    longest_phrase: usize,
    /// The languages that have a stop word: a bit for each of [`STOP_WORD_LANGUAGES`].
    stop_words: HashMap<String, u32>,
    addressees: HashSet<String>,
}

impl WordLists {
    fn load() -> Self {
        let (mut phrases, mut squeezed_phrases) = (HashSet::new(), HashSet::new());
        for phrase in GREETINGS.iter().flat_map(|(_, list)| list.split('|')) {
            let words: Vec<String> = phrase.unicode_words().map(key).collect();
            squeezed_phrases.insert(words.iter().map(|word| without_repeats(word)).collect());
            phrases.insert(words);
        }
        let mut stop_words = HashMap::new();
        for (bit, language) in STOP_WORD_LANGUAGES.iter().enumerate() {
            for word in stop_words::lookup(language).unwrap_or_default() {
                *stop_words.entry(key(word)).or_default() |= 1 << bit;
            }
        }
        Self {
            longest_phrase: phrases.iter().map(Vec::len).max().unwrap_or(0),
            phrases,
            squeezed_phrases,
            stop_words,
            addressees: ADDRESSEES.split_whitespace().map(key).collect(),
        }
    }

    fn has_phrase(&self, keys: &[String]) -> bool {
        // Only elongated words are compared without repeated letters: "God" is not "good".
        self.phrases.contains(keys)
            || (keys.iter().any(|key| is_drawn_out(key)) && {
                let keys: Vec<String> = keys.iter().map(|key| without_repeats(key)).collect();
                self.squeezed_phrases.contains(&keys)
            })
    }

    /// The languages in which a word outside of phrases has no content.
    fn languages_of(&self, key: &str, word: &str, is_first: bool) -> u32 {
        if self.addressees.contains(key) {
            return u32::MAX;
        }
        let mut chars = word.chars();
        let begins_upper = chars.next().is_some_and(char::is_uppercase);
        let is_name = match chars.next() {
            // "I" and "I'm" are not names.
            None | Some('\'') => false,
            Some(_) => begins_upper && (!is_first || !chars.any(char::is_lowercase)),
        };
        if is_name {
            return 0;
        }
        self.stop_words.get(key).copied().unwrap_or(0)
    }
}

/// Folds a word for comparison: compatibility forms, case, accents, and Arabic and Hebrew points.
/// Marks that make a letter in other scripts (vowel signs, dakuten, tones of Thai) stay: only marks above and below,
/// and the fixed positions of Hebrew and Arabic points go (canonical combining classes of UAX #44).
fn key(word: &str) -> String {
    let folded = word
        .nfkd()
        .filter(|&c| !matches!(canonical_combining_class(c), 10..=35 | 200..) && c != '\u{640}')
        .flat_map(char::to_lowercase)
        // A lower-case İ is an i and a dot; ı and the final sigma are other letters.
        .filter(|&c| c != '\u{307}')
        .map(|c| match c {
            'ı' => 'i',
            'ς' => 'σ',
            c => c,
        });
    folded.nfc().collect()
}

/// Whether a word has one character three times in a row, as in "heyyy".
fn is_drawn_out(word: &str) -> bool {
    let chars: Vec<char> = word.chars().collect();
    chars
        .windows(3)
        .any(|run| run[0] == run[1] && run[1] == run[2])
}

/// A word with each run of one character reduced to one.
fn without_repeats(word: &str) -> String {
    let mut last = None;
    word.chars()
        .filter(|&c| last.replace(c) != Some(c))
        .collect()
}

#[cfg(test)]
mod tests;
