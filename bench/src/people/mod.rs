//! The realistic scenario: users with two tabs each, a list and a chat, who send one message a minute and read replies
//! at a model's pace. Measured over each wire, on SQLite and PostgreSQL, and compared with a hand-written program that
//! runs the same statements and with the AI SDK's route on Node.
//!
//! The minute is shortened (`--minute`), so that fewer users produce the same load. The cost of an idle user is
//! measured separately with idle users, and added. Together they give the number of users that fit into 60 % of two
//! cores. Finally as many users as fit into that share of the server's one core are tried; the other core runs the
//! load.

mod floor;
mod measure;
mod person;
mod reply;
mod report;
mod tab;
mod wire;

use std::{fs, path::PathBuf, time::Duration};

pub use self::{
    floor::{FloorArguments, serve as serve_floor},
    wire::Wire,
};
use self::{
    measure::{Case, Run},
    report::Report,
};
use crate::{
    Result,
    machine::{Cores, check_open_files, quietly},
    peers,
    turn::{database::Kind, in_runtime},
};

/// The share of the cores that users may use.
const SHARE: f64 = 0.6;

/// The number of cores.
const CORES: f64 = 2.0;

#[derive(clap::Args)]
pub struct Arguments {
    /// A PostgreSQL server, as postgres://USER@HOST/NAME; a further database is created there, and removed. SQLite is
    /// always measured
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,

    /// Measure only these wires and the floor; may be repeated
    #[arg(long, value_enum, value_name = "WIRE")]
    only: Vec<Wire>,

    /// How many people talk
    #[arg(long, value_name = "N", default_value_t = 200)]
    people: usize,

    /// How many people only have their tabs open, to see what that costs
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    idle: u64,

    /// How long to measure idle people, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 16.0)]
    idle_seconds: f64,

    /// How long a person's minute is, in seconds: they send a message in each
    #[arg(long, value_name = "SECONDS", default_value_t = 6.0)]
    minute: f64,

    /// How many messages a person sends in a conversation; the first brings a title
    #[arg(long, value_name = "N", default_value_t = 4)]
    messages: usize,

    /// How many tokens a short reply has; compared with a long one, it separates the costs of the parts
    #[arg(long, value_name = "N", default_value_t = 50)]
    short: usize,

    /// How many tokens a reply has
    #[arg(long, value_name = "N", default_value_t = 250)]
    long: usize,

    /// The time between two tokens of a reply, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 20)]
    pace: u64,

    /// How many messages are refused to see what receiving one costs
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    refused: usize,

    /// Measure whole turns only, not their parts
    #[arg(long)]
    no_parts: bool,

    /// Do not test the computed number of people
    #[arg(long)]
    no_trial: bool,

    /// How many times to measure everything
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,

    /// How many times to repeat a run because the machine was busy
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeats: usize,

    /// File to write all figures to
    #[arg(long, value_name = "PATH", default_value = "bench/target/people.json")]
    json: PathBuf,

    /// The program to measure; build it with --release
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,

    /// More settings of the server, after `--`
    #[arg(last = true, value_name = "SETTINGS")]
    settings: Vec<String>,
}

/// Measures in turns, tries the computed number of users, prints the tables, and writes all figures.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.short >= arguments.long {
        return Err("--short has to be less than --long".into());
    }
    let cores = Cores::find()?;
    let report = cores.load(|| measure(arguments, cores))?;
    print!("{}", report.table());
    Ok(())
}

/// Measures and writes all figures.
pub fn measure(arguments: &Arguments, cores: Cores) -> Result<Report> {
    let cases = arguments.cases();
    check_open_files(4 * (arguments.people + arguments.idle as usize))?;
    let mut report = Report::new(arguments)?;
    if cases.iter().any(|case| case.wire == Wire::AiSdk) {
        peers::npm("ai-sdk")?;
    }
    // Round by round, so that results before an interruption can be compared.
    for round in 1..=arguments.rounds {
        for &case in &cases {
            let run = quietly(arguments.repeats, || one(arguments, cores, case))?;
            eprintln!("round {round}, {run}");
            report.runs.push(run);
            fs::write(&arguments.json, serde_json::to_string_pretty(&report)?)?;
        }
    }
    if arguments.no_trial {
        return Ok(report);
    }
    for case in cases.into_iter().filter(|case| case.wire.is_ours()) {
        let Some(people) = report.people(case.wire, case.database) else {
            continue;
        };
        // Scaled down, because the server has only one of the cores and the minute is shortened.
        let people = people / CORES * arguments.minute / 60.0;
        let case = Case {
            people: (people as usize).max(1),
            idle: 0,
            parts: false,
            ..case
        };
        check_open_files(4 * case.people)?;
        let run = one(arguments, cores, case)?;
        eprintln!("tried, {run}");
        report.trials.push(run);
        fs::write(&arguments.json, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(report)
}

fn one(arguments: &Arguments, cores: Cores, case: Case) -> Result<Run> {
    in_runtime(measure::run(arguments, cores, case)).map_err(|error| {
        let name = case.wire.name();
        format!("{name}, {}: {error}", case.database).into()
    })
}

impl Arguments {
    fn pace(&self) -> Duration {
        Duration::from_millis(self.pace)
    }

    fn minute(&self) -> Duration {
        Duration::from_secs_f64(self.minute)
    }

    /// The cases of each round, in order.
    fn cases(&self) -> Vec<Case> {
        let mut kinds = vec![Kind::Sqlite];
        kinds.extend(self.database_url.is_some().then_some(Kind::Postgres));
        let wanted =
            |wire: &Wire| *wire == Wire::Floor || self.only.is_empty() || self.only.contains(wire);
        let mut cases = Vec::new();
        for database in kinds {
            let has = |wire: &Wire| *wire != Wire::AiSdk || database == Kind::Postgres;
            for wire in Wire::ALL.into_iter().filter(wanted).filter(has) {
                cases.push(Case {
                    wire,
                    database,
                    people: self.people,
                    idle: self.idle as usize,
                    parts: wire.has_parts() && !self.no_parts,
                });
            }
        }
        cases
    }
}
