//! A provider that is down for an hour while thousands of conversations wait for titles. Minutes are shortened: the
//! interval between probes is a setting, and the times in the rows are shifted directly in the database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Json, extract::State, response::Response, routing::post};
use chrono::Utc;
use serde_json::{Value, json};
use std::sync::Mutex;
use titlecast::conversation::Owner;
use tokio::{task::JoinHandle, time::sleep};

use super::{
    Answer, ModelServer, Node, Rows, TestDatabase,
    model::{respond, serve},
    titles::send,
};

/// How long a title takes while the provider answers.
const LATENCY: Duration = Duration::from_millis(100);

/// Tokens that the scripted model reports for one title.
const TOKENS: usize = 102;

/// Concurrent title calls per node.
const CONCURRENCY: usize = 8;

/// A model server that can be down for titles but always answers replies.
struct Provider {
    url: String,
    script: Arc<Script>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Script {
    is_down: AtomicBool,
    /// The inputs of all title calls.
    titles: Mutex<Vec<String>>,
}

impl Provider {
    async fn start() -> Self {
        let script = Arc::new(Script::default());
        let (url, serving) = serve(post(complete).with_state(script.clone())).await;
        Self {
            url,
            script,
            serving,
        }
    }

    fn set_down(&self, is_down: bool) {
        self.script.is_down.store(is_down, Ordering::SeqCst);
    }

    fn calls(&self) -> usize {
        self.script.titles.lock().unwrap().len()
    }

