//! A large import.

use std::time::Instant;

use serde_json::{Value, json};
use titlecast_testing::{TestDatabase, Titlecast, at_length};

/// A file of this many conversations, of three messages each.
fn lines(count: usize) -> String {
    let message = |place: usize| {
        let role = ["user", "assistant"][place % 2];
        let at = format!("2024-05-01T09:{place:02}:00Z");
        json!({ "role": role, "content": format!("Kyoto, message {place}"), "created_at": at })
    };
    let messages: Vec<_> = (0..3).map(message).collect();
    let line = |number| {
        let id = format!("c{number}");
        json!({ "id": id, "created_at": "2024-05-01T09:00:00Z", "messages": messages })
    };
    (0..count)
        .map(|number| format!("{}\n", line(number)))
        .collect()
}

/// What docs/moving.md says of speed and memory: `cargo test --test endurance -- --ignored --nocapture imports`.
#[tokio::test]
#[ignore = "takes a minute"]
async fn ten_thousand_conversations_in_little_memory() {
    let all = at_length(10_000);
    let database = TestDatabase::new().await;
    let lines = lines(all);
    for outcome in ["added", "unchanged"] {
        let started = Instant::now();
        let mut process = Titlecast::new(&["import", "lines.jsonl"])
            .env("DATABASE_URL", &database.url)
            .file("lines.jsonl", &lines)
            .start();
        let (mut peak, mut last) = (0, Value::Null);
        while let Some(line) = process.stdout_line().await {
            peak = process.peak_memory().max(peak);
            last = serde_json::from_str(&line).unwrap();
        }
        process.ended().await.ok();
        assert_eq!(last["done"][outcome], all, "{last}");
        let rate = all as f64 / started.elapsed().as_secs_f64();
        println!("{outcome}: {rate:.0} conversations of three messages a second, {peak} KiB");
        assert!(peak < 200 * 1024, "{peak} KiB");
    }
}
