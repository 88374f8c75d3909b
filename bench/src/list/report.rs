//! The table of list costs.

use std::fmt::Write;

use super::{Run, Serving, contestant::ALL};
use crate::{
    machine::notes,
    statistics::{Rounds, median},
};

/// The full table, for people.
pub fn table(serving: &[Serving]) -> String {
    let mut table = String::new();
    let mut urls: Vec<&str> = serving.iter().map(|one| one.url.as_str()).collect();
    urls.dedup();
    for url in urls {
        let _ = writeln!(
            table,
            "\n{url}\n  {:<14}{:>10}{:>22}{:>14}{:>10}",
            "µs a list", "CPU", "ratio to by hand", "+database", "p50"
        );
        let here: Vec<&Serving> = serving.iter().filter(|one| one.url == url).collect();
        let hand = here.iter().find(|one| one.contestant.name == ALL[0].name);
        let hand = hand.map_or_else(Vec::new, |one| one.values(|run| run.cpu));
        for one in here {
            let _ = writeln!(
                table,
                "  {:<14}{:>10.0}{:>22}{:>14.0}{:>10.0}{}",
                one.contestant.name,
                one.median(|run| run.cpu),
                Rounds::of_ratios(&one.values(|run| run.cpu), &hand).to_string(),
                one.median(|run| run.cpu + run.database),
                one.median(|run| run.latency),
                notes(&one.runs.iter().collect::<Vec<_>>()),
            );
        }
    }
    sizes(serving, &mut table);
    table
}

/// Compares each database size with the first one of the same kind of database.
fn sizes(serving: &[Serving], table: &mut String) {
    for (place, later) in serving.iter().enumerate() {
        let first = serving[..place]
            .iter()
            .find(|one| one.contestant.name == later.contestant.name && kind(one) == kind(later));
        if let Some(first) = first {
            let ratio =
                Rounds::of_ratios(&later.values(|run| run.cpu), &first.values(|run| run.cpu));
            let _ = writeln!(
                table,
                "\n{ratio} × the CPU of {}: {} on {}",
                first.url, later.contestant.name, later.url
            );
        }
    }
}

fn kind(one: &Serving) -> Option<&str> {
    one.url.split(':').next()
}

impl Serving {
    fn values(&self, value: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().map(value).collect()
    }

    fn median(&self, value: impl Fn(&Run) -> f64) -> f64 {
        median(&mut self.values(value))
    }
}
