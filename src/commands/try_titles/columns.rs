//! The columns of numbers shown in the table and on the page.

use super::{Comparison, summary::Summary};
use crate::titles::trial::Maker;

/// A column of numbers.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) meaning: &'static str,
    /// One for each candidate.
    pub(super) values: Vec<String>,
    /// The candidates with the best value, among those with a provider's model.
    pub(super) best: Vec<usize>,
}

/// Title, meaning, value, decimal places, unit, and whether a higher value is better.
type Declared = (
    &'static str,
    &'static str,
    fn(&Summary) -> Option<f64>,
    usize,
    &'static str,
    Option<bool>,
);

/// The columns that have values.
pub(super) fn columns(comparison: &Comparison<'_>) -> Vec<Column> {
    fn percent(count: usize, of: usize) -> Option<f64> {
        (of > 0).then(|| 100.0 * count as f64 / of as f64)
    }
    #[rustfmt::skip]
    let all: [Declared; 14] = [
        ("at once", "Messages that got a title by the first call.", |s| percent(s.at_once, s.tried), 0, " %", Some(true)),
        ("2nd try", "Messages that got a title by a later call, after an unusable answer or a failed call.", |s| percent(s.later, s.tried), 0, " %", None),
        ("never", "Messages without a title after all calls.", |s| percent(s.without(), s.tried), 0, " %", Some(false)),
        ("language", "Answers in a script that the message asks for, of the answers that were judged.", |s| percent(s.in_language.0, s.in_language.1), 0, " %", Some(true)),
        ("chars", "Characters of a title, on average.", |s| (s.at_once + s.later > 0).then_some(s.characters), 0, "", None),
        ("words", "Words of a title, on average.", |s| (s.at_once + s.later > 0).then_some(s.words), 1, "", None),
        ("dup", "Titles that another message has already, but for letter case, white space and punctuation.", |s| percent(s.duplicates, s.at_once + s.later), 0, " %", Some(false)),
        ("tokens", "Tokens of all calls for a message, on average, by the provider's count.", |s| (s.tokens_each > 0.0).then_some(s.tokens_each), 0, "", Some(false)),
        ("price", "Of all calls of the run, at the given prices.", |s| s.cost, 4, "", Some(false)),
        ("per 1,000", "Price of a thousand titles.", |s| s.cost.filter(|_| s.tried > 0).map(|cost| 1_000.0 * cost / s.tried as f64), 3, "", Some(false)),
        ("p50 ms", "Time of all calls for a message: half took no longer.", |s| s.p50.map(|ms| ms as f64), 0, "", Some(false)),
        ("p95 ms", "Time of all calls for a message: 95 of 100 took no longer.", |s| s.p95.map(|ms| ms as f64), 0, "", Some(false)),
        ("F1", "Words in common with the reference (token F1), from 0 to 1; no title counts as 0.", |s| s.token_f1, 3, "", Some(true)),
        ("ROUGE-L", "Words in common with the reference in their order, from 0 to 1; no title counts as 0.", |s| s.rouge_l, 3, "", Some(true)),
    ];
    let mut columns = Vec::new();
    for (title, meaning, value, digits, unit, more_is_better) in all {
        let numbers: Vec<Option<f64>> = comparison
            .candidates
            .iter()
            .map(|one| value(&one.summary))
            .collect();
        if numbers.iter().all(Option::is_none) {
            continue;
        }
        let is_model = |at: usize| match &comparison.candidates[at].candidate.maker {
            Maker::Model(model) => !model.is_offline(),
            Maker::Cut => false,
        };
        let of_models = numbers.iter().enumerate().filter(|(at, _)| is_model(*at));
        let of_models: Vec<(usize, f64)> = of_models
            .filter_map(|(at, number)| Some((at, (*number)?)))
            .collect();
        let best = more_is_better.map(|more| {
            let numbers = of_models.iter().map(|(_, number)| *number);
            match more {
                true => numbers.fold(f64::NEG_INFINITY, f64::max),
                false => numbers.fold(f64::INFINITY, f64::min),
            }
        });
        // If all are equal, none is the best.
        let differ = of_models.iter().any(|(_, number)| Some(*number) != best);
        let is_best = |(_, number): &&(usize, f64)| differ && Some(*number) == best;
        columns.push(Column {
            title,
            meaning,
            values: numbers
                .iter()
                .map(|number| match number {
                    Some(number) => format!("{number:.digits$}{unit}"),
                    None => "–".into(),
                })
                .collect(),
            best: of_models
                .iter()
                .filter(is_best)
                .map(|(at, _)| *at)
                .collect(),
        });
    }
    columns
}
