//! Offline titles: extracts a message's topic by word lists.
//!
//! Strips greetings and request phrases from every sentence, and scores the rest. Requests score highest. A long topic
//! ends at the end of a clause. `titles::clean` decides whether the result is a valid title.

use unicode_segmentation::UnicodeSegmentation;

use super::{
    candidate::{Candidate, first_best},
    english::{self, Weights},
    languages::{self, Language},
    unspaced,
    word::{Word, cased, words_of},
};
use crate::conversation::{
    fence::{Fences, Line},
    markup::{without_inline_markup, without_leading_markup},
    redact::redact,
    text::single_line,
};

/// The maximum number of characters of a message that are analysed.
const MAX_CHARS: usize = 2_400;
/// The maximum number of sentences that are scored, and of words that detect the language.
const MAX_SENTENCES: usize = 64;
const MAX_LANGUAGE_WORDS: usize = 80;

const MAX_WORDS: usize = 9;
/// The maximum number of content words; function words do not count.
const MAX_CONTENT_WORDS: usize = 6;
const MAX_GRAPHEMES: usize = 60;

/// The topic of a message; empty only if the message has no words.
pub(super) fn title(message: &str) -> String {
    title_of(&sentences(message), &english::WEIGHTS)
}

fn title_of(sentences: &[(String, i32)], weights: &Weights) -> String {
    let language = language_of(sentences);
    if language.title_case
        && let Some(title) = english::Message::of(sentences).title(weights)
    {
        return title;
    }
    let candidates = sentences
        .iter()
        .filter_map(|(sentence, bonus)| candidate(sentence, *bonus, language));
    let best = candidates.reduce(first_best);
    // Only a greeting: use it as the title.
    best.map_or_else(|| plain(sentences, language), |candidate| candidate.title)
}

/// The sentences of a message without markup, each with a score bonus for its kind.
fn sentences(message: &str) -> Vec<(String, i32)> {
    let message = match message.char_indices().nth(MAX_CHARS) {
        // Drop the word that the limit splits.
        Some((end, _)) => message[..end]
            .rsplit_once(char::is_whitespace)
            .map_or(&message[..end], |(head, _)| head),
        None => message,
    };
    let message = redact(message).replace(['’', '‘'], "'");
    const ENDS: [char; 9] = ['?', '!', '。', '！', '？', '؟', '।', '.', '…'];
    let mut fences = Fences::default();
    // After a line like "Rewrite this:" comes the object of the request, not the request.
    let mut is_quoted = false;
    let mut sentences = Vec::new();
    for line in message.lines() {
        let text = without_leading_markup(line);
        let kind = fences.read(text);
        if kind == Line::Fence {
            continue;
        }
        let is_item = text.len() < line.trim().len();
        let mut line = single_line(&without_inline_markup(text));
        if line.contains("</") || line.contains("<br") {
            line = line.replace(['<', '>'], " ");
        }
        let bonus = match kind == Line::Code {
            true => -4,
            false if is_quoted => -6,
            false if is_item => -2,
            false => 0,
        };
        let mut start = 0;
        for (at, mark) in line.match_indices(ENDS) {
            let end = at + mark.len();
            // No sentence ends in "3.5", "app.py" or "e.g.".
            if mark == "." && !line[end..].starts_with(' ') {
                continue;
            }
            sentences.push((line[start..end].to_owned(), bonus));
            start = end;
        }
        sentences.push((line[start..].to_owned(), bonus));
        is_quoted |= line.ends_with([':', '：']) && line.contains(' ');
    }
    sentences.retain(|(sentence, _)| sentence.contains(char::is_alphanumeric));
    sentences.truncate(MAX_SENTENCES);
    sentences
}

/// The language with the most known words in a message; if no word is known, English if all words are ASCII.
fn language_of(sentences: &[(String, i32)]) -> &'static Language {
    let prose = sentences.iter().filter(|(_, bonus)| *bonus > -4);
    let words = prose.flat_map(|(sentence, _)| words_of(sentence));
    let words: Vec<Word> = words.take(MAX_LANGUAGE_WORDS).collect();
    let count = |language: &Language| {
        words
            .iter()
            .filter(|word| language.knows(&word.key))
            .count()
    };
    let best = languages::spaced()
        .rev()
        .max_by_key(|language| count(language));
    let ascii = words.iter().all(|word| word.text.is_ascii());
    best.filter(|best| ascii || count(best) > 0)
        .unwrap_or(&languages::UNKNOWN)
}

fn candidate(sentence: &str, bonus: i32, language: &'static Language) -> Option<Candidate> {
    if unspaced::is_unspaced(sentence) {
        return unspaced::candidate(sentence, bonus);
    }
    let mut words = words_of(sentence);
    let asked = match strip(&mut words, language) {
        true => 2,
        false => i32::from(sentence.ends_with(['?', ':', '؟'])),
    };
    end_clause(&mut words, language);
    scored(words, bonus + asked, language)
}

