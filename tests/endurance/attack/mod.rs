//! The cost of attacks, measured on the real program in a release build: the processor time of every hostile request,
//! the memory, and the wait of other clients.
//!
//! Ignored, since it needs a release build and minutes: `just attack`.

mod attackers;
mod healthy;
mod requests;
mod searches;

use std::time::Duration;

use titlecast_testing::{
    Titlecast, at_length,
    hostile::{ANSWER_BYTES, Wire, requests},
    process::Process,
    server::metrics,
};
use tokio::time::sleep;

use self::{attackers::Attackers, healthy::Healthy, requests::Hostile};

/// What one request may cost.
const CPU: Duration = Duration::from_millis(50);

/// How often each is sent to measure it.
const TIMES: u32 = 5;

/// What the memory may grow by, in KiB.
const MEMORY_KIB: u64 = 50 * 1024;

/// How often healthy clients are measured, without an attack and under one in turns: what else the machine
/// does hits both alike.
const ROUNDS: usize = 5;

/// The same in CI (`TITLECAST_SHORT`), where the machine does other things too: too few to compare waits.
const SHORT_ROUNDS: usize = 1;

/// How much longer healthy clients may wait under attack.
const WORSE: f64 = 1.10;

/// On top of that: attackers, healthy clients and the server share the processors of one machine, and the
/// wake-up of a process takes this long where they are all taken.
const NOISE: Duration = Duration::from_millis(2);

/// More than the connections of one attack and fewer than of two.
const MOST_CONNECTIONS: &str = "600";

/// The longest that a slow peer is tolerated: the deadline of a request body.
const PATIENCE: Duration = Duration::from_secs(33);

/// The program to attack.
fn program() -> String {
    let named = std::env::var_os("TITLECAST_BINARY").and_then(|path| path.into_string().ok());
    named.unwrap_or_else(|| {
        panic!("TITLECAST_BINARY has to name a release build; see `just attack`")
    })
}

async fn serve() -> (Process, String, String) {
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--max-connections",
        MOST_CONNECTIONS,
    ];
    let mut process = Titlecast::of(&program(), &arguments).start();
    let line = process.line("metrics_address=").await;
    let address = line.split("metrics_address=").nth(1).unwrap();
    let metrics = format!("http://{}", address.split(' ').next().unwrap());
    let url = process.url().await;
    (process, url, metrics)
}

/// How many connections the server has.
async fn connections(metrics_url: &str) -> usize {
    let page = metrics(metrics_url).await;
    let count = page
        .lines()
        .find_map(|line| line.strip_prefix("titlecast_connections "));
    count.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a release build and minutes: just attack"]
async fn an_attack_costs_little_and_others_do_not_notice() {
    let (process, url, metrics_url) = serve().await;
    let mut healthy = Healthy::start(&url).await;
    healthy.round(Duration::from_secs(1)).await;
    let before_kib = process.memory();
    let mut complaints = cost(&process, &url).await;

    let mut waits = Vec::new();
    let is_short = at_length(10) < 10;
    let rounds = if is_short { SHORT_ROUNDS } else { ROUNDS };
    for round in 1..=rounds {
        let alone = healthy.round(Duration::from_secs(4)).await;
        let attackers = Attackers::start(&url);
        attackers.established().await;
        let attacked = healthy.round(Duration::from_secs(4)).await;
        let there = connections(&metrics_url).await;
        let sent = attackers.stop().await;
        println!(
            "round {round}: p99 {alone:?} alone, {attacked:?} under attack ({sent} requests, {there} connections)"
        );
        waits.push((alone, attacked));
    }
    let median = |mut waits: Vec<Duration>| {
        waits.sort();
        waits[waits.len() / 2]
    };
    let (alone, attacked) = waits.into_iter().unzip();
    let (alone, attacked) = (median(alone), median(attacked));
    println!("median p99: {alone:?} alone, {attacked:?} under attack");
    if !is_short && attacked > alone.mul_f64(WORSE) + NOISE {
        complaints.push(format!("others wait {attacked:?} instead of {alone:?}"));
    }

    complaints.extend(too_many(&url, &metrics_url, &mut healthy).await);

    let grown_kib = process.peak_memory().saturating_sub(before_kib);
    println!("memory: {before_kib} KiB, and {grown_kib} KiB more at the most");
    if grown_kib > MEMORY_KIB {
        complaints.push(format!("the memory grew by {grown_kib} KiB"));
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Sends every hostile request, and reports those that cost too much or get a long answer.
async fn cost(process: &Process, url: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut dearest = (Duration::ZERO, String::new());
    let mut measured = 0;
    let mut check = |name: String, spent: Duration, length: usize| {
        let spent = spent / TIMES;
        measured += 1;
        println!(
            "{:6.2} ms {length:6} bytes  {name}",
            spent.as_secs_f64() * 1e3
        );
        if spent >= CPU || length > ANSWER_BYTES {
            complaints.push(format!("{name}: {spent:?}, {length} bytes"));
        }
        dearest = dearest.clone().max((spent, name));
    };
    for (name, request, _) in requests() {
        for wire in Wire::ALL {
            // Once to check that it can be sent like this, and to warm up.
            let Some(answer) = wire.send(url, &request).await else {
                continue;
            };
            let before = process.cpu();
            for _ in 0..TIMES {
                wire.send(url, &request).await;
            }
            check(
                format!("{wire:?}: {name}"),
                process.cpu() - before,
                answer.len(),
            );
        }
    }
    for hostile in Hostile::ALL {
        let answer = hostile.send(url).await;
        let before = process.cpu();
        for _ in 0..TIMES {
            hostile.send(url).await;
        }
        check(format!("{hostile:?}"), process.cpu() - before, answer.len());
    }
    println!("the dearest of {measured}: {dearest:?}");
    // A long one does not fit into the URL of a GET.
    assert!(measured > (Wire::ALL.len() - 1) * requests().len());
    complaints
}

/// Takes all the connections that there are: existing clients are served, new ones are refused at once, and the
/// server gets rid of those that say nothing by itself.
async fn too_many(url: &str, metrics_url: &str, healthy: &mut Healthy) -> Vec<String> {
    let mut complaints = Vec::new();
    let (first, second) = (Attackers::holding(url), Attackers::holding(url));
    first.established().await;
    sleep(Duration::from_secs(2)).await;
    let there = connections(metrics_url).await;
    let most: usize = MOST_CONNECTIONS.parse().unwrap();
    if there > most {
        complaints.push(format!("there are {there} connections"));
    }
    let wait = healthy.round(Duration::from_secs(2)).await;
    println!("with {there} connections: p99 {wait:?}");
    let answers = attackers::ask_briefly(url).await;
    if !answers.iter().any(|answer| answer.contains("OVERLOADED")) {
        complaints.push(format!(
            "no client is refused for the connection limit: {answers:?}"
        ));
    }
    // They stop sending, but keep every connection.
    let (first, second) = (first.hold().await, second.hold().await);
    sleep(PATIENCE).await;
    let left = connections(metrics_url).await;
    println!("after {PATIENCE:?}: {left} connections");
    if left > healthy.connections() + attackers::STALLED * 2 {
        complaints.push(format!("{left} connections are left"));
    }
    drop((first, second));
    complaints
}
