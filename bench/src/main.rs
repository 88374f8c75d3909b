//! Measures a dedicated Titlecast process over real sockets of this machine. One subcommand is one scenario;
//! `docs/performance.md` describes each.

mod cost;
mod decode;
mod fanout;
mod floor;
mod goals;
mod http;
mod idle;
mod ingest;
mod leftovers;
mod list;
mod machine;
mod peers;
mod people;
mod requests;
mod running;
mod search;
mod seed;
mod start;
mod statistics;
mod stream;
mod subscriber;
mod turn;
mod usage;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// The error of any step; the text is for the operator.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// What to measure; everything if omitted
    #[command(subcommand)]
    scenario: Option<Scenario>,
}

/// Everything, as one would type it.
const EVERYTHING: &[&[&str]] = &[
    &["people", "--rounds", "1"],
    &["idle", "--transport", "websocket"],
    &["idle", "--transport", "sse"],
    &["idle", "--transport", "title-stream"],
    &["fanout"],
    &["start"],
    &["turn"],
    &["stream"],
    &["cost"],
    &["ingest"],
];

#[derive(Subcommand)]
enum Scenario {
    /// People who chat with two tabs each: the cost of a turn and its parts, the latency, and the number of people that fit;
    /// compared with a program of the same statements and the AI SDK's route
    People(people::Arguments),

    /// Measure the goals of docs/performance.md in under 20 minutes, and print whether each is met
    Goals(goals::Arguments),

    /// Many idle subscribers to one conversation: what they cost, and how long one event takes to reach all of them
    Idle(idle::Arguments),

    /// Fill a database with made-up conversations, for the scenarios that read
    Seed(seed::Arguments),

    /// A list of 50 conversations, compared with a handwritten route and with PostGraphile
    List(list::Arguments),

    /// From the start of the program to its first answer
    Start(start::Arguments),

    /// Searches for 20 hits: how long they take
    Search(search::Arguments),

    /// The cost of delivering an event to subscribers, compared with the floor and with other frameworks
    Fanout(fanout::Arguments),

    /// The cost of streaming a reply, compared with nginx as a proxy of the same stream
    Stream(stream::Arguments),

    /// First messages per second, compared with their bare statements; and the latency added to a title
    Turn(turn::Arguments),

    /// What a conversation costs: processor time, bytes of the database, tokens, bytes on the wires
    Cost(cost::Arguments),

    /// The cost of a token that another program writes, compared with a token of the server's own model call
    Ingest(ingest::Arguments),

    /// Draw what `fanout` has found
    Plot(fanout::PlotArguments),

    /// Serve what `fanout` compares with: nothing but sockets
    #[command(hide = true)]
    Floor(floor::Arguments),

    /// Serve what `people` compares with: a route that was written by hand
    #[command(hide = true)]
    PeopleFloor(people::FloorArguments),

    /// Run what `turn` compares with: nothing but the statements
    #[command(hide = true)]
    Bare(turn::BareArguments),
}

/// The server that a scenario measures.
#[derive(clap::Args)]
struct ServerArguments {
    /// The program to measure; build it with --release
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,

    /// More settings of the server, after `--`
    #[arg(last = true, value_name = "SETTINGS")]
    settings: Vec<String>,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let result = run(cli).await;
    leftovers::wait_if_ending().await;
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("titlecast-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    leftovers::clean_up_on_signals()?;
    match cli.scenario {
        Some(scenario) => measure(scenario).await,
        None => everything().await,
    }
}

async fn everything() -> Result<()> {
    for arguments in EVERYTHING {
        println!("\n== {}", arguments.join(" "));
        let program = ["titlecast-bench"];
        let cli = Cli::try_parse_from(program.iter().chain(*arguments))?;
        if let Some(scenario) = cli.scenario {
            measure(scenario).await?;
        }
    }
    Ok(())
}

async fn measure(scenario: Scenario) -> Result<()> {
    match scenario {
        Scenario::People(arguments) => people::run(&arguments),
        Scenario::Goals(arguments) => goals::run(&arguments),
        Scenario::PeopleFloor(arguments) => people::serve_floor(arguments).await,
        Scenario::Idle(arguments) => idle::run(arguments).await,
        Scenario::Seed(arguments) => seed::run(arguments).await,
        Scenario::List(arguments) => list::run(arguments),
        Scenario::Start(arguments) => start::run(arguments).await,
        Scenario::Search(arguments) => search::run(arguments).await,
        Scenario::Fanout(arguments) => fanout::run(&arguments),
        Scenario::Stream(arguments) => stream::run(&arguments),
        Scenario::Cost(arguments) => cost::run(&arguments),
        Scenario::Ingest(arguments) => ingest::run(&arguments),
        Scenario::Plot(arguments) => fanout::plot(&arguments),
        Scenario::Floor(arguments) => floor::serve(arguments),
        Scenario::Turn(arguments) => turn::run(&arguments),
        Scenario::Bare(arguments) => turn::bare(&arguments),
    }
}
