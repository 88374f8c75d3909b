//! Cleans and validates a title model's output: returns a title, or the [`Rejection`]. Pure and total.
//!
//! The caller retries the model, and checks the title's language. An output is unwrapped layer by layer until nothing
//! changes, then validated. It is never truncated to fit.
//!
//! Unwrapped, in this order:
//! 1. Reasoning: `<think>…</think>` and similar tags; text before a lone `</think>`; all channels but the final one;
//!    special tokens, with the turns of other roles (`tokens`).
//! 2. A pair of tags around the whole: `<title>…</title>`.
//! 3. A code fence around the whole, and the requested JSON object's `title`, or a JSON string.
//! 4. A first line that only announces the title (ends in a colon, or is a label), and rules (`---`) around it.
//! 5. HTML's character references, characters that [`single_line`] drops, and backslashes before quotes and markdown.
//! 6. Markdown at the start (heading, quote, list item) and inside (bold, italics, strikethrough, code, links).
//! 7. Quotes of any script, parentheses and brackets, when one pair wraps the whole. Inner quotes stay.
//! 8. A label: `Title:`, `Sure, here's a title:`, `Titre :`, `标题：`, `[Title]`; and a note on the length: `(5 words)`.
//! 9. Final punctuation. Question marks, exclamation marks and the period of an abbreviation stay.
//!
//! An apology is a refusal if it stands alone or before a pause, and "I can't" if it continues as models do: users ask
//! about "Apologies in Business Emails" and write "I Can't Log In to Gmail". With the message at hand, six kinds are
//! detected by their form, unless the message has the same words: refusals (`refusals`), error reports (`reports`),
//! answers to its question (`answers`), a model that refers to itself (`first_person`), several titles (`several`) and
//! leftovers without a topic (`leftovers`).
//!
//! Idempotent: an accepted title cleans to itself.

mod answers;
mod encoding;
mod first_person;
mod leftovers;
mod markup;
mod phrases;
mod quotes;
mod reasoning;
mod refusals;
mod reports;
mod several;
mod tokens;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

use crate::{
    conversation::{
        Title,
        markup::{without_inline_markup, without_leading_markup, without_tag_pair},
        text::{is_invisible, single_line},
    },
    llm::TitleLimits,
};

/// The longest output that is examined: several times the token limit of a title call.
const MAX_OUTPUT_BYTES: usize = 16 * 1024;

/// The longest line that is examined: several times the longest title in bytes.
const MAX_LINE_BYTES: usize = 2 * 1024;

/// The maximum number of wrapping layers. Bounds the work on hostile output.
const MAX_LAYERS: usize = 16;

/// The limits of a generated title. [`Title`]'s own limit of 128 code points also applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of characters as a reader counts them (grapheme clusters).
    pub characters: usize,
    /// The maximum number of words, separated by white space.
    pub words: usize,
}

impl Limits {
    /// The limits unless a policy sets others.
    pub const DEFAULT: Self = Self {
        characters: 60,
        words: 10,
    };

    /// Whether a text is within the limits.
    pub(super) fn check(self, text: &str) -> Result<(), Rejection> {
        if text.split_whitespace().count() > self.words {
            return Err(Rejection::TooManyWords);
        }
        match text.graphemes(true).count() > self.characters {
            true => Err(Rejection::TooLong),
            false => Ok(()),
        }
    }
}

impl From<Limits> for TitleLimits {
    fn from(limits: Limits) -> Self {
        Self {
            words: limits.words,
            characters: limits.characters,
        }
    }
}

