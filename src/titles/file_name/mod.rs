//! Makes a title from an attachment's file name, for a message without text. Pure and total; calls no model.
//!
//! The name is the user's wording, so it is tidied, not rewritten:
//! 1. Percent-encoding is decoded if all of it is UTF-8, then folders go (`/` and `\`), then what [`single_line`]
//!    drops.
//! 2. Extensions go, `.tar.gz` as one; so do the marks of a second copy, `(1)`, and UUIDs.
//! 3. `_` is a space. So are `-` and `.` in a name that has no white space, except between digits (`2025-04`, `v1.2`),
//!    and after a single letter (`e-mail`). Three or more capitalised parts in one word are words (`MyThesisDraft`),
//!    two are a name (`JavaScript`, `GitHub`).
//! 4. The first letter becomes a capital if its word has none (`iPhone` has), in scripts whose sentences begin so.
//! 5. A name longer than a title may be is cut, at a word if it has any. That is not done to a model's output, where
//!    the rest would be a thought cut short; the beginning of a file's name is how people know a file.
//!
//! A name says something if one of its words is none that cameras, scanners, browsers and systems give ([`names`]), no
//! number, no hash and no single letter. At last the title is one that [`clean`] takes, so placeholders, refusals and
//! markup are rejected as they are from a model.

mod names;

use std::{collections::HashSet, sync::LazyLock};

use icu_properties::{CodePointMapData, props::Script};
use percent_encoding::percent_decode_str;
use unicode_segmentation::UnicodeSegmentation;
use uuid::Uuid;

use self::names::{COMPRESSED, GENERATED_NAMES};
use super::clean::clean;
use crate::conversation::{Title, text::single_line};

/// The longest name that is examined; file systems allow 255 bytes.
const MAX_FILE_NAME_BYTES: usize = 4 * 1024;

/// The limits that [`clean`] sets.
const MAX_WORDS: usize = 10;
const MAX_CHARACTERS: usize = 60;
const MAX_CODE_POINTS: usize = 128;

/// The length of a UUID with hyphens.
const UUID_BYTES: usize = 36;

/// The title from the first name with content. `None` if no name has any.
pub(super) fn title_from(names: &[&str]) -> Option<Title> {
    names.iter().find_map(|name| title_of(name))
}

fn title_of(name: &str) -> Option<Title> {
    if name.len() > MAX_FILE_NAME_BYTES {
        return None;
    }
    let decoded = percent_decode_str(name).decode_utf8();
    let name = decoded.as_deref().unwrap_or(name);
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let name = single_line(name);
    let stem = without_uuids(without_copy_mark(without_extension(&name)));
    if !has_content(&stem) {
        return None;
    }
    let text = single_line(&separate_words(&stem));
    clean(&cut(&capitalised(&text))).ok()
}

/// Removes the extension. `.gitignore` and "Dr. Smith" have none.
fn without_extension(name: &str) -> &str {
    let split = |name| -> Option<(&str, &str)> {
        let (stem, extension) = str::rsplit_once(name, '.')?;
        let is_extension = (1..=5).contains(&extension.len())
            && extension.bytes().all(|b| b.is_ascii_alphanumeric())
            && extension.bytes().any(|b| b.is_ascii_alphabetic());
        (is_extension && !stem.is_empty()).then_some((stem, extension))
    };
    match split(name) {
        Some((stem, extension)) if is_one_of(COMPRESSED, extension) => {
            split(stem).map_or(stem, |(stem, _)| stem)
        }
        Some((stem, _)) => stem,
        None => name,
    }
}

