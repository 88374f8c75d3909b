//! Tokenises sentences into words, and writes titles in the case of their language.

use super::languages::Language;

/// Words that stay in lower case in Title Case.
const SMALL_WORDS: &str = "a an the and or but nor of to in on at for with by from as vs";
/// Words in all capitals in Title Case.
const ACRONYMS: &str = "ai api aws cpu css csv gpt gpu hr html http ios ira json llm pc pdf php seo sql ssh tv ui url usa usb ux vpn xml";

/// Contractions that are often typed without the apostrophe.
const CONTRACTIONS: &str =
    "can't couldn't didn't doesn't don't hasn't isn't shouldn't wasn't won't wouldn't";

const SIGNS: [&str; 6] = ["=", "×", "÷", "*", "/", "&"];

/// A word as typed, and as compared.
#[derive(Clone)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// The word without surrounding punctuation.
    pub(super) bare: &'a str,
    pub(super) key: String,
}

impl<'a> Word<'a> {
    /// A word as written in a text.
    pub(super) fn of(text: &'a str) -> Self {
        // "2x + 5 = 17"
        let bare = if SIGNS.contains(&text) {
            text
        } else {
            trimmed(text)
        };
        Self {
            text,
            bare,
            key: bare.to_lowercase(),
        }
    }

    /// Whether it is a content word: not an article, a joint or punctuation.
    pub(super) fn is_content(&self, language: &Language) -> bool {
        let key = self.key.as_str();
        !key.is_empty() && !language.joints.contains(key) && !language.glue.contains(key)
    }
}

/// The words of a sentence, without URLs and noise.
pub(super) fn words_of(sentence: &str) -> Vec<Word<'_>> {
    let apart = |c: char| c.is_whitespace() || matches!(c, '"' | '{' | '}' | '`' | '|');
    let words = sentence.split(apart).filter(|word| !word.is_empty());
    // Skip URLs, and overlong words, which are noise.
    let words = words
        .filter(|word| !word.contains("://") && !word.contains("mailto:") && word.len() <= 240);
    words.map(Word::of).collect()
}

/// Trims punctuation and markup; keeps the symbols of names (`C++`, `C#`, `.env`, `__init__`, `f()`).
pub(super) fn trimmed(text: &str) -> &str {
    let edge = |c: char| {
        !c.is_alphanumeric()
            && !is_mark(c)
            && !matches!(c, '+' | '#' | '_' | '$' | '@' | '%' | '€' | '°')
    };
    let start = text.trim_start_matches(|c| edge(c) && c != '.' || c == '#');
    let bare = start.trim_end_matches(edge);
    // "f(x)" and "Vec<T>" keep their closing bracket.
    let closer = [('(', ')'), ('<', '>'), ('[', ']')]
        .iter()
        .find(|(open, close)| bare.contains(*open) && !bare.contains(*close))
        .filter(|(_, close)| start[bare.len()..].starts_with(*close));
    &start[..bare.len() + usize::from(closer.is_some())]
}

/// Whether a character is a combining mark; vowel signs are parts of words.
fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

/// Whether a list of words contains a word.
fn has(list: &str, word: &str) -> bool {
    list.split(' ').any(|known| known == word)
}

/// Joins words in Title Case if the language uses it, else with one initial capital.
pub(super) fn cased(words: &[Word], language: &Language) -> String {
    let last = words.len().saturating_sub(1);
    let cased = words.iter().enumerate().map(|(at, word)| {
        let text = word.bare;
        let forms = language.headwords.split(" | ");
        let mut forms = forms.filter_map(|forms| forms.split_once(' '));
        let headword = forms.find(|(typed, _)| *typed == word.key);
        let is_unit = at > 0
            && text.len() <= 3
            && !text.contains(['a', 'e', 'i', 'o', 'u'])
            && words[at - 1].key.ends_with(|c: char| c.is_ascii_digit());
        let mut cased = match headword {
            Some((_, form)) if at == 0 => form.to_owned(),
            // "60 mph"
            _ if is_unit => text.to_owned(),
            _ if at == 0 && language.dotted_i && text.starts_with('i') => {
                format!("İ{}", &text[1..])
            }
            _ if !language.title_case => {
                if at == 0 {
                    capitalised(text)
                } else {
                    text.to_owned()
                }
            }
            _ if has(ACRONYMS, &word.key) => text.to_uppercase(),
            _ if at > 0 && has(SMALL_WORDS, &word.key) => text.to_owned(),
            _ => {
                let mut full = CONTRACTIONS.split(' ');
                capitalised(
                    full.find(|full| full.replace('\'', "") == text)
                        .unwrap_or(text),
                )
            }
        };
        if at < last && word.text.ends_with(':') {
            cased.push(':');
        }
        cased
    });
    cased.collect::<Vec<_>>().join(" ")
}

/// Capitalises a word; leaves names like `iPhone`, `C++` and `__init__` unchanged.
fn capitalised(word: &str) -> String {
    let plain = word.chars().all(|c| {
        c.is_lowercase() || !c.is_alphabetic() && !matches!(c, '_' | '.' | ':' | '/' | '+' | '#')
    });
    let mut characters = word.chars();
    match characters.next() {
        Some(first) if plain => first.to_uppercase().chain(characters).collect(),
        _ => word.to_owned(),
    }
}
