//! English titles: a phrase of one sentence whose words are likely in the title, and at most one word that the message
//! does not have ("calculation").
//!
//! The likelihoods are two logistic regressions. `tools/offline-titles/train.py` learns their weights from the features
//! that this module computes. A title maximises the expected token F1: twice the sum of its words' likelihoods, divided
//! by its length plus the mean length of a title. Leaving words out has a cost, and function words between kept words
//! are put back, so that a title reads as a phrase.

mod weights;

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use self::weights::Features;
pub(super) use self::weights::Weights;
use super::{
    languages::ENGLISH,
    word::{Word, cased, words_of},
};

const MAX_WORD_CHARS: usize = 40;
/// The maximum number of words of a sentence that are examined: a phrase is a set of bits.
const MAX_SENTENCE_WORDS: usize = 64;
/// The maximum number of chosen words, and of all words of a title, including those that are put back.
const MAX_CHOSEN: usize = 8;
const MAX_WORDS: usize = 10;
const MAX_CHARS: usize = 60;
/// More than the mean length of a title (3.7), so that a title says enough.
const TITLE_WORDS: f32 = 5.0;
/// The costs of leaving out words, of leaving out only function words, of continuing after a comma, and of ending
/// before a content word ("Refuses to Eat" of "refuses to eat vegetables").
const GAP: f32 = 0.2;
const GLUE_GAP: f32 = 0.04;
const CLAUSE_GAP: f32 = 0.3;
const CUT: f32 = 0.05;
/// The maximum number of consecutive function words that are put back.
const MAX_GLUE: usize = 3;

/// The weights compiled into the program.
pub(super) static WEIGHTS: LazyLock<Weights> =
    LazyLock::new(|| Weights::of(include_str!("english/weights.txt")));

/// Words that begin requests.
static ASKS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    set(
        "can could how help write please give create make need want explain tell suggest recommend rewrite plan draft \
         would should",
    )
});
/// First-person words.
static SPEAKER: LazyLock<HashSet<&str>> = LazyLock::new(|| set("i i'm i've i'd my me we our"));
/// Number words, treated like function words.
static NUMBERS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| set("two three four five six seven eight nine ten"));

/// The words of a list.
fn set(list: &'static str) -> HashSet<&'static str> {
    list.split(' ').collect()
}

/// The likelihoods of a phrase's words less the costs of its gaps, and the places of its words as bits.
type Phrase = (f32, u64);
const NONE: Phrase = (-9.0, 0);

/// The number of limits that a number exceeds.
fn bucket(number: usize, limits: &[usize]) -> usize {
    limits.iter().filter(|limit| number > **limit).count()
}

/// Two small numbers as the value of a feature.
fn pair(a: usize, b: usize) -> &'static str {
    const DIGITS: &str = "0001020310111213202122233031323340414243505152536061626370717273";
    let at = 8 * a + 2 * b;
    &DIGITS[at..at + 2]
}

/// A message as the regressions see it.
pub(super) struct Message<'a> {
    sentences: Vec<Sentence<'a>>,
}

struct Sentence<'a> {
    words: Vec<Word<'a>>,
    /// For each word, whether it is a function word, with which no title begins or ends.
    loose: Vec<bool>,
    /// For each word, whether it is never chosen: an article, a pronoun.
    skipped: Vec<bool>,
    /// For each word, whether a clause ends with it.
    ends: Vec<bool>,
    asks: bool,
    end: &'static str,
}

impl<'a> Message<'a> {
    pub(super) fn of(sentences: &'a [(String, i32)]) -> Self {
        Self {
            sentences: sentences
                .iter()
                .map(|(text, _)| Sentence::of(text))
                .collect(),
        }
    }

