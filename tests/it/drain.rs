//! How the program ends: in order, in time, and sooner after a second signal.

use std::time::{Duration, Instant};

use serde_json::json;
use titlecast_testing::{
    Events, ModelServer, Rows, Step, TestDatabase, Titlecast, assert_common_stream, eventually,
    process::Process,
    raw_socket::RawSocket,
    server::{client, metrics, request},
    sse::text,
    within,
};
use tokio::sync::mpsc::UnboundedSender;

/// The longest that all of it may take.
const LONGEST: Duration = Duration::from_secs(30);

async fn serving(
    model: &ModelServer,
    database: &TestDatabase,
    arguments: &[&str],
) -> (Process, String) {
    let arguments = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
    let mut serving = Titlecast::new(&arguments)
        .env("OPENAI_BASE_URL", &model.url)
        .env("DATABASE_URL", &database.url)
        .start();
    let url = serving.url().await;
    (serving, url)
}

/// A reply that has begun, and continues when the test releases it.
async fn writing(
    model: &ModelServer,
    url: &str,
) -> (Events, Vec<serde_json::Value>, UnboundedSender<Step>) {
    let steps = model.live_reply();
    let body = json!({ "message": "Plan a trip to Kyoto" });
    let mut stream = Events::post(url, body).await;
    steps.send(Step::delta("Half a ")).unwrap();
    let mut events = Vec::new();
    while text(&events) != "Half a " {
        events.push(stream.next().await.unwrap());
    }
    (stream, events, steps)
}

/// Reads to the end, which has to be a proper one that says that the reply is not whole.
async fn cut_short(mut stream: Events, mut events: Vec<serde_json::Value>) {
    while let Some(event) = stream.next().await {
        events.push(event);
    }
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.incomplete", "{terminal}");
    assert_eq!(terminal["response_text"], "Half a ");
}

async fn stored_replies(database: &TestDatabase) -> Vec<(String, String)> {
    let rows = Rows::of(database).await;
    let sql = "SELECT status, content FROM agent_messages WHERE role = 'assistant'";
    let rows = rows.all(sql, []).await;
    let replies = rows.iter().map(|row| {
        (
            row.try_get("", "status").unwrap(),
            row.try_get("", "content").unwrap(),
        )
    });
    replies.collect()
}

#[tokio::test]
async fn replies_get_their_time_and_are_then_stored_as_they_are() {
    let (model, database) = (ModelServer::start().await, TestDatabase::new().await);
    let (mut serving, url) = serving(&model, &database, &["--drain", "1s"]).await;
    let mut idle = RawSocket::ready(&url).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(writing(&model, &url).await);
    }
    let stopping = Instant::now();
    serving.terminate();
    // Idle connections are closed at once, and new ones are refused.
    assert_eq!(idle.closed().await.0, 1012);
    serving.line("shutting down").await;
    assert!(client().get(format!("{url}/readyz")).send().await.is_err());
    let mut pens = Vec::new();
    for (stream, events, pen) in streams {
        cut_short(stream, events).await;
        pens.push(pen);
    }
    assert!(stopping.elapsed() >= Duration::from_secs(1));
    let ended = serving.ended().await;
    assert!(stopping.elapsed() < LONGEST, "{:?}", stopping.elapsed());
    assert!(
        ended.stderr.contains("drain time exceeded"),
        "{}",
        ended.stderr
    );
    ended.ok();
    let replies = stored_replies(&database).await;
    assert_eq!(replies, vec![("incomplete".into(), "Half a ".into()); 10]);
}

