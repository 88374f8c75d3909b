//! A PostgreSQL whose schema changes, whose sessions are ended or forget what they prepared, or which takes no writes
//! for a while, under a running server: no request fails needlessly, and no useless connection is kept.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait};
use serde_json::{Value, json};
use titlecast_testing::{
    ModelServer, Server, TestDatabase,
    calls::{conversation_when, data, delete, rename},
    eventually,
    server::request,
    titles::{regenerate, reset},
};
use tokio::task::JoinSet;

const LIST: &str =
    "{ conversations(first: 20) { nodes { id title messages(last: 3) { nodes { content } } } } }";

/// As many as the server may have, each with all of its statements prepared.
const CONNECTIONS: usize = 4;

const SETTINGS: [&str; 8] = [
    "--database-connections",
    "4",
    "--title-sweep",
    "200ms",
    "--messages-per-minute",
    "0",
    "--title-changes-per-minute",
    "0",
];

/// The columns that texts and names are in, as statements that give each another type.
const ALTERED: [(&str, &str); 6] = [
    ("agent_conversations", "display_name"),
    ("agent_conversations", "topic_hint"),
    ("agent_conversations", "title_status"),
    ("agent_messages", "status"),
    ("agent_turns", "reply_status"),
    ("agent_conversations", "last_message_preview"),
];

/// Ends the server's sessions.
const END_ALL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// Everything that reads and writes rows, once. Nothing of it may fail.
async fn everything(url: &str) {
    let body = json!({ "message": "Plan a trip to Kyoto in April" });
    let (status, sent) = request(url, "POST", "/api/v1/chat", Some(body)).await;
    assert_eq!(status, 200, "{sent}");
    let id = sent["conversation_id"].as_str().unwrap();
    conversation_when(url, id, |now| now["titleStatus"] == "READY").await;
    let body = json!({ "message": "And in May?", "conversation_id": id });
    let (status, sent) = request(url, "POST", "/api/v1/chat", Some(body)).await;
    assert_eq!(status, 200, "{sent}");
    data(url, LIST, Value::Null).await;
    rename(url, id, "Kyoto in spring").await;
    reset(url, id).await;
    conversation_when(url, id, |now| now["titleStatus"] == "READY").await;
    regenerate(url, json!({ "id": id })).await;
    conversation_when(url, id, |now| now["titleStatus"] == "READY").await;
    let node = "query ($id: ID!) { node(id: $id) { id } }";
    data(url, node, json!({ "id": id })).await;
    let (status, _) = request(url, "GET", &format!("/api/v1/conversations/{id}"), None).await;
    assert_eq!(status, 200);
    delete(url, id).await;
}