/// Removes the number that browsers and file managers add to a copy: "report (1)".
fn without_copy_mark(stem: &str) -> &str {
    let unmarked = || {
        let (head, number) = stem.trim_end().strip_suffix(')')?.rsplit_once('(')?;
        // "Report (2025)" is the year.
        let is_mark = (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        (is_mark && !head.trim().is_empty()).then_some(head.trim_end())
    };
    unmarked().unwrap_or(stem)
}

fn without_uuids(stem: &str) -> String {
    let mut text = String::with_capacity(stem.len());
    let mut rest = stem;
    while let Some(first) = rest.chars().next() {
        let uuid = rest.get(..UUID_BYTES).filter(|head| head.contains('-'));
        match uuid.is_some_and(|head| Uuid::try_parse(head).is_ok()) {
            true => rest = &rest[UUID_BYTES..],
            false => {
                text.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    text
}

/// Whether a stem has a word that a user chose.
fn has_content(stem: &str) -> bool {
    let words = stem.split(|c: char| !c.is_alphanumeric() && !is_mark(c));
    words.filter(|word| !is_random(word)).any(|word| {
        // "IMG1234" and "截屏2025" have no space before the number.
        word.split(char::is_numeric).any(|word| {
            let lower = word.to_lowercase();
            let is_word = word.chars().nth(1).is_some() || word.chars().any(|c| !is_cased(c));
            is_word && !lower.is_empty() && !GENERATED_WORDS.contains(lower.as_str())
        })
    })
}

static GENERATED_WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    GENERATED_NAMES
        .iter()
        .flat_map(|list| list.split_whitespace())
        .collect()
});

/// Whether a word looks like a hash or another random identifier.
fn is_random(word: &str) -> bool {
    let has_digit = word.bytes().any(|b| b.is_ascii_digit());
    let is_hex = word.len() >= 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes = word.as_bytes();
    let changes = bytes
        .windows(2)
        .filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit());
    // "MyThesis2025v3" changes three times.
    (is_hex && has_digit) || (word.is_ascii() && word.len() >= 10 && changes.count() >= 4)
}

/// Separates the words of a stem.
fn separate_words(stem: &str) -> String {
    let has_spaces = stem.contains(char::is_whitespace);
    let chars: Vec<char> = stem.chars().collect();
    let mut text = String::with_capacity(stem.len() + 8);
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let after = chars.get(at + 1);
        let is_digit = |c: char| c.is_ascii_digit();
        let in_number = before.is_some_and(is_digit) && after.is_some_and(|&c| is_digit(c));
        let after_letter = || {
            let first = at < 2 || !chars[at - 2].is_alphanumeric();
            first && before.is_some_and(is_cased)
        };
        match c {
            '_' => text.push(' '),
            '-' if !has_spaces && !in_number && !after_letter() => text.push(' '),
            // Keep the leading dot of a hidden file.
            '.' if !has_spaces && !in_number && at > 0 => text.push(' '),
            c => text.push(c),
        }
    }
    let words: Vec<String> = text.split_whitespace().map(split_camel_case).collect();
    words.join(" ")
}

/// Splits "MyThesisDraft" into words. Leaves words of two parts, or with a part of a single letter.
fn split_camel_case(word: &str) -> String {
    let chars: Vec<char> = word.chars().collect();
    let begins_part = |at: &usize| {
        chars[*at].is_uppercase() && at.checked_sub(1).is_none_or(|at| chars[at].is_lowercase())
    };
    let starts: Vec<usize> = (0..chars.len()).filter(begins_part).collect();
    let ends = starts.iter().skip(1).copied().chain([chars.len()]);
    let are_words = starts.iter().zip(ends).all(|(&start, end)| {
        end - start > 1 && chars[start + 1..end].iter().all(|c| c.is_lowercase())
    });
    if starts.len() < 3 || starts[0] != 0 || !are_words {
        return word.to_owned();
    }
    let mut text = String::with_capacity(word.len() + starts.len());
    for (at, &c) in chars.iter().enumerate() {
        if at > 0 && starts.contains(&at) {
            text.push(' ');
        }
        text.push(c);
    }
    text
}

/// Capitalises the first word, unless it has a capital.
fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let word = text.split_whitespace().next().unwrap_or("");
    match chars.next() {
        Some(first) if is_cased(first) && !word.chars().any(char::is_uppercase) => {
            let upper = first.to_uppercase();
            // The capital of "ß" is two letters.
            let upper = if upper.len() == 1 {
                upper.to_string()
            } else {
                first.to_string()
            };
            upper + chars.as_str()
        }
        _ => text.to_owned(),
    }
}

/// Whether a character is of a script whose sentences start with a capital. Georgian has capitals but is not.
fn is_cased(c: char) -> bool {
    c.is_alphabetic()
        && matches!(
            CodePointMapData::<Script>::new().get(c),
            Script::Latin | Script::Greek | Script::Cyrillic | Script::Armenian
        )
}

/// Whether a character is a combining mark. Indic vowel signs are, and belong to words.
fn is_mark(c: char) -> bool {
    use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

    c.general_category_group() == GeneralCategoryGroup::Mark
}

/// Truncates a text to a title's limits: at a word, or inside a first word that is too long.
fn cut(text: &str) -> String {
    let fits = |text: &str| {
        text.graphemes(true).count() <= MAX_CHARACTERS && text.chars().count() <= MAX_CODE_POINTS
    };
    let mut title = String::new();
    for word in text.split_whitespace().take(MAX_WORDS) {
        let longer = match title.is_empty() {
            true => word.to_owned(),
            false => format!("{title} {word}"),
        };
        if !fits(&longer) {
            break;
        }
        title = longer;
    }
    if title.is_empty() {
        for grapheme in text.graphemes(true) {
            let longer = format!("{title}{grapheme}");
            if !fits(&longer) {
                break;
            }
            title = longer;
        }
    }
    title
}

fn is_one_of(list: &str, word: &str) -> bool {
    list.split_whitespace()
        .any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests;
