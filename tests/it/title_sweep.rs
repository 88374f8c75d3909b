//! Recovery after a crash: titles that were begun and not finished, and changes that were committed and not published.
//! A server finds them at its start and again and again. The rows are put there by SQL.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::Value as Bound;
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    ModelServer, Rows, Server, TestDatabase, Watched,
    calls::{delete, rename},
    eventually, stored,
    titles::{assert_titled, decided, replied, send, settled, title_when},
};
use uuid::Uuid;

const MESSAGE: &str = "Plan a trip to Kyoto";

/// No sweep but the first.
const AT_THE_START: [&str; 2] = ["--title-sweep", "1h"];

const OFTEN: [&str; 2] = ["--title-sweep", "100ms"];

fn ago(seconds: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::seconds(seconds)
}

/// A conversation whose title was begun so often by a process whose lease ends then.
async fn begun(
    database: &TestDatabase,
    rows: &Rows,
    message: &str,
    attempts: i32,
    until: DateTime<Utc>,
) -> String {
    let seeded = database.seed(&Owner::local(), 1, 1).await;
    let [id] = seeded.try_into().unwrap();
    let sql = "UPDATE agent_messages SET content = $2 WHERE conversation_id = $1";
    rows.run(sql, [stored::id(&id), message.into()])
        .await
        .unwrap();
    claim(rows, &id, attempts, until).await;
    id
}

async fn claim(rows: &Rows, id: &str, attempts: i32, until: DateTime<Utc>) {
    let set = "title_status = 'pending', title_token = $2, title_lease_until = $3, \
        title_attempts = $4";
    let values: [Bound; 3] = [Uuid::new_v4().into(), until.into(), attempts.into()];
    rows.change(id, set, values).await;
}

async fn attempts(rows: &Rows, id: &str) -> i32 {
    let sql = "SELECT title_attempts FROM agent_conversations WHERE id = $1";
    let found = rows.all(sql, [stored::id(id)]).await;
    found[0].try_get("", "title_attempts").unwrap()
}

#[tokio::test]
async fn a_title_that_was_not_finished_is_made_at_the_next_start() {
    let model = ModelServer::start().await;
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let id = begun(&database, &rows, MESSAGE, 4, ago(1)).await;
    let server = Server::start_on(database.shared(), &model, &AT_THE_START).await;
    assert_titled(&decided(&server.url, &id).await);
    let [request] = model.title_requests().try_into().unwrap();
    let input = &request["messages"][1]["content"];
    assert_eq!(
        input,
        &format!(
            "<message>\n{MESSAGE}\n</message>\nWrite a title for this message. Do not answer it."
        )
    );
    assert_eq!(rows.calls(&id).await, ["title"]);
    server.stop().await;
}

#[tokio::test]
async fn a_claimed_title_is_left_alone_until_the_lease_ends() {
    let model = ModelServer::start().await;
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let until = Utc::now() + TimeDelta::milliseconds(1500);
    let id = begun(&database, &rows, MESSAGE, 1, until).await;
    let server = Server::start_on(database.shared(), &model, &OFTEN).await;
    // It has looked, and looked again.
    eventually(async || (server.app.titles().metrics().sweeps() >= 2).then_some(())).await;
    let swept_early = Utc::now() < until;
    assert!(!swept_early || model.title_requests().is_empty());
    assert_titled(&decided(&server.url, &id).await);
    assert!(rows.title(&id).await.title_generated_at.unwrap() >= until);
    assert_eq!(model.title_requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn five_attempts_without_an_end_are_enough() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &OFTEN).await;
    let rows = Rows::of(&server.database).await;
    let mut list = Watched::list(&server.url).await;
    let id = begun(&server.database, &rows, MESSAGE, 5, ago(1)).await;
    let received = list
        .until(|received| received["titleStatus"] == "FAILED")
        .await;
    let shown = decided(&server.url, &id).await;
    assert_eq!(received[received.len() - 1], shown);
    assert_eq!(shown["titleError"]["code"], "ABANDONED");
    assert!(shown["titleError"]["message"].is_string());
    assert_eq!(shown["displayName"], Value::Null);
    assert_eq!(
        rows.title(&id).await.title_failure.as_deref(),
        Some("abandoned")
    );
    assert_eq!(model.title_requests().len(), 0);
    server.titles_ended("abandoned", 1).await;
}

#[tokio::test]
async fn another_title_that_is_given_up_leaves_the_first() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &OFTEN).await;
    let rows = Rows::of(&server.database).await;
    let id = settled(&server.url, MESSAGE).await;
    claim(&rows, &id, 5, ago(1)).await;
    let mut shown = title_when(&server.url, &id, |now| now["titleError"].is_object()).await;
    assert_eq!(shown["titleError"].take()["code"], "ABANDONED");
    assert_titled(&shown);
    assert_eq!(model.title_requests().len(), 1);
}

#[tokio::test]
async fn with_nothing_but_greetings_the_claim_is_given_back() {
    let model = ModelServer::start().await;
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let id = begun(&database, &rows, "hello there", 1, ago(1)).await;
    let server = Server::start_on(database.shared(), &model, &OFTEN).await;
    server.titles_ended("nothing_to_title", 1).await;
    assert_eq!(server.title(&id).await["titleStatus"], "PENDING");
    assert_eq!(attempts(&rows, &id).await, 0);
    let input = json!({ "conversationId": id, "text": MESSAGE });
    send(&server.url, input).await;
    assert_titled(&decided(&server.url, &id).await);
    assert_eq!(model.title_requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn committed_but_unpublished_changes_are_published_and_recorded() {
    let model = ModelServer::start().await;
    let first = Server::start_with(&model, &AT_THE_START).await;
    let rows = Rows::of(&first.database).await;
    let titled = settled(&first.url, MESSAGE).await;
    let deleted = settled(&first.url, "Something else").await;
    delete(&first.url, &deleted).await;
    let shown = first.title(&titled).await;

    let second = first.beside(&model, &OFTEN).await;
    let mut list = Watched::list(&second.url).await;
    for id in [&titled, &deleted] {
        rows.published(id).await;
        let set = "published_revision = revision - 1, updated_at = $2";
        rows.change(id, set, [ago(60).into()]).await;
        let received = list.next().await;
        assert_eq!(received["id"], **id);
        rows.published(id).await;
        match *id == titled {
            true => assert_eq!(received, shown),
            false => {
                assert_eq!(received["status"], "DELETED");
                assert_eq!(received["displayName"], Value::Null);
            }
        }
    }
    // Once: nothing else was published until now.
    assert_eq!(list.until_now(&second.url).await, [json!(null); 0]);
    assert_eq!(model.title_requests().len(), 2);
    second.stop().await;
}

#[tokio::test]
async fn published_revisions_are_recorded_without_a_sweep() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &AT_THE_START).await;
    let rows = Rows::of(&server.database).await;
    let id = send(&server.url, json!({ "text": MESSAGE })).await;
    replied(&server.url, &id, 2).await;
    decided(&server.url, &id).await;
    // The message, the reply, the title.
    assert_eq!(rows.published(&id).await.revision, 3);
    rename(&server.url, &id, "Ours").await;
    assert_eq!(rows.published(&id).await.revision, 4);
    delete(&server.url, &id).await;
    assert_eq!(rows.published(&id).await.revision, 5);
}
