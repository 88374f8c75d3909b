//! SQLite's file, removed or replaced under a running server: nothing is acknowledged that would be gone at the restart, and
//! operators see it.

use std::path::Path;

use serde_json::json;
use titlecast_testing::{
    ModelServer, Node, Rows, TestDatabase,
    calls::code,
    eventually,
    metrics::series,
    process::Process,
    server::{graphql, metrics, request},
};

/// What befalls a file at a path.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    /// `rm titlecast.db`
    Removed,
    /// `mv other.db titlecast.db`
    Replaced,
    /// `rm titlecast.db-wal`
    LogRemoved,
}

/// A server on a file, which is watched.
struct Watched {
    process: Process,
    url: String,
    metrics_url: String,
    _model: ModelServer,
}

impl Watched {
    async fn start(database: &TestDatabase) -> Self {
        let model = ModelServer::start().await;
        let mut process = Node::command(&database.url, &model.url, &[]).start();
        let line = process.line("metrics_address=").await;
        let address = line.split("metrics_address=").nth(1).unwrap();
        Self {
            metrics_url: format!("http://{}", address.split(' ').next().unwrap()),
            url: process.url().await,
            process,
            _model: model,
        }
    }

    async fn post(&self, text: &str) -> (u16, serde_json::Value) {
        let body = json!({ "message": text, "context": { "auto_title": false } });
        request(&self.url, "POST", "/api/v1/chat", Some(body)).await
    }

    async fn gauge(&self, name: &str, state: Option<&str>) -> f64 {
        let page = metrics(&self.metrics_url).await;
        let found = series(&page)
            .into_iter()
            .find(|one| one.name == name && one.labels.get("state").map(String::as_str) == state);
        found.unwrap().value
    }
}

/// A migrated file with one conversation.
async fn other_file() -> TestDatabase {
    let other = TestDatabase::new().await;
    other
        .seed(&titlecast::conversation::Owner::local(), 1, 1)
        .await;
    other
}

async fn is_sound(database: &TestDatabase) -> bool {
    let rows = Rows::of(database).await;
    let checked = rows.all("PRAGMA integrity_check", []).await;
    let word: String = checked[0].try_get("", "integrity_check").unwrap();
    rows.0.clone().close().await.unwrap();
    word == "ok"
}

async fn suffers(harm: Harm) {
    if TestDatabase::is_on_server() {
        return;
    }
    let database = TestDatabase::new().await;
    let path = database.path().to_owned();
    let log = path.with_extension("db-wal");
    let server = Watched::start(&database).await;
    let (status, sent) = server.post("Before").await;
    assert_eq!(status, 200, "{sent}");
    let id = sent["conversation_id"].as_str().unwrap().to_owned();
    assert_eq!(server.gauge("titlecast_ready", None).await, 1.0);
    let other = other_file().await;
    match harm {
        Harm::Removed => std::fs::remove_file(&path).unwrap(),
        Harm::Replaced => std::fs::rename(other.path(), &path).unwrap(),
        Harm::LogRemoved => std::fs::remove_file(&log).unwrap(),
    }

    // At once, before any probe: what would be lost is not acknowledged.
    let (status, refused) = server.post("After").await;
    assert_eq!(
        (status, &refused["code"]),
        (503, &json!("DATABASE_UNAVAILABLE")),
        "{harm:?}"
    );
    let rename = "mutation ($id: ID!) { renameConversation(input: { id: $id, displayName: \"After\" }) { conversation { id } } }";
    let answer = graphql(&server.url, rename, json!({ "id": id })).await;
    assert_eq!(code(&answer), "DATABASE_UNAVAILABLE");
    // The existing data can be copied.
    let path_of = format!("/api/v1/conversations/{id}");
    let (status, shown) = request(&server.url, "GET", &path_of, None).await;
    assert_eq!(status, 200, "{shown}");

    let page = eventually(async || {
        let (status, page) = request(&server.url, "GET", "/readyz", None).await;
        (status == 503).then_some(page)
    })
    .await;
    assert_eq!(page["database"], "file_replaced");
    assert_eq!(server.gauge("titlecast_ready", None).await, 0.0);
    let word = Some("file_replaced");
    assert_eq!(server.gauge("titlecast_database_state", word).await, 1.0);
    assert_eq!(
        server.gauge("titlecast_database_state", Some("ok")).await,
        0.0
    );
    server.process.terminate();
    let ended = server.process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = ended.stderr.lines();
    let said = said
        .filter(|line| line.contains("ERROR") && line.contains("removed or replaced while open"));
    assert_eq!(said.count(), 1, "{}", ended.stderr);

    match harm {
        Harm::Removed => assert!(!Path::new(&path).exists(), "it came back"),
        Harm::Replaced => {
            // As the manual says.
            for rest in ["db-wal", "db-shm"] {
                let _ = std::fs::remove_file(path.with_extension(rest));
            }
            assert!(is_sound(&database).await, "the new file was written to");
            let there = database.row_counts().await;
            assert_eq!(there, [1, 1, 0], "the new file was written to");
        }
        Harm::LogRemoved => assert!(is_sound(&database).await),
    }
}

#[tokio::test]
async fn a_file_that_is_removed_takes_nothing_more() {
    suffers(Harm::Removed).await;
}

#[tokio::test]
async fn a_file_that_another_takes_the_place_of_takes_nothing_more_and_the_other_is_left_alone() {
    suffers(Harm::Replaced).await;
}

#[tokio::test]
async fn a_file_whose_log_is_removed_takes_nothing_more() {
    suffers(Harm::LogRemoved).await;
}
