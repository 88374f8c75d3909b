//! The language of titles: the setting, what the prompt says of it, and whether a title keeps to it. Pure and total.
//!
//! What is judged is the script, not the language: an English title for a German message passes, and so does a
//! Japanese one for a Chinese message. The complaint is about titles that the reader cannot read ("English titles for
//! Japanese chats"), and telling languages of one script apart on six words would reject good titles.
//!
//! With [`TitleLanguage::Auto`], the scripts of the message decide. They are counted in words, where a character of a
//! script without spaces is half of one. Code in fences and backticks and URLs do not count, nor does what follows
//! the first 4,000 characters. A title fits if it has a letter of a script that is
//! - a third of the message or more: so a mixed message may have a title in either script;
//! - or there at all, and not Latin. "What does 猫 mean" may have a title in Japanese, but Japanese prose with a name
//!   in it gets none in Latin letters alone, even if the title is that name.
//!
//! Han and kana are one writing system, since Japanese mixes them; a title in kana alone needs kana in the message.
//! Hangul is another: Korean text may have Han in it, but a title in Han alone is not Korean. Serbian in Latin letters
//! does not fit a message in Cyrillic ones: an accepted limit.
//!
//! With a tag, a title fits if it has a letter of the script that the language is written in: its script subtag, or
//! else CLDR's likely one (UTS #35, "Likely Subtags"). A language that CLDR does not know is not judged.
//!
//! A title or a message without letters is not judged either.

use std::{borrow::Cow, fmt, str::FromStr};

use icu_locale::{LanguageIdentifier, LocaleExpander};
use icu_properties::{CodePointMapData, props::Script};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

/// How much of a message is looked at.
const LOOK_AT_CHARS: usize = 4_000;

/// A script that is one part in so many of a message is one that its title may have.
const PARTS: usize = 3;

/// Languages with a likely script that many write in Latin letters too, by law or custom.
const ALSO_LATIN: [&str; 8] = ["az", "bs", "kk", "ku", "mn", "sr", "tg", "uz"];

/// The language that titles are written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TitleLanguage {
    /// The language of the message.
    Auto,
    /// This language, whatever the language of the message.
    Tag(LanguageIdentifier),
}

/// A text that names no language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected AUTO or a language tag (BCP 47) such as en, pt-BR or zh-Hant")]
pub struct InvalidLanguage;

impl FromStr for TitleLanguage {
    type Err = InvalidLanguage;

    /// Takes `AUTO` in any case, or a well-formed tag of language, script, region and variants (UTS #35,
    /// `unicode_language_id`; BCP 47 without extensions). The language has two or three letters: the longer ones that
    /// the syntax allows do not exist, so "english" is a mistake.
    fn from_str(text: &str) -> Result<Self, InvalidLanguage> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        match LanguageIdentifier::try_from_str(text) {
            Ok(tag) if !tag.language.is_unknown() && tag.language.as_str().len() <= 3 => {
                Ok(Self::Tag(tag))
            }
            _ => Err(InvalidLanguage),
        }
    }
}

impl fmt::Display for TitleLanguage {
    /// `AUTO`, or the tag in its canonical case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("AUTO"),
            Self::Tag(tag) => write!(f, "{tag}"),
        }
    }
}

/// The sentence of the prompt that names the language. A tag is named as one, since small models know the common tags
/// and a table of names would say no more.
pub(super) fn instruction(language: &TitleLanguage) -> Cow<'static, str> {
    match language {
        TitleLanguage::Auto => "Use the language of the message.".into(),
        TitleLanguage::Tag(tag) => {
            format!("Write it in the language \"{tag}\", whatever the language of the message.")
                .into()
        }
    }
}

/// Whether a title is in a script that its message, or the language asked for, is written in; see the module.
pub(super) fn fits(title: &str, message: &str, language: &TitleLanguage) -> bool {
    let mut title = title.chars().filter_map(script_of).peekable();
    if title.peek().is_none() {
        return true;
    }
    match language {
        TitleLanguage::Auto => {
            let scripts = Scripts::of(message);
            scripts.total() == 0 || title.any(|script| scripts.accept(script))
        }
        TitleLanguage::Tag(tag) => match scripts_of_language(tag) {
            Some(scripts) => title.any(|script| scripts.contains(&script)),
            None => true,
        },
    }
}

/// The scripts of a text, by how much of it is in each.
#[derive(Default)]
struct Scripts {
    /// Half words by writing system, where kana count as Han. A text has few, so this is no map.
    halves: Vec<(Script, usize)>,
    has_kana: bool,
}