/// Why an output cannot be a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Empty, or empty after cleaning.
    #[error("empty")]
    Empty,
    /// No letter and no digit; or only a letter or a number that the message does not contain.
    #[error("neither a letter nor a digit")]
    NoContent,
    /// A default name of untitled conversations, a label without a title, or only words of the task.
    #[error("a placeholder")]
    Placeholder,
    /// Unclosed reasoning, or nothing but reasoning.
    #[error("reasoning")]
    Reasoning,
    /// JSON that is cut off or not the requested object.
    #[error("not the requested shape")]
    NotTheShape,
    /// An unclosed quotation or fence: half a title.
    #[error("cut off")]
    CutOff,
    /// Markdown, HTML or TeX inside the title, or too many wrappers.
    #[error("markup")]
    Markup,
    /// Tokenizer pieces, bytes in another encoding, escapes.
    #[error("not decoded")]
    Garbled,
    /// A URL, or an address without a scheme that the message does not contain.
    #[error("a URL")]
    Url,
    /// The model declines.
    #[error("a refusal")]
    Refusal,
    /// The text of an error that the message does not mention.
    #[error("the report of an error")]
    Report,
    /// The model talks to the user.
    #[error("an answer")]
    Answer,
    /// Several lines that are not an announcement and a title.
    #[error("several lines")]
    SeveralLines,
    /// A secret or a personal number, and at most one more word.
    #[error("redacted")]
    Redacted,
    /// Over the limit of words.
    #[error("too many words")]
    TooManyWords,
    /// Over the limit of characters, over 128 code points, or over the limits of an output.
    #[error("too long")]
    TooLong,
}

/// The title in a text, without a message to compare with.
pub fn clean(output: &str) -> Result<Title, Rejection> {
    clean_within(output, Limits::DEFAULT)
}

/// The title in a text, without a message, within these limits.
pub(super) fn clean_within(output: &str, limits: Limits) -> Result<Title, Rejection> {
    clean_with(output, None, limits)
}

/// The title in a model's output for a message.
pub fn clean_for(output: &str, message: &str, limits: Limits) -> Result<Title, Rejection> {
    clean_with(output, Some(message), limits)
}

fn clean_with(output: &str, message: Option<&str>, limits: Limits) -> Result<Title, Rejection> {
    if output.len() > MAX_OUTPUT_BYTES {
        return Err(Rejection::TooLong);
    }
    let mut text = output.to_owned();
    for _ in 0..MAX_LAYERS {
        let inner = unwrap_layer(&text, message)?;
        if inner == text {
            return judge(&text, message, limits);
        }
        text = inner;
    }
    Err(Rejection::Markup)
}

/// Removes one layer of wrapping; returns the text itself if there is none.
fn unwrap_layer(text: &str, message: Option<&str>) -> Result<String, Rejection> {
    if let Ok(Some(title)) = markup::json_title(text.trim()) {
        return Ok(title);
    }
    let text = reasoning::without_reasoning(text)?;
    let text = tokens::without_tokens(&text, message)?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c));
    if text.is_empty() {
        return Err(Rejection::Empty);
    }
    if markup::is_opaque(text) {
        return Err(Rejection::Markup);
    }
    let inner = without_tag_pair(text);
    if inner != text {
        return Ok(inner.to_owned());
    }
    if let Some(content) = markup::fenced(text)? {
        return Ok(content.to_owned());
    }
    if let Some(title) = markup::json_title(text)? {
        return Ok(title);
    }
    let rest = without_preamble(text)?;
    if rest.len() < text.len() {
        return Ok(rest.to_owned());
    }
    if rest.len() > MAX_LINE_BYTES {
        return Err(Rejection::TooLong);
    }
    if encoding::has_lost_bytes(rest) {
        return Err(Rejection::Garbled);
    }
    let line = markup::without_escapes(&single_line(&markup::without_references(rest)));
    if is_list(&line) {
        return Err(Rejection::Answer);
    }
    let line = without_inline_markup(without_leading_markup(&line));
    let line = phrases::without_label(quotes::without_quotes(&line));
    Ok(without_ending(phrases::without_count(line)).to_owned())
}

const LINE_ENDS: [char; 2] = ['\n', '\r'];

/// The only line of a text, or the text after an announcing line: one line, a fence or an object.
fn without_preamble(text: &str) -> Result<&str, Rejection> {
    let (first, rest) = split_line(text).ok_or(Rejection::NoContent)?;
    let Some((second, after)) = split_line(rest) else {
        return Ok(first);
    };
    if !announces(first) {
        return Err(Rejection::SeveralLines);
    }
    let rest = rest.trim();
    if split_line(after).is_none() {
        Ok(second)
    } else if ["```", "~~~", "{"]
        .iter()
        .any(|start| rest.starts_with(start))
    {
        Ok(rest)
    } else {
        Err(Rejection::SeveralLines)
    }
}

