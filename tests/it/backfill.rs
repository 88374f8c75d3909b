//! `titlecast backfill`: titles for conversations that never got one, with the real binary, through interruptions and
//! kills.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, TestDatabase,
    calls::conversation_when,
    eventually,
    process::{Ended, Process, Titlecast},
};

/// A database of conversations without titles, and a model to title them.
struct Untitled {
    database: TestDatabase,
    model: ModelServer,
    rows: Rows,
    ids: Vec<String>,
}

impl Untitled {
    async fn seed(conversations: usize) -> Self {
        let database = TestDatabase::new().await;
        let ids = database.seed_untitled(conversations).await;
        let rows = Rows::of(&database).await;
        let model = ModelServer::start().await;
        Self {
            database,
            model,
            rows,
            ids,
        }
    }

    fn start(&self, arguments: &[&str]) -> Process {
        let mut command = vec!["backfill"];
        command.extend(arguments);
        Titlecast::new(&command)
            .env("DATABASE_URL", &self.database.url)
            .env("OPENAI_BASE_URL", &self.model.url)
            .env("OPENAI_API_KEY", "sk-test-key")
            // The claims of a killed run expire after three times this.
            .env("TITLECAST_TITLE_DEADLINE", "1s")
            .start()
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).ended().await
    }

    fn calls(&self) -> usize {
        self.model.title_requests().len()
    }

    async fn titled(&self) -> i64 {
        let sql = "SELECT count(*) AS n FROM agent_conversations WHERE display_name IS NOT NULL";
        self.rows.all(sql, []).await[0].try_get("", "n").unwrap()
    }

    async fn set(&self, id: &str, change: &str) {
        let sql = format!("UPDATE agent_conversations SET {change} WHERE id = $1");
        let id = titlecast_testing::stored::id(id);
        self.rows.run(&sql, [id]).await.unwrap();
    }
}

/// The last line that a backfill prints.
fn end(ended: &Ended) -> Value {
    let line = ended.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{ended:?}"))
}

#[tokio::test]
async fn whatever_lacks_a_title_gets_one_and_nothing_else_changes() {
    let untitled = Untitled::seed(8).await;
    let [skipped, manual, failed, greeting, ..] = untitled.ids.as_slice() else {
        panic!("8 were seeded");
    };
    untitled.set(skipped, "title_status = 'skipped'").await;
    let manual_title = "display_name = 'Ours', title_source = 'manual', title_status = 'ready'";
    untitled.set(manual, manual_title).await;
    untitled
        .set(failed, "title_status = 'failed', title_failure = 'timeout'")
        .await;
    let hi = "UPDATE agent_messages SET content = 'hi' WHERE conversation_id = $1";
    let id = titlecast_testing::stored::id(greeting);
    untitled.rows.run(hi, [id]).await.unwrap();

    let ended = untitled.run(&["--rate", "6000/min"]).await;
    assert_eq!(
        end(&ended),
        json!({ "event": "end", "reason": "finished", "done": {
            "titled": 5, "failed": 0, "nothing_to_title": 1, "superseded": 0, "tokens": 5 * 102,
        } })
    );
    assert_eq!(ended.code, Some(0));
    assert_eq!(untitled.calls(), 5);
    for id in &untitled.ids {
        let title = untitled.rows.title(id).await;
        let expected = match id {
            id if id == skipped => (None, "skipped"),
            id if id == manual => (Some("Ours"), "ready"),
            id if id == greeting => (None, "pending"),
            _ => (Some(ModelServer::TITLE), "ready"),
        };
        let found = (title.display_name.as_deref(), title.title_status.as_str());
        assert_eq!(found, expected, "{title:?}");
    }
    // Again: nothing is left to do.
    let ended = untitled.run(&["--rate", "6000/min"]).await;
    assert_eq!(end(&ended)["done"]["titled"], 0);
    assert_eq!(untitled.calls(), 5);
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let untitled = Untitled::seed(3).await;
    let before = untitled.database.census().await;
    let ended = untitled
        .run(&["--dry-run", "--price", "1000000/0", "--rate", "2"])
        .await;
    let said = end(&ended);
    assert_eq!(
        (&said["event"], &said["minutes"]),
        (&json!("dry_run"), &json!(2))
    );
    assert_eq!(said["estimate"]["titles"], 3);
    let prompt_tokens = said["estimate"]["prompt_tokens"].as_f64().unwrap();
    assert!(prompt_tokens > 300.0, "{said}");
    assert_eq!(said["cost"].as_f64(), Some(prompt_tokens));
    assert_eq!(untitled.database.census().await, before);
    assert_eq!((untitled.calls(), untitled.titled().await), (0, 0));
}

#[tokio::test]
async fn a_limit_a_day_and_a_budget_bound_it() {
    let untitled = Untitled::seed(9).await;
    let newest = untitled
        .run(&["--since", "2026-01-01T00:00:03Z", "--rate", "6000"])
        .await;
    // Two of each second, counted from 0.
    assert_eq!(end(&newest)["done"]["titled"], 3, "{newest:?}");
    let limited = untitled.run(&["--limit", "2", "--rate", "6000"]).await;
    assert_eq!(end(&limited)["reason"], "limit");
    assert_eq!(untitled.titled().await, 5);
    // One at a time: each is paid for before the next is begun.
    let bounded = untitled
        .run(&[
            "--budget-tokens",
            "150",
            "--title-concurrency",
            "1",
            "--rate",
            "6000",
        ])
        .await;
    assert_eq!(end(&bounded)["reason"], "budget");
    assert_eq!(untitled.titled().await, 7);
    assert_eq!(untitled.calls(), 7);
}

