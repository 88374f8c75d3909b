//! Measures what the goals of docs/performance.md need, in turns with their baselines and peers, and reports whether
//! each goal is met.
//!
//! A missed goal is not a failure, but a failed run is. If a required program is missing on this machine, the goal is
//! reported as not measured rather than met.

mod figures;
mod rename;
mod report;

use std::path::PathBuf;

use self::{
    figures::Figures,
    report::{Figure, Goal},
};
use crate::{Result, machine::Cores};

#[derive(clap::Args)]
pub struct Arguments {
    /// A PostgreSQL server, as postgres://USER@HOST/NAME; further databases are created there, and removed
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,

    /// Print one JSON object per line instead of the table
    #[arg(long)]
    json: bool,

    /// Run small amounts: checks that everything runs, not how fast it is
    #[arg(long)]
    few: bool,

    /// How many times to measure everything
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,

    /// The program to measure; build it with --release
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,

    /// What a reply's stream is compared with
    #[arg(long, value_name = "PATH", default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
}

/// The goals, in the order of the document.
fn goals() -> Vec<Goal> {
    vec![
        Goal::new("turn", "a whole turn: processor time, times the floor", 1.3),
        Goal::new(
            "turn against the AI SDK",
            "a whole turn: processor time, times that of the AI SDK's route on Node",
            0.2,
        ),
        Goal::new(
            "token",
            "a token of a reply: processor time, times nginx as a proxy",
            1.2,
        ),
        Goal::new(
            "first message",
            "first messages: time, times the bare statements'",
            1.3,
        )
        .with_case("SQLite", 1.0),
        Goal::new(
            "list",
            "a list of 50 conversations: processor time, times a route by hand",
            1.3,
        ),
        Goal::new(
            "cold delivery",
            "a delivery, conversations with one subscriber each: processor time, times the floor",
            1.3,
        ),
        Goal::new(
            "publishing",
            "publishing a change, beside its transaction: µs of processor time",
            150.0,
        ),
        Goal::new("person", "memory of a person with two tabs: KiB", 25.0),
    ]
}

/// Measures everything and prints a line for each goal.
pub fn run(arguments: &Arguments) -> Result<()> {
    let cores = Cores::find()?;
    let goals = cores.load(|| measure(arguments, cores))?;
    for goal in &goals {
        match arguments.json {
            true => println!("{}", serde_json::to_string(&goal.described())?),
            false => print!("{goal}"),
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments, cores: Cores) -> Result<Vec<Goal>> {
    let mut goals = goals();
    let figures = Figures::new(arguments, cores)?;
    let mut note = |figures: Vec<Figure>| -> Result<()> {
        for figure in figures {
            let goal = goals.iter_mut().find(|goal| goal.name == figure.goal);
            goal.ok_or_else(|| format!("no goal: {}", figure.goal))?
                .note(figure);
        }
        Ok(())
    };
    // The database is filled only once; the lists have rounds of their own.
    note(figures.lists()?)?;
    for round in 1..=arguments.rounds {
        eprintln!("goals, round {round}");
        note(figures.turns()?)?;
        note(figures.tokens()?)?;
        note(figures.first_messages()?)?;
        note(figures.deliveries()?)?;
    }
    Ok(goals)
}
