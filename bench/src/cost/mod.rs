//! The cost of a conversation, in units that a plan can multiply (docs/scaling.md): processor time of the server and
//! the database, bytes in the database, tokens, bytes on the wires, and NATS traffic with two nodes.
//!
//! Users, each with a token, talk concurrently to a dedicated server. A scripted model writes English prose at a steady
//! pace, and reports the token counts of its requests by o200k, OpenAI's newest published tokenizer. `words` contains
//! the texts. SQLite is always measured; PostgreSQL, and two nodes on it, only if a server is named.

pub mod command;
mod nats;
mod one_node;
mod people;
mod sizes;
mod two_nodes;
pub mod words;

use std::{
    fmt::Write,
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::time::sleep;

use self::people::{Person, Said, Turn};
use crate::{
    Result,
    machine::{Cores, Description, Measured, notes, quietly},
    statistics::Rounds,
    turn::{
        database::{Database, Kind},
        in_runtime,
        meter::Meter,
    },
    usage::{cpu, cpu_of},
};

/// After this time, the service has finished its work after a reply, such as recording published revisions.
const AFTERMATH: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub struct Arguments {
    /// A PostgreSQL server, as postgres://USER@HOST/NAME; a further database is created there, and removed
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,

    /// How many people talk at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    people: u16,

    /// How many conversations each has
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    conversations: u16,

    /// How many messages a person sends in each
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..))]
    messages: u16,

    /// How many tokens a short reply has; compared with a long one, it separates the cost of a title and of a token
    #[arg(long, value_name = "N", default_value_t = 50)]
    short: usize,

    /// How many tokens a reply has
    #[arg(long, value_name = "N", default_value_t = 250)]
    long: usize,

    /// The time between two tokens of a reply, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pace: u64,

    /// How many times to measure everything
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,

    /// How many times to repeat a run because the machine was busy
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeats: usize,

    /// File to write all figures to
    #[arg(long, value_name = "PATH", default_value = "bench/target/cost.json")]
    json: PathBuf,

    /// The program to measure; build it with --release
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,

    /// What connects two nodes
    #[arg(long, value_name = "PATH", default_value = "/usr/sbin/nats-server")]
    nats_server: PathBuf,
}

/// One of the cases that are measured in turns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
enum Case {
    OneNode(Kind),
    TwoNodes,
}

/// The results of one run.
#[derive(Serialize)]
struct Run {
    case: Case,
    /// Each figure with its name.
    figures: Vec<(String, f64)>,
    /// The share of its core that the load used, including the model.
    load: f64,
    /// The share of one core that other programs used.
    others: f64,
}

impl Measured for Run {
    fn others(&self) -> f64 {
        self.others
    }

    fn load(&self) -> f64 {
        self.load
    }
}

#[derive(Serialize)]
struct Report {
    machine: Description,
    runs: Vec<Run>,
}

/// Measures everything in turns, prints the table, and writes all figures.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.short >= arguments.long {
        return Err("--short has to be less than --long".into());
    }
    let cores = Cores::find()?;
    let report = Report {
        // Read before this thread is pinned to one core.
        machine: Description::read()?,
        runs: Vec::new(),
    };
    let report = cores.load(|| measure(arguments, cores, report))?;
    print!("{}", report.table());
    Ok(())
}

fn measure(arguments: &Arguments, cores: Cores, mut report: Report) -> Result<Report> {
    let mut cases = vec![Case::OneNode(Kind::Sqlite)];
    if arguments.database_url.is_some() {
        cases.extend([Case::OneNode(Kind::Postgres), Case::TwoNodes]);
    }
    for round in 1..=arguments.rounds {
        for &case in &cases {
            let run = quietly(arguments.repeats, || {
                in_runtime(one(arguments, cores, case))
            })
            .map_err(|error| format!("{case:?}: {error}"))?;
            let Run { load, others, .. } = run;
            eprintln!("round {round}, {case:?}: load {load:.2} of its core, others {others:.2}");
            report.runs.push(run);
            fs::write(&arguments.json, serde_json::to_string_pretty(&report)?)?;
        }
    }
    Ok(report)
}