#[tokio::test]
async fn a_tenant_alone_is_made_titles_for() {
    let untitled = Untitled::seed(3).await;
    let nothing = untitled.run(&["--tenant", "acme"]).await;
    assert_eq!(nothing.code, Some(0), "{}", nothing.stderr);
    assert_eq!((untitled.calls(), untitled.titled().await), (0, 0));
    let all = untitled
        .run(&["--tenant", "local", "--rate", "6000/min"])
        .await;
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    assert_eq!(untitled.titled().await, 3);
}

#[tokio::test]
async fn it_keeps_to_its_rate() {
    let untitled = Untitled::seed(11).await;
    let started = Instant::now();
    untitled.run(&["--rate", "600/min"]).await.ok();
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(untitled.titled().await, 11);
}

#[tokio::test]
async fn interrupted_it_finishes_what_it_began_and_the_next_run_does_the_rest() {
    let untitled = Untitled::seed(40).await;
    let process = untitled.start(&["--rate", "600/min"]);
    eventually(async || (untitled.calls() >= 5).then_some(())).await;
    process.terminate();
    let ended = process.ended().await;
    assert_eq!(end(&ended)["reason"], "interrupted");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("run it again"), "{}", ended.stderr);
    let titled = untitled.titled().await;
    assert_eq!(end(&ended)["done"]["titled"], titled);
    assert!(titled < 40);

    untitled.run(&["--rate", "60000/min"]).await.ok();
    assert_eq!(untitled.titled().await, 40);
    assert_eq!(untitled.calls(), 40, "no title was paid for twice");
}

#[tokio::test]
async fn killed_it_loses_nothing_and_the_next_run_waits_for_what_was_on_its_way() {
    let untitled = Untitled::seed(30).await;
    let (held, _gate) = Answer::held(Answer::Text(r#"{"title":"Never Told"}"#));
    untitled.model.title(held);
    let mut process = untitled.start(&["--rate", "600/min"]);
    eventually(async || (untitled.calls() >= 5).then_some(())).await;
    process.kill();
    process.ended().await;

    // Slow enough that the leases of the dead are over when it comes to its end.
    let ended = untitled.run(&["--rate", "300/min"]).await;
    assert_eq!(end(&ended)["reason"], "finished");
    assert_eq!(untitled.titled().await, 30);
    let twice = untitled.calls() - 30;
    assert!((1..=5).contains(&twice), "{twice} calls more");
}

#[tokio::test]
async fn two_at_once_share_the_work() {
    let untitled = Untitled::seed(40).await;
    let arguments = ["--rate", "3000/min"];
    let (one, other) = tokio::join!(untitled.run(&arguments), untitled.run(&arguments));
    let titled = |ended: &Ended| end(ended)["done"]["titled"].as_u64().unwrap();
    assert_eq!(titled(&one) + titled(&other), 40, "{one:?} {other:?}");
    assert_eq!(untitled.titled().await, 40);
    assert_eq!(untitled.calls(), 40);
}

#[tokio::test]
async fn a_provider_that_refuses_ends_it() {
    let untitled = Untitled::seed(30).await;
    for _ in 0..30 {
        let code = Some("invalid_api_key");
        let refusal = Answer::error(401, "invalid_request_error", code, "Incorrect API key");
        untitled.model.title(refusal);
    }
    let ended = untitled.run(&["--rate", "600/min"]).await;
    assert_eq!(
        (end(&ended)["reason"].as_str(), ended.code),
        (Some("unauthorized"), Some(1))
    );
    assert!(untitled.calls() < 5, "{}", untitled.calls());
}

#[tokio::test]
async fn beside_a_server_its_subscribers_are_notified() {
    let mut untitled = Untitled::seed(2).await;
    let id = untitled.ids[0].clone();
    let database = std::mem::replace(&mut untitled.database, TestDatabase::new().await);
    let settings = [
        "--openai-base-url",
        &untitled.model.url,
        "--openai-api-key",
        "sk-test-key",
        "--title-sweep",
        "200ms",
    ];
    let url = database.url.clone();
    let server = Server::on(database, &settings).await;
    let mut socket = server.socket().await;
    let query = "subscription { conversationUpdated { id displayName } }";
    let list = socket.subscribe(query, json!({})).await;
    socket.settled().await;
    let backfill = Titlecast::new(&["backfill", "--rate", "6000"])
        .env("DATABASE_URL", &url)
        .env("OPENAI_BASE_URL", &untitled.model.url);
    backfill.run().await.ok();

    let mut received = Vec::new();
    for _ in 0..2 {
        let update = socket.next_of(&list, "conversationUpdated").await;
        assert_eq!(update["displayName"], ModelServer::TITLE);
        received.push(update["id"].as_str().unwrap().to_owned());
    }
    assert!(received.contains(&id));
    conversation_when(&server.url, &id, |now| now["titleStatus"] == "READY").await;
    server.stop().await;
}
