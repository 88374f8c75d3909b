//! The longest poll: no request, whatever its words, holds an async worker for more than 10 ms of processor time.
//!
//! The server has a runtime of its own, whose workers are measured; clients have another. `just polls` measures the
//! processor time of each poll: tokio calls hooks around polls when it is built with `tokio_unstable`. Other builds
//! measure the time between two parks of a worker, which is one poll or several, so it is an upper bound. An
//! unoptimised build is about 30 times slower, so that only gross errors show there.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Server,
    hostile::{Wire, requests},
    server::{client, request},
    within,
};
use tokio::runtime::{Builder, Runtime};

const LONGEST: Duration = match cfg!(debug_assertions) {
    true => Duration::from_secs(2),
    false => Duration::from_millis(10),
};

/// How often each is sent.
const RUNS: usize = if cfg!(debug_assertions) { 1 } else { 3 };

const SEARCH: &str = "query ($q: String!) { searchConversations(query: $q, first: 30) {
    nodes { snippet score } } }";

thread_local! {
    static SINCE: Cell<u64> = const { Cell::new(0) };
}

/// The processor time of this thread, in nanoseconds.
fn spent() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A runtime whose workers are measured, and their longest poll in nanoseconds.
fn measured() -> (Runtime, Arc<AtomicU64>) {
    let longest = Arc::new(AtomicU64::new(0));
    let recorded = longest.clone();
    let begin = || SINCE.set(spent());
    let end = move || {
        let since = SINCE.get();
        if since > 0 {
            recorded.fetch_max(spent().saturating_sub(since), Ordering::Relaxed);
        }
    };
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    #[cfg(tokio_unstable)]
    builder
        .on_before_task_poll(move |_| begin())
        .on_after_task_poll(move |_| end());
    #[cfg(not(tokio_unstable))]
    builder.on_thread_unpark(begin).on_thread_park(end);
    (builder.build().unwrap(), longest)
}

/// Message texts near the limit of a body.
fn texts() -> Vec<(&'static str, String)> {
    let full = |piece: &str| piece.repeat(200_000 / piece.len());
    let mut texts: Vec<(&str, String)> = [
        "a ",
        "京",
        "[",
        "![a](",
        "`",
        "```\n",
        "\"",
        "<b>",
        "<!--",
        "\u{301}",
        "🏳️‍🌈",
        "- ",
        "# ",
        "\n",
        "a.b.",
        "http://x.y/",
        "[a](b) ",
        "**",
        "_",
        "&amp;",
        "\\",
        "𝐀",
        "ﷺ",
        "\u{5d0}\"\u{5d0}",
        "> ",
        "| a ",
        "\u{200b}",
        "İ",
        "$a$ ",
    ]
    .map(|piece| (piece, full(piece)))
    .into();
    texts.push(("a word", "x".repeat(200_000)));
    texts.push(("words", (0..30_000).map(|n| format!("w{n} ")).collect()));
    texts
}

fn searches() -> Vec<String> {
    let numbered = |count: usize| -> String { (0..count).map(|n| format!("zz{n} ")).collect() };
    vec![
        numbered(9_000),
        "a-".repeat(30_000),
        "a ".repeat(30_000),
        "京".repeat(20_000),
        "\u{301}".repeat(30_000),
        "ﷺ".repeat(20_000),
        "x".repeat(60_000),
        vec!["a"; 32].join("-"),
        numbered(32),
        "w1".into(),
        "x".into(),
        "a".into(),
    ]
}

struct Measured {
    longest: Arc<AtomicU64>,
    complaints: Vec<String>,
    worst: (Duration, String),
}

impl Measured {
    /// Sends something three times, and reports if the longest poll was too long in two of them: a busy host charges a
    /// thread for time that it did not get.
    async fn check(&mut self, name: &str, send: impl AsyncFn()) {
        let mut polls = Vec::new();
        for _ in 0..RUNS {
            self.longest.store(0, Ordering::Relaxed);
            send().await;
            polls.push(self.longest.load(Ordering::Relaxed));
        }
        polls.sort_unstable();
        let longest = Duration::from_nanos(polls[RUNS / 2]);
        if longest > LONGEST / 2 {
            println!("{longest:?} {name}");
        }
        if longest > LONGEST {
            self.complaints.push(format!("{longest:?} {name}"));
        }
        if longest > self.worst.0 {
            self.worst = (longest, name.to_owned());
        }
    }
}

/// A request whose answer does not matter here.
async fn post(url: &str, path: &str, body: &Value) {
    let request = client()
        .post(format!("{url}{path}"))
        .header("content-type", "application/json")
        .body(body.to_string());
    if let Ok(response) = within(request.send()).await {
        let _ = within(response.bytes()).await;
    }
}

#[test]
fn no_request_holds_a_worker() {
    let (serving, longest) = measured();
    let clients = Runtime::new().unwrap();
    let server = clients.block_on(async {
        let started = serving.spawn(async {
            let server = Server::offline().await;
            server.database.seed(&Owner::local(), 3, 3).await;
            server
        });
        started.await.unwrap()
    });
    let url = server.url.clone();
    let mut measured = Measured {
        longest,
        complaints: Vec::new(),
        worst: (Duration::ZERO, String::new()),
    };
    clients.block_on(async {
        for (name, text) in texts() {
            let body = json!({ "message": text });
            let name = format!("a message of {name:?}");
            let send =
                async || drop(request(&url, "POST", "/api/v1/chat", Some(body.clone())).await);
            measured.check(&name, send).await;
            let query = "mutation ($t: String!) { sendMessage(input: { text: $t }) { replyId } }";
            let body = json!({ "query": query, "variables": { "t": text } });
            measured
                .check(&format!("sendMessage, {name}"), async || {
                    post(&url, "/graphql", &body).await
                })
                .await;
        }
        for query in searches() {
            let body = json!({ "query": SEARCH, "variables": { "q": query } });
            let name = format!("a search for {:.12}, {} bytes", query, query.len());
            measured
                .check(&name, async || post(&url, "/graphql", &body).await)
                .await;
        }
        for (name, request, _) in requests() {
            for wire in Wire::ALL {
                let name = format!("{wire:?}: {name}");
                measured
                    .check(&name, async || drop(wire.send(&url, &request).await))
                    .await;
            }
        }
    });
    println!("the longest: {:?}", measured.worst);
    serving.shutdown_background();
    drop(server);
    assert!(measured.complaints.is_empty(), "{:#?}", measured.complaints);
}

#[test]
fn a_poll_that_computes_is_noticed() {
    let (runtime, longest) = measured();
    let spinning = async {
        // A pause first, so that the worker begins with this.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begun = spent();
        while Duration::from_nanos(spent() - begun) < LONGEST + LONGEST / 5 {
            std::hint::spin_loop();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let spinning = runtime.spawn(spinning);
    runtime.block_on(spinning).unwrap();
    let longest = Duration::from_nanos(longest.load(Ordering::Relaxed));
    assert!(longest > LONGEST, "{longest:?}");
}
