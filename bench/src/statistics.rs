//! Medians, and how far the rounds are apart.

/// The median of the rounds, and the outermost ones.
pub struct Range {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Range {
    pub fn of<T>(runs: &[&T], value: impl Fn(&T) -> f64) -> Self {
        Self::of_values(runs.iter().map(|run| value(run)).collect())
    }

    /// Of the ratios to what ran in the same round.
    pub fn of_ratios<T>(runs: &[&T], to: &[&T], value: impl Fn(&T) -> f64) -> Self {
        let rounds = runs.iter().zip(to);
        Self::of_values(rounds.map(|(run, to)| value(run) / value(to)).collect())
    }

    fn of_values(mut values: Vec<f64>) -> Self {
        Self {
            median: median(&mut values),
            lowest: values.first().copied().unwrap_or(f64::NAN),
            highest: values.last().copied().unwrap_or(f64::NAN),
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            median,
            lowest,
            highest,
        } = self;
        write!(f, "{median:.2} ({lowest:.2}–{highest:.2})")
    }
}

/// What stands behind a line of a table, if anything has to be said.
pub fn note(count: usize, what: &str) -> String {
    if count == 0 {
        String::new()
    } else {
        format!("  [{count} {what}]")
    }
}

/// The value in the middle; sorts them.
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
    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(super::median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(super::median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
    }
}
