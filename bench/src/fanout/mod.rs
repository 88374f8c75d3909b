//! The cost of notifying subscribers: one event to many, and many conversations with one subscriber each.

mod client;
mod contestant;
mod measure;
mod plot;
mod publisher;
mod report;
mod session;
mod titles;

use std::{fs, path::PathBuf};

use contestant::{ALL, Contestant, Transport};
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    machine::{self, Cores, check_open_files},
};

/// One case to measure for each contestant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub transport: Transport,
    pub subscribers: usize,
    /// The number of conversations that the subscribers are spread over.
    pub conversations: usize,
}

const fn case(transport: Transport, subscribers: usize, conversations: usize) -> Case {
    Case {
        transport,
        subscribers,
        conversations,
    }
}

/// All cases that `just bench fanout` measures.
const CASES: &[Case] = &[
    case(Transport::Websocket, 1_000, 1),
    case(Transport::Sse, 1_000, 1),
    case(Transport::Websocket, 5_000, 1),
    case(Transport::Sse, 5_000, 1),
    case(Transport::Websocket, 1_000, 1_000),
    case(Transport::Sse, 1_000, 1_000),
];

#[derive(clap::Args)]
pub struct Arguments {
    /// Measure only these and the floor; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Measure this transport only
    #[arg(long, value_enum)]
    transport: Option<Transport>,

    /// Measure this number of subscribers instead, on one shared conversation and on one conversation each
    #[arg(long, value_name = "N")]
    subscribers: Option<usize>,

    /// Measure only cases with this number of conversations; 1 sends one event to many subscribers
    #[arg(long, value_name = "N")]
    conversations: Option<usize>,

    /// How many times to measure everything
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,

    /// How many times to repeat a run because the machine was busy
    #[arg(long, value_name = "N", default_value_t = 2)]
    repeats: usize,

    /// How long events are published in one run, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,

    /// File to write all figures to
    #[arg(long, value_name = "PATH", default_value = "bench/target/fanout.json")]
    json: PathBuf,

    /// The program to measure; build it with --release
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    pub titlecast: PathBuf,
}

/// Draws what an earlier run has found.
#[derive(clap::Args)]
pub struct PlotArguments {
    /// The figures: what fanout wrote
    json: PathBuf,

    /// Where the plot goes
    svg: PathBuf,
}

/// Measures the servers in turns, prints the table, and writes all figures.
pub fn run(arguments: &Arguments) -> Result<()> {
    print!("{}", measure(arguments, Cores::find()?)?.table());
    Ok(())
}

/// Measures and writes all figures.
pub fn measure(arguments: &Arguments, cores: Cores) -> Result<report::Report> {
    let contestants = contestants(arguments)?;
    let cases = cases(arguments);
    let most = cases.iter().map(|case| case.subscribers).max();
    check_open_files(most.ok_or("nothing to measure")?)?;
    for contestant in &contestants {
        (contestant.install)().map_err(|error| format!("{}: {error}", contestant.name))?;
    }
    let mut report = report::Report::new()?;
    // Round by round, so that the results before an interruption can be compared.
    for round in 1..=arguments.rounds {
        for &case in &cases {
            for contestant in &contestants {
                if !contestant.transports.contains(&case.transport)
                    || contestant.has_users && case.conversations > 1
                {
                    continue;
                }
                let run = machine::quietly(arguments.repeats, || {
                    measure::run(contestant, case, arguments, cores)
                })
                .map_err(|error| format!("{}, {case}: {error}", contestant.name))?;
                eprintln!("{case}, round {round}: {run}");
                report.runs.push(run);
                fs::write(&arguments.json, serde_json::to_string_pretty(&report)?)?;
            }
        }
    }
    Ok(report)
}

/// Draws the plot.
pub fn plot(arguments: &PlotArguments) -> Result<()> {
    let report: report::Report = serde_json::from_slice(&fs::read(&arguments.json)?)?;
    fs::write(&arguments.svg, plot::svg(&report)?)?;
    print!("{}", report.table());
    Ok(())
}

fn contestants(arguments: &Arguments) -> Result<Vec<&'static Contestant>> {
    for name in &arguments.only {
        if !ALL.iter().any(|one| one.name == name) {
            let names: Vec<_> = ALL.iter().map(|one| one.name).collect();
            return Err(format!("{name} is none of {}", names.join(", ")).into());
        }
    }
    let wanted = |one: &Contestant| match arguments.only.is_empty() {
        true => !one.has_users,
        false => arguments.only.iter().any(|name| name == one.name),
    };
    let (floor, others) = ALL.split_first().ok_or("nothing to measure")?;
    let others = others.iter().filter(|one| wanted(one));
    Ok(std::iter::once(floor).chain(others).collect())
}

fn cases(arguments: &Arguments) -> Vec<Case> {
    let all = match arguments.subscribers {
        None => CASES.to_vec(),
        Some(count) => [1, count]
            .into_iter()
            .flat_map(|conversations| {
                [Transport::Websocket, Transport::Sse]
                    .map(|transport| case(transport, count, conversations))
            })
            .collect(),
    };
    all.into_iter()
        .filter(|case| {
            let Arguments {
                transport,
                conversations,
                ..
            } = arguments;
            transport.is_none_or(|only| only == case.transport)
                && conversations.is_none_or(|only| only == case.conversations)
        })
        .collect()
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let transport = self.transport.name();
        write!(
            f,
            "{transport}, {} on {}",
            self.subscribers, self.conversations
        )
    }
}
