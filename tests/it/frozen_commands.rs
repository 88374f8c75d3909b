//! Commands on a PostgreSQL server whose connections freeze while a statement runs: each ends with an error, after its
//! deadline. A statement that takes long is not interrupted.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, TransactionTrait};
use serde_json::json;
use titlecast::{
    conversation::{ConversationId, Owner},
    db::Database,
};
use titlecast_testing::{
    ModelServer, Rows, TestDatabase, Titlecast, eventually, postgres::Postgres, process::Ended,
    proxy::Proxy, within,
};
use tokio::join;

/// Deadlines of these tests, in seconds.
const SHORTENED: &str = "db.command_timeout=return(2);migrations.ping=return(1)";

/// What the commands add to their deadlines: a start, and closing connections that do not close.
const SLACK: Duration = Duration::from_secs(20);

/// A server of its own, whose connections freeze.
struct Frozen {
    server: Postgres,
    proxy: Proxy,
    past: DatabaseConnection,
}

impl Frozen {
    /// With this many migrations; `None` without PostgreSQL.
    async fn with(migrations: Option<u32>) -> Option<Self> {
        let server = Postgres::start().await?;
        let database = Database::connect(&server.url, 1).await.unwrap();
        database.migrate_up(migrations).await.unwrap();
        database.close().await.unwrap();
        let proxy = Proxy::to_url(&server.url).await;
        let past = TestDatabase::of_another(&server.url).connect().await;
        Some(Self {
            server,
            proxy,
            past,
        })
    }

    async fn locked(&self) -> DatabaseTransaction {
        let lock = self.past.begin().await.unwrap();
        let sql = "LOCK TABLE agent_conversations IN ACCESS EXCLUSIVE MODE";
        lock.execute_unprepared(sql).await.unwrap();
        lock
    }

    /// Waits until a statement waits for the lock.
    async fn is_waiting(&self) {
        let rows = Rows(self.past.clone());
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually(async || (!rows.all(sql, []).await.is_empty()).then_some(())).await;
    }

    fn command(&self, arguments: &[&str]) -> Titlecast {
        Titlecast::new(arguments)
            .env("DATABASE_URL", &self.proxy.instead_of(&self.server.url))
            .env("FAILPOINTS", SHORTENED)
    }

    /// Freezes a command's connections while its statement waits for a lock.
    async fn ends(&self, command: Titlecast) -> Ended {
        let lock = self.locked().await;
        let process = command.start();
        self.is_waiting().await;
        assert!(self.proxy.freeze() > 0);
        let began = Instant::now();
        lock.rollback().await.unwrap();
        let ended = process.ended().await;
        assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
        ended
    }
}

#[tokio::test]
async fn an_import_on_a_frozen_connection_fails_after_its_deadline() {
    let Some(frozen) = Frozen::with(None).await else {
        return;
    };
    let line = json!({ "id": "1", "messages": [{ "role": "user", "content": "Plan a trip" }] });
    let command = || {
        frozen
            .command(&["import", "lines.jsonl"])
            .file("lines.jsonl", &line.to_string())
    };
    frozen
        .ends(command())
        .await
        .assert_failed(&["did not answer within 2s", "run it again to continue"]);
    command().run().await.ok();
    let [conversations, ..] = TestDatabase::of_another(&frozen.server.url).census().await;
    assert_eq!(conversations, 1);
}

#[tokio::test]
async fn a_backfill_on_a_frozen_connection_fails_after_its_deadline() {
    let Some(frozen) = Frozen::with(None).await else {
        return;
    };
    let database = TestDatabase::of_another(&frozen.server.url);
    database.seed_untitled(3).await;
    let model = ModelServer::start().await;
    let command = || {
        frozen
            .command(&["backfill"])
            .env("OPENAI_BASE_URL", &model.url)
            .env("OPENAI_API_KEY", "sk-test-key")
    };
    frozen
        .ends(command())
        .await
        .assert_failed(&["did not answer within 2s"]);
    command().run().await.ok();
    let titled = "SELECT id FROM agent_conversations WHERE display_name IS NOT NULL";
    assert_eq!(Rows(frozen.past.clone()).all(titled, []).await.len(), 3);
}

#[tokio::test]
async fn a_migration_on_a_frozen_connection_fails_after_a_ping() {
    let Some(frozen) = Frozen::with(Some(1)).await else {
        return;
    };
    frozen
        .ends(frozen.command(&["migrate", "up"]))
        .await
        .assert_failed(&["stopped answering for 1s", "migrate up"]);
    frozen.command(&["migrate", "up"]).run().await.ok();
}

/// The wait is longer than the pings' interval and limit together.
#[tokio::test]
async fn a_long_migration_on_a_server_that_answers_goes_on() {
    let Some(frozen) = Frozen::with(Some(1)).await else {
        return;
    };
    let lock = frozen.locked().await;
    let mut process = frozen.command(&["migrate", "up"]).start();
    frozen.is_waiting().await;
    process.line("migration waits").await;
    lock.rollback().await.unwrap();
    process.ended().await.ok();
}

/// With one connection, which a statement holds, others wait for it: when the pool is replaced they run on the new one.
#[tokio::test]
async fn statements_that_wait_for_a_replaced_pool_run_on_the_new_one() {
    let Some(frozen) = Frozen::with(None).await else {
        return;
    };
    let seeded = TestDatabase::of_another(&frozen.server.url);
    let ids = seeded.seed_untitled(2).await;
    let [read, deleted] = [&ids[0], &ids[1]].map(|id| id.parse::<ConversationId>().unwrap());
    let database = Database::connect(&frozen.server.url, 1).await.unwrap();
    let owner = Owner::local();
    let lock = frozen.locked().await;
    let holding = database.find_conversation(&owner, read);
    let waiting = async {
        frozen.is_waiting().await;
        // The first two wait for the connection once the third begins.
        join!(
            database.find_conversation(&owner, read),
            database.delete_conversation(&owner, deleted, "local"),
            async {
                let (replaced, rolled_back) = join!(database.replace_pool(), lock.rollback());
                replaced.unwrap();
                rolled_back.unwrap();
            },
        )
    };
    let (held, (found, tombstone, ())) = within(async { join!(holding, waiting) }).await;
    assert!(held.unwrap().is_some());
    assert!(found.unwrap().is_some());
    assert_eq!(tombstone.unwrap().id, deleted);
    database.close().await.unwrap();
}
