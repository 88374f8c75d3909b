//! The results: the cost of a turn and its parts, ratios to the floor, and the resulting number of users.

use std::fmt::Write;

use serde::Serialize;

use super::{
    Arguments, CORES, SHARE,
    measure::{Parts, Quantiles, Run},
    wire::Wire,
};
use crate::{
    Result,
    machine::{Description, notes},
    statistics::Rounds,
    turn::database::Kind,
};

/// All results, and how they were measured.
#[derive(Serialize)]
pub struct Report {
    machine: Description,
    /// The length of the scaled minute in seconds, messages per conversation, tokens per reply, and milliseconds
    /// between two tokens.
    minute: f64,
    messages: usize,
    tokens: usize,
    pace: u64,
    pub runs: Vec<Run>,
    /// Trials of the computed number of users.
    pub trials: Vec<Run>,
}

impl Report {
    pub fn new(arguments: &Arguments) -> Result<Self> {
        Ok(Self {
            machine: Description::read()?,
            minute: arguments.minute,
            messages: arguments.messages,
            tokens: arguments.long,
            pace: arguments.pace,
            runs: Vec::new(),
            trials: Vec::new(),
        })
    }

    fn of(&self, wire: Wire, database: Kind) -> Vec<&Run> {
        let runs = self.runs.iter();
        runs.filter(|run| run.wire == wire && run.database == database)
            .collect()
    }

    /// The cost as a multiple of another wire's, round by round.
    pub fn ratio(
        &self,
        wire: Wire,
        to: Wire,
        database: Kind,
        value: impl Fn(&Run) -> f64,
    ) -> Rounds {
        let values = |wire| -> Vec<f64> {
            let runs = self.of(wire, database).into_iter();
            runs.map(&value).collect()
        };
        Rounds::of_ratios(&values(wire), &values(to))
    }

    /// A value of all rounds.
    pub fn rounds(&self, wire: Wire, database: Kind, value: impl Fn(&Run) -> f64) -> Rounds {
        self.of(wire, database).into_iter().map(value).collect()
    }

    /// The number of users, each sending one message a minute, that use the share of the cores.
    pub fn people(&self, wire: Wire, database: Kind) -> Option<f64> {
        let second = self.rounds(wire, database, |run| run.turn / 60.0 + run.idle);
        (second.median > 0.0).then(|| SHARE * CORES * 1e6 / second.median)
    }

    /// The full table for people: the median of the rounds and, in brackets, the lowest and highest.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let (tokens, pace, minute) = (self.tokens, self.pace, self.minute);
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "\nA message a minute, {} in a conversation, replies of {tokens} tokens, one each {pace} ms. A minute took \
             {minute} s: processor\ntime of a turn is what it is, people are computed for whole minutes.",
            self.messages
        );
        for database in [Kind::Sqlite, Kind::Postgres] {
            let wires: Vec<Wire> = Wire::ALL
                .into_iter()
                .filter(|&wire| !self.of(wire, database).is_empty())
                .collect();
            if wires.is_empty() {
                continue;
            }
            self.turns(&mut table, database, &wires);
            self.parts(&mut table, database, &wires);
            self.waits(&mut table, database, &wires);
            self.tried(&mut table, database);
        }
        table
    }

    fn turns(&self, table: &mut String, database: Kind, wires: &[Wire]) {
        let _ = writeln!(
            table,
            "\n{:<30}{:>24}{:>20}{:>15}{:>12}{:>24}{:>12}{:>12}",
            database.to_string(),
            "µs a turn",
            "times the floor",
            "PostgreSQL µs",
            "idle µs/s",
            "KiB a person",
            "reply kB",
            "people"
        );
        for &wire in wires {
            let of = |value: fn(&Run) -> f64| self.rounds(wire, database, value);
            let _ = writeln!(
                table,
                "  {:<28}{:>24}{:>20}{:>15.0}{:>12.1}{:>24}{:>12.1}{:>12.0}{}",
                wire.name(),
                of(|run| run.turn).whole(),
                self.ratio(wire, Wire::Floor, database, |run| run.turn)
                    .to_string(),
                match database {
                    Kind::Sqlite => 0.0,
                    Kind::Postgres => of(|run| run.backend).median,
                },
                of(|run| run.idle).median,
                of(|run| run.memory).to_string(),
                of(|run| run.reply / 1e3).median,
                self.people(wire, database).unwrap_or(f64::NAN),
                notes(&self.of(wire, database)),
            );
        }
        let _ = writeln!(
            table,
            "  people: who use {:.0} % of {CORES} cores, computed from both costs",
            SHARE * 100.0
        );
    }

    fn parts(&self, table: &mut String, database: Kind, wires: &[Wire]) {
        let _ = writeln!(
            table,
            "{:<30}{:>20}{:>20}{:>22}{:>20}{:>20}",
            "µs a turn, by part", "receive", "store", "stream", "title", "tell"
        );
        for &wire in wires.iter().filter(|wire| wire.has_parts()) {
            let of = |value: fn(&Parts) -> f64| -> String {
                let runs = self.of(wire, database).into_iter();
                let values = runs.filter_map(|run| run.parts.as_ref().map(value));
                values.collect::<Rounds>().whole()
            };
            let _ = writeln!(
                table,
                "  {:<28}{:>20}{:>20}{:>22}{:>20}{:>20}",
                wire.name(),
                of(|parts| parts.receive),
                of(|parts| parts.store),
                of(|parts| parts.stream),
                of(|parts| parts.title),
                of(|parts| parts.tell),
            );
        }
    }

    fn waits(&self, table: &mut String, database: Kind, wires: &[Wire]) {
        heads(table, "ms waited, p50 and p99");
        for &wire in wires {
            let runs = self.of(wire, database);
            let _ = writeln!(table, "  {:<28}{}", wire.name(), quantiles(&runs));
        }
    }

    fn tried(&self, table: &mut String, database: Kind) {
        let trials = self.trials.iter();
        let trials: Vec<&Run> = trials.filter(|run| run.database == database).collect();
        if trials.is_empty() {
            return;
        }
        heads(table, "tried, on the server's core");
        for run in trials {
            let minutes = 60.0 / self.minute;
            let _ = writeln!(
                table,
                "  {:<28}{}{:>10} people as {:.0}: server {:.2} of its core, {:.0} µs a turn, load {:.2}, late {:.0} ms{}",
                run.wire.name(),
                quantiles(&[run]),
                run.people,
                run.people as f64 * minutes,
                run.server,
                run.turn,
                run.load,
                run.late,
                notes(&[run]),
            );
        }
    }
}

fn heads(table: &mut String, what: &str) {
    let _ = writeln!(
        table,
        "{what:<30}{:>20}{:>20}{:>20}",
        "first text", "title", "list"
    );
}

fn quantiles(runs: &[&Run]) -> String {
    let of = |value: fn(&Quantiles) -> [f64; 2]| -> String {
        let of = |place: usize| -> f64 {
            let rounds: Rounds = runs.iter().map(|run| value(&run.waited)[place]).collect();
            rounds.median
        };
        format!("{:.1}, {:.1}", of(0), of(1))
    };
    format!(
        "{:>20}{:>20}{:>20}",
        of(|waited| waited.text),
        of(|waited| waited.title),
        of(|waited| waited.list)
    )
}
