//! Searches for 20 hits in a seeded database. Words are chosen by their frequency in real text, so some occur in most
//! messages; the last word can be cut short, as while typing; one request in ten is for the second page. The searching
//! user owns a tenth of all conversations.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    Result, http,
    requests::{Client, all, percentile},
    running::{OFFLINE, Running, titlecast},
    seed::text::any_word,
};

const QUERY: &str = "query ($query: String!, $after: String) {
    searchConversations(query: $query, first: 20, after: $after) {
        nodes { snippet score conversation { id title } message { id } }
        pageInfo { hasNextPage endCursor }
    }
}";

#[derive(clap::Args)]
pub struct Arguments {
    /// The database, filled by `seed`
    #[arg(long, value_name = "URL")]
    database_url: String,

    /// How many searches
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    searches: usize,

    /// Seed of the random words
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,

    /// The program to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/titlecast")]
    titlecast: PathBuf,
}

/// Runs the measurement and prints the results.
pub async fn run(arguments: Arguments) -> Result<()> {
    let server = Running::start("titlecast", None, |port, _| {
        let url = &arguments.database_url;
        Ok(titlecast(&arguments.titlecast, port, url, OFFLINE))
    })?;
    let mut random = fastrand::Rng::with_seed(arguments.seed);
    let (mut requests, mut found) = (Vec::new(), 0);
    let mut client = Client::connect(server.address).await?;
    while requests.len() < arguments.searches {
        let count = random.usize(1..=3);
        let mut words: Vec<String> = (0..count).map(|_| any_word(&mut random)).collect();
        // Cut words keep at least two letters.
        if random.bool()
            && let Some(last) = words.last_mut()
        {
            last.truncate(random.usize(2..=last.len()));
        }
        let query = words.join(" ");
        let first = request(&query, &Value::Null);
        if requests.len() % 10 == 9 {
            let page: Value = serde_json::from_slice(client.ask(&first).await?)?;
            let after = &page["data"]["searchConversations"]["pageInfo"]["endCursor"];
            found += usize::from(!after.is_null());
            requests.push(request(&query, after));
        } else {
            requests.push(first);
        }
    }
    let before = server.cpu()?;
    let took = all(server.address, &requests, 1).await?;
    let cpu = (server.cpu()? - before).as_secs_f64() * 1e6 / requests.len() as f64;
    let at = |part| percentile(&took, part);
    println!(
        "{} searches, {found} of every tenth found something",
        requests.len()
    );
    println!(
        "p50 {:.1?}  p90 {:.1?}  p99 {:.1?}  most {:.1?}  CPU {cpu:.0} µs each",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

fn request(query: &str, after: &Value) -> Vec<u8> {
    let body = json!({ "query": QUERY, "variables": { "query": query, "after": after } });
    http::request("POST", "/graphql", "application/json", Some(&body))
}
