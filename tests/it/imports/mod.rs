//! `titlecast import`: conversations of another system, with the real binary, and what a server makes of them.

mod again;
mod cut_short;
mod moving;
mod refused;
mod served;

use serde_json::{Value, json};
use titlecast_testing::{
    TestDatabase, Titlecast,
    process::{Ended, Process},
};

/// A conversation of another system as a line holds it: about this, in so many messages.
fn conversation(id: &str, topic: &str, messages: usize) -> Value {
    let message = |place: usize| {
        let role = ["user", "assistant"][place % 2];
        let at = format!("2024-05-01T09:{place:02}:00Z");
        json!({ "role": role, "content": format!("{topic}, message {place}"), "created_at": at })
    };
    let messages: Vec<_> = (0..messages).map(message).collect();
    json!({ "id": id, "created_at": "2024-05-01T09:00:00Z", "messages": messages })
}

/// The same with other fields.
fn with(mut line: Value, fields: Value) -> Value {
    let fields = fields.as_object().unwrap().clone();
    line.as_object_mut().unwrap().extend(fields);
    line
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// `titlecast import` of such a file, to be started.
fn command(database: &TestDatabase, file: &str, arguments: &[&str]) -> Titlecast {
    let command = [&["import", "lines.jsonl"], arguments].concat();
    Titlecast::new(&command)
        .env("DATABASE_URL", &database.url)
        .file("lines.jsonl", file)
}

fn start(database: &TestDatabase, lines: &[Value], arguments: &[&str]) -> Process {
    command(database, &text(lines), arguments).start()
}

async fn import(database: &TestDatabase, lines: &[Value], arguments: &[&str]) -> Ended {
    start(database, lines, arguments).ended().await
}

/// An import in which nothing goes wrong: what it counted.
#[track_caller]
fn counts(ended: Ended) -> Value {
    let counts = end(&ended)["done"].clone();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    counts
}

/// The last line that an import prints.
#[track_caller]
fn end(ended: &Ended) -> Value {
    let line = ended.stdout.lines().last().unwrap_or_default();
    let end: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(end["event"], "end", "{ended:?}");
    end
}

/// These counts, and all others 0; bytes and lines are not looked at.
#[track_caller]
fn assert_counts(done: &Value, expected: Value) {
    let mut all = json!({
        "added": 0, "continued": 0, "messages": 0, "unchanged": 0, "deleted": 0, "diverged": 0, "refused": 0,
        "bytes": done["bytes"], "lines": done["lines"],
    });
    all.as_object_mut()
        .unwrap()
        .extend(expected.as_object().unwrap().clone());
    assert_eq!(done, &all);
}
