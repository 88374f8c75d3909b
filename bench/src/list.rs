//! The list of 50 conversations by GraphQL and by a route written by hand, in turns, on a database that was seeded.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    Result, http,
    process::Process,
    requests::{all, percentile},
};

const QUERY: &str = "query { conversations(first: 50) { nodes {
    id topicHint agentEntrypoint activeAgent status messageCount lastMessagePreview lastMessageAt createdAt updatedAt
    displayName titleGeneratedAt titleSource titleStatus revision
} pageInfo { hasNextPage } } }";

#[derive(clap::Args)]
pub struct Arguments {
    /// The database, filled by `seed`; name several to compare sizes
    #[arg(long, value_name = "URL", required = true)]
    database_url: Vec<String>,

    /// How many lists in each round
    #[arg(long, value_name = "N", default_value_t = 500)]
    requests: usize,

    /// How many rounds; what is told is their median
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,

    /// The program to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,
}

/// One of the programs on one of the databases.
struct Contestant {
    name: String,
    process: Process,
    request: Vec<u8>,
    /// Microseconds of CPU a list, a round.
    cost: Vec<f64>,
    /// Microseconds from asking to the whole answer: the median, a round.
    latency: Vec<f64>,
}

/// Measures, and prints what was seen.
pub async fn run(arguments: Arguments) -> Result<()> {
    let route = std::env::current_exe()?.with_file_name("list-route");
    let mut contestants = Vec::new();
    for url in &arguments.database_url {
        let ours = Process::titlecast(&arguments.titlecast, url).await?;
        let graphql = http::request(
            "POST",
            "/graphql",
            "application/json",
            Some(&json!({ "query": QUERY })),
        );
        let by_hand = Process::start(&route, &[url]).await?;
        let plain = http::request("GET", "/list", "application/json", None);
        for (name, process, request) in [("titlecast", ours, graphql), ("by hand", by_hand, plain)]
        {
            let name = format!("{name:<10} {url}");
            contestants.push(Contestant {
                name,
                process,
                request,
                cost: Vec::new(),
                latency: Vec::new(),
            });
        }
    }
    for round in 0..=arguments.rounds {
        for contestant in &mut contestants {
            let requests = vec![contestant.request.clone(); arguments.requests];
            let before = contestant.process.cpu()?;
            let took = all(contestant.process.address, &requests, 1).await?;
            let cpu = contestant.process.cpu()? - before;
            // The first round warms up.
            if round > 0 {
                contestant
                    .cost
                    .push(cpu.as_secs_f64() * 1e6 / arguments.requests as f64);
                contestant
                    .latency
                    .push(percentile(&took, 0.5).as_secs_f64() * 1e6);
            }
        }
    }
    println!("µs a list      CPU  (least to most)   p50 latency");
    for one in &mut contestants {
        one.cost.sort_by(f64::total_cmp);
        one.latency.sort_by(f64::total_cmp);
        let (least, most) = (one.cost[0], one.cost[one.cost.len() - 1]);
        println!(
            "{:>16.0}  ({least:.0} to {most:.0})  {:>8.0}  {}",
            median(&one.cost),
            median(&one.latency),
            one.name
        );
    }
    for pair in contestants.chunks(2) {
        println!(
            "{:.2} × the CPU of the route by hand: {}",
            median(&pair[0].cost) / median(&pair[1].cost),
            pair[0].name
        );
    }
    // A size is compared with the smallest on the same kind of database.
    let kind = |one: &Contestant| one.name.split(':').next().unwrap_or_default().to_owned();
    let ours: Vec<&Contestant> = contestants.iter().step_by(2).collect();
    for (place, later) in ours.iter().enumerate() {
        if let Some(first) = ours[..place].iter().find(|one| kind(one) == kind(later)) {
            let ratio = median(&later.cost) / median(&first.cost);
            println!(
                "{ratio:.2} × the CPU of the first such database: {}",
                later.name
            );
        }
    }
    Ok(())
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
