//! Medians, ratios, and the spread of rounds.

use std::fmt;

use serde::Serialize;

/// The median, lowest and highest result of the rounds.
#[derive(Serialize)]
pub struct Rounds {
    pub median: f64,
    lowest: f64,
    highest: f64,
}

impl FromIterator<f64> for Rounds {
    /// Collects one value per round.
    fn from_iter<I: IntoIterator<Item = f64>>(rounds: I) -> Self {
        let mut values: Vec<f64> = rounds.into_iter().collect();
        Self {
            median: median(&mut values),
            lowest: values.first().copied().unwrap_or(f64::NAN),
            highest: values.last().copied().unwrap_or(f64::NAN),
        }
    }
}

impl Rounds {
    /// The ratios to `base`, which was measured in the same rounds.
    pub fn of_ratios(values: &[f64], base: &[f64]) -> Self {
        let rounds = values.iter().zip(base);
        rounds.map(|(value, base)| value / base).collect()
    }

    /// The values without decimals.
    pub fn whole(&self) -> String {
        let Self {
            median,
            lowest,
            highest,
        } = self;
        format!("{median:.0} ({lowest:.0}–{highest:.0})")
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            median,
            lowest,
            highest,
        } = self;
        write!(f, "{median:.2} ({lowest:.2}–{highest:.2})")
    }
}

/// The median. Sorts the values.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let ratio = Rounds::of_ratios(&[2.0, 8.0, 3.0], &[1.0, 2.0, 1.0]);
        assert_eq!(ratio.to_string(), "3.00 (2.00–4.00)");
    }
}