impl Scripts {
    fn of(message: &str) -> Self {
        let mut scripts = Self::default();
        for word in prose(message).unicode_words() {
            let mut letters = word.chars().filter_map(script_of);
            let Some(first) = letters.next() else {
                continue;
            };
            // "API를" is one word to Unicode, and not a Latin one.
            let other = letters.find(|&script| script != Script::Latin);
            let script = if first == Script::Latin {
                other.unwrap_or(first)
            } else {
                first
            };
            scripts.has_kana |= is_kana(script);
            let system = if is_kana(script) { Script::Han } else { script };
            let halves = if has_spaces(script) { 2 } else { 1 };
            match scripts
                .halves
                .iter_mut()
                .find(|(known, _)| *known == system)
            {
                Some((_, count)) => *count += halves,
                None => scripts.halves.push((system, halves)),
            }
        }
        scripts
    }

    fn total(&self) -> usize {
        self.halves.iter().map(|(_, halves)| halves).sum()
    }

    fn accept(&self, script: Script) -> bool {
        if is_kana(script) {
            return self.has_kana;
        }
        let halves = self.halves.iter().find(|(known, _)| *known == script);
        halves.is_some_and(|(_, halves)| script != Script::Latin || halves * PARTS >= self.total())
    }
}

/// The script of a letter. None for what is no letter or belongs to several scripts.
fn script_of(c: char) -> Option<Script> {
    if c.general_category_group() != GeneralCategoryGroup::Letter {
        return None;
    }
    match CodePointMapData::<Script>::new().get(c) {
        Script::Common | Script::Inherited | Script::Unknown => None,
        Script::Bopomofo => Some(Script::Han),
        script => Some(script),
    }
}

fn is_kana(script: Script) -> bool {
    matches!(script, Script::Hiragana | Script::Katakana)
}

/// Whether a script's words are what UAX #29 divides. It divides the others about once a syllable.
fn has_spaces(script: Script) -> bool {
    !matches!(
        script,
        Script::Han
            | Script::Hiragana
            | Script::Katakana
            | Script::Thai
            | Script::Lao
            | Script::Khmer
            | Script::Myanmar
            | Script::Tibetan
    )
}

/// The scripts that a language's titles are judged by. None if it is unknown.
fn scripts_of_language(tag: &LanguageIdentifier) -> Option<Vec<Script>> {
    let mut likely = tag.clone();
    LocaleExpander::new_extended().maximize(&mut likely);
    let subtag = likely.script?;
    let mut scripts = match subtag.as_str() {
        // Subtags of ISO 15924 that stand for several scripts, or for a variant of one.
        "Jpan" => vec![Script::Han, Script::Hiragana, Script::Katakana],
        "Hrkt" => vec![Script::Hiragana, Script::Katakana],
        "Hans" | "Hant" | "Hanb" | "Bopo" => vec![Script::Han],
        "Kore" | "Jamo" => vec![Script::Hangul],
        "Aran" => vec![Script::Arabic],
        "Cyrs" => vec![Script::Cyrillic],
        "Latf" | "Latg" => vec![Script::Latin],
        _ => match Script::from(subtag) {
            Script::Common | Script::Inherited | Script::Unknown => return None,
            script => vec![script],
        },
    };
    if tag.script.is_none() && ALSO_LATIN.contains(&tag.language.as_str()) {
        scripts.extend([Script::Latin, Script::Cyrillic]);
    }
    Some(scripts)
}

/// The beginning of a message without fenced code, code spans and URLs.
fn prose(message: &str) -> String {
    let end = message.char_indices().nth(LOOK_AT_CHARS);
    let page = end.map_or(message, |(end, _)| &message[..end]);
    let mut prose = String::with_capacity(page.len());
    let mut in_fence = false;
    for line in page.lines() {
        let start = line.trim_start();
        if start.starts_with("```") || start.starts_with("~~~") {
            // "```code```" within one line is a code span.
            in_fence ^= !start[3..].contains("```");
        } else if !in_fence {
            push_prose(&mut prose, line);
            prose.push('\n');
        }
    }
    prose
}

fn push_prose(prose: &mut String, line: &str) {
    // An odd last backtick opens nothing.
    let pieces = line.split('`').count();
    for (i, piece) in line.split('`').enumerate() {
        if i % 2 == 0 || i + 1 == pieces {
            push_without_urls(prose, piece);
            prose.push(' ');
        }
    }
}

/// Drops URLs, even inside of a text without spaces: a scheme, `://` and the ASCII that follows.
fn push_without_urls(prose: &mut String, mut text: &str) {
    while let Some(at) = text.find("://") {
        let scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
        prose.push_str(text[..at].trim_end_matches(scheme));
        text = text[at..].trim_start_matches(|c: char| c.is_ascii_graphic());
    }
    prose.push_str(text);
}

#[cfg(test)]
mod tests;
