//! An interrupted import: nothing is half stored, and the next import adds the rest.

use std::io::{PipeWriter, Write, pipe};

use serde_json::{Value, json};
use titlecast_testing::{Rows, TestDatabase, Titlecast, eventually, process::Process};

use super::{assert_counts, conversation, counts, end, start, text};

/// Conversations of three messages each.
fn lines(count: usize) -> Vec<Value> {
    let line = |number| conversation(&format!("c{number}"), "Kyoto", 3);
    (0..count).map(line).collect()
}

/// An import of standard input, which the test writes.
fn piped(database: &TestDatabase) -> (Process, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    let process = Titlecast::new(&["import", "-"])
        .env("DATABASE_URL", &database.url)
        .stdin(reader)
        .start();
    (process, writer)
}

/// How many conversations are stored; each with all its messages, and with all its words in the index.
async fn whole(rows: &Rows) -> i64 {
    const SQL: &str = "SELECT count(*) AS n, sum(CASE WHEN message_count = 3
            AND 3 = (SELECT count(*) FROM agent_messages WHERE conversation_id = agent_conversations.id)
            AND 4 = (SELECT count(*) FROM agent_search WHERE conversation_id = agent_conversations.id)
        THEN 1 ELSE 0 END) AS whole FROM agent_conversations";
    let row = &rows.all(SQL, []).await[0];
    let stored: i64 = row.try_get("", "n").unwrap();
    let whole: Option<i64> = row.try_get("", "whole").unwrap();
    assert_eq!(whole.unwrap_or_default(), stored);
    stored
}

#[tokio::test]
async fn killed_again_and_again_it_leaves_nothing_half_and_the_next_one_does_the_rest() {
    const ALL: usize = 3_000;
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let lines = lines(ALL);
    let mut stored = 0;
    for round in 1..=4 {
        // It cannot come to the end before it is killed: that is not written.
        let (mut process, mut writer) = piped(&database);
        let some = text(&lines[..700 * round]);
        let writing = std::thread::spawn(move || {
            // It breaks off when the reader is killed.
            let _ = writer.write_all(some.as_bytes());
            writer
        });
        eventually(async || {
            let now = rows.count("agent_conversations").await;
            (now > stored).then_some(())
        })
        .await;
        process.kill();
        process.ended().await;
        drop(writing.join().unwrap());
        stored = whole(&rows).await;
    }
    let done = counts(start(&database, &lines, &[]).ended().await);
    let added = ALL as i64 - stored;
    assert_counts(
        &done,
        json!({ "added": added, "messages": 3 * added, "unchanged": stored }),
    );
    assert_eq!(whole(&rows).await, ALL as i64);
}

#[tokio::test]
async fn interrupted_it_keeps_what_it_has_and_says_that_there_is_more() {
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let lines = lines(250);
    let (process, mut writer) = piped(&database);
    writer.write_all(text(&lines).as_bytes()).unwrap();
    // Two batches; of the third it does not know yet where it ends.
    eventually(async || (rows.count("agent_conversations").await == 200).then_some(())).await;
    process.terminate();
    let ended = process.ended().await;
    assert_eq!(
        (ended.code, &end(&ended)["reason"]),
        (Some(1), &json!("interrupted"))
    );
    assert!(ended.stderr.contains("run it again"), "{}", ended.stderr);
    assert_eq!(end(&ended)["done"]["added"], whole(&rows).await);
    drop(writer);

    let (process, mut writer) = piped(&database);
    writer.write_all(text(&lines).as_bytes()).unwrap();
    drop(writer);
    let done = counts(process.ended().await);
    assert_counts(
        &done,
        json!({ "added": 50, "messages": 150, "unchanged": 200 }),
    );
}
