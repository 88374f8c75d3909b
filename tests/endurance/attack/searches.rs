//! Hostile searches: thousands of words that occur nowhere, one phrase of thousands of parts, clients that hang up.
//! Healthy clients wait no longer, the memory does not grow, and the server stops in time.

use std::time::Duration;

use serde_json::{Value, json};
use titlecast_testing::{
    at_length,
    server::{client, request},
    within,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{healthy::Healthy, serve};

/// How many attackers search at once.
const ATTACKERS: usize = 10;

/// When they hang up.
const PATIENCE: Duration = Duration::from_millis(500);

/// The duration, in seconds.
const SECONDS: usize = 60;

/// The limit of a healthy client's wait, at the 99th percentile.
const WAIT: Duration = Duration::from_millis(50);

const MEMORY_KIB: u64 = 100 * 1024;

/// How long the server may take to end.
const END: Duration = Duration::from_secs(10);

const SEARCH: &str = "query ($q: String!) { searchConversations(query: $q, first: 30) {
    nodes { snippet score } } }";

/// What is looked for: beyond the bound, and just within it.
fn queries() -> Vec<String> {
    let numbered = |count: usize| -> String { (0..count).map(|n| format!("zz{n} ")).collect() };
    vec![
        numbered(9_000),
        "a-".repeat(30_000),
        "a ".repeat(30_000),
        vec!["a"; 32].join("-"),
        numbered(32),
        "b".into(),
        "e".into(),
    ]
}

/// Texts of 58 KB: what every query has to go through.
async fn fill(url: &str) {
    let words: String = (0..9_000).map(|n| format!("e{n} ")).collect();
    for number in 0..30 {
        let text = match number % 3 {
            0 => "a ".repeat(29_000),
            1 => "a b ".repeat(14_500),
            _ => words[..58_000.min(words.len())].to_owned(),
        };
        let body = json!({ "message": text });
        let (status, answer) = request(url, "POST", "/api/v1/chat", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }
}

async fn attack(url: String, number: usize, stop: CancellationToken) -> usize {
    let queries = queries();
    let mut sent = 0;
    while !stop.is_cancelled() {
        let query = &queries[(number + sent) % queries.len()];
        let body = json!({ "query": SEARCH, "variables": { "q": query } });
        let asking = client()
            .post(format!("{url}/graphql"))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send();
        // It hangs up, or is answered.
        if let Ok(Ok(response)) = timeout(PATIENCE, asking).await {
            let answer: Value = within(response.json()).await.unwrap();
            let code = &answer["errors"][0]["extensions"]["code"];
            assert_ne!(code, "DATABASE_UNAVAILABLE", "{answer}");
            assert_ne!(code, "INTERNAL", "{answer}");
        }
        sent += 1;
        sleep(Duration::from_millis(10)).await;
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a release build and a minute: just attack"]
async fn searches_that_mean_harm_are_not_noticed_by_others() {
    let (mut process, url, _metrics) = serve().await;
    fill(&url).await;
    let mut healthy = Healthy::start(&url).await;
    let alone = healthy.round(Duration::from_secs(3)).await;
    let before_kib = process.memory();

    let stop = CancellationToken::new();
    let mut attackers = JoinSet::new();
    for number in 0..ATTACKERS {
        attackers.spawn(attack(url.clone(), number, stop.clone()));
    }
    let time = Duration::from_secs(at_length(SECONDS) as u64);
    let attacked = healthy.round(time).await;
    let grown_kib = process.peak_memory().saturating_sub(before_kib);
    // In the midst of it.
    let begun = Instant::now();
    process.terminate();
    stop.cancel();
    let code = within(process.exit()).await;
    let end = begun.elapsed();
    attackers.abort_all();
    println!(
        "p99 {alone:?} alone, {attacked:?} under attack for {time:?}; {grown_kib} KiB more; ended in {end:?}"
    );
    assert_eq!(code, Some(0));
    assert!(end < END, "{end:?}");
    assert!(attacked < WAIT, "{attacked:?}");
    assert!(grown_kib < MEMORY_KIB, "{grown_kib} KiB");
}
