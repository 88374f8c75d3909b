//! What becomes of a title model's output: a title that may be stored, or the reason why there is none. Pure and total.
//! Calling the model again, and comparing the title's language with the message's, belong to the caller.
//!
//! An output is unwrapped layer by layer until nothing changes, then judged. It is never cut to fit.
//!
//! Unwrapped, in this order:
//! 1. Reasoning: `<think>…</think>` and its kin; what precedes a lone `</think>`; all channels but the final one; and
//!    special tokens with the turns of others (`tokens`).
//! 2. A pair of tags around the whole: `<title>…</title>`.
//! 3. A code fence around the whole, and the asked-for JSON object's `title`, or a JSON string.
//! 4. A first line that only announces, by ending in a colon or being a label, and rules (`---`) around the title.
//! 5. HTML's character references, what [`single_line`] drops, and backslashes before quotes and markdown.
//! 6. Markdown at the start (heading, quote, list item) and inside (bold, italics, strikethrough, code, links).
//! 7. Quotes of any script, parentheses and brackets, when one pair wraps the whole. Inner quotes stay.
//! 8. A label: `Title:`, `Sure, here's a title:`, `Titre :`, `标题：`, `[Title]`; and a note on the length: `(5 words)`.
//! 9. Punctuation that ends a sentence or leads on. Question and exclamation marks carry meaning and stay, and so does
//!    the period of an abbreviation.
//!
//! Regrets refuse when they stand alone or before a pause, and "I can't" when it goes on as models go on: people ask
//! about "Apologies in Business Emails" and write "I Can't Log In to Gmail". With the message at hand, refusals are
//! told by their form, unless it says so itself (`refusals`), and so are reports of errors (`reports`) and answers to
//! its question (`answers`).
//!
//! Rejected: what a [`Rejection`] names. A title cleans to itself, since accepting one means that no rule changes it.

mod answers;
mod markup;
mod phrases;
mod pieces;
mod quotes;
mod reasoning;
mod refusals;
mod reports;
mod tokens;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

use crate::conversation::{
    Title,
    markup::{without_inline_markup, without_leading_markup, without_tag_pair},
    text::{is_invisible, single_line},
};

/// The longest output that is looked at: several times the token limit of a title call.
const MAX_OUTPUT_BYTES: usize = 16 * 1024;

/// The longest line that is looked at: a title of the longest characters, several times over.
const MAX_LINE_BYTES: usize = 2 * 1024;

/// How deep a title may be wrapped. Bounds the work on hostile output.
const MAX_LAYERS: usize = 16;

/// The most characters of a generated title, as a reader counts them.
const MAX_CHARACTERS: usize = 60;

/// The most words of a generated title, as white space divides them; so a line without any is one word.
const MAX_WORDS: usize = 10;

/// Why an output cannot be a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nothing at all, or nothing once it is cleaned.
    #[error("empty")]
    Empty,
    /// Neither a letter nor a digit.
    #[error("neither a letter nor a digit")]
    NoContent,
    /// What an application calls a conversation that has no title, or a label without a title.
    #[error("a placeholder")]
    Placeholder,
    /// Reasoning that does not end, or that is all there is.
    #[error("reasoning")]
    Reasoning,
    /// JSON that is cut off or not the asked-for object.
    #[error("not the asked-for shape")]
    NotTheShape,
    /// A quotation or a fence that is not closed: half a title.
    #[error("cut off")]
    CutOff,
    /// Markdown, HTML or TeX that is more than a wrapper, or too many wrappers.
    #[error("markup")]
    Markup,
    /// Pieces of a tokenizer, bytes in another encoding, escapes.
    #[error("not decoded")]
    Garbled,
    /// A URL with a scheme.
    #[error("a URL")]
    Url,
    /// The model declines.
    #[error("a refusal")]
    Refusal,
    /// The text of an error of which the message says nothing.
    #[error("the report of an error")]
    Report,
    /// The model talks to the user.
    #[error("an answer")]
    Answer,
    /// More than one line, and not just an announcement and a title.
    #[error("several lines")]
    SeveralLines,
    /// Over 10 words.
    #[error("over 10 words")]
    TooManyWords,
    /// Over 60 characters as a reader counts them, over 128 code points, or an output of pages.
    #[error("too long")]
    TooLong,
}

/// The title in a text that answers no message; see the module for the rules.
pub fn clean(output: &str) -> Result<Title, Rejection> {
    clean_with(output, None)
}

/// The title in what a model answered to a message; see the module for the rules.
pub fn clean_for(output: &str, message: &str) -> Result<Title, Rejection> {
    clean_with(output, Some(message))
}

fn clean_with(output: &str, message: Option<&str>) -> Result<Title, Rejection> {
    if output.len() > MAX_OUTPUT_BYTES {
        return Err(Rejection::TooLong);
    }
    let mut text = output.to_owned();
    for _ in 0..MAX_LAYERS {
        let inner = unwrap_layer(&text, message)?;
        if inner == text {
            return judge(&text, message);
        }
        text = inner;
    }
    Err(Rejection::Markup)
}

/// Takes off what wraps a text; gives the text itself if nothing does.
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
    if pieces::has_lost_bytes(rest) {
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

/// The one line of a text, or what follows a line that announces it: one line, a fence or an object.
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

/// The first line that says something, and what follows it.
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

/// Whether a line is a list of several: "1. Kyoto 2. Tokyo".
fn is_list(line: &str) -> bool {
    [("1. ", " 2. "), ("1) ", " 2) "), ("(1) ", " (2) ")]
        .iter()
        .any(|(first, second)| line.starts_with(first) && line.contains(second))
}

/// A line without the punctuation that ends a sentence or leads on, and without a dash that nothing follows. The period
/// of an abbreviation (U.S.A., Ph.D., p.m.) and the Greek question mark, which NFC makes a semicolon, stay.
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

/// Whether the last word is letters between periods, its last one missing: `U.S.A`, `Ph.D`, `p.m`.
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

/// Decides on a text that no rule changes any more.
fn judge(text: &str, message: Option<&str>) -> Result<Title, Rejection> {
    if !text.chars().any(is_letter_or_digit) {
        return Err(Rejection::NoContent);
    }
    let wording = phrases::rejection(text).filter(|rejection| {
        // The form decides where the message may say so itself.
        *rejection != Rejection::Refusal
            || message.is_none_or(|message| !refusals::is_said(text, message))
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
        if answers::is_answer(text, message) {
            return Err(Rejection::Answer);
        }
    }
    if text.split_whitespace().count() > MAX_WORDS {
        return Err(Rejection::TooManyWords);
    }
    if text.graphemes(true).count() > MAX_CHARACTERS {
        return Err(Rejection::TooLong);
    }
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
