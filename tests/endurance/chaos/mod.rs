//! `kill -9` at any time, stopped processes, and people who rename, delete and start anew meanwhile: each
//! conversation gets one title, no rename is lost, every change is published.
//!
//! - `plan`: the events, from a seed; `servers`, `people`, `model`: the actors
//! - `audit`: the changes that the database logged; `checker`: the invariants, tested on histories in `planted`
//! - `run`: all of it together
//!
//! `TITLECAST_CHAOS_SEED` repeats a plan, `TITLECAST_CHAOS_KILLS` makes the long run longer.

mod audit;
mod checker;
mod model;
mod people;
mod plan;
mod planted;
mod run;
mod servers;

use std::{collections::BTreeMap, time::Duration};

use titlecast_testing::{TestDatabase, at_length};

use self::{
    checker::Kind,
    plan::{DEADLINE, Plan},
    run::{How, Outcome, run},
    servers::FAILPOINTS,
};

const SHORT_KILLS: usize = 8;
const LONG_KILLS: usize = 200;
const UNFENCED_KILLS: usize = 16;

/// Writes titles without asking whose they are.
const UNFENCED: &str = "titles.unfenced=return";

fn setting(name: &str) -> Option<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much chaos there is, is no setting of the program"
    )]
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap())
}

async fn random(kills: usize, failpoints: &str) -> Outcome {
    let seed = setting("TITLECAST_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("TITLECAST_CHAOS_SEED={seed}");
    // An SQLite file is for one process.
    let servers = if TestDatabase::is_on_server() { 2 } else { 1 };
    let how = How {
        failpoints,
        title_deadline: DEADLINE,
        is_held: false,
        awaited_calls: 0,
    };
    run(&Plan::random(seed, servers, kills), how).await
}

#[tokio::test]
async fn a_short_run_loses_nothing() {
    random(SHORT_KILLS, FAILPOINTS).await.assert_nothing_lost();
}

#[tokio::test]
#[ignore = "takes minutes: just chaos"]
async fn a_long_run_loses_nothing() {
    let kills =
        setting("TITLECAST_CHAOS_KILLS").map_or(at_length(LONG_KILLS), |kills| kills as usize);
    random(kills, FAILPOINTS).await.assert_nothing_lost();
}

#[tokio::test]
#[ignore = "takes half a minute: just chaos"]
async fn a_long_run_without_a_fence_is_noticed() {
    let failpoints = format!("{FAILPOINTS};{UNFENCED}");
    let found = random(UNFENCED_KILLS, &failpoints).await;
    eprintln!("{}", found.report);
    let mut counts = BTreeMap::new();
    for violation in &found.violations {
        *counts.entry(violation.kind).or_insert(0) += 1;
    }
    eprintln!("{counts:?}");
    // Second titles are rarer: a process has to be stopped between an answer and its title.
    assert!(counts.contains_key(&Kind::OverwrittenRename), "{counts:?}");
}

/// The same, deterministically: titles are released when all conversations are renamed.
async fn renamed_while_titled(failpoints: &str) -> Outcome {
    let plan = Plan::renames(1);
    let how = How {
        failpoints,
        // However slow the machine is.
        title_deadline: Duration::from_secs(60),
        is_held: true,
        awaited_calls: plan.lives.len(),
    };
    run(&plan, how).await
}

#[tokio::test]
async fn the_harness_notices_a_missing_fence() {
    renamed_while_titled("").await.assert_nothing_lost();
    let found = renamed_while_titled(UNFENCED).await;
    found.assert_noticed(Kind::OverwrittenRename);
}

/// A process that has an answer sleeps until another process has made the title.
async fn titled_while_asleep(failpoints: &str) -> Outcome {
    let how = How {
        failpoints: &format!("titles.answered=1*sleep(8000);{failpoints}"),
        title_deadline: DEADLINE,
        is_held: false,
        awaited_calls: 2,
    };
    run(&Plan::message(1), how).await
}

#[tokio::test]
async fn who_slept_makes_no_second_title() {
    titled_while_asleep("").await.assert_nothing_lost();
}

#[tokio::test]
async fn the_harness_notices_a_second_title() {
    let found = titled_while_asleep(UNFENCED).await;
    found.assert_noticed(Kind::DoubleTitle);
}
