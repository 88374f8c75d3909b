//! First messages: how many per second, compared with the bare statements on the same database; and the latency added
//! to the model's time for a title. The model is a server in this program.
//!
//! Both are measured on a new SQLite file in the folder for temporary files, and on a new PostgreSQL database if a
//! server is named. The program itself creates the tables and indexes. All messages have the same owner.

mod bare;
pub mod database;
mod latency;
pub mod meter;
mod model;
mod report;
mod service;
pub mod statements;
mod throughput;
mod words;

use std::{fs, path::PathBuf};

pub use self::bare::{BareArguments, bare};
use self::{database::Kind, report::Report, throughput::Who};
use crate::{
    Result,
    machine::{Cores, quietly},
};

/// Database connections on either side: the service's default.
pub const CONNECTIONS: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Question {
    /// First messages a second
    Throughput,
    /// What is added to a title's latency
    Latency,
}

#[derive(clap::Args)]
pub struct Arguments {
    /// A PostgreSQL server, as postgres://USER@HOST/NAME; a further database is created there, and removed. SQLite is
    /// always measured
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,

    /// Measure this only
    #[arg(long, value_enum)]
    only: Option<Question>,

    /// How many messages a run sends, as fast as the server accepts them
    #[arg(long, value_name = "N", default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,

    /// How many connections send them; may be repeated
    #[arg(long, value_name = "N", default_values_t = [1, 32],
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    at_once: Vec<u16>,

    /// First messages a second, where latency is measured
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,

    /// How long to send them, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    seconds: f64,

    /// How long the model takes for a title there, in milliseconds; may be repeated
    #[arg(long, value_name = "MS", default_values_t = [0, 50])]
    model_ms: Vec<u64>,

    /// How many times to measure everything
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,

    /// How many times to repeat a run because the machine was busy
    #[arg(long, value_name = "N", default_value_t = 2)]
    repeats: usize,

    /// File to write all figures to
    #[arg(long, value_name = "PATH", default_value = "bench/target/turn.json")]
    json: PathBuf,

    /// The program to measure; build it with --release
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,

    /// More settings of the server, after `--`
    #[arg(last = true, value_name = "SETTINGS")]
    settings: Vec<String>,
}

/// Measures both in turns, prints the tables, and writes all figures.
pub fn run(arguments: &Arguments) -> Result<()> {
    let cores = Cores::find()?;
    let report = cores.load(|| measure(arguments, cores))?;
    print!("{}", report.table());
    Ok(())
}

/// Measures and writes all figures.
pub fn measure(arguments: &Arguments, cores: Cores) -> Result<Report> {
    let mut kinds = vec![Kind::Sqlite];
    kinds.extend(arguments.database_url.is_some().then_some(Kind::Postgres));
    let is_asked = |question| arguments.only.is_none_or(|only| only == question);
    let mut report = Report::new()?;
    // Round by round, so that results before an interruption can be compared.
    for round in 1..=arguments.rounds {
        for &database in &kinds {
            if is_asked(Question::Throughput) {
                for &at_once in &arguments.at_once {
                    let at_once = at_once.into();
                    let case = throughput::Case { database, at_once };
                    for who in [Who::Bare, Who::Titlecast] {
                        let run = quietly(arguments.repeats, || match who {
                            Who::Bare => in_runtime(throughput::bare(arguments, cores, case)),
                            Who::Titlecast => {
                                in_runtime(throughput::titlecast(arguments, cores, case))
                            }
                        })
                        .map_err(|error| format!("{case}, {who:?}: {error}"))?;
                        eprintln!("round {round}: {run:?}");
                        report.throughput.push(run);
                    }
                }
            }
            if is_asked(Question::Latency) {
                for &model_ms in &arguments.model_ms {
                    let case = latency::Case {
                        database,
                        rate: arguments.rate,
                        model_ms,
                    };
                    let run = quietly(arguments.repeats, || {
                        in_runtime(latency::run(arguments, cores, case))
                    })
                    .map_err(|error| format!("{case}: {error}"))?;
                    eprintln!("round {round}: {run:?}");
                    report.latency.push(run);
                }
            }
            fs::write(&arguments.json, serde_json::to_string_pretty(&report)?)?;
        }
    }
    Ok(report)
}

/// Runs a future on the current thread only. Tasks that it spawns end with it.
pub fn in_runtime<T>(run: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run)
}

/// Like [`in_runtime`], on a separate thread, for callers that are already in a runtime.
fn on_one_thread<T: Send>(run: impl Future<Output = Result<T>> + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(|| in_runtime(run)).join())
        .map_err(|_| "a thread has panicked")?
}