#[tokio::test]
async fn a_reply_whose_client_has_left_is_finished_too() {
    let (model, database) = (ModelServer::start().await, TestDatabase::new().await);
    let mut serving = Titlecast::new(&["serve", "--listen", "127.0.0.1:0"])
        .env("OPENAI_BASE_URL", &model.url)
        .env("DATABASE_URL", &database.url)
        .start();
    let line = serving.line("metrics_address=").await;
    let page = format!("http://{}", line.split("metrics_address=").nth(1).unwrap());
    let url = serving.url().await;
    let (stream, _, pen) = writing(&model, &url).await;
    drop(stream);
    // Then no connection is open.
    eventually(async || {
        let now = metrics(&page).await;
        let open = r#"titlecast_http_streams_open{route="/api/v1/chat/stream",method="POST"} 0"#;
        now.contains(open).then_some(())
    })
    .await;
    serving.terminate();
    serving.line("shutting down").await;
    pen.send(Step::delta("thought")).unwrap();
    pen.send(Step::Finish).unwrap();
    serving.ended().await.ok();
    let replies = stored_replies(&database).await;
    assert_eq!(replies, [("complete".into(), "Half a thought".into())]);
}

#[tokio::test]
async fn a_second_signal_ends_the_drain_at_once() {
    let (model, database) = (ModelServer::start().await, TestDatabase::new().await);
    for second in ["TERM", "INT"] {
        let (mut serving, url) = serving(&model, &database, &["--drain", "1h"]).await;
        let (stream, events, _pen) = writing(&model, &url).await;
        serving.terminate();
        serving.line("shutting down").await;
        let signalled = Instant::now();
        serving.signal(second);
        cut_short(stream, events).await;
        let ended = serving.ended().await;
        let log = &ended.stderr;
        assert!(log.contains("second shutdown signal received"), "{log}");
        assert!(!log.contains("drain time exceeded"), "{log}");
        ended.ok();
        assert!(
            signalled.elapsed() < Duration::from_secs(9),
            "{:?}",
            signalled.elapsed()
        );
    }
    let replies = stored_replies(&database).await;
    assert_eq!(replies, vec![("incomplete".into(), "Half a ".into()); 2]);
}

#[tokio::test]
async fn a_load_balancer_is_given_time_to_see_that_it_is_not_ready() {
    let (model, database) = (ModelServer::start().await, TestDatabase::new().await);
    let (mut serving, url) = serving(&model, &database, &["--drain-delay", "2s"]).await;
    assert_eq!(request(&url, "GET", "/readyz", None).await.0, 200);
    let mut idle = RawSocket::ready(&url).await;
    let stopping = Instant::now();
    serving.terminate();
    serving.line("shutdown signal received").await;
    let (status, page) = request(&url, "GET", "/readyz", None).await;
    assert_eq!((status, &page["status"]), (503, &json!("shutting_down")));
    // Everything else is as it was.
    assert_eq!(request(&url, "GET", "/healthz", None).await.0, 200);
    let body = json!({ "message": "Plan a trip to Kyoto" });
    assert_eq!(
        request(&url, "POST", "/api/v1/chat", Some(body)).await.0,
        200
    );
    idle.say(json!({ "type": "ping" })).await;
    assert_eq!(idle.message().await["type"], "pong");

    assert_eq!(idle.closed().await.0, 1012);
    assert!(stopping.elapsed() >= Duration::from_secs(2));
    within(serving.ended()).await.ok();
}

#[tokio::test]
async fn what_hangs_does_not_hold_the_end() {
    let (model, database) = (ModelServer::start().await, TestDatabase::new().await);
    let mut serving = Titlecast::new(&["serve", "--listen", "127.0.0.1:0", "--drain", "1s"])
        .env("OPENAI_BASE_URL", &model.url)
        .env("DATABASE_URL", &database.url)
        .env("FAILPOINTS", "titles.answered=pause")
        .start();
    let url = serving.url().await;
    let body = json!({ "message": "Plan a trip to Kyoto" });
    let (status, _) = request(&url, "POST", "/api/v1/chat", Some(body)).await;
    assert_eq!(status, 200);
    let stopping = Instant::now();
    serving.terminate();
    serving.line("tasks did not end").await;
    serving.ended().await.ok();
    // `--drain`, and the 10 seconds besides.
    assert!(
        stopping.elapsed() < Duration::from_secs(11),
        "{:?}",
        stopping.elapsed()
    );
}
