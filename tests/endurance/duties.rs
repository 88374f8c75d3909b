//! Export, erasure, import and retention of large data, next to a running server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    ModelServer, Rows, Server, TestDatabase, Titlecast, is_short,
    metrics::series,
    process::Process,
    server::{metrics, request},
};

/// The most memory of a command, in KiB, however much it reads or removes.
const MEMORY_KIB: u64 = 160 * 1024;

/// How often a command's memory is looked at, and how long it may take.
const LOOK: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(3_600);

/// The messages of a conversation.
const MESSAGES: usize = 8;

/// How many people talk.
const TALKERS: usize = 4;

/// How many conversations there are: `all`, or fewer in short.
fn length(all: usize, short: usize) -> usize {
    match is_short() {
        true => short,
        false => all,
    }
}

/// A file of this many conversations with other timestamps.
fn lines(count: usize) -> String {
    let line = |number: usize| {
        let message = |place: usize| {
            let role = ["user", "assistant"][place % 2];
            let at = format!("2024-05-{:02}T09:{place:02}:00Z", 1 + number % 28);
            let content = format!(
                "Message {place} of conversation {number} about deer in Kyoto, and what a lease is"
            );
            json!({ "role": role, "content": content, "created_at": at })
        };
        let messages: Vec<_> = (0..MESSAGES).map(message).collect();
        let user = format!("user-{}", number % 50);
        json!({ "id": format!("c{number}"), "tenant": "acme", "user": user, "title": format!("Deer {number}"),
            "messages": messages })
    };
    (0..count)
        .map(|number| format!("{}\n", line(number)))
        .collect()
}

/// People who talk all the time, and how long each message took until its whole reply was there. While a command rewrites
/// SQLite's file, messages are refused as they are when the database is down, and sent again.
struct Talk {
    is_over: Arc<AtomicBool>,
    people: Vec<tokio::task::JoinHandle<Vec<Duration>>>,
}

impl Talk {
    fn begin(url: &str, is_file: bool) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let people = (0..TALKERS).map(|person| {
            let (url, is_over) = (url.to_owned(), is_over.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let body =
                        json!({ "message": format!("Person {person} asks what a lease is") });
                    let began = Instant::now();
                    loop {
                        let body = Some(body.clone());
                        let (status, answer) = request(&url, "POST", "/api/v1/chat", body).await;
                        if status == 200 {
                            break;
                        }
                        assert!(is_file && status == 503, "{status}: {answer}");
                    }
                    took.push(began.elapsed());
                }
                took
            })
        });
        Self {
            people: people.collect(),
            is_over,
        }
    }

    /// The times, sorted.
    async fn end(self) -> Vec<Duration> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for person in self.people {
            all.extend(person.await.unwrap());
        }
        all.sort_unstable();
        all
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn start(database: &TestDatabase, arguments: &[&str]) -> Process {
    Titlecast::new(arguments)
        .env("DATABASE_URL", &database.url)
        .start()
}

/// All that a command prints, and the most memory that it took, in KiB.
async fn printed(mut process: Process) -> (String, u64) {
    let (mut text, mut peak) = (String::new(), 0);
    let began = Instant::now();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            line = process.stdout_line() => match line {
                Some(line) => text += &format!("{line}\n"),
                None => break,
            },
            _ = looks.tick() => {
                peak = process.find_peak_memory().unwrap_or_default().max(peak);
                assert!(began.elapsed() < LONGEST, "{text}");
            }
        }
    }
    process.ended().await.ok();
    (text, peak)
}

async fn import(database: &TestDatabase, lines: &str) -> (Value, u64) {
    let process = Titlecast::new(&["import", "lines.jsonl"])
        .env("DATABASE_URL", &database.url)
        .file("lines.jsonl", lines)
        .start();
    let (text, peak) = printed(process).await;
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    (last["done"].clone(), peak)
}