    fn words(&self) -> impl Iterator<Item = &Word<'a>> {
        self.sentences.iter().flat_map(|sentence| &sentence.words)
    }

    /// The title; `None` if there is no content word, or no word of the English lists: the text may be in another
    /// language that uses Latin letters without accents.
    pub(super) fn title(&self, weights: &Weights) -> Option<String> {
        self.words().find(|word| ENGLISH.knows(&word.key))?;
        let features = self.features();
        let mut features = features.iter();
        let loose = self.sentences.iter().flat_map(|sentence| &sentence.loose);
        let least = match loose.filter(|loose| !**loose).count() {
            0 | 1 => 1,
            _ => 2,
        };
        let added = weights.added(&self.own_features());
        let mut choices = Vec::new();
        for sentence in &self.sentences {
            let own = features.by_ref().take(sentence.words.len());
            let likelihoods: Vec<f32> = own.map(|word| weights.likelihood(word)).collect();
            for added in [None, added] {
                let (added, gain) = added.unzip();
                for (score, places) in sentence.phrases(&sentence.beside(added, &likelihoods)) {
                    let count = places.count_ones() as usize + usize::from(added.is_some());
                    if count >= least {
                        let score = score + gain.unwrap_or(0.0);
                        let value = score / (count as f32 + TITLE_WORDS);
                        choices.push((value, sentence, places, added));
                    }
                }
            }
        }
        choices.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut choices = choices.into_iter();
        choices.find_map(|(_, sentence, places, added)| sentence.text(places, added))
    }

    /// The features of all words.
    pub(super) fn features(&self) -> Vec<Features<'_>> {
        let mut counts = HashMap::<&str, usize>::new();
        self.words()
            .for_each(|word| *counts.entry(&word.key).or_default() += 1);
        let personal = self.words().any(|word| SPEAKER.contains(word.key.as_str()));
        let asks = self
            .sentences
            .iter()
            .filter(|sentence| sentence.asks)
            .count();
        let (asks, total) = (bucket(asks, &[0, 1]), self.length());
        let mut seen = HashSet::new();
        let mut features = Vec::new();
        for sentence in &self.sentences {
            let key = |at: usize, none| {
                sentence
                    .words
                    .get(at)
                    .map_or(none, |word| word.key.as_str())
            };
            for (at, word) in sentence.words.iter().enumerate() {
                let (bare, own) = (word.bare, word.key.as_str());
                let is_upper = |c: char| c.is_uppercase();
                let is_acronym = bare.chars().nth(1).is_some()
                    && bare.contains(is_upper)
                    && !bare.contains(char::is_lowercase);
                let place = bucket(features.len(), &[1, 3, 7, 15, 31, 63, 127]);
                let request = 2 * usize::from(personal) + usize::from(sentence.asks);
                let (is_capital, is_first) = (bare.starts_with(is_upper), at == 0);
                let has_digit = bare.contains(char::is_numeric);
                let (count, is_again) = (bucket(counts[own], &[1, 2, 4]), !seen.insert(own));
                features.push([
                    ("w", own),
                    ("p", key(at.wrapping_sub(1), "^")),
                    ("b", key(at.wrapping_sub(2), "^")),
                    ("n", key(at + 1, "$")),
                    ("m", pair(place, 0)),
                    ("e", sentence.end),
                    ("q", pair(request, asks)),
                    ("c", pair(is_capital.into(), is_first.into())),
                    ("x", pair(is_acronym.into(), has_digit.into())),
                    ("k", pair(count, is_again.into())),
                    ("l", pair(bucket(own.chars().count(), &[2, 3, 5, 8]), 0)),
                    ("t", pair(total, 0)),
                ]);
            }
        }
        features
    }

    /// The features of the message itself: its words, its first word, its length.
    pub(super) fn own_features(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let words = self.words().filter(|word| seen.insert(&word.key));
        let mut features: Vec<String> = words.map(|word| word.key.clone()).collect();
        let first = features.first().map(|first| format!("^{first}"));
        features.extend(first);
        features.push(format!("#{}", self.length()));
        features
    }

    fn length(&self) -> usize {
        bucket(self.words().count(), &[8, 16, 32, 64, 128, 256])
    }
}

/// The phrase with the higher score; the first on a tie.
fn better(phrase: Phrase, other: Phrase) -> Phrase {
    if other.0 > phrase.0 { other } else { phrase }
}

impl<'a> Sentence<'a> {
    fn of(text: &'a str) -> Self {
        let (mut words, mut ends) = (Vec::new(), Vec::new());
        for word in words_of(text) {
            let ends_clause = word.text.ends_with([',', ';', ':', '(', ')']);
            if !word.bare.contains(char::is_alphanumeric) {
                // A dash, for example.
                if let Some(end) = ends.last_mut() {
                    *end = true;
                }
            } else if word.text.chars().count() <= MAX_WORD_CHARS
                && words.len() < MAX_SENTENCE_WORDS
            {
                words.push(word);
                ends.push(ends_clause);
            }
        }
        let is_loose =
            |word: &Word| !word.is_content(&ENGLISH) || NUMBERS.contains(word.key.as_str());
        Self {
            loose: words.iter().map(is_loose).collect(),
            skipped: words
                .iter()
                .map(|word| ENGLISH.glue.contains(word.key.as_str()))
                .collect(),
            asks: words.iter().any(|word| ASKS.contains(word.key.as_str())),
            ends,
            words,
            end: match text.trim_end().chars().next_back() {
                Some('?') => "?",
                Some(':') => ":",
                _ => ".",
            },
        }
    }

