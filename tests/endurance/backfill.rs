//! A large backfill.

use std::time::{Duration, Instant};

use titlecast_testing::{
    ModelServer, Rows, TestDatabase,
    process::{Process, Titlecast},
};

fn start(database: &TestDatabase, model: &ModelServer, rate: &str) -> Process {
    Titlecast::new(&["backfill", "--rate", rate])
        .env("DATABASE_URL", &database.url)
        .env("OPENAI_BASE_URL", &model.url)
        .env("OPENAI_API_KEY", "sk-test-key")
        // The claims of a killed run expire after three times this.
        .env("TITLECAST_TITLE_DEADLINE", "1s")
        .start()
}

/// The whole of it, killed in the middle: `cargo test --release --test endurance -- --ignored backfill`.
#[tokio::test]
#[ignore = "takes minutes"]
async fn ten_thousand_at_the_configured_rate_with_flat_memory_and_killed_in_the_middle() {
    const ALL: usize = 10_000;
    const PER_MINUTE: usize = 6_000;
    let database = TestDatabase::new().await;
    database.seed_untitled(ALL).await;
    let rows = Rows::of(&database).await;
    let model = ModelServer::start().await;
    model.delay(Duration::from_millis(50));
    let calls = || model.title_requests().len();
    let rate = format!("{PER_MINUTE}/min");
    let started = Instant::now();
    let mut process = start(&database, &model, &rate);
    let mut memory = Vec::new();
    for tenth in 1..=5 {
        while calls() < tenth * ALL / 10 {
            process.stdout_line().await.expect("it goes on");
        }
        memory.push(process.peak_memory());
    }
    let half = started.elapsed();
    process.kill();
    process.ended().await;
    let mut process = start(&database, &model, &rate);
    let mut last = String::new();
    while let Some(line) = process.stdout_line().await {
        last = line;
    }
    process.ended().await.ok();
    let whole = started.elapsed();
    println!(
        "{ALL} at {PER_MINUTE}/min: {:.1} s to {} calls, {:.1} s in all, {} calls in all, memory at each \
         tenth {memory:?} KiB; {last}",
        half.as_secs_f64(),
        ALL / 2,
        whole.as_secs_f64(),
        calls(),
    );
    let titled = "SELECT count(*) AS n FROM agent_conversations WHERE display_name IS NOT NULL";
    let titled: i64 = rows.all(titled, []).await[0].try_get("", "n").unwrap();
    assert_eq!(titled, ALL as i64);
    assert!(calls() <= ALL + 32, "{} calls", calls());
    // Once the caches of the database's connections are full.
    let (early, late) = (memory[2], memory[4]);
    assert!(late < early + early / 20, "{memory:?} KiB");
    // Within a tenth of the configured rate, the wait for the lease of what was killed aside.
    let fastest = Duration::from_secs((60 * ALL / PER_MINUTE) as u64);
    assert!(
        whole > fastest.mul_f64(0.95) && whole < fastest.mul_f64(1.1) + Duration::from_secs(10)
    );
}
