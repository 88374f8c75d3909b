//! The word lists of `languages.txt`, by language.

use std::{collections::HashSet, ops::RangeInclusive, sync::LazyLock};

/// The word lists of one language.
#[derive(Debug, Default)]
pub(super) struct Language {
    name: &'static str,
    /// Whether its script has no spaces between words.
    unspaced: bool,
    /// Whether titles are in Title Case.
    pub(super) title_case: bool,
    /// Whether phrases are head-final: a long one is cut at its beginning.
    pub(super) head_last: bool,
    /// Whether the capital of i is İ.
    pub(super) dotted_i: bool,
    /// Phrases before a topic, or without one: greetings, courtesies, articles, questions that only refer back.
    pub(super) openers: &'static str,
    /// Request phrases before a topic; they mark the main topic.
    pub(super) asks: &'static str,
    /// Question words, which a topic keeps.
    pub(super) questions: HashSet<&'static str>,
    /// Phrases after a topic.
    pub(super) closers: &'static str,
    /// Endings removed from the last word: attached particles and verbs.
    pub(super) endings: &'static str,
    /// Words that start a part which a long title can drop.
    pub(super) joints: HashSet<&'static str>,
    /// Other function words; a title cannot end with one.
    pub(super) glue: HashSet<&'static str>,
    /// Words that refer to another text ("this").
    pub(super) pointers: HashSet<&'static str>,
    /// Letters that only its script has; they identify a language without word lists.
    letters: Option<RangeInclusive<char>>,
    /// Words that change their form at the start of a title: `typed Form | typed Form`.
    pub(super) headwords: &'static str,
    /// All words of the lists.
    known: HashSet<&'static str>,
}

static LANGUAGES: LazyLock<Vec<Language>> = LazyLock::new(|| {
    let mut languages = Vec::new();
    for line in include_str!("languages.txt").lines() {
        if let Some(name) = line.strip_prefix('[') {
            languages.push(Language {
                name: name.trim_end_matches(']'),
                ..Language::default()
            });
        } else if let Some(language) = languages.last_mut() {
            language.read(line);
        }
    }
    languages
});

/// An unknown language.
pub(super) static UNKNOWN: LazyLock<Language> = LazyLock::new(Language::default);

pub(super) static ENGLISH: LazyLock<&Language> = LazyLock::new(|| named("english"));
pub(super) static CHINESE: LazyLock<&Language> = LazyLock::new(|| named("chinese"));
pub(super) static JAPANESE: LazyLock<&Language> = LazyLock::new(|| named("japanese"));

fn named(name: &str) -> &'static Language {
    let language = LANGUAGES.iter().find(|language| language.name == name);
    language.unwrap_or(&UNKNOWN)
}

/// The languages with spaces between words. The first wins a tie of known words.
pub(super) fn spaced() -> impl DoubleEndedIterator<Item = &'static Language> {
    LANGUAGES.iter().filter(|language| !language.unspaced)
}

impl Language {
    fn read(&mut self, line: &'static str) {
        let (name, list) = line.split_once(" = ").unwrap_or((line, ""));
        match name {
            "unspaced" => self.unspaced = true,
            "title_case" => self.title_case = true,
            "head_last" => self.head_last = true,
            "dotted_i" => self.dotted_i = true,
            "openers" => self.openers = list,
            "asks" => self.asks = list,
            "questions" => self.questions = list.split(' ').collect(),
            "closers" => self.closers = list,
            "endings" => self.endings = list,
            "joints" => self.joints = list.split(' ').collect(),
            "glue" => self.glue = list.split(' ').collect(),
            "pointers" => self.pointers = list.split(' ').collect(),
            "headwords" => self.headwords = list,
            "letters" => {
                let mut ends = list.chars();
                self.letters = ends.next().zip(ends.last()).map(|(from, to)| from..=to);
            }
            _ => {}
        }
        if matches!(name, "openers" | "asks" | "closers" | "joints" | "glue") {
            self.known.extend(list.split(' '));
        }
    }

    /// Whether a word is in one of the lists, or in the language's own script.
    pub(super) fn knows(&self, word: &str) -> bool {
        self.known.contains(word)
            || self
                .letters
                .as_ref()
                .is_some_and(|letters| word.starts_with(|c| letters.contains(&c)))
    }
}
