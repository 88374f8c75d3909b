//! The time from the start of the program to its first answer, on an existing SQLite file and on a new one.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    Result, http,
    leftovers::Folder,
    requests::{Client, percentile},
    running::{OFFLINE, Running, sqlite, titlecast},
};

#[derive(clap::Args)]
pub struct Arguments {
    /// How often it is started on each
    #[arg(long, value_name = "N", default_value_t = 15)]
    rounds: usize,

    /// The program to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,
}

/// Runs the measurement and prints the results.
pub async fn run(arguments: Arguments) -> Result<()> {
    let folder = Folder::create()?;
    let (mut known, mut new) = measure(&arguments, folder.path()).await?;
    for (name, times) in [("known database", &mut known), ("new database", &mut new)] {
        times.sort_unstable();
        println!(
            "{name:<15} {:.1?}, from {:.1?} to {:.1?}",
            percentile(times, 0.5),
            percentile(times, 0.0),
            percentile(times, 1.0)
        );
    }
    Ok(())
}

async fn measure(arguments: &Arguments, folder: &Path) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let url = |name: &str| sqlite(&folder.join(name));
    let (mut known, mut new) = (Vec::new(), Vec::new());
    first_answer(arguments, &url("known.db")).await?;
    for round in 0..arguments.rounds {
        known.push(first_answer(arguments, &url("known.db")).await?);
        new.push(first_answer(arguments, &url(&format!("{round}.db"))).await?);
    }
    Ok((known, new))
}

async fn first_answer(arguments: &Arguments, url: &str) -> Result<Duration> {
    let begun = Instant::now();
    let running = Running::start("titlecast", None, |port, _| {
        Ok(titlecast(&arguments.titlecast, port, url, OFFLINE))
    })?;
    let mut client = Client::connect(running.address).await?;
    let request = http::request("GET", "/api/v1/conversations", "application/json", None);
    client.ask(&request).await?;
    Ok(begun.elapsed())
}
