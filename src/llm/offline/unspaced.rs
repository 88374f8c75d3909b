//! Topics in scripts without spaces between words: kana and Han.
//!
//! The same method as `title`, with clauses instead of sentences, and prefixes and suffixes instead of words.

use unicode_segmentation::UnicodeSegmentation;

use super::{
    candidate::{Candidate, first_best},
    languages::{self, Language},
    word::trimmed,
};

/// Lower than in `title`: these scripts are denser.
const MAX_GRAPHEMES: usize = 30;

/// The best candidate among the clauses of a sentence.
pub(super) fn candidate(sentence: &str, bonus: i32) -> Option<Candidate> {
    let is_kana = |c| matches!(c, '\u{3040}'..='\u{30ff}');
    let language = match sentence.contains(is_kana) {
        true => *languages::JAPANESE,
        false => *languages::CHINESE,
    };
    let clauses = sentence.split(['、', '，', '；', '：', ',']);
    let candidates = clauses.filter_map(|clause| {
        let mut text = trimmed(clause);
        let mut score = bonus;
        loop {
            let starts = |phrase: &&str| !phrase.is_empty() && text.starts_with(*phrase);
            let longest = |list: &'static str| {
                list.split(" | ")
                    .filter(starts)
                    .map(str::len)
                    .max()
                    .unwrap_or(0)
            };
            let (opener, ask) = (longest(language.openers), longest(language.asks));
            if opener.max(ask) == 0 {
                break;
            }
            score += 2 * i32::from(ask > opener);
            text = trimmed(&text[opener.max(ask)..]);
        }
        let asked = language.head_last.then(|| asked_for(text)).flatten();
        score += 2 * i32::from(asked.is_some());
        text = asked.unwrap_or(text);
        while let Some(rest) = language
            .closers
            .split(" | ")
            .filter(|closer| !closer.is_empty())
            .find_map(|closer| text.strip_suffix(closer))
        {
            text = trimmed(rest);
        }
        let title = shortened(text, language);
        let length = title.graphemes(true).count();
        (length > 0).then(|| Candidate {
            score: score + (length / 2).min(3) as i32,
            title: title.to_owned(),
        })
    });
    candidates.reduce(first_best)
}

/// The object of a Japanese request: everything before the last particle that marks an object.
fn asked_for(text: &str) -> Option<&str> {
    const REQUESTS: [&str; 13] = [
        "ください",
        "ますか",
        "たい",
        "たいです",
        "くれ",
        "欲しい",
        "ほしい",
        "お願いします",
        "教えて",
        "書いて",
        "作って",
        "考えて",
        "して",
    ];
    let asks = REQUESTS.iter().any(|request| text.ends_with(request));
    let at = text
        .rfind("について")
        .or_else(|| text.rfind('を'))
        .filter(|_| asks)?;
    Some(&text[..at])
}

/// Shortens to [`MAX_GRAPHEMES`], at a word boundary of Unicode or a particle.
pub(super) fn shortened<'a>(text: &'a str, language: &Language) -> &'a str {
    let count = text.graphemes(true).count();
    if count <= MAX_GRAPHEMES {
        return trimmed(text);
    }
    if language.head_last {
        let late = text
            .grapheme_indices(true)
            .nth(count - MAX_GRAPHEMES)
            .map_or(0, |(at, _)| at);
        let mut graphemes = text[late..].grapheme_indices(true);
        let joint = graphemes.find(|(_, grapheme)| language.joints.contains(grapheme));
        if let Some((at, joint)) = joint {
            return trimmed(&text[late + at + joint.len()..]);
        }
    }
    let mut graphemes = 0;
    let words = text.split_word_bounds().take_while(|word| {
        graphemes += word.graphemes(true).count();
        graphemes <= MAX_GRAPHEMES
    });
    let end = words.map(str::len).sum();
    trimmed(&text[..end])
}

/// Whether a text is mainly kana and Han.
pub(super) fn is_unspaced(text: &str) -> bool {
    let dense = |c: &char| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}');
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    text.chars().filter(dense).count() * 3 > letters
}
