//! The results, for people and for programs.

use std::fmt::Write;

use serde::Serialize;

use super::{
    database::Kind,
    latency,
    throughput::{self, Who},
};
use crate::{
    Result,
    machine::{Description, Measured, notes},
    statistics::Rounds,
};

/// All results of the scenario.
#[derive(Serialize)]
pub struct Report {
    machine: Description,
    pub throughput: Vec<throughput::Run>,
    pub latency: Vec<latency::Run>,
}

impl Report {
    pub fn new() -> Result<Self> {
        Ok(Self {
            machine: Description::read()?,
            throughput: Vec::new(),
            latency: Vec::new(),
        })
    }

    /// The time of first messages as a multiple of the bare statements' in the same round, and whether the machine was
    /// busy.
    pub fn time_ratio(&self, database: Kind) -> Result<(f64, bool)> {
        let of = |who| {
            let mut runs = self.throughput.iter();
            let run = runs.find(|run| run.who == who && run.case.database == database);
            run.ok_or_else(|| format!("{who:?} was not measured on {database}"))
        };
        let (bare, titlecast) = (of(Who::Bare)?, of(Who::Titlecast)?);
        let busy = bare.busy() || titlecast.busy();
        Ok((titlecast.each / bare.each, busy))
    }

    /// The full table, for people.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let cases = distinct(self.throughput.iter().map(|run| run.case));
        if !cases.is_empty() {
            let _ = writeln!(
                table,
                "\n{:<26}{:>14}{:>24}{:>20}{:>12}{:>20}{:>14}",
                "first messages",
                "a second",
                "",
                "time × bare",
                "CPU µs each",
                "CPU × bare",
                "accepted ms"
            );
        }
        for case in cases {
            let of = |who| -> Vec<&throughput::Run> {
                let runs = self.throughput.iter();
                runs.filter(|run| run.case == case && run.who == who)
                    .collect()
            };
            let bare = of(Who::Bare);
            for (name, who) in [
                ("bare statements", Who::Bare),
                ("titlecast", Who::Titlecast),
            ] {
                let runs = of(who);
                if runs.is_empty() {
                    continue;
                }
                let accepted = rounds(&runs, |run| run.accepted.unwrap_or(f64::NAN)).median;
                let _ = writeln!(
                    table,
                    "{:<26}{:>14}{:>24}{:>20}{:>12.0}{:>20}{:>14}{}",
                    case.to_string(),
                    name,
                    rounds(&runs, |run| run.rate).whole(),
                    ratio(&runs, &bare, |run| run.each).to_string(),
                    rounds(&runs, |run| run.cpu).median,
                    ratio(&runs, &bare, |run| run.cpu).to_string(),
                    match who {
                        Who::Bare => String::new(),
                        Who::Titlecast => format!("{accepted:.2}"),
                    },
                    notes(&runs),
                );
            }
        }
        let cases = distinct(self.latency.iter().map(|run| run.case));
        if !cases.is_empty() {
            let _ = writeln!(
                table,
                "\n{:<36}{:>25}{:>25}{:>25}{:>25}",
                "ms added to a title's latency", "p50", "p90", "p99", "most"
            );
        }
        for case in cases {
            let runs = self.latency.iter();
            let runs: Vec<&latency::Run> = runs.filter(|run| run.case == case).collect();
            type Part = fn(&latency::Run) -> latency::Spread;
            let parts: [(&str, Part); 3] = [
                ("", |run| run.added),
                ("  until the model is asked", |run| run.asking),
                ("  from its answer on", |run| run.telling),
            ];
            for (name, part) in parts {
                let range =
                    |of: fn(latency::Spread) -> f64| rounds(&runs, |run| of(part(run))).to_string();
                let is_sum = name.is_empty();
                let _ = writeln!(
                    table,
                    "{:<36}{:>25}{:>25}{:>25}{:>25}{}",
                    if is_sum {
                        case.to_string()
                    } else {
                        name.to_owned()
                    },
                    range(|spread| spread.p50),
                    range(|spread| spread.p90),
                    range(|spread| spread.p99),
                    range(|spread| spread.most),
                    if is_sum { notes(&runs) } else { String::new() },
                );
            }
        }
        table
    }
}

fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for one in all {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

fn rounds<T>(runs: &[&T], value: impl Fn(&T) -> f64) -> Rounds {
    runs.iter().map(|run| value(run)).collect()
}

fn ratio<T>(runs: &[&T], base: &[&T], value: impl Fn(&T) -> f64) -> Rounds {
    let values = |runs: &[&T]| -> Vec<f64> { runs.iter().map(|run| value(run)).collect() };
    Rounds::of_ratios(&values(runs), &values(base))
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

impl std::fmt::Display for throughput::Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} at a time", self.database, self.at_once)
    }
}

impl std::fmt::Display for latency::Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            database,
            rate,
            model_ms,
        } = self;
        write!(f, "{database}, {rate}/s, model {model_ms} ms")
    }
}