/// The same by several clients at once, so that every connection prepares every statement.
async fn by_all(url: &str) {
    let mut clients = JoinSet::new();
    for _ in 0..2 * CONNECTIONS {
        let url = url.to_owned();
        clients.spawn(async move { everything(&url).await });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

async fn run(connection: &DatabaseConnection, sql: &str) {
    connection.execute_unprepared(sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_after_a_column_has_got_another_type() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &SETTINGS).await;
    let past = server.database.connect().await;
    by_all(&server.url).await;
    by_all(&server.url).await;
    for (table, column) in ALTERED {
        let alter = format!("ALTER TABLE {table} ALTER COLUMN {column} TYPE varchar(200)");
        run(&past, &alter).await;
        by_all(&server.url).await;
    }
    // The sessions that came in the place of the others stay.
    let sessions = async || {
        let began = "SELECT pid FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid";
        let statement = Statement::from_string(DbBackend::Postgres, began);
        let found = past.query_all_raw(statement).await.unwrap();
        let pids = found
            .iter()
            .map(|row| row.try_get::<i32>("", "pid").unwrap());
        pids.collect::<Vec<i32>>()
    };
    by_all(&server.url).await;
    let there = sessions().await;
    by_all(&server.url).await;
    assert_eq!(sessions().await, there);
    // While requests are on their way, too.
    let url = server.url.clone();
    let mut load = JoinSet::new();
    load.spawn(async move { by_all(&url).await });
    for length in 201..206 {
        let (table, column) = ALTERED[0];
        let alter = format!("ALTER TABLE {table} ALTER COLUMN {column} TYPE varchar({length})");
        run(&past, &alter).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    load.join_next().await.unwrap().unwrap();
    server.stop().await;
}

/// One transaction that changes a conversation.
async fn change(kind: usize, url: String, id: String) {
    match kind {
        0 => {
            let body = json!({ "message": "And in May?", "conversation_id": id });
            let (status, sent) = request(&url, "POST", "/api/v1/chat", Some(body)).await;
            assert_eq!(status, 200, "{sent}");
        }
        1 => {
            rename(&url, &id, "Kyoto in spring").await;
        }
        2 => {
            let answer = reset(&url, &id).await;
            assert_eq!(answer.get("errors"), None, "{answer}");
        }
        _ => {
            delete(&url, &id).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_meets_a_stale_plan_first_is_run_again() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let model = ModelServer::start().await;
    // Nothing else meets it before.
    let quiet = [&SETTINGS[..2], &["--title-sweep", "1h"], &SETTINGS[4..]].concat();
    let server = Server::start_with(&model, &quiet).await;
    let past = server.database.connect().await;
    let owner = titlecast::conversation::Owner::local();
    let together = async |kind: usize, ids: &[String]| {
        let mut changes = JoinSet::new();
        for id in ids {
            changes.spawn(change(kind, server.url.clone(), id.clone()));
        }
        while let Some(done) = changes.join_next().await {
            done.unwrap();
        }
    };
    for kind in 0..4 {
        let ids = server.database.seed(&owner, 5 * CONNECTIONS, 1).await;
        let (first, rest) = ids.split_at(4 * CONNECTIONS);
        together(kind, first).await;
        let running = "SELECT 1 FROM agent_turns WHERE reply_status = 'running' \
                       UNION ALL SELECT 1 FROM agent_conversations WHERE title_token IS NOT NULL";
        eventually(async || {
            let statement = Statement::from_string(DbBackend::Postgres, running);
            past.query_all_raw(statement)
                .await
                .unwrap()
                .is_empty()
                .then_some(())
        })
        .await;
        let (_, failed) = server.app.database().statements_for_operators();
        let length = 210 + kind;
        let alter = format!(
            "ALTER TABLE agent_conversations ALTER COLUMN display_name TYPE varchar({length})"
        );
        run(&past, &alter).await;
        together(kind, rest).await;
        let (_, now) = server.app.database().statements_for_operators();
        assert!(now > failed, "{kind}: no plan was stale");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_when_the_server_ends_all_sessions() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &SETTINGS).await;
    let past = server.database.connect().await;
    by_all(&server.url).await;
    for _ in 0..3 {
        run(&past, END_ALL).await;
        by_all(&server.url).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_ended_within_transactions_cost_no_message() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &SETTINGS).await;
    let past = server.database.connect().await;
    by_all(&server.url).await;
    let before = server.database.row_counts().await;
    let mut load = JoinSet::new();
    let locked = past.begin().await.unwrap();
    let lock = "LOCK TABLE agent_conversations IN EXCLUSIVE MODE";
    locked.execute_unprepared(lock).await.unwrap();
    for client in 0..CONNECTIONS {
        let url = server.url.clone();
        load.spawn(async move {
            let text = format!("Message of {client}");
            let body = json!({ "message": text, "context": { "auto_title": false } });
            let (status, sent) = request(&url, "POST", "/api/v1/chat", Some(body)).await;
            assert_eq!(status, 200, "{sent}");
        });
    }
    // All of them are in the middle of their transactions.
    let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(async || {
        let statement = Statement::from_string(DbBackend::Postgres, waiting);
        let found = locked.query_all_raw(statement).await.unwrap();
        (found.len() >= CONNECTIONS).then_some(())
    })
    .await;
    locked.execute_unprepared(END_ALL).await.unwrap();
    locked.commit().await.unwrap();
    while let Some(done) = load.join_next().await {
        done.unwrap();
    }
    // Each message once, each reply once.
    let turns = CONNECTIONS as i64;
    let expected = [before[0] + turns, before[1] + 2 * turns, before[2] + turns];
    assert_eq!(server.database.row_counts().await, expected);
    by_all(&server.url).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_when_sessions_forget_what_they_prepared() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &SETTINGS).await;
    by_all(&server.url).await;
    // What a pooler does between two clients of a session.
    server.app.database().forget_prepared().await.unwrap();
    by_all(&server.url).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_may_only_read_are_replaced_when_the_server_takes_writes_again() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &SETTINGS).await;
    let past = server.database.connect().await;
    by_all(&server.url).await;
    // New sessions may only read, as those that were opened before a standby was promoted.
    let read_only = async |is_so: bool| {
        let set = format!(
            "BEGIN READ WRITE; DO $$ BEGIN EXECUTE format( \
             'ALTER DATABASE %I SET default_transaction_read_only = {is_so}', current_database()); END $$; COMMIT"
        );
        run(&past, &set).await;
    };
    read_only(true).await;
    run(&past, END_ALL).await;
    let readiness = async || request(&server.url, "GET", "/readyz", None).await;
    eventually(async || {
        let (status, page) = readiness().await;
        (status == 503 && page["database"] == "refuses_writes").then_some(())
    })
    .await;
    let body = json!({ "message": "Plan a trip to Nara" });
    let (status, refused) = request(&server.url, "POST", "/api/v1/chat", Some(body)).await;
    assert_eq!(
        (status, &refused["code"]),
        (503, &json!("DATABASE_UNAVAILABLE"))
    );
    // The sessions are not ended this time.
    read_only(false).await;
    eventually(async || (readiness().await.0 == 200).then_some(())).await;
    by_all(&server.url).await;
    server.stop().await;
}
