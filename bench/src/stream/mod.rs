//! The cost of streaming a reply: Titlecast compared with nginx, which forwards the same stream from the same model.
//! Also the delay of the first token compared with the model itself.

pub mod check;
mod client;
mod measure;
pub mod model;
pub mod nginx;
mod report;
pub mod script;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use check::Wire;
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    machine::{self, Cores, check_open_files},
    running,
};

/// The default numbers of concurrent streams.
const STREAMS: &[usize] = &[100, 200];

#[derive(clap::Args)]
pub struct Arguments {
    /// Measure only with this number of concurrent streams
    #[arg(long, value_name = "N", value_parser = positive)]
    streams: Option<usize>,

    /// How many tokens a short reply has
    #[arg(long, value_name = "N", default_value = "50", value_parser = positive)]
    short: usize,

    /// How many tokens a long reply has: the short one's, a few times
    #[arg(long, value_name = "N", default_value = "250", value_parser = positive)]
    long: usize,

    /// The time between two tokens of a stream, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 20)]
    pace: u64,

    /// Let Titlecast have a title made of each conversation as well
    #[arg(long)]
    titles: bool,

    /// How many times to measure everything
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,

    /// How many times to repeat a run because the machine was busy
    #[arg(long, value_name = "N", default_value_t = 2)]
    repeats: usize,

    /// File to write all figures to
    #[arg(long, value_name = "PATH", default_value = "bench/target/stream.json")]
    json: PathBuf,

    /// The program to measure; build it with --release
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,

    /// The program to compare with
    #[arg(long, value_name = "PATH", default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
}

/// The server that the streams come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    /// The model itself.
    Direct,
    Nginx,
    Titlecast,
}

/// Measures the servers in turns, prints the table, and writes all figures.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.long <= arguments.short || !arguments.long.is_multiple_of(arguments.short) {
        return Err("--long has to be a multiple of --short".into());
    }
    let report = measure(arguments, Cores::find()?)?;
    print!("{}", report.table());
    Ok(())
}

/// Measures and writes all figures.
pub fn measure(arguments: &Arguments, cores: Cores) -> Result<report::Report> {
    let nginx = nginx::version(&arguments.nginx)?;
    let cases = match &arguments.streams {
        Some(streams) => std::slice::from_ref(streams),
        None => STREAMS,
    };
    // The load has a socket for each stream, and so does the model, which is part of it.
    check_open_files(2 * cases.iter().max().ok_or("nothing to measure")?)?;
    let mut report = report::Report::new(arguments, nginx)?;
    // Round by round, so that results before an interruption can be compared.
    for round in 1..=arguments.rounds {
        for &streams in cases {
            for contestant in Contestant::ALL {
                let run = machine::quietly(arguments.repeats, || {
                    self::measure::run(contestant, streams, arguments, cores)
                })
                .map_err(|error| format!("{}, {streams} streams: {error}", contestant.name()))?;
                eprintln!("{streams} streams, round {round}: {run}");
                report.runs.push(run);
                fs::write(&arguments.json, serde_json::to_string_pretty(&report)?)?;
            }
        }
    }
    Ok(report)
}

impl Arguments {
    fn pace(&self) -> Duration {
        Duration::from_millis(self.pace)
    }
}

impl Contestant {
    /// In running order.
    const ALL: [Self; 3] = [Self::Direct, Self::Nginx, Self::Titlecast];

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Titlecast => "titlecast",
        }
    }

    /// The format of the events that it sends.
    fn wire(self, titles: bool) -> Wire {
        match self {
            Self::Direct | Self::Nginx => Wire::Model,
            Self::Titlecast => Wire::Titlecast { titles },
        }
    }

    /// The command that listens on a port of 127.0.0.1 and calls the model. It may keep files in the folder.
    fn command(
        self,
        arguments: &Arguments,
        port: u16,
        folder: &Path,
        model: SocketAddr,
        streams: usize,
    ) -> Result<Command> {
        match self {
            Self::Direct => Err("the model is a part of the load".into()),
            Self::Nginx => nginx::command(&arguments.nginx, port, folder, model, streams),
            Self::Titlecast => {
                let database = running::sqlite(&folder.join("bench.db"));
                let model = format!("http://{model}/v1");
                let titlecast = &arguments.titlecast;
                Ok(running::titlecast(titlecast, port, &database, &model))
            }
        }
    }
}

/// Parses a positive number.
fn positive(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it has to be 1 at least".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}
