//! `/readyz`: the state of each part, and when traffic must go elsewhere.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use serde_json::{Value, json};
use titlecast_testing::{Answer, ModelServer, Server, TestDatabase, eventually};

/// The page, once its status is this one.
async fn page_when(server: &Server, status: u16) -> Value {
    eventually(async || {
        let (now, page) = server.get("/readyz").await;
        (now == status).then_some(page)
    })
    .await
}

#[tokio::test]
async fn each_part_is_reported() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let expected = json!({
        "status": "ready",
        "degraded": [],
        "chat_model": "ok",
        "database": "ok",
        "loops": "ok",
        "title_model": "unknown",
    });
    assert_eq!(server.get("/readyz").await, (200, expected));
}

#[tokio::test]
async fn titles_that_fail_degrade_the_service_and_no_more() {
    let model = ModelServer::start().await;
    model.title(Answer::error(
        404,
        "invalid_request_error",
        Some("model_not_found"),
        "no",
    ));
    let server = Server::start(&model).await;
    server.begin("Plan a trip to Kyoto").await;
    let page = eventually(async || {
        let (status, page) = server.get("/readyz").await;
        assert_eq!((status, &page["status"]), (200, &json!("ready")));
        (page["degraded"] == json!(["title_model"])).then_some(page)
    })
    .await;
    assert_eq!(page["title_model"], "model_not_found");
}

/// A database that answers reads and rejects writes.
pub(crate) enum Refusing {
    /// Another writer holds its transaction open.
    Locked(Option<sea_orm::DatabaseTransaction>),
    /// As after a failover to a standby.
    ReadOnly(DatabaseConnection),
}

impl Refusing {
    pub(crate) async fn begin(database: &TestDatabase) -> Self {
        let connection = database.connect().await;
        if database.is_sqlite() {
            let options = TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..Default::default()
            };
            let locked = connection.begin_with_options(options).await.unwrap();
            return Self::Locked(Some(locked));
        }
        read_only(&connection, true).await;
        Self::ReadOnly(connection)
    }

    pub(crate) async fn end(&mut self) {
        match self {
            Self::Locked(transaction) => transaction.take().unwrap().rollback().await.unwrap(),
            Self::ReadOnly(connection) => read_only(connection, false).await,
        }
    }
}

/// For all sessions but this one.
async fn read_only(connection: &DatabaseConnection, is_so: bool) {
    let set = format!(
        "BEGIN READ WRITE; DO $$ BEGIN EXECUTE format(
             'ALTER DATABASE %I SET default_transaction_read_only = {is_so}', current_database()); END $$; COMMIT"
    );
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for sql in [set.as_str(), others] {
        connection.execute_unprepared(sql).await.unwrap();
    }
}

#[tokio::test]
async fn a_database_that_takes_nothing_is_noticed_and_so_is_its_recovery() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let mut refusing = Refusing::begin(&server.database).await;
    let body = json!({ "message": "And then?", "conversation_id": id });
    let (status, answer) = server.send("POST", "/api/v1/chat", body.clone()).await;
    assert_eq!(
        (status, &answer["code"]),
        (503, &json!("DATABASE_UNAVAILABLE")),
        "{answer}"
    );
    let page = page_when(&server, 503).await;
    assert_eq!(page["status"], "not_ready");
    assert_eq!(page["database"], "refuses_writes");
    // Stored data can be read all the time.
    let (status, _) = server.get(&format!("/api/v1/conversations/{id}")).await;
    assert_eq!(status, 200);

    refusing.end().await;
    let page = page_when(&server, 200).await;
    assert_eq!(page["database"], "ok");
    assert_eq!(server.send("POST", "/api/v1/chat", body).await.0, 200);
}

#[tokio::test]
async fn asking_costs_one_write_in_a_while_and_leaves_nothing() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = server.database.row_counts().await;
    server.get("/readyz").await;
    let before = server.app.database().statement_count();
    let began = std::time::Instant::now();
    for _ in 0..200 {
        assert_eq!(server.get("/readyz").await.0, 200);
    }
    let asked = server.app.database().statement_count() - before;
    // One write in five seconds; the background loops' statements follow the time as well, not the requests.
    let by_time = 10 + 3 * began.elapsed().as_secs();
    assert!(
        asked <= by_time,
        "{asked} statements for 200 requests, {by_time} expected at most"
    );
    assert_eq!(server.database.row_counts().await, rows);
}
