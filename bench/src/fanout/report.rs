//! Medians, ratios to the floor, and how far the rounds are apart.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{Case, contestant::ALL, measure::Run};
use crate::{
    Result,
    machine::Description,
    statistics::{Range, median, note},
};

/// All that was measured.
#[derive(Serialize, Deserialize)]
pub struct Report {
    machine: Description,
    pub runs: Vec<Run>,
}

/// One contestant in one case.
pub struct Line {
    pub contestant: String,
    delivery: f64,
    with_publishing: f64,
    /// How many times the floor, which ran in the same round.
    pub ratio: Range,
    spread: f64,
    spread_ratio: Range,
    memory: f64,
    /// How many runs the machine was busy in, and how many the load was the limit of.
    busy: usize,
    limited: usize,
}

impl Report {
    pub fn new() -> Result<Self> {
        Ok(Self {
            machine: Description::read()?,
            runs: Vec::new(),
        })
    }

    /// What was measured, in the order in which it was.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for run in &self.runs {
            if !cases.contains(&run.case) {
                cases.push(run.case);
            }
        }
        cases
    }

    /// Who was measured in a case.
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
                ratio: Range::of_ratios(&runs, &floor, |run| run.delivery),
                spread: median_of(&runs, |run| run.spread),
                spread_ratio: Range::of_ratios(&runs, &floor, |run| run.spread),
                memory: median_of(&runs, |run| run.memory),
                busy: runs.iter().filter(|run| run.busy()).count(),
                limited: runs.iter().filter(|run| run.load_was_the_limit()).count(),
            })
            .collect()
    }

    /// Everything, for people.
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
                // A single receiver is first and last.
                let spread = if case.conversations == case.subscribers {
                    [String::new(), String::new()]
                } else {
                    [format!("{:.2}", line.spread), line.spread_ratio.to_string()]
                };
                let _ = writeln!(
                    table,
                    "  {:<24}{:>12.2}{:>22}{:>12.2}{:>12}{:>22}{:>10.1}{}{}",
                    line.contestant,
                    line.delivery,
                    line.ratio.to_string(),
                    line.with_publishing,
                    spread[0],
                    spread[1],
                    line.memory,
                    note(line.busy, "in a busy machine"),
                    note(line.limited, "limited by the load"),
                );
            }
        }
        table
    }
}

fn median_of(runs: &[&Run], value: impl Fn(&Run) -> f64) -> f64 {
    median(&mut runs.iter().map(|run| value(run)).collect::<Vec<_>>())
}
