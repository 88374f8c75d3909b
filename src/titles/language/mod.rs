//! The language of titles: the setting, its sentence in the prompt, and the check of a title's script. Pure and total.
//!
//! Only the script is checked, not the language: an English title for a German message passes. The check rejects titles
//! that the user cannot read ("English titles for Japanese chats"); detecting the language of six words would also
//! reject good titles.
//!
//! Expected scripts:
//! - With [`TitleLanguage::Auto`], the scripts of the request's own words (`request`): of the first and the last
//!   sentence, outside of code, quotations and URLs. If only one of the two introduces quoted text ("translate:"), that
//!   one decides.
//! - Words are counted per script; a character of a script without spaces is half a word. Latin letters in a sentence
//!   of another script count if they are a third of it or more, so Japanese prose with a Latin name still expects
//!   Japanese.
//! - Words of another script between words of one script do not count ("what does 猫 mean" is English). Around Latin
//!   words this needs function words.
//! - With a tag, the script that the language is written in: its script subtag, or CLDR's likely one (UTS #35, "Likely
//!   Subtags").
//!
//! A title fits if
//! - it has a letter of an expected script;
//! - its letters of other scripts, except Latin and single Greek ones (symbols), are in the message verbatim;
//! - its Latin words, if Latin is not expected, are loanwords: no function words ("Planning a Trip to 京都"), and they
//!   do not outweigh the rest;
//! - its Han characters belong to the expected standard (`han`: Simplified, Traditional, Japanese) or to the message.
//!   An explicit Hans or Hant, by script or region (`zh-TW`), is binding; otherwise the message decides.
//!
//! Han and kana are one writing system, since Japanese mixes them; kana require a Japanese message. Hangul is another.
//! Serbian follows the script of its message, or that of `sr-Latn` or `sr-Cyrl`.
//!
//! Titles and messages without letters pass, and so does every title in a language that CLDR does not know.

mod han;
mod request;

use std::{borrow::Cow, cell::LazyCell, fmt, str::FromStr};

use icu_locale::{LanguageIdentifier, LocaleExpander, subtags};
use icu_properties::{CodePointMapData, props::Script};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

pub(super) use self::han::load;
use self::{
    han::Standard,
    request::{RequestText, introduces_quote},
};

/// Latin is expected if at least one in this many words of a sentence is Latin.
const LATIN_DIVISOR: usize = 3;

/// Latin function words; a text with one is Latin prose.
const FUNCTION_WORDS: &str = "a an the of to in on for and with from by at is are or as about into between how what why \
     does do can could please me my i you your it this that these mean means nach für und mit von der die das ein eine wie \
     was bitte de la le les du des et pour avec sur que el los las y para con del una un por como qué o os da do em e di per \
     come il lo";

/// Characters that mark a text of only Han characters as Chinese rather than Japanese.
const CHINESE_FUNCTION: &str =
    "的了是我你您他她它們们這这那個个在嗎吗呢吧把很和怎麼么請请給给對对說说會会還还沒没就都";

/// Languages that are also written in Latin letters besides their likely script.
const ALSO_LATIN: [&str; 8] = ["az", "bs", "kk", "ku", "mn", "sr", "tg", "uz"];

/// The language that titles are written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TitleLanguage {
    /// The language of the message.
    Auto,
    /// This language, whatever the language of the message.
    Tag(LanguageIdentifier),
}

/// The text is not a language setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected AUTO or a language tag (BCP 47) such as en, pt-BR or zh-Hant")]
pub struct InvalidLanguage;

impl FromStr for TitleLanguage {
    type Err = InvalidLanguage;

    /// Parses `AUTO` in any case, or a well-formed tag of language, script, region and variants (UTS #35,
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

/// The prompt's sentence about the language. It contains the tag itself, since small models know the common tags.
pub(super) fn instruction(language: &TitleLanguage) -> Cow<'static, str> {
    match language {
        TitleLanguage::Auto => "Use the language of the message.".into(),
        TitleLanguage::Tag(tag) => {
            format!("Write it in the language \"{tag}\", whatever the language of the message.")
                .into()
        }
    }
}

