//! Measures a Titlecast of its own, in another process, over real sockets of this machine. One subcommand is one
//! scenario; `docs/operations.md` tells what each shows.

mod http;
mod idle;
mod list;
mod process;
mod requests;
mod search;
mod seed;
mod server;
mod start;
mod subscriber;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// What any step may fail with; the text is for whoever runs it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Many subscribers to one conversation, at which nothing happens: what they cost, and how long one event takes to
    /// reach all of them
    Idle(idle::Arguments),

    /// Fill a database with made-up conversations, for the scenarios that read
    Seed(seed::Arguments),

    /// A list of 50 conversations, beside a route that was written by hand
    List(list::Arguments),

    /// From the start of the program to its first answer
    Start(start::Arguments),

    /// Searches for 20 hits: how long they take
    Search(search::Arguments),
}

/// The server that a scenario measures.
#[derive(clap::Args)]
struct ServerArguments {
    /// The program to measure; build it with --release
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,

    /// More settings of it, behind `--`
    #[arg(last = true, value_name = "SETTINGS")]
    settings: Vec<String>,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let Cli { scenario } = Cli::parse();
    let measured = match scenario {
        Scenario::Idle(arguments) => idle::run(arguments).await,
        Scenario::Seed(arguments) => seed::run(arguments).await,
        Scenario::List(arguments) => list::run(arguments).await,
        Scenario::Start(arguments) => start::run(arguments).await,
        Scenario::Search(arguments) => search::run(arguments).await,
    };
    match measured {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("titlecast-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