    /// The position of the title call for the message with this text.
    fn place_of(&self, text: &str) -> Option<usize> {
        let titles = self.script.titles.lock().unwrap();
        titles.iter().position(|input| input.contains(text))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn complete(State(script): State<Arc<Script>>, Json(request): Json<Value>) -> Response {
    if request["stream"] == true {
        return respond(Answer::Deltas(ModelServer::REPLY.to_vec())).await;
    }
    // A plain title request has a single message.
    let messages = request["messages"].as_array().unwrap();
    let input = messages.last().unwrap()["content"].as_str().unwrap();
    let input = input.to_owned();
    script.titles.lock().unwrap().push(input);
    if script.is_down.load(Ordering::SeqCst) {
        return respond(Answer::error(503, "server_error", None, "Overloaded")).await;
    }
    sleep(LATENCY).await;
    respond(Answer::Title(ModelServer::TITLE.to_owned())).await
}

/// Shifts the times of waiting titles one minute into the past.
async fn pass_a_minute(rows: &Rows, is_sqlite: bool) {
    let earlier = |column: &str| match is_sqlite {
        // The service omits a fraction that is zero, and compares times as text.
        true => format!(
            "{column} = replace(strftime('%Y-%m-%dT%H:%M:%f+00:00', {column}, '-60 seconds'), '.000+', '+')"
        ),
        false => format!("{column} = {column} - interval '60 seconds'"),
    };
    let (retry, since) = (earlier("title_retry_at"), earlier("title_failing_since"));
    let sql =
        format!("UPDATE agent_conversations SET {retry}, {since} WHERE title_retry_at IS NOT NULL");
    rows.run(&sql, []).await.unwrap();
}

async fn count(rows: &Rows, condition: &str) -> usize {
    let sql = format!("SELECT count(*) AS n FROM agent_conversations WHERE {condition}");
    let count: i64 = rows.all(&sql, []).await[0].try_get("", "n").unwrap();
    count.try_into().unwrap()
}

/// Waits until at least this many rows meet a condition.
async fn count_when(rows: &Rows, condition: &str, expected: usize, within: Duration) {
    let began = Instant::now();
    loop {
        let found = count(rows, condition).await;
        if found >= expected {
            return;
        }
        assert!(
            began.elapsed() < within,
            "{found} instead of {expected} after {within:?}: {condition}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// An hour without a provider: `minutes` probes at this pace, with a node that is killed in the middle. Soon after the
/// provider is back, all conversations get titles, new ones first, within the budget. During the outage the provider
/// receives one probe per minute.
pub async fn hour_without_a_provider(conversations: usize, minutes: usize, minute: Duration) {
    /// The number of the other tenant's conversations, and how many titles its budget allows.
    const OTHERS: usize = 40;
    const AFFORDED: usize = 10;
    let database = TestDatabase::new().await;
    let other = Owner {
        tenant: "other".into(),
        user: "local".into(),
    };
    database.seed(&other, OTHERS, 1).await;
    database.seed(&Owner::local(), conversations, 1).await;
    let rows = Rows::of(&database).await;
    // The state left behind by a process that was killed when the provider went down.
    let claimed = "UPDATE agent_conversations SET title_status = 'pending', title_attempts = 1, title_lease_until = $1";
    let past = Utc::now() - chrono::TimeDelta::seconds(60);
    rows.run(claimed, [past.into()]).await.unwrap();
    let provider = Provider::start().await;
    provider.set_down(true);
    let probe = format!("{}ms", minute.as_millis());
    let budget = format!("0,other={}", AFFORDED * TOKENS);
    let concurrency = CONCURRENCY.to_string();
    let settings = [
        "--title-probe",
        &probe,
        "--title-sweep",
        "100ms",
        "--title-budget",
        &budget,
        "--title-concurrency",
        &concurrency,
        "--messages-per-minute",
        "0",
    ];
    let start = || Node::start(&database.url, &provider.url, &settings);
    let all = conversations + OTHERS;
    let mut node = start().await;
    let started = Instant::now();

    // No title is shown as pending for the whole outage.
    let waiting = "title_status = 'failed' AND title_retry_at IS NOT NULL";
    let patience = Duration::from_secs(60) + Duration::from_millis(20) * all as u32;
    count_when(&rows, waiting, all, patience).await;
    // Three failed walks of two calls each, the calls in flight at that time, and the probes since.
    let first_calls = provider.calls();
    let passed = started.elapsed().as_secs_f64() / minute.as_secs_f64();
    let most = passed + 1.0 + 2.0 * (3 + CONCURRENCY) as f64;
    assert!(
        first_calls as f64 <= most,
        "{first_calls} calls in {passed}"
    );

    let began = Instant::now();
    for number in 0..minutes {
        sleep(minute).await;
        pass_a_minute(&rows, database.is_sqlite()).await;
        if number == minutes / 2 {
            node.kill().await;
            node = start().await;
        }
    }
    let probes = provider.calls() - first_calls;
    let passed = began.elapsed().as_secs_f64() / minute.as_secs_f64();
    // A restarted node has to detect the outage again: three titles, each with up to two calls.
    assert!(
        (probes as f64) <= passed + 1.0 + 6.0,
        "{probes} probes in {passed} minutes"
    );
    assert!(probes >= minutes / 4, "{probes} probes");

    provider.set_down(false);
    let back = Instant::now();
    let calls_before = provider.calls();
    count_when(
        &rows,
        "title_status = 'ready'",
        20.min(conversations),
        Duration::from_secs(60) + 2 * minute,
    )
    .await;
    // New conversations get their titles before waiting ones.
    for number in 0..5 {
        let text = format!("Plan trip {number} to Nara");
        let asked = provider.calls();
        let id = send(&node.url, json!({ "text": text })).await;
        let ready = rows.decided_title(&id).await;
        assert_eq!(ready.title_status, "ready");
        let place = provider.place_of(&text).unwrap();
        assert!(
            place - asked <= 20 * CONCURRENCY,
            "call {place} instead of {asked}"
        );
    }
    let left = count(&rows, waiting).await;
    assert!(left > OTHERS, "the backlog was done before new ones came");
    let local = "tenant_id = 'local' AND title_status = 'ready'";
    let ten_minutes = Duration::from_secs(600);
    count_when(&rows, local, conversations + 5, ten_minutes).await;
    println!(
        "{conversations} conversations: {first_calls} calls until the breaker opened, {probes} probes in {passed:.0} minutes, \
         titled {:.1} s after the provider was back, {} calls since",
        back.elapsed().as_secs_f64(),
        provider.calls() - calls_before,
    );
    // The budget is kept except for calls in flight; the other titles wait until midnight.
    let others = "tenant_id = 'other' AND title_status = 'ready'";
    let titled = count(&rows, others).await;
    assert!(titled <= AFFORDED + CONCURRENCY, "{titled}");
    let waits =
        "tenant_id = 'other' AND title_failure = 'budget_exceeded' AND title_retry_at IS NOT NULL";
    count_when(&rows, waits, OTHERS - titled, patience).await;
    let twice = "SELECT 1 AS n FROM agent_title_calls WHERE outcome = 'title' GROUP BY conversation_id HAVING count(*) > 1";
    assert!(rows.all(twice, []).await.is_empty(), "titled twice");
    rows.0.close().await.unwrap();
    node.stop().await;
}