/// Runs one case on a new database.
async fn one(arguments: &Arguments, cores: Cores, case: Case) -> Result<Run> {
    let kind = match case {
        Case::OneNode(kind) => kind,
        Case::TwoNodes => Kind::Postgres,
    };
    let server = arguments.database_url.as_deref();
    let database = Database::create(kind, server, &arguments.titlecast).await?;
    let run = match case {
        Case::OneNode(kind) => one_node::run(arguments, cores, kind, &database).await,
        Case::TwoNodes => two_nodes::run(arguments, cores, &database).await,
    };
    database.remove().await?;
    run
}

impl Report {
    /// The full table for people: for each figure, the median of the rounds and, in brackets, the lowest and highest.
    fn table(&self) -> String {
        let mut table = String::new();
        let mut cases: Vec<Case> = Vec::new();
        for run in &self.runs {
            if !cases.contains(&run.case) {
                cases.push(run.case);
            }
        }
        for case in cases {
            let runs: Vec<&Run> = self.runs.iter().filter(|run| run.case == case).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(table, "\n{case:?}{}", notes(&runs));
            for (place, (what, _)) in runs[0].figures.iter().enumerate() {
                let rounds: Rounds = runs.iter().map(|run| run.figures[place].1).collect();
                let rounds = match rounds.median < 100.0 {
                    true => rounds.to_string(),
                    false => rounds.whole(),
                };
                let _ = writeln!(table, "  {what:<62}{rounds:>26}");
            }
        }
        table
    }
}

impl Arguments {
    fn pace(&self) -> Duration {
        Duration::from_millis(self.pace)
    }

    /// Every user starts new conversations.
    fn begin(&self, titles: bool, tokens: usize) -> Turn {
        Turn {
            begin: Some(self.conversations.into()),
            titles,
            tokens,
            // Staggered, so that replies begin and end at all times.
            stagger: self.pace() * tokens as u32,
            follow: None,
        }
    }

    /// Every user continues its conversations.
    fn go_on(&self) -> Turn {
        Turn {
            begin: None,
            ..self.begin(true, self.long)
        }
    }
}

/// Connects this many users and lets each talk once.
async fn people(arguments: &Arguments, count: u16, to: SocketAddr) -> Result<Vec<Person>> {
    let mut people = Vec::new();
    for number in 0..count {
        people.push(Person::connect(number, &arguments.titlecast, to).await?);
    }
    // The first request on a connection is not representative.
    let once = Turn {
        begin: Some(1),
        ..arguments.begin(false, 5)
    };
    people::all(&mut people, once).await?;
    Ok(people)
}

/// The messages and their processor time in microseconds, for the nodes and for PostgreSQL.
struct Cost {
    said: Said,
    nodes: Vec<f64>,
    database: f64,
}

impl Cost {
    /// Lets each person take a turn and measures it.
    async fn of(nodes: &[u32], people: &mut [Person], turn: Turn) -> Result<Self> {
        let used = || -> Result<Vec<Duration>> {
            let nodes = nodes.iter().map(|&node| cpu(node));
            nodes.chain([cpu_of("postgres")]).collect()
        };
        let before = used()?;
        let said = people::all(people, turn).await?;
        sleep(AFTERMATH).await;
        let differences = used()?.into_iter().zip(before);
        // The time of PostgreSQL backends that have ended in the meantime is lost.
        let mut used: Vec<f64> = differences
            .map(|(after, before)| after.saturating_sub(before).as_secs_f64() * 1e6)
            .collect();
        let database = used.pop().unwrap_or(f64::NAN);
        Ok(Self {
            said,
            nodes: used,
            database,
        })
    }

    /// The cost per reply.
    fn each(&self, all: f64) -> f64 {
        all / self.said.replies as f64
    }
}

/// Measures how busy other programs and the load are in the meantime.
struct Watch {
    meter: Meter,
    begun: Instant,
    own: Duration,
}

impl Watch {
    fn start(nodes: &[u32]) -> Result<Self> {
        let own = std::process::id();
        Ok(Self {
            meter: Meter::start(&[nodes, &[own]].concat())?,
            begun: Instant::now(),
            own: cpu(own)?,
        })
    }

    fn finish(self, case: Case) -> Result<Run> {
        let own = cpu(std::process::id())? - self.own;
        Ok(Run {
            case,
            figures: Vec::new(),
            load: own.as_secs_f64() / self.begun.elapsed().as_secs_f64(),
            others: self.meter.others()?,
        })
    }
}