/// A server for another tenant, who talks while the commands run.
async fn beside(
    database: &TestDatabase,
    model: &ModelServer,
    settings: &[&str],
) -> (Server, String) {
    let settings = [&["--messages-per-minute", "0"], settings].concat();
    let mut server = Server::start_on(database.shared(), model, &settings).await;
    let (tenant, user) = ("talk".into(), "ann".into());
    let url = server.serve(Owner { tenant, user }).await;
    (server, url)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn all_conversations_are_exported_erased_and_imported_to_the_same_rows_beside_a_server() {
    let all = length(100_000, 1_000);
    let database = TestDatabase::new().await;
    let (done, _) = import(&database, &lines(all)).await;
    assert_eq!(done["added"], all, "{done}");
    let rows = Rows::of(&database).await;
    let before = rows.digest().await;
    let model = ModelServer::start().await;
    let (server, url) = beside(&database, &model, &[]).await;
    let talk = Talk::begin(&url, database.is_sqlite());

    let began = Instant::now();
    let (exported, peak) = printed(start(&database, &["export", "--tenant", "acme"])).await;
    assert_eq!(exported.lines().count(), all);
    println!(
        "export: {all} conversations in {:.1?}, {peak} KiB",
        began.elapsed()
    );
    assert!(peak < MEMORY_KIB, "{peak} KiB");

    let began = Instant::now();
    let (certificate, peak) = printed(start(
        &database,
        &["erase", "--tenant", "acme", "--wait", "1s"],
    ))
    .await;
    println!(
        "erase: {:.1?}, {peak} KiB: {}",
        began.elapsed(),
        certificate.trim()
    );
    assert!(peak < MEMORY_KIB, "{peak} KiB");
    let sql = "SELECT count(*) AS n FROM agent_conversations WHERE tenant_id = 'acme'";
    let left: i64 = rows.all(sql, []).await[0].try_get("", "n").unwrap();
    assert_eq!(left, 0);

    let began = Instant::now();
    let (done, peak) = import(&database, &exported).await;
    assert_eq!(done["added"], all, "{done}");
    println!("import: {:.1?}, {peak} KiB", began.elapsed());
    assert!(peak < MEMORY_KIB, "{peak} KiB");
    let took = talk.end().await;
    let (p50, p99) = (percentile(&took, 50), percentile(&took, 99));
    println!(
        "{} messages beside them: p50 {p50:.1?}, p99 {p99:.1?}",
        took.len()
    );
    server.stop().await;

    printed(start(
        &database,
        &["erase", "--tenant", "talk", "--wait", "0s"],
    ))
    .await;
    assert_eq!(rows.digest().await, before);
    // A difference is seen.
    rows.run(
        "UPDATE agent_messages SET model = 'another' WHERE position = 8 AND conversation_id = \
        (SELECT max(CAST(conversation_id AS text)) FROM agent_messages)",
        [],
    )
    .await
    .ok();
    rows.run(
        "UPDATE agent_conversations SET revision = revision + 1 WHERE user_id = 'user-7'",
        [],
    )
    .await
    .unwrap();
    assert_ne!(rows.digest().await, before);
}

/// How many messages a server has pruned.
async fn pruned(metrics_url: &str) -> usize {
    let page = metrics(metrics_url).await;
    let mut found = series(&page).into_iter();
    let of_messages = found.find(|one| {
        let table = one.labels.get("table").map(String::as_str);
        one.name == "titlecast_pruned_rows_total" && table == Some("agent_messages")
    });
    of_messages.map_or(0, |one| one.value as usize)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn retention_removes_old_messages_while_people_talk() {
    let conversations = length(125_000, 300);
    let all = conversations * MESSAGES;
    let database = TestDatabase::new().await;
    import(&database, &lines(conversations)).await;
    let rows = Rows::of(&database).await;
    let model = ModelServer::start().await;
    let (server, url) = beside(&database, &model, &[]).await;
    let talk = Talk::begin(&url, database.is_sqlite());
    let measured = Duration::from_secs(if is_short() { 3 } else { 60 });
    tokio::time::sleep(measured).await;
    let without = talk.end().await;
    server.stop().await;

    let file = std::env::temp_dir().join(format!("titlecast-test-{}.toml", uuid::Uuid::now_v7()));
    std::fs::write(&file, "[retention.tenants.acme]\nmessages = \"30d\"\n").unwrap();
    let path = file.display().to_string();
    let (mut server, url) = beside(&database, &model, &["--config", &path]).await;
    let page = server.serve_metrics().await;
    let began = Instant::now();
    let talk = Talk::begin(&url, database.is_sqlite());
    // The server takes hours for a million, because it leaves most of the time to others: it is measured for a while.
    let mut removed = 0;
    while removed < all && began.elapsed() < 5 * measured {
        tokio::time::sleep(Duration::from_millis(500)).await;
        removed = pruned(&page).await;
    }
    let elapsed = began.elapsed();
    let with = talk.end().await;
    server.stop().await;
    assert!(removed > 0);
    let [a, b] = [&without, &with].map(|took| (percentile(took, 50), percentile(took, 99)));
    println!(
        "{removed} of {all} messages in {elapsed:.1?}; without: {} messages, p50 {:.1?}, p99 {:.1?}; with: {} messages, p50 {:.1?}, \
        p99 {:.1?}",
        without.len(),
        a.0,
        a.1,
        with.len(),
        b.0,
        b.1
    );
    let began = Instant::now();
    let (printed, memory) = printed(start(&database, &["prune", "--config", &path])).await;
    assert!(memory < MEMORY_KIB, "{memory} KiB");
    let last = printed.trim_end().lines().last().unwrap_or_default();
    println!(
        "prune: the rest in {:.1?}, {memory} KiB: {last}",
        began.elapsed()
    );
    std::fs::remove_file(file).unwrap();
    let sql = "SELECT count(*) AS n FROM agent_messages WHERE created_at < $1";
    let year: chrono::DateTime<chrono::Utc> = "2025-01-01T00:00:00Z".parse().unwrap();
    let left: i64 = rows.all(sql, [year.into()]).await[0]
        .try_get("", "n")
        .unwrap();
    assert_eq!(left, 0);
    // Theirs are there, with their replies.
    assert_eq!(
        rows.count("agent_messages").await as usize,
        2 * (without.len() + with.len())
    );
    // In short the p99 is that of a few messages, beside whatever else the machine does.
    assert!(
        is_short() || b.1 < a.1 * 11 / 10,
        "{:?} without, {:?} with",
        a.1,
        b.1
    );
}