/// The first line that is not blank or a rule, and the rest.
fn split_line(mut text: &str) -> Option<(&str, &str)> {
    while !text.is_empty() {
        let (line, rest) = text.split_once(LINE_ENDS).unwrap_or((text, ""));
        if !is_rule(line.trim()) {
            return Some((line.trim(), rest));
        }
        text = rest;
    }
    None
}

/// Whether a line is blank, a markdown rule or underline, or Python's quotes.
fn is_rule(line: &str) -> bool {
    line.is_empty()
        || (line.len() >= 3
            && ['-', '=', '*', '_', '"']
                .iter()
                .any(|&mark| line.chars().all(|c| c == mark)))
}

fn announces(line: &str) -> bool {
    let words = line.trim_end_matches(['*', '_']);
    let label = without_inline_markup(without_leading_markup(line));
    words.ends_with([':', '：']) || phrases::is_label(&label) || phrases::is_speaker(&label)
}

/// Whether a line lists several titles: "1. Kyoto 2. Tokyo".
fn is_list(line: &str) -> bool {
    [("1. ", " 2. "), ("1) ", " 2) "), ("(1) ", " (2) ")]
        .iter()
        .any(|(first, second)| line.starts_with(first) && line.contains(second))
}

/// Removes final punctuation and a trailing dash. Keeps the period of an abbreviation (U.S.A., Ph.D., p.m.) and the
/// Greek question mark, which NFC turns into a semicolon.
fn without_ending(line: &str) -> &str {
    const ENDINGS: [char; 25] = [
        '.', '…', ',', ';', ':', '‥', '⋯', '。', '．', '｡', '，', '、', '､', '；', '：', '،', '؛',
        '۔', '।', '॥', '։', '።', '၊', '။', '។',
    ];
    let words = line.trim_end_matches(ENDINGS);
    let mut ending = line[words.len()..].chars();
    let line = match ending.next() {
        Some('.') if is_abbreviation(words) => &line[..=words.len()],
        Some(';') if words.ends_with(|c| matches!(c, 'Ά'..='ώ')) => &line[..=words.len()],
        _ => words.trim_end(),
    };
    let head = line.trim_end_matches(['-', '–', '—']);
    if head.ends_with(' ') {
        head.trim_end()
    } else {
        line
    }
}

/// Whether the last word is an abbreviation without its final period: `U.S.A`, `Ph.D`, `p.m`.
fn is_abbreviation(words: &str) -> bool {
    let word = words.rsplit(' ').next().unwrap_or(words);
    let mut parts = word.trim_start_matches('(').rsplit('.');
    let is_letters = |part: &str, most| {
        (1..=most).contains(&part.chars().count()) && part.chars().all(char::is_alphabetic)
    };
    parts.next().is_some_and(|last| is_letters(last, 1))
        && word.contains('.')
        && parts.all(|part| is_letters(part, 2))
}

/// Validates a completely unwrapped text.
fn judge(text: &str, message: Option<&str>, limits: Limits) -> Result<Title, Rejection> {
    if !text.chars().any(is_letter_or_digit) {
        return Err(Rejection::NoContent);
    }
    let wording = phrases::rejection(text).filter(|rejection| {
        // With a message at hand, refusals are judged by `refusals` instead.
        *rejection != Rejection::Refusal
            || message.is_none_or(|message| !refusals::is_in_message(text, message))
    });
    if let Some(rejection) = wording.or_else(|| markup::rejection(text, message)) {
        return Err(rejection);
    }
    if let Some(message) = message {
        if refusals::is_refusal(text, message) {
            return Err(Rejection::Refusal);
        }
        if reports::is_report(text, message) {
            return Err(Rejection::Report);
        }
        if answers::is_answer(text, message)
            || answers::is_advice(text, message)
            || first_person::speaks(text, message)
            || several::are_titles(text, message)
        {
            return Err(Rejection::Answer);
        }
        if let Some(rejection) = leftovers::rejection(text, message) {
            return Err(rejection);
        }
    }
    limits.check(text)?;
    Title::new(text).map_err(|_| Rejection::TooLong)
}

fn is_letter_or_digit(c: char) -> bool {
    matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number
    )
}

#[cfg(test)]
mod tests;
