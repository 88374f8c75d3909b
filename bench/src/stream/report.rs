//! Medians, ratios to nginx, and the spread of rounds.

use std::fmt::Write;

use serde::Serialize;

use super::{
    Contestant,
    measure::{Cost, Run},
};
use crate::{
    Result,
    machine::{Description, Measured, notes},
    statistics::Rounds,
};

/// All results, and how they were measured.
#[derive(Serialize)]
pub struct Report {
    machine: Description,
    nginx: String,
    /// Tokens per short and long reply, and milliseconds between two tokens.
    short: usize,
    long: usize,
    pace: u64,
    titles: bool,
    pub runs: Vec<Run>,
}

impl Report {
    pub fn new(arguments: &super::Arguments, nginx: String) -> Result<Self> {
        Ok(Self {
            machine: Description::read()?,
            nginx,
            short: arguments.short,
            long: arguments.long,
            pace: arguments.pace,
            titles: arguments.titles,
            runs: Vec::new(),
        })
    }

    /// The cost of a token in the first round, as a multiple of nginx's, and whether the machine was busy.
    pub fn token_ratio(&self) -> Result<(f64, bool)> {
        let of = |contestant: Contestant| -> Result<(f64, bool)> {
            let run = self.runs.iter().find(|run| run.contestant == contestant);
            let cost = run.and_then(|run| Some((run.cost?.token, run.busy())));
            Ok(cost.ok_or_else(|| format!("{} was not measured", contestant.name()))?)
        };
        let (nginx, busy) = of(Contestant::Nginx)?;
        let (titlecast, also_busy) = of(Contestant::Titlecast)?;
        Ok((titlecast / nginx, busy || also_busy))
    }

    fn runs(&self, contestant: Contestant, streams: usize) -> Vec<&Run> {
        let all = self.runs.iter();
        all.filter(|run| run.contestant == contestant && run.streams == streams)
            .collect()
    }

    /// The full table for people: the median of the rounds and, in brackets, the lowest and highest.
    pub fn table(&self) -> String {
        let mut streams: Vec<usize> = self.runs.iter().map(|run| run.streams).collect();
        streams.sort_unstable();
        streams.dedup();
        let mut table = String::new();
        for streams in streams {
            self.costs(&mut table, streams);
            self.first_tokens(&mut table, streams);
        }
        table
    }

    fn costs(&self, table: &mut String, streams: usize) {
        let reply = format!("µs/reply of {}", self.long);
        let _ = writeln!(
            table,
            "\n{:<14}{:>22}{:>20}{:>24}{:>28}{:>20}{:>10}",
            format!("{streams} streams"),
            "µs/token",
            "ratio to nginx",
            "µs/reply once",
            reply,
            "ratio to nginx",
            "deltas"
        );
        let nginx = self.runs(Contestant::Nginx, streams);
        for contestant in [Contestant::Nginx, Contestant::Titlecast] {
            let runs = self.runs(contestant, streams);
            let of = |value: fn(Cost) -> f64| -> Rounds { costs(&runs, value).collect() };
            let ratio = |value: fn(Cost) -> f64| -> Rounds {
                let rounds = costs(&runs, value).zip(costs(&nginx, value));
                rounds.map(|(one, other)| one / other).collect()
            };
            let deltas: Rounds = runs.iter().map(|run| run.deltas).collect();
            let _ = writeln!(
                table,
                "  {:<12}{:>22}{:>20}{:>24}{:>28}{:>20}{:>10.2}{}",
                contestant.name(),
                of(|cost| cost.token).to_string(),
                ratio(|cost| cost.token).to_string(),
                of(|cost| cost.once).whole(),
                of(|cost| cost.reply).whole(),
                ratio(|cost| cost.reply).to_string(),
                deltas.median,
                notes(&runs),
            );
        }
    }

    fn first_tokens(&self, table: &mut String, streams: usize) {
        let _ = writeln!(
            table,
            "{:<14}{:>22}{:>20}{:>24}{:>28}{:>20}{:>10}",
            "first token",
            "alone, ms",
            "later than direct",
            "p99 ms",
            format!("with {streams} streams, ms"),
            "later than direct",
            "p99 ms"
        );
        let direct = self.runs(Contestant::Direct, streams);
        for contestant in Contestant::ALL {
            let runs = self.runs(contestant, streams);
            let of =
                |value: fn(&Run) -> f64| -> Rounds { runs.iter().map(|run| value(run)).collect() };
            let later = |value: fn(&Run) -> f64| -> Rounds {
                let rounds = runs.iter().zip(&direct);
                rounds
                    .map(|(run, direct)| value(run) - value(direct))
                    .collect()
            };
            let _ = writeln!(
                table,
                "  {:<12}{:>22}{:>20}{:>24}{:>28}{:>20}{:>10.2}{}",
                contestant.name(),
                of(|run| run.alone.p50).to_string(),
                later(|run| run.alone.p50).to_string(),
                of(|run| run.alone.p99).to_string(),
                of(|run| run.crowded.p50).to_string(),
                later(|run| run.crowded.p50).to_string(),
                of(|run| run.crowded.p99).median,
                notes(&runs),
            );
        }
    }
}

fn costs(runs: &[&Run], value: fn(Cost) -> f64) -> impl Iterator<Item = f64> {
    runs.iter().filter_map(move |run| run.cost.map(value))
}
