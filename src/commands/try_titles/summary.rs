//! The figures of a candidate: how often it produces a title, the quality of its titles, and their cost.

use std::collections::{BTreeMap, HashMap, HashSet};

use unicode_segmentation::UnicodeSegmentation;

use crate::{
    config::Price,
    titles::trial::{Attempt, Subject, distinct_key},
};

/// The numbers of one candidate.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summary {
    /// Titles tried, whether or not they failed.
    pub(super) tried: usize,
    /// Titles from the first call.
    pub(super) at_once: usize,
    /// Titles from a later call.
    pub(super) later: usize,
    /// Messages without a title, by reason, the most frequent first.
    pub(super) never: Vec<(String, usize)>,
    /// Answers in a script that the message asks for, and all answers that were judged.
    pub(super) in_language: (usize, usize),
    /// Grapheme clusters and words per title, on average.
    pub(super) characters: f64,
    pub(super) words: f64,
    /// Titles that another message already has.
    pub(super) duplicates: usize,
    /// Tokens per title tried, on average, and the totals.
    pub(super) tokens_each: f64,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    /// The cost of all calls, at the given price.
    pub(super) cost: Option<f64>,
    /// The duration of all calls for a title, in milliseconds.
    pub(super) p50: Option<u64>,
    pub(super) p95: Option<u64>,
    /// Similarity to the references, from 0 to 1; a missing title counts as 0.
    pub(super) token_f1: Option<f64>,
    pub(super) rouge_l: Option<f64>,
}

/// The reason in [`Attempt::unusable`] for an answer in another script.
const OTHER_SCRIPT: &str = "another script than expected";

impl Summary {
    pub(super) fn of(results: &[(&Subject, &Attempt)], price: Option<Price>) -> Self {
        let mut summary = Self {
            tried: results.len(),
            ..Self::default()
        };
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut seen, mut times) = (HashSet::new(), Vec::new());
        let (mut characters, mut words) = (0, 0);
        let mut likeness = Vec::new();
        for (subject, attempt) in results {
            summary.prompt_tokens += attempt.prompt_tokens;
            summary.completion_tokens += attempt.completion_tokens;
            let (kept, answers) = &mut summary.in_language;
            let of_other_script = attempt.unusable.iter().filter(|why| *why == OTHER_SCRIPT);
            *answers += of_other_script.count();
            match &attempt.title {
                Some(title) => {
                    *answers += 1;
                    *kept += usize::from(attempt.keeps_language);
                    match attempt.calls {
                        0 | 1 => summary.at_once += 1,
                        _ => summary.later += 1,
                    }
                    characters += title.graphemes(true).count();
                    words += title.split_whitespace().count();
                    summary.duplicates += usize::from(!seen.insert(distinct_key(title)));
                }
                None => {
                    let reason = attempt.failure.as_deref().unwrap_or("unknown");
                    *reasons.entry(reason).or_default() += 1;
                }
            }
            if attempt.calls > 0 {
                times.push(attempt.duration_ms);
            }
            if let Some(reference) = &subject.reference {
                let title = attempt.title.as_deref().unwrap_or_default();
                likeness.push((token_f1(title, reference), rouge_l(title, reference)));
            }
        }
        let titles = (summary.at_once + summary.later) as f64;
        if titles > 0.0 {
            summary.characters = characters as f64 / titles;
            summary.words = words as f64 / titles;
        }
        if summary.tried > 0 {
            let tokens = summary.prompt_tokens + summary.completion_tokens;
            summary.tokens_each = tokens as f64 / summary.tried as f64;
        }
        summary.cost =
            price.map(|price| price.of(summary.prompt_tokens, summary.completion_tokens));
        times.sort_unstable();
        summary.p50 = percentile(&times, 50);
        summary.p95 = percentile(&times, 95);
        if !likeness.is_empty() {
            let count = likeness.len() as f64;
            let sum = |of: fn(&(f64, f64)) -> f64| likeness.iter().map(of).sum::<f64>();
            summary.token_f1 = Some(sum(|one| one.0) / count);
            summary.rouge_l = Some(sum(|one| one.1) / count);
        }
        let mut never: Vec<_> = reasons
            .into_iter()
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect();
        never.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        summary.never = never;
        summary
    }

    /// The number of messages without a title.
    pub(super) fn without(&self) -> usize {
        self.never.iter().map(|(_, count)| count).sum()
    }
}

