//! PostgreSQL that is down, restarted, killed, or behind a network that fails: requests get a 503 with a code, accepted
//! messages are stored, and the service recovers by itself when the database is back.
//!
//! SQLite is a file, without a connection that can fail. Its faults are in `database_refuses`.

use std::time::{Duration, Instant};

use serde_json::json;
use titlecast_testing::{
    Events, ModelServer, Node, Rows, TestDatabase, assert_common_stream, eventually,
    postgres::Postgres,
    proxy::{Cut, Proxy, Way},
};

use super::turns::{
    HalfWritten, MESSAGE, assert_mutation_refused, assert_refused, assert_taken, is_ready, plain,
};

/// A node that reaches the tests' database through a proxy; none on SQLite.
struct Far {
    model: ModelServer,
    proxy: Proxy,
    node: Node,
    rows: Rows,
    database: TestDatabase,
}

impl Far {
    async fn new(settings: &[&str]) -> Option<Self> {
        if !TestDatabase::is_on_server() {
            return None;
        }
        let database = TestDatabase::new().await;
        let proxy = Proxy::to_url(&database.url).await;
        let model = ModelServer::start().await;
        let url = proxy.instead_of(&database.url);
        Some(Self {
            node: Node::start(&url, &model.url, settings).await,
            rows: Rows::of(&database).await,
            model,
            proxy,
            database,
        })
    }
}

/// A probe that began while the database was gone may still be under way.
async fn becomes_ready(url: &str) {
    eventually(async || is_ready(url).await.then_some(())).await;
}

#[tokio::test]
async fn a_message_that_finds_the_database_gone_is_refused_and_taken_when_it_is_back() {
    let Some(far) = Far::new(&[]).await else {
        return;
    };
    far.proxy.refuse().await;
    let body = plain(MESSAGE);
    assert_refused(&far.node.url, "key-1", &body).await;
    assert_mutation_refused(&far.node.url).await;
    assert!(!is_ready(&far.node.url).await);
    assert_eq!(far.database.row_counts().await, [0, 0, 0]);
    assert_eq!(far.model.reply_requests().len(), 0);

    far.proxy.come_back().await;
    assert_taken(&far.node.url, "key-1", &body).await;
    becomes_ready(&far.node.url).await;
    assert_eq!(far.database.row_counts().await, [1, 2, 1]);
    assert_eq!(far.model.reply_requests().len(), 1);
    far.node.stop().await;
}

#[tokio::test]
async fn connections_that_were_cut_are_replaced_without_failed_requests() {
    let Some(far) = Far::new(&[]).await else {
        return;
    };
    for (number, how) in [Cut::Rst, Cut::Fin, Cut::Rst].into_iter().enumerate() {
        assert_taken(&far.node.url, &format!("key-{number}"), &plain(MESSAGE)).await;
        far.proxy.cut(how);
    }
    assert_eq!(far.database.row_counts().await, [3, 6, 3]);
    far.node.stop().await;
}

#[tokio::test]
async fn a_reply_is_published_complete_when_it_is_stored_and_not_while_the_database_is_gone() {
    let Some(far) = Far::new(&[]).await else {
        return;
    };
    let mut reply = HalfWritten::new(&far.model, &far.node.url).await;
    far.proxy.refuse().await;
    reply.finish().await;
    reply.assert_open().await;
    assert_eq!(far.rows.last_turn(&reply.id).await.0, "running");
    far.proxy.come_back().await;
    let id = reply.id.clone();
    reply.assert_completed().await;
    assert_eq!(far.rows.last_turn(&id).await, ("completed".into(), None));
    assert_eq!(far.rows.messages(&id).await[1].2, HalfWritten::WHOLE);
    assert_eq!(far.model.reply_requests().len(), 1);
    far.node.stop().await;
}

#[tokio::test]
async fn a_database_that_says_nothing_is_not_waited_for_for_ever() {
    let Some(far) = Far::new(&[]).await else {
        return;
    };
    let mut reply = HalfWritten::new(&far.model, &far.node.url).await;
    far.proxy.stall(&[Way::There, Way::Back]);
    let began = Instant::now();
    assert_refused(&far.node.url, "key-1", &plain(MESSAGE)).await;
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "{:?}",
        began.elapsed()
    );
    reply.finish().await;
    reply.assert_open().await;
    far.proxy.flow();
    reply.assert_completed().await;
    assert_taken(&far.node.url, "key-1", &plain(MESSAGE)).await;
    assert_eq!(far.database.row_counts().await, [2, 4, 2]);
    far.node.stop().await;
}

#[tokio::test]
async fn a_server_ends_in_time_while_its_database_says_nothing() {
    let Some(far) = Far::new(&["--drain", "2s"]).await else {
        return;
    };
    let mut reply = HalfWritten::new(&far.model, &far.node.url).await;
    far.proxy.stall(&[Way::There, Way::Back]);
    reply.finish().await;
    let began = Instant::now();
    // With the default, 18 seconds more.
    far.node.process.terminate();
    let ended = far.node.process.ended().await;
    assert!(
        began.elapsed() < Duration::from_secs(12),
        "{:?}",
        began.elapsed()
    );
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // What was not stored is not published as stored, and another node closes it.
    assert_eq!(far.rows.last_turn(&reply.id).await.0, "running");
}

#[tokio::test]
async fn a_message_that_is_slow_to_be_stored_gets_its_reply() {
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    // What runs is noted several times meanwhile.
    let command = Node::command(&database.url, &model.url, &["--reply-lease", "1s"]);
    let node = Node::of(command.env("FAILPOINTS", "turns.begin=1*sleep(1500)")).await;
    assert_taken(&node.url, "key-1", &plain(MESSAGE)).await;
    node.stop().await;
}

#[tokio::test]
async fn a_slow_database_is_only_slow() {
    let Some(far) = Far::new(&[]).await else {
        return;
    };
    far.proxy.delay(Duration::from_millis(100));
    assert_taken(&far.node.url, "key-1", &plain(MESSAGE)).await;
    far.node.stop().await;
}

#[tokio::test]
async fn a_database_that_is_killed_and_restarted_loses_nothing_that_was_accepted() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let Some(mut postgres) = Postgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &["--title-sweep", "500ms"]).await;
    let titled = json!({ "message": MESSAGE });
    let first = assert_taken(&node.url, "key-1", &titled).await;
    let mut reply = HalfWritten::new(&model, &node.url).await;

    postgres.kill();
    reply.finish().await;
    reply.assert_open().await;
    assert!(!is_ready(&node.url).await);
    // A message that comes while it starts waits for it.
    let ((), mut waited) = tokio::join!(
        postgres.start_again(),
        Events::post(&node.url, plain("Plan a trip to Nara")),
    );
    let events = waited.rest().await;
    assert_eq!(
        assert_common_stream(&events)["raw_type"],
        "response.completed"
    );
    let half = reply.id.clone();
    reply.assert_completed().await;
    becomes_ready(&node.url).await;

    let rows = Rows::of(&database).await;
    for id in [&first, &half] {
        assert_eq!(rows.messages(id).await.len(), 2);
        assert_eq!(rows.last_turn(id).await, ("completed".into(), None));
    }
    // The same request finds the same turn.
    assert_taken(&node.url, "key-1", &titled).await;
    assert_eq!(database.row_counts().await, [3, 6, 3]);
    assert_eq!(model.reply_requests().len(), 3);
    eventually(async || {
        let title = rows.title(&first).await;
        (title.display_name.as_deref() == Some(ModelServer::TITLE)).then_some(())
    })
    .await;
    node.stop().await;
}