/// Whether a title's script is that of its message, or of the configured language.
pub(super) fn fits(title: &str, message: &str, language: &TitleLanguage) -> bool {
    if !title.chars().any(|c| script_of(c).is_some()) {
        return true;
    }
    let expected = match language {
        TitleLanguage::Auto => Expected::of_message(message),
        TitleLanguage::Tag(tag) => match Expected::of_language(tag, message) {
            Some(expected) => expected,
            None => return true,
        },
    };
    expected.scripts.is_empty() || expected.accepts(title, message)
}

/// The expected script of a title.
#[derive(Default)]
struct Expected {
    /// The accepted scripts; empty if unknown.
    scripts: Vec<Script>,
    /// The expected standard of Han characters.
    standard: Option<Standard>,
}

impl Expected {
    fn of_message(message: &str) -> Self {
        let request = RequestText::of(message);
        let (first, last) = (Sentence::of(&request.first), Sentence::of(&request.last));
        let (first_asks, last_asks) = (
            introduces_quote(&request.first),
            introduces_quote(&request.last),
        );
        let (first_scripts, last_scripts) = (first.scripts(), last.scripts());
        let are_apart = !first_scripts.iter().any(|s| last_scripts.contains(s));
        let (mut scripts, text) = match (first_asks, last_asks) {
            (true, false) if are_apart => (first_scripts, request.first),
            (false, true) if are_apart => (last_scripts, request.last),
            _ => {
                let scripts = [first_scripts, last_scripts].concat();
                (scripts, format!("{}\n{}", request.first, request.last))
            }
        };
        let mut standard = None;
        if scripts.contains(&Script::Han) {
            let is_japanese = is_japanese(&text);
            if is_japanese != Some(false) {
                scripts.extend([Script::Hiragana, Script::Katakana]);
            }
            standard = match is_japanese {
                Some(true) => Some(Standard::Jpan),
                _ if scripts.contains(&Script::Hangul) => None,
                _ => Standard::of_chinese(&text),
            };
        }
        Self { scripts, standard }
    }

    /// `None` if the language is unknown.
    fn of_language(tag: &LanguageIdentifier, message: &str) -> Option<Self> {
        let (scripts, subtag) = scripts_of_language(tag)?;
        let is_explicit = tag.script.is_some() || tag.region.is_some();
        let standard = match subtag.as_str() {
            "Jpan" => Some(Standard::Jpan),
            "Hans" if is_explicit => Some(Standard::Hans),
            "Hant" | "Hanb" if is_explicit => Some(Standard::Hant),
            "Hans" | "Hant" => {
                let own = Self::of_message(message);
                own.standard.filter(|standard| *standard != Standard::Jpan)
            }
            _ => None,
        };
        Some(Self { scripts, standard })
    }

    fn accepts(&self, title: &str, message: &str) -> bool {
        let expects = |script: Script| self.scripts.contains(&script);
        if !title.chars().filter_map(script_of).any(expects) {
            return false;
        }
        if let Some(standard) = self.standard
            && title
                .chars()
                .any(|c| !standard.has(c) && !message.contains(c))
        {
            return false;
        }
        let lower = LazyCell::new(|| message.to_lowercase());
        let quotes = |text: &str| lower.contains(&text.trim().to_lowercase());
        let mut rest = title;
        while let Some((run, script, after)) = next_run(rest) {
            rest = after;
            if expects(script) {
                continue;
            }
            let is_quoted = match script {
                Script::Latin => !has_function_word(run) || quotes(run),
                Script::Greek => run.chars().count() == 1 || quotes(run),
                _ => quotes(run),
            };
            if !is_quoted {
                return false;
            }
        }
        expects(Script::Latin) || !is_mostly_latin(title, quotes)
    }
}

/// The next run of letters of one script, with the other characters between them, its script, and the rest.
fn next_run(text: &str) -> Option<(&str, Script, &str)> {
    let (start, script) = text
        .char_indices()
        .find_map(|(at, c)| Some((at, script_of(c)?)))?;
    let text = &text[start..];
    let mut end = 0;
    for (at, c) in text.char_indices() {
        match script_of(c) {
            Some(other) if other == script => end = at + c.len_utf8(),
            Some(_) => break,
            // Only Latin runs continue after white space, so that a phrase is one run.
            None if script == Script::Latin || !c.is_whitespace() => {}
            None => break,
        }
    }
    Some((&text[..end], script, &text[end..]))
}

