//! A reachable database that accepts no writes: locked by another process, read-only, full. Requests get a 503 with a
//! code, reads continue where possible, and the service recovers without a restart.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
use titlecast_testing::{
    ModelServer, Node, Rows, SmallDisk, TestDatabase, postgres::Postgres, server::request,
};

use super::turns::{
    HalfWritten, MESSAGE, assert_mutation_refused, assert_refused, assert_taken, is_refused, plain,
};

/// How long a lock is waited for, and a second try, with room for a slow machine.
const PATIENCE: Duration = Duration::from_secs(18);

async fn reads(url: &str) -> bool {
    request(url, "GET", "/api/v1/conversations", None).await.0 == 200
}

/// Locks everything that a turn needs, from another connection, until it is dropped.
async fn lock(connection: &DatabaseConnection, is_sqlite: bool) -> sea_orm::DatabaseTransaction {
    let tx = connection.begin().await.unwrap();
    let statement = match is_sqlite {
        // A writer holds the lock of the whole file.
        true => "UPDATE agent_conversations SET revision = revision",
        false => "LOCK TABLE agent_conversations, agent_turns IN EXCLUSIVE MODE",
    };
    tx.execute_unprepared(statement).await.unwrap();
    tx
}

#[tokio::test]
async fn a_locked_database_refuses_messages_in_time_and_takes_them_when_it_is_free() {
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &[]).await;
    let other = database.connect().await;
    let locked = lock(&other, database.is_sqlite()).await;
    let began = Instant::now();
    assert_refused(&node.url, "key-1", &plain(MESSAGE)).await;
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_mutation_refused(&node.url).await;
    assert!(reads(&node.url).await);
    locked.rollback().await.unwrap();
    assert_taken(&node.url, "key-1", &plain(MESSAGE)).await;
    assert_eq!(database.row_counts().await, [1, 2, 1]);
    node.stop().await;
}

#[tokio::test]
async fn a_reply_that_finds_the_database_locked_is_published_complete_when_it_is_stored() {
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &[]).await;
    let mut reply = HalfWritten::new(&model, &node.url).await;
    let other = database.connect().await;
    let locked = lock(&other, database.is_sqlite()).await;
    reply.finish().await;
    reply.assert_open().await;
    locked.rollback().await.unwrap();
    let id = reply.id.clone();
    reply.assert_completed().await;
    let rows = Rows::of(&database).await;
    assert_eq!(rows.last_turn(&id).await, ("completed".into(), None));
    node.stop().await;
}

/// A node before, during and after a time when its database accepts no writes.
async fn takes_nothing(
    node: Node,
    model: &ModelServer,
    database: impl AsyncFnOnce() -> TestDatabase,
    begin: impl AsyncFnOnce(),
    end: impl AsyncFnOnce(),
) {
    // Not compressible, and more than what pages that there are have room for.
    let long: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(200_000)
        .collect();
    assert_taken(&node.url, "key-0", &plain(MESSAGE)).await;
    let mut reply = HalfWritten::new(model, &node.url).await;
    begin().await;
    // The database may have some room left within its own files.
    let mut taken = 0;
    while !is_refused(&node.url, &format!("long-{taken}"), &plain(&long)).await {
        taken += 1;
        assert!(taken < 50, "it takes everything");
    }
    assert!(reads(&node.url).await);
    reply.finish().await;
    end().await;
    let id = reply.id.clone();
    reply.assert_completed().await;
    assert_taken(&node.url, &format!("long-{taken}"), &plain(&long)).await;
    node.stop().await;
    let database = database().await;
    let rows = Rows::of(&database).await;
    assert_eq!(rows.last_turn(&id).await, ("completed".into(), None));
    let turns = 3 + taken;
    assert_eq!(database.row_counts().await, [turns, 2 * turns, turns]);
    assert_eq!(model.reply_requests().len(), turns as usize);
}

#[tokio::test]
async fn a_full_disk_under_sqlite_refuses_messages_until_there_is_room() {
    if TestDatabase::is_on_server() {
        return;
    }
    let Some(disk) = SmallDisk::of(32 * 1024) else {
        return;
    };
    let file = disk.directory.join("titlecast.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let model = ModelServer::start().await;
    let node = Node::of(Node::command(&url, &model.url, &[]).on(&disk)).await;
    // Where only the node can see it, and closed cleanly: a copy says everything.
    let copy = async || {
        let database = TestDatabase::empty().await;
        let to = database.url.strip_prefix("sqlite://").unwrap();
        let from = disk.outside().join("titlecast.db");
        std::fs::copy(from, to.split('?').next().unwrap()).unwrap();
        database
    };
    takes_nothing(
        node,
        &model,
        copy,
        async || disk.fill(),
        async || disk.make_room(),
    )
    .await;
}

#[tokio::test]
async fn a_full_disk_under_postgresql_refuses_messages_until_there_is_room() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let Some(disk) = SmallDisk::of(64 * 1024) else {
        return;
    };
    let Some(postgres) = Postgres::start_in(Some(disk.pid())).await else {
        return;
    };
    // Its log is on another disk: a server whose log has no room ends.
    let place = disk.directory.display();
    postgres
        .administer(&format!("CREATE TABLESPACE small LOCATION '{place}'"))
        .await;
    postgres
        .administer("CREATE DATABASE small TABLESPACE small")
        .await;
    let database = postgres.database_named("small").await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &[]).await;
    takes_nothing(
        node,
        &model,
        async || database,
        async || disk.fill(),
        async || disk.make_room(),
    )
    .await;
}

#[tokio::test]
async fn a_read_only_sqlite_refuses_messages_and_can_be_read() {
    if TestDatabase::is_on_server() {
        return;
    }
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &[]).await;
    assert_taken(&node.url, "key-0", &plain(MESSAGE)).await;
    node.stop().await;
    // What a file system that may only be read would say.
    let read_only = database.url.replace("mode=rwc", "mode=ro");
    let node = Node::start(&read_only, &model.url, &[]).await;
    assert_refused(&node.url, "key-1", &plain(MESSAGE)).await;
    assert_mutation_refused(&node.url).await;
    assert!(reads(&node.url).await);
    node.stop().await;
    let node = Node::start(&database.url, &model.url, &[]).await;
    assert_taken(&node.url, "key-1", &plain(MESSAGE)).await;
    assert_eq!(database.row_counts().await, [2, 4, 2]);
    node.stop().await;
}

#[tokio::test]
async fn a_read_only_postgresql_refuses_messages_until_it_is_not() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let Some(postgres) = Postgres::start().await else {
        return;
    };
    let database = postgres.database().await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &[]).await;
    // As a server that became a standby: sessions go on, and may only read.
    let read_only = async |is_so: &str| {
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {is_so}");
        postgres.administer(&set).await;
        postgres.administer("SELECT pg_reload_conf()").await;
    };
    let (begin, end) = (
        async || read_only("on").await,
        async || read_only("off").await,
    );
    takes_nothing(node, &model, async || database, begin, end).await;
}
