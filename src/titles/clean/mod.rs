//! What becomes of a title model's output: a title that may be stored, or the reason why there is none. Pure and total.
//! Calling the model again, and comparing the title's language with the message's, belong to the caller.
//!
//! An output is unwrapped layer by layer until nothing changes, then judged. It is never cut to fit.
//!
//! Unwrapped, in this order:
//! 1. Reasoning: `<think>…</think>` and its kin; what precedes a lone `</think>`; all channels but the final one; and
//!    the tokens that end a turn.
//! 2. A pair of tags around the whole: `<title>…</title>`.
//! 3. A code fence around the whole, and the asked-for JSON object's `title`, or a JSON string.
//! 4. A first line that only announces, by ending in a colon or being a label, and rules (`---`) around the title.
//! 5. What [`single_line`] drops.
//! 6. Markdown at the start (heading, quote, list item) and inside (bold, italics, strikethrough, code, links).
//! 7. Quotes of any script, and square brackets, when one pair wraps the whole. Inner quotes stay.
//! 8. A label: `Title:`, `Sure, here's a title:`, `Titre :`, `标题：`.
//! 9. Punctuation that ends a sentence or leads on. Question and exclamation marks carry meaning and stay.
//!
//! Rejected: what a [`Rejection`] names. A title cleans to itself, since accepting one means that no rule changes it.

mod markup;
mod phrases;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

use crate::conversation::{
    Title,
    markup::{without_inline_markup, without_leading_markup, without_tag_pair},
    text::{is_invisible, single_line},
};

/// The longest output that is looked at: several times the token limit of a title call.
const MAX_OUTPUT_BYTES: usize = 16 * 1024;

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
    /// A URL with a scheme.
    #[error("a URL")]
    Url,
    /// The model declines.
    #[error("a refusal")]
    Refusal,
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

/// The title in a model's output; see the module for the rules.
pub fn clean(output: &str) -> Result<Title, Rejection> {
    if output.len() > MAX_OUTPUT_BYTES {
        return Err(Rejection::TooLong);
    }
    let mut text = output.to_owned();
    for _ in 0..MAX_LAYERS {
        let inner = unwrap_layer(&text)?;
        if inner == text {
            return judge(&text);
        }
        text = inner;
    }
    Err(Rejection::Markup)
}

/// Takes off what wraps a text; gives the text itself if nothing does.
fn unwrap_layer(text: &str) -> Result<String, Rejection> {
    if let Ok(Some(title)) = markup::json_title(text.trim()) {
        return Ok(title);
    }
    let text = markup::without_reasoning(text)?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c));
    if text.is_empty() {
        return Err(Rejection::Empty);
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
    let line = single_line(rest);
    let line = without_inline_markup(without_leading_markup(&line));
    let line = phrases::without_label(markup::without_quotes(&line));
    Ok(without_ending(line).to_owned())
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
    } else if rest.starts_with("```") || rest.starts_with('{') {
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

/// Whether a line is blank or a markdown rule or underline.
fn is_rule(line: &str) -> bool {
    line.is_empty()
        || (line.len() >= 3
            && ['-', '=', '*', '_']
                .iter()
                .any(|&mark| line.chars().all(|c| c == mark)))
}

fn announces(line: &str) -> bool {
    let words = line.trim_end_matches(['*', '_']);
    words.ends_with([':', '：']) || phrases::is_label(without_leading_markup(line))
}

/// A line without the punctuation that ends a sentence or leads on, and without a dash that nothing follows.
fn without_ending(line: &str) -> &str {
    const ENDINGS: [char; 25] = [
        '.', '…', ',', ';', ':', '‥', '⋯', '。', '．', '｡', '，', '、', '､', '；', '：', '،', '؛',
        '۔', '।', '॥', '։', '።', '၊', '။', '។',
    ];
    let line = line.trim_end_matches(ENDINGS).trim_end();
    let head = line.trim_end_matches(['-', '–', '—']);
    if head.ends_with(' ') {
        head.trim_end()
    } else {
        line
    }
}

/// Decides on a text that no rule changes any more.
fn judge(text: &str) -> Result<Title, Rejection> {
    if !text.chars().any(is_letter_or_digit) {
        return Err(Rejection::NoContent);
    }
    if let Some(rejection) = phrases::rejection(text).or_else(|| markup::rejection(text)) {
        return Err(rejection);
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