/// The value below which this percentage of sorted values lies (nearest rank).
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The words of a text in lower case, without punctuation.
fn tokens(text: &str) -> Vec<String> {
    text.unicode_words().map(str::to_lowercase).collect()
}

/// F1 of the common words, each counted as often as it occurs in both (as SQuAD does).
pub(super) fn token_f1(title: &str, reference: &str) -> f64 {
    let (title, reference) = (tokens(title), tokens(reference));
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &reference {
        *left.entry(word).or_default() += 1;
    }
    let common = title
        .iter()
        .filter(|word| match left.get_mut(word.as_str()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        });
    f1(common.count(), title.len(), reference.len())
}

/// F1 of the longest common subsequence of words (ROUGE-L).
pub(super) fn rouge_l(title: &str, reference: &str) -> f64 {
    let (title, reference) = (tokens(title), tokens(reference));
    let mut row = vec![0_usize; reference.len() + 1];
    for word in &title {
        let mut diagonal = 0;
        for (at, other) in reference.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = match word == other {
                true => diagonal + 1,
                false => above.max(row[at]),
            };
            diagonal = above;
        }
    }
    f1(
        row.last().copied().unwrap_or(0),
        title.len(),
        reference.len(),
    )
}

fn f1(common: usize, title: usize, reference: usize) -> f64 {
    match common {
        0 => 0.0,
        _ => 2.0 * common as f64 / (title + reference) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_by_hand() {
        let near = |value: f64, expected: f64| (value - expected).abs() < 1e-9;
        assert!(near(token_f1("Trip to Kyoto", "A Kyoto trip"), 4.0 / 6.0));
        assert!(near(rouge_l("Trip to Kyoto", "A Kyoto trip"), 2.0 / 6.0));
        assert!(near(token_f1("the the cat", "The cat!"), 4.0 / 5.0));
        assert!(near(
            rouge_l("plan a trip to Kyoto", "plan trip Kyoto"),
            6.0 / 8.0
        ));
        assert!(near(token_f1("京都旅行", "京都旅行の計画"), 8.0 / 11.0));
        assert!(near(token_f1("", "x"), 0.0) && near(rouge_l("!", "?"), 0.0));
        assert!(near(token_f1("same", "same"), 1.0) && near(rouge_l("same", "same"), 1.0));
    }

    #[test]
    fn counts_of_one_candidate() {
        let subject = |message: &str, reference: Option<&str>| Subject {
            tenant: None,
            message: message.into(),
            reference: reference.map(str::to_owned),
        };
        let subjects = [
            subject("Plan a trip to Kyoto", Some("Trip to Kyoto")),
            subject("Plan a trip", None),
            subject("京都への旅行", None),
            subject("What is love?", Some("Love")),
        ];
        let attempt =
            |title: Option<&str>, calls, unusable: &[&str], failure: Option<&str>, ms| Attempt {
                title: title.map(str::to_owned),
                failure: failure.map(str::to_owned),
                unusable: unusable.iter().map(|why| (*why).to_owned()).collect(),
                calls,
                prompt_tokens: 100,
                completion_tokens: 10,
                duration_ms: ms,
                keeps_language: title.is_some(),
                may_pass: false,
                is_refused: false,
            };
        let attempts = [
            attempt(Some("Trip to Kyoto"), 1, &[], None, 300),
            attempt(Some("trip to: Kyoto"), 2, &["a refusal"], None, 100),
            attempt(
                None,
                2,
                &[OTHER_SCRIPT, OTHER_SCRIPT],
                Some(OTHER_SCRIPT),
                200,
            ),
            attempt(None, 1, &[], Some("timeout"), 10_000),
        ];
        let results: Vec<_> = subjects.iter().zip(&attempts).collect();
        let summary = Summary::of(&results, None);
        assert_eq!((summary.tried, summary.at_once, summary.later), (4, 1, 1));
        assert_eq!(summary.without(), 2);
        assert_eq!(summary.in_language, (2, 4));
        assert_eq!(summary.duplicates, 1);
        assert_eq!((summary.words, summary.characters), (3.0, 13.5));
        assert_eq!((summary.p50, summary.p95), (Some(200), Some(10_000)));
        assert_eq!(summary.tokens_each, 110.0);
        assert_eq!((summary.token_f1, summary.rouge_l), (Some(0.5), Some(0.5)));
        assert_eq!(summary.cost, None);
    }
}