fn has_function_word(text: &str) -> bool {
    text.unicode_words()
        .any(|word| FUNCTION_WORDS.split_whitespace().any(|known| known == word))
}

/// Whether a title is mainly Latin: three or more Latin words that are not in the message outweigh the rest.
fn is_mostly_latin(title: &str, quotes: impl Fn(&str) -> bool) -> bool {
    let (mut latin, mut latin_words, mut others) = (0, 0, 0);
    for word in title.unicode_words() {
        match script_of_word(word) {
            Some(Script::Latin) if quotes(word) => {}
            Some(Script::Latin) => {
                latin += 2;
                latin_words += 1;
            }
            Some(script) => others += half_words(script),
            None => {}
        }
    }
    latin_words >= 3 && latin > 2 * others
}

/// The words of a sentence, by script.
#[derive(Default)]
struct Sentence {
    /// Half words by writing system; kana count as Han. A list, since a text has few.
    half_words: Vec<(Script, usize)>,
    /// The script of the first and the last word, if words of another script in between are quoted: Latin letters need
    /// function words around them for that.
    frame: Option<Script>,
}

impl Sentence {
    fn of(text: &str) -> Self {
        let mut sentence = Self::default();
        let (mut first, mut last, mut function_words) = (None, None, 0);
        for word in text.unicode_words() {
            let Some(script) = script_of_word(word) else {
                continue;
            };
            let script = writing_system(script);
            first.get_or_insert(script);
            last = Some(script);
            function_words += usize::from(has_function_word(&word.to_lowercase()));
            match sentence
                .half_words
                .iter_mut()
                .find(|(known, _)| *known == script)
            {
                Some((_, count)) => *count += half_words(script),
                None => sentence.half_words.push((script, half_words(script))),
            }
        }
        sentence.frame = first.filter(|&script| {
            last == Some(script) && (script != Script::Latin || function_words >= 2)
        });
        sentence
    }

    fn scripts(&self) -> Vec<Script> {
        let total: usize = self
            .half_words
            .iter()
            .map(|(_, half_words)| half_words)
            .sum();
        let is_expected = |&(script, half_words): &(Script, usize)| {
            let expected = match script {
                Script::Latin => half_words * LATIN_DIVISOR >= total || self.frame == Some(script),
                script => self.frame.is_none_or(|frame| frame == script),
            };
            expected.then_some(script)
        };
        self.half_words.iter().filter_map(is_expected).collect()
    }
}

/// Whether a text with Han characters is Japanese. `None` if undecided.
fn is_japanese(text: &str) -> Option<bool> {
    let han = || text.chars().filter(|&c| script_of(c) == Some(Script::Han));
    if text.chars().filter_map(script_of).any(is_kana) {
        return Some(true);
    }
    if han().any(|c| !Standard::Jpan.has(c) || CHINESE_FUNCTION.contains(c)) {
        return Some(false);
    }
    let lacks = |standard: Standard| han().any(|c| !standard.has(c));
    (lacks(Standard::Hans) && lacks(Standard::Hant)).then_some(true)
}

/// The script of a word. "API를" is one word in Unicode, and its script is Hangul.
fn script_of_word(word: &str) -> Option<Script> {
    let mut letters = word.chars().filter_map(script_of);
    let first = letters.next()?;
    let mut other = || letters.find(|&script| script != Script::Latin);
    match first {
        Script::Latin => Some(other().unwrap_or(first)),
        first => Some(first),
    }
}

fn writing_system(script: Script) -> Script {
    if is_kana(script) { Script::Han } else { script }
}

/// The weight of a word of this script, in half words.
fn half_words(script: Script) -> usize {
    if has_spaces(script) { 2 } else { 1 }
}

/// The script of a letter. `None` for other characters and for letters of several scripts.
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

/// Whether UAX #29 splits a script into words. It splits the others about once a syllable.
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

/// The accepted scripts of a language, and its likely script subtag. `None` if it is unknown.
fn scripts_of_language(tag: &LanguageIdentifier) -> Option<(Vec<Script>, subtags::Script)> {
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
    Some((scripts, subtag))
}

#[cfg(test)]
mod tests;
