//! The results: medians, and ratios to the floor.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{Case, contestant::ALL, measure::Run};
use crate::{
    Result,
    machine::{Description, Measured, notes},
    statistics::{Rounds, median},
};

/// All results of the scenario.
#[derive(Serialize, Deserialize)]
pub struct Report {
    machine: Description,
    pub runs: Vec<Run>,
}

/// The cost of one conversation per subscriber in the first round.
pub struct Cold {
    pub transport: &'static str,
    pub conversations: usize,
    /// The cost of a delivery, as a multiple of the floor's.
    pub ratio: f64,
    /// The cost of an event without subscribers, in microseconds.
    pub publishing: f64,
    pub busy: bool,
}

/// One contestant in one case.
pub struct Line {
    pub contestant: String,
    delivery: f64,
    with_publishing: f64,
    /// The multiple of the floor's cost in the same rounds.
    pub ratio: Rounds,
    spread: f64,
    spread_ratio: Rounds,
    memory: f64,
    /// Remarks on the runs.
    notes: String,
}

impl Report {
    pub fn new() -> Result<Self> {
        Ok(Self {
            machine: Description::read()?,
            runs: Vec::new(),
        })
    }

    /// The measured cases, in order of measurement.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for run in &self.runs {
            if !cases.contains(&run.case) {
                cases.push(run.case);
            }
        }
        cases
    }

    /// Titlecast compared with the floor, with one conversation per subscriber.
    pub fn cold(&self) -> Result<Vec<Cold>> {
        let of = |case: Case, name: &str| {
            let mut runs = self.runs.iter();
            let run = runs.find(|run| run.case == case && run.contestant == name);
            run.ok_or_else(|| format!("{name} was not measured, {case}"))
        };
        let cases = self.cases().into_iter();
        let cold = cases.filter(|case| case.conversations == case.subscribers);
        cold.map(|case| {
            let (floor, one) = (of(case, ALL[0].name)?, of(case, "titlecast")?);
            Ok(Cold {
                transport: case.transport.name(),
                conversations: case.conversations,
                ratio: one.delivery / floor.delivery,
                publishing: one.with_publishing - one.delivery,
                busy: one.busy() || floor.busy(),
            })
        })
        .collect()
    }

    /// The contestants measured in a case.
    pub fn lines(&self, case: Case) -> Vec<Line> {
        let of = |name: &str| -> Vec<&Run> {
            let runs = self.runs.iter();
            runs.filter(|run| run.case == case && run.contestant == name)
                .collect()
        };
        let floor = of(ALL[0].name);
        let contestants = ALL.iter().map(|one| (one.name, of(one.name)));
        contestants
            .filter(|(_, runs)| !runs.is_empty())
            .map(|(name, runs)| Line {
                contestant: name.to_owned(),
                delivery: median_of(&runs, |run| run.delivery),
                with_publishing: median_of(&runs, |run| run.with_publishing),
                ratio: ratio(&runs, &floor, |run| run.delivery),
                spread: median_of(&runs, |run| run.spread),
                spread_ratio: ratio(&runs, &floor, |run| run.spread),
                memory: median_of(&runs, |run| run.memory),
                notes: notes(&runs),
            })
            .collect()
    }

    /// The full table, for people.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for case in self.cases() {
            let _ = writeln!(
                table,
                "\n{:<26}{:>12}{:>22}{:>12}{:>12}{:>22}{:>10}",
                case.to_string(),
                "µs/delivery",
                "ratio to floor",
                "+publishing",
                "spread ms",
                "ratio to floor",
                "KiB each"
            );
            for line in self.lines(case) {
                // With a single receiver, the first and the last are the same.
                let spread = if case.conversations == case.subscribers {
                    [String::new(), String::new()]
                } else {
                    [format!("{:.2}", line.spread), line.spread_ratio.to_string()]
                };
                let _ = writeln!(
                    table,
                    "  {:<24}{:>12.2}{:>22}{:>12.2}{:>12}{:>22}{:>10.1}{}",
                    line.contestant,
                    line.delivery,
                    line.ratio.to_string(),
                    line.with_publishing,
                    spread[0],
                    spread[1],
                    line.memory,
                    line.notes,
                );
            }
        }
        table
    }
}

fn values(runs: &[&Run], value: impl Fn(&Run) -> f64) -> Vec<f64> {
    runs.iter().map(|run| value(run)).collect()
}

fn median_of(runs: &[&Run], value: impl Fn(&Run) -> f64) -> f64 {
    median(&mut values(runs, value))
}

fn ratio(runs: &[&Run], floor: &[&Run], value: impl Fn(&Run) -> f64) -> Rounds {
    Rounds::of_ratios(&values(runs, &value), &values(floor, &value))
}
