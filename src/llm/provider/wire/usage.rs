//! Token counts, as providers report them.

use serde_json::Value;

use crate::llm::Usage;

/// The counts that were reported so far; `None` for a count that was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::llm::provider) struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    reasoning: Option<u64>,
}

impl Counts {
    /// Reads the counts of an answer, of an event or of a failure.
    pub(in crate::llm::provider) fn read(answer: &Value) -> Self {
        const PLACES: [&str; 4] = [
            "/usage",
            "/choices/0/usage",
            "/x_groq/usage",
            "/response/usage",
        ];
        let objects = PLACES.iter().filter_map(|place| answer.pointer(place));
        let mut found = objects.map(Self::of).filter(|counts| !counts.is_empty());
        found.next().unwrap_or_default()
    }

    fn of(usage: &Value) -> Self {
        let count = |places: [&str; 2]| {
            let mut found = places
                .iter()
                .filter_map(|place| count(usage.pointer(place)?));
            found.next()
        };
        let counts = Self {
            prompt: count(["/prompt_tokens", "/input_tokens"]),
            completion: count(["/completion_tokens", "/output_tokens"]),
            reasoning: count([
                "/completion_tokens_details/reasoning_tokens",
                "/output_tokens_details/reasoning_tokens",
            ]),
        };
        counts.with_reasoning_in_completion(count(["/total_tokens"; 2]))
    }

    /// Adds the reasoning to the completion if the provider counts it separately, as xAI does. The total shows whether
    /// it does.
    fn with_reasoning_in_completion(mut self, total: Option<u64>) -> Self {
        if let (Some(prompt), Some(completion), Some(reasoning), Some(total)) =
            (self.prompt, self.completion, self.reasoning, total)
            && total == prompt + completion + reasoning
        {
            self.completion = Some((completion + reasoning).min(Usage::MAX_TOKENS));
        }
        self
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Replaces each count that `later` has. A later 0 replaces nothing: some servers end with an empty object.
    pub(in crate::llm::provider) fn update(&mut self, later: Self) {
        for (count, later) in [
            (&mut self.prompt, later.prompt),
            (&mut self.completion, later.completion),
            (&mut self.reasoning, later.reasoning),
        ] {
            *count = later.filter(|later| *later > 0).or(*count).or(later);
        }
    }

    /// Converts to [`Usage`]; `None` if there are no counts. A missing count is 0.
    pub(in crate::llm::provider) fn usage(self) -> Option<Usage> {
        (!self.is_empty()).then(|| Usage {
            prompt_tokens: self.prompt.unwrap_or(0),
            completion_tokens: self.completion.unwrap_or(0),
            reasoning_tokens: self.reasoning.unwrap_or(0),
        })
    }
}

/// Parses a count: any number, or a string with one. Capped, so that stored sums cannot overflow.
fn count(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    // The cast saturates, and maps NaN to 0.
    Some((number as u64).min(Usage::MAX_TOKENS))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(answers: &[Value]) -> Option<[u64; 3]> {
        let mut counts = Counts::default();
        for answer in answers {
            counts.update(Counts::read(answer));
        }
        let usage = counts.usage()?;
        Some([
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.reasoning_tokens,
        ])
    }

    #[test]
    fn counts_are_bounded() {
        #[rustfmt::skip]
        let table = [
            (json!(12), Some(12)),
            (json!(0), Some(0)),
            (json!(-5), Some(0)),
            (json!(1.9), Some(1)),
            (json!("17"), Some(17)),
            (json!("many"), None),
            (json!(null), None),
            (json!([3]), None),
            (json!({ "value": 3 }), None),
            (json!(true), None),
            (json!(i64::MAX), Some(Usage::MAX_TOKENS)),
            (json!(u64::MAX), Some(Usage::MAX_TOKENS)),
            (json!(i64::MIN), Some(0)),
            (json!(1e300), Some(Usage::MAX_TOKENS)),
            (json!("inf"), Some(Usage::MAX_TOKENS)),
            (json!("NaN"), Some(0)),
        ];
        for (value, expected) in table {
            let answer = json!({ "usage": { "prompt_tokens": value } });
            let expected = expected.map(|count| [count, 0, 0]);
            assert_eq!(usage(&[answer]), expected, "{value}");
        }
    }

    #[test]
    fn reasoning_beside_the_completion_is_added_to_it() {
        let of = |completion: u64, reasoning: u64, total: Value| {
            let details = json!({ "reasoning_tokens": reasoning });
            let usage = json!({
                "prompt_tokens": 32, "completion_tokens": completion, "completion_tokens_details": details, "total_tokens": total,
            });
            usage_of(&usage)
        };
        #[rustfmt::skip]
        let table = [
            (of(103, 94, json!(135)), [32, 103, 94]),
            (of(9, 94, json!(135)), [32, 103, 94]),
            (of(0, 60, json!(92)), [32, 60, 60]),
            (of(9, 0, json!(41)), [32, 9, 0]),
            // No total, or one that says neither.
            (of(9, 94, json!(null)), [32, 9, 94]),
            (of(9, 94, json!(41)), [32, 9, 94]),
            (of(9, 94, json!(500)), [32, 9, 94]),
        ];
        for (found, expected) in table {
            assert_eq!(found, Some(expected));
        }
    }

    fn usage_of(counts: &Value) -> Option<[u64; 3]> {
        usage(&[json!({ "usage": counts })])
    }

    #[test]
    fn later_counts_replace_earlier_ones_and_empty_ones_nothing() {
        let of = |usage: Value| json!({ "usage": usage });
        let first = of(json!({ "prompt_tokens": 7, "completion_tokens": 5 }));
        #[rustfmt::skip]
        let table = [
            (vec![of(json!({}))], None),
            (vec![of(json!(null)), of(json!(7)), of(json!([])), of(json!("x"))], None),
            (vec![first.clone(), of(json!({}))], Some([7, 5, 0])),
            (vec![first.clone(), of(json!({ "prompt_tokens": 0, "completion_tokens": 0 }))], Some([7, 5, 0])),
            (vec![first.clone(), of(json!({ "prompt_tokens": 7, "completion_tokens": 9 }))], Some([7, 9, 0])),
            // The input in the first event, the output in the last one.
            (vec![of(json!({ "input_tokens": 3 })), of(json!({ "output_tokens": 4 }))], Some([3, 4, 0])),
            (vec![json!({ "usage": {}, "x_groq": { "usage": { "prompt_tokens": 2 } } })], Some([2, 0, 0])),
            (vec![json!({ "response": { "usage": { "input_tokens": 5, "output_tokens": 6 } } })], Some([5, 6, 0])),
            (vec![of(json!({ "completion_tokens": 3, "completion_tokens_details": null }))], Some([0, 3, 0])),
        ];
        for (answers, expected) in table {
            assert_eq!(usage(&answers), expected, "{answers:?}");
        }
    }
}
