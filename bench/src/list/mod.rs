//! A list of 50 conversations from a seeded database: over GraphQL, by a hand-written route, and by a tool that derives
//! a GraphQL API from the tables. Measured in turns.

mod answer;
mod backends;
mod contestant;
mod report;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use self::{
    answer::List,
    backends::Backends,
    contestant::{ALL, Contestant},
};
use crate::{
    Result,
    machine::{self, Cores, Measured, Watch},
    requests::{Client, percentile},
    running::Running,
    usage::cpu,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// The database, filled by `seed`; name several to compare sizes
    #[arg(long, value_name = "URL", required = true)]
    database_url: Vec<String>,

    /// Measure only these and the handwritten route; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// How many lists in each round
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,

    /// How many rounds; the result is their median
    #[arg(long, value_name = "N", default_value_t = 7,
        value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,

    /// How many times to repeat a round because the machine was busy
    #[arg(long, value_name = "N", default_value_t = 2)]
    repeats: usize,

    /// The program to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,
}

/// A contestant serving one of the databases.
struct Serving {
    contestant: &'static Contestant,
    url: String,
    running: Running,
    backends: Backends,
    request: Vec<u8>,
    /// The response, which is the same each time.
    answer: Vec<u8>,
    runs: Vec<Run>,
}

/// The cost of a series of lists. The first three figures are microseconds per list.
struct Run {
    cpu: f64,
    /// Time of the database server. An SQLite file is read by the program itself.
    database: f64,
    /// From the request to the complete response: the median.
    latency: f64,
    /// The share of its core that the load used.
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

/// Runs the measurement and prints the results.
pub fn run(arguments: Arguments) -> Result<()> {
    // A separate thread, so that the whole load is on one core; the runtime of `main` has threads on every core.
    let load = std::thread::spawn(move || -> Result<()> {
        print!("{}", report::table(&measure(&arguments, Cores::find()?)?));
        Ok(())
    });
    load.join().map_err(|_| "the load panicked")?
}

/// For each round, Titlecast's cost as a multiple of the hand-written route's, and whether the machine was busy.
pub fn ratios(arguments: &Arguments, cores: Cores) -> Result<Vec<(f64, bool)>> {
    let serving = measure(arguments, cores)?;
    let [hand, titlecast] = &serving[..] else {
        return Err("not two were measured".into());
    };
    let rounds = titlecast.runs.iter().zip(&hand.runs);
    let ratios = rounds.map(|(one, hand)| (one.cpu / hand.cpu, one.busy() || hand.busy()));
    Ok(ratios.collect())
}

fn measure(arguments: &Arguments, cores: Cores) -> Result<Vec<Serving>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut serving = Vec::new();
    for url in &arguments.database_url {
        let mut hand: Option<List> = None;
        for contestant in contestants(arguments, url)? {
            let describe = |error| format!("{} on {url}: {error}", contestant.name);
            (contestant.install)().map_err(describe)?;
            let one = runtime.block_on(start(contestant, url, arguments, cores));
            let one = one.map_err(describe)?;
            let list = List::read(&one.answer, contestant.list).map_err(describe)?;
            match &hand {
                None => hand = Some(list),
                Some(hand) => list.compare(hand).map_err(describe)?,
            }
            serving.push(one);
        }
    }
    for round in 0..=arguments.rounds {
        for one in &mut serving {
            let name = one.contestant.name;
            let run = machine::quietly(arguments.repeats, || {
                one.lists(&runtime, arguments.requests)
                    .map_err(|error| format!("{name} on {}: {error}", one.url).into())
            })?;
            // The first round is a warm-up.
            if round > 0 {
                one.runs.push(run);
            }
        }
    }
    Ok(serving)
}

/// The contestants on a database: the first of [`ALL`], and the selected ones.
fn contestants(arguments: &Arguments, url: &str) -> Result<Vec<&'static Contestant>> {
    let only = &arguments.only;
    if let Some(name) = only
        .iter()
        .find(|name| ALL.iter().all(|one| one.name != **name))
    {
        let names: Vec<_> = ALL.iter().map(|one| one.name).collect();
        return Err(format!("{name} is none of {}", names.join(", ")).into());
    }
    let wanted = |name| only.is_empty() || only.iter().any(|one| one == name);
    let serves = |one: &Contestant| one.sqlite || !url.starts_with("sqlite:");
    let (first, others) = ALL.split_first().ok_or("nothing to measure")?;
    let others = others.iter().filter(|one| wanted(one.name) && serves(one));
    Ok(std::iter::once(first).chain(others).collect())
}

/// Starts the contestant on the server's core and sends one request.
async fn start(
    contestant: &'static Contestant,
    url: &str,
    arguments: &Arguments,
    cores: Cores,
) -> Result<Serving> {
    let running = Running::start(contestant.name, Some(cores), |port, _| {
        (contestant.command)(&arguments.titlecast, port, url)
    })?;
    let request = (contestant.request)();
    let mut client = Client::connect(running.address).await?;
    let answer = client.ask(&request).await?.to_vec();
    Ok(Serving {
        contestant,
        url: url.to_owned(),
        running,
        backends: Backends::of(url).await?,
        request,
        answer,
        runs: Vec::new(),
    })
}

impl Serving {
    /// Requests this many lists over one connection.
    fn lists(&mut self, runtime: &Runtime, count: u64) -> Result<Run> {
        let mut client = runtime.block_on(Client::connect(self.running.address))?;
        let mut took = Vec::new();
        let database = runtime.block_on(self.backends.cpu())?;
        let (server, own) = (self.running.cpu()?, cpu(std::process::id())?);
        let (watch, at) = (Watch::start()?, Instant::now());
        runtime.block_on(async {
            for _ in 0..count {
                let begun = Instant::now();
                let answer = client.ask(&self.request).await?;
                took.push(begun.elapsed());
                if answer != self.answer {
                    let answer = String::from_utf8_lossy(answer);
                    return Err(format!("another answer than the first: {answer}").into());
                }
            }
            Ok::<_, crate::Error>(())
        })?;
        let elapsed = at.elapsed();
        let (server, own) = (self.running.cpu()? - server, cpu(std::process::id())? - own);
        let database = runtime
            .block_on(self.backends.cpu())?
            .saturating_sub(database);
        took.sort_unstable();
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        Ok(Run {
            cpu: each(server),
            database: each(database),
            latency: percentile(&took, 0.5).as_secs_f64() * 1e6,
            load: own.as_secs_f64() / elapsed.as_secs_f64(),
            others: watch.others(server + own + database)?,
        })
    }
}