/// A candidate from a topic, with its score; `None` without content words.
fn scored(mut words: Vec<Word>, score: i32, language: &Language) -> Option<Candidate> {
    let points = |word: &Word| language.pointers.contains(word.key.as_str());
    let penalty = 2 * i32::from(words.iter().take(3).any(points));
    shorten(&mut words, language);
    let content = words
        .iter()
        .filter(|word| word.is_content(language))
        .count();
    (content > 0).then(|| Candidate {
        score: score + content.min(4) as i32 - penalty,
        title: cased(&words, language),
    })
}

/// Removes phrases before and after a topic. Returns whether one of them was a request.
fn strip(words: &mut Vec<Word>, language: &Language) -> bool {
    let mut asks = false;
    loop {
        let opener = longest(words, language.openers, starts_with);
        let ask = longest(words, language.asks, starts_with);
        let length = opener.max(ask);
        if length == 0 {
            break;
        }
        asks |= ask > opener;
        words.drain(..length);
    }
    loop {
        let length = longest(words, language.closers, ends_with);
        if length == 0 || length >= words.len() {
            break;
        }
        words.truncate(words.len() - length);
        asks |= language.head_last;
    }
    if let Some(word) = words.last_mut() {
        let endings = language
            .endings
            .split(' ')
            .filter(|ending| !ending.is_empty());
        let shorter = endings
            .filter_map(|ending| word.bare.strip_suffix(ending))
            .min_by_key(|rest| rest.len());
        word.bare = shorter.filter(|rest| !rest.is_empty()).unwrap_or(word.bare);
    }
    asks || words
        .first()
        .is_some_and(|word| language.questions.contains(word.key.as_str()))
}

/// The length in words of the longest matching phrase.
fn longest(words: &[Word], phrases: &str, fits: fn(&[Word], &str) -> bool) -> usize {
    let phrases = phrases.split(" | ").filter(|phrase| !phrase.is_empty());
    let fitting = phrases.filter(|phrase| fits(words, phrase));
    fitting
        .map(|phrase| phrase.split(' ').count())
        .max()
        .unwrap_or(0)
}

fn starts_with(words: &[Word], phrase: &str) -> bool {
    let mut words = words.iter();
    phrase.split(' ').all(|part| {
        words
            .next()
            .is_some_and(|word| part == "*" || part == word.key)
    })
}

fn ends_with(words: &[Word], phrase: &str) -> bool {
    let mut words = words.iter().rev();
    phrase
        .split(' ')
        .rev()
        .all(|part| words.next().is_some_and(|word| part == word.key))
}

/// Truncates the words at the end of the first clause with content.
fn end_clause(words: &mut Vec<Word>, language: &Language) {
    let mut content = 0;
    let end = words.iter().position(|word| {
        content += usize::from(word.is_content(language));
        let ends = word.text.ends_with([',', ';', ':', '،', ')']) || word.key.is_empty();
        ends && content >= 2
    });
    if let Some(end) = end {
        words.truncate(end + 1);
    }
    words.retain(|word| !word.key.is_empty());
}

/// Cuts a long topic at the start of one of its parts, and drops words that cannot start or end a title.
fn shorten(words: &mut Vec<Word>, language: &Language) {
    words.retain(|word| !word.key.is_empty());
    let loose = |word: &Word| !word.is_content(language);
    if language.head_last {
        while !fits(words, language) || words.first().is_some_and(loose) {
            words.remove(0);
        }
    } else {
        let mut end = words.len();
        while !fits(&words[..end], language) {
            end -= 1;
        }
        if end < words.len() {
            let joint = |at: &usize| {
                language.joints.contains(words[*at].key.as_str())
                    && words[..*at].iter().filter(|word| !loose(word)).count() >= 2
            };
            end = (2..=end).rev().find(joint).unwrap_or(end);
        }
        words.truncate(end);
    }
    while words
        .last()
        .is_some_and(|word| !word.is_content(language) && !language.head_last)
    {
        words.pop();
    }
}

fn fits(words: &[Word], language: &Language) -> bool {
    let content = words.iter().filter(|word| word.is_content(language));
    let graphemes = words
        .iter()
        .map(|word| word.text.graphemes(true).count() + 1);
    words.len() <= MAX_WORDS
        && (content.count() <= MAX_CONTENT_WORDS || language.glue.is_empty())
        && graphemes.sum::<usize>() <= MAX_GRAPHEMES + 1
}

/// The first words of a message without a topic.
fn plain(sentences: &[(String, i32)], language: &'static Language) -> String {
    let Some((sentence, _)) = sentences.first() else {
        return String::new();
    };
    if unspaced::is_unspaced(sentence) {
        return unspaced::shortened(sentence, &languages::CHINESE).to_owned();
    }
    let mut words = words_of(sentence);
    words.retain(|word| !word.key.is_empty());
    let mut end = words.len();
    while !fits(&words[..end], language) {
        end -= 1;
    }
    cased(&words[..end], language)
}

#[cfg(test)]
mod tests;