    /// The best phrase of each length. It begins and ends with a content word, and may have joints between them.
    fn phrases(&self, likelihoods: &[f32]) -> Vec<Phrase> {
        let count = self.words.len();
        let first = |at: usize| match self.loose[at] {
            true => NONE,
            false => (likelihoods[at], 1 << at),
        };
        // Indexed by the phrase's last word.
        let mut phrases: Vec<Phrase> = (0..count).map(first).collect();
        let mut best = Vec::new();
        for _ in 0..MAX_CHOSEN {
            // The best phrase that ends before a word, at any distance, and the best one that ends.
            let (mut far, mut ended) = (NONE, NONE);
            let mut longer = vec![NONE; count];
            for at in (0..count).filter(|at| !self.skipped[*at]) {
                let mut before = (at.saturating_sub(MAX_GLUE + 1)..at).rev();
                let near = before.find(|last| !self.skipped[*last]);
                let near = near.map_or(NONE, |last| {
                    (phrases[last].0 - self.gap(last, at), phrases[last].1)
                });
                let begun = match self.loose[at] {
                    true => near,
                    false => better(near, (far.0 - GAP, far.1)),
                };
                if begun.1 != 0 {
                    longer[at] = (begun.0 + likelihoods[at], begun.1 | 1 << at);
                }
                if !self.loose[at] {
                    let is_cut = !self.ends[at] && at + 1 < count && !self.loose[at + 1];
                    let cut = if is_cut { CUT } else { 0.0 };
                    ended = better(ended, (phrases[at].0 - cut, phrases[at].1));
                    far = better(far, phrases[at]);
                }
            }
            best.push(ended);
            phrases = longer;
        }
        best.retain(|phrase| phrase.1 != 0);
        best
    }

    /// The cost of a gap of only function words between two words.
    fn gap(&self, from: usize, to: usize) -> f32 {
        let glue = if from + 1 < to { GLUE_GAP } else { 0.0 };
        let is_across = self.ends[from..to].contains(&true);
        glue + if is_across { CLAUSE_GAP } else { 0.0 }
    }

    /// The likelihoods; zero for a word that already occurs earlier, or that the added word repeats ("calculate",
    /// "calculation").
    fn beside(&self, added: Option<&str>, likelihoods: &[f32]) -> Vec<f32> {
        let mut seen = HashSet::new();
        let mut of_word = |word: &Word<'a>, likelihood: f32| {
            let stem = |word: &str| word.chars().take(5).collect::<String>();
            let is_repeated = added.is_some_and(|added| stem(added) == stem(&word.key));
            let is_again = word.is_content(&ENGLISH) && !seen.insert(word.key.clone());
            if is_repeated || is_again {
                0.0
            } else {
                likelihood
            }
        };
        let words = self.words.iter().zip(likelihoods);
        words
            .map(|(word, likelihood)| of_word(word, *likelihood))
            .collect()
    }

    /// The phrase with its function words and the added word; `None` if it is too long, or if the added word would
    /// follow a complement ("Bread Without Yeast Comparison").
    fn text(&self, places: u64, added: Option<&'static str>) -> Option<String> {
        let kept: Vec<usize> = (0..self.words.len())
            .filter(|at| places >> at & 1 == 1)
            .collect();
        let key = |at: usize| self.words[at].key.as_str();
        let is_number =
            |at: usize| key(at).starts_with(char::is_numeric) || NUMBERS.contains(key(at));
        let first = *kept.first()?;
        let why = (0..first)
            .find(|at| key(*at) == "why" && self.loose[..first].iter().all(|loose| *loose));
        let begin = match why {
            Some(why) if added.is_none() => why,
            // "5 Year Old"
            _ if first > 0 && is_number(first - 1) => first - 1,
            _ => first,
        };
        let mut places: Vec<usize> = (begin..first).collect();
        for (at, place) in kept.iter().enumerate() {
            places.push(*place);
            let between = place + 1..kept.get(at + 1).copied().unwrap_or(0);
            let is_glue = |at: usize| self.loose[at] || is_number(at);
            if between.len() <= MAX_GLUE && between.clone().all(is_glue) {
                places.extend(between);
            }
        }
        let is_joint = |at: &usize| {
            ENGLISH.joints.contains(key(*at)) && !matches!(key(*at), "and" | "or" | "vs")
        };
        if places.len() + usize::from(added.is_some()) > MAX_WORDS
            || added.is_some() && places.iter().any(is_joint)
        {
            return None;
        }
        let words = places.into_iter().map(|at| self.words[at].clone());
        let words: Vec<Word> = words.chain(added.map(Word::of)).collect();
        let text = cased(&words, &ENGLISH);
        (text.chars().count() <= MAX_CHARS).then_some(text)
    }
}
