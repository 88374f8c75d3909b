//! A rename or a deletion at every step of a generation, and a process that takes over from one that only seemed dead:
//! the user's change stays, and one title is stored.
//!
//! The title is held at a step by a failpoint while another request arrives.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use titlecast_testing::{
    Answer, Hold, ModelServer, Rows, Server, Watched,
    calls::{conversation, delete, rename},
    stored,
    titles::{decided, new_id, replied, send},
};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// A conversation with its reply, whose title is held at a step; and its subscribers.
struct Held {
    model: ModelServer,
    server: Server,
    rows: Rows,
    id: String,
    list: Watched,
    one: Watched,
    hold: Hold,
    /// Whether the generated title is stored by then.
    is_stored: bool,
}

impl Held {
    async fn at(step: &str) -> Self {
        let model = ModelServer::start().await;
        let server = Server::start_with(&model, &["--title-sweep", "1h"]).await;
        let list = Watched::list(&server.url).await;
        let id = new_id();
        let mut hold = Hold::at(step, &id);
        let input = json!({ "conversationId": id, "text": MESSAGE });
        send(&server.url, input).await;
        hold.reached().await;
        replied(&server.url, &id, 2).await;
        let mut one = Watched::one(&server.url, &id).await;
        one.until(|payload| payload["messageCount"] == 2).await;
        let rows = Rows::of(&server.database).await;
        let is_stored = ["stored", "published"].contains(&step);
        let title = rows.title(&id).await;
        assert_eq!(title.display_name.is_some(), is_stored);
        assert_eq!(title.title_generated_at.is_some(), is_stored);
        Self {
            model,
            server,
            rows,
            id,
            list,
            one,
            hold,
            is_stored,
        }
    }

    /// Releases the title, waits for the end of its task, and returns what the list's subscriber received of the
    /// conversation from the beginning.
    async fn let_go(
        hold: Hold,
        server: &Server,
        list: &mut Watched,
        is_stored: bool,
    ) -> Vec<Value> {
        drop(hold);
        let outcome = ["superseded", "titled"][usize::from(is_stored)];
        server.titles_ended(outcome, 1).await;
        list.until_now(&server.url).await
    }
}

async fn renamed_at(step: &str) {
    let held = Held::at(step).await;
    let (server, id, mut list, mut one) = (held.server, held.id, held.list, held.one);
    let before = held.rows.title(&id).await;
    let renamed = rename(&server.url, &id, "Ours").await;
    let received = Held::let_go(held.hold, &server, &mut list, held.is_stored).await;

    let row = held.rows.title(&id).await;
    assert_eq!(row.display_name.as_deref(), Some("Ours"));
    assert_eq!(row.title_source, "manual");
    assert_eq!(row.title_status, "ready");
    assert_eq!(row.title_generated_at, before.title_generated_at);
    // Nothing was stored behind the rename.
    assert_eq!(row.revision, before.revision + 1);
    assert_eq!(renamed["revision"], row.revision);
    let shown = server.title(&id).await;
    assert_eq!(shown["displayName"], "Ours");
    assert_eq!(shown["titleSource"], "MANUAL");
    assert_eq!(shown["revision"], row.revision);

    assert_eq!(received[received.len() - 1], shown);
    for payload in &received {
        let is_generated = payload["displayName"] == ModelServer::TITLE;
        let is_before = payload["revision"].as_i64() < Some(row.revision);
        assert!(
            !is_generated || (held.is_stored && is_before),
            "{received:?}"
        );
    }
    // A subscriber of the conversation receives this rename, and nothing until the next.
    assert_eq!(one.next().await["displayName"], "Ours");
    rename(&server.url, &id, "Ours again").await;
    assert_eq!(one.next().await["displayName"], "Ours again");
    assert_eq!(held.model.title_requests().len(), 1);
    assert_eq!(held.rows.calls(&id).await, ["title"], "it was paid for");
}

async fn deleted_at(step: &str) {
    let held = Held::at(step).await;
    let (server, id, mut list, mut one) = (held.server, held.id, held.list, held.one);
    delete(&server.url, &id).await;
    let tombstone = held.rows.title(&id).await;
    let received = Held::let_go(held.hold, &server, &mut list, held.is_stored).await;

    let row = held.rows.title(&id).await;
    assert_eq!(row, tombstone, "nothing was stored behind the deletion");
    assert_eq!((row.display_name, row.topic_hint), (None, None));
    assert_eq!(conversation(&server.url, &id).await, Value::Null);
    for table in ["agent_messages", "agent_search"] {
        let sql = format!("SELECT 1 AS n FROM {table} WHERE conversation_id = $1");
        let left = held.rows.all(&sql, [stored::id(&id)]).await;
        assert!(left.is_empty(), "{table}");
    }
    let last = &received[received.len() - 1];
    assert_eq!(last["status"], "DELETED", "{received:?}");
    assert_eq!(last["revision"], row.revision);
    assert_eq!(last["displayName"], Value::Null);
    assert_eq!(one.next().await["status"], "DELETED");
    one.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rename_between_the_claim_and_the_call_stays() {
    renamed_at("claimed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rename_between_the_answer_and_the_write_stays() {
    renamed_at("answered").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rename_between_the_write_and_the_event_stays() {
    renamed_at("stored").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rename_behind_the_event_stays() {
    renamed_at("published").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deletion_between_the_claim_and_the_call_stays() {
    deleted_at("claimed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deletion_between_the_answer_and_the_write_stays() {
    deleted_at("answered").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deletion_between_the_write_and_the_event_stays() {
    deleted_at("stored").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deletion_behind_the_event_stays() {
    deleted_at("published").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_title_that_slept_through_its_lease_is_made_by_another_process_and_not_asked_for_again() {
    let model = ModelServer::start().await;
    // A lease of 900 ms; only the other process sweeps.
    let sleepy = ["--title-deadline", "300ms", "--title-sweep", "1h"];
    let zombie = Server::start_with(&model, &sleepy).await;
    let rows = Rows::of(&zombie.database).await;
    let id = new_id();
    let mut hold = Hold::at("claimed", &id);
    let input = json!({ "conversationId": id, "text": MESSAGE });
    send(&zombie.url, input).await;
    hold.reached().await;
    replied(&zombie.url, &id, 2).await;
    let other = zombie.beside(&model, &["--title-sweep", "200ms"]).await;
    let mut one = Watched::one(&other.url, &id).await;
    let received = one
        .until(|received| received["titleStatus"] != "PENDING")
        .await;
    other.titles_ended("titled", 1).await;
    let shown = other.title(&id).await;
    assert_eq!(shown["displayName"], ModelServer::TITLE);
    assert_eq!(received[received.len() - 1], shown);

    let before = rows.title(&id).await;
    drop(hold);
    zombie.titles_ended("superseded", 1).await;
    assert_eq!(rows.title(&id).await, before);
    assert_eq!(model.title_requests().len(), 1);
    assert_eq!(rows.calls(&id).await, ["title"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_comes_behind_another_process_is_refused() {
    let model = ModelServer::start().await;
    model.title(Answer::Text("The Answer of the Zombie"));
    model.title(Answer::Text("The Answer of the Other"));
    let zombie = Server::start_with(&model, &["--title-sweep", "1h"]).await;
    let rows = Rows::of(&zombie.database).await;
    let id = new_id();
    let mut hold = Hold::at("answered", &id);
    let input = json!({ "conversationId": id, "text": MESSAGE });
    send(&zombie.url, input).await;
    hold.reached().await;
    replied(&zombie.url, &id, 2).await;
    let past = Utc::now() - TimeDelta::seconds(1);
    rows.change(&id, "title_lease_until = $2", [past.into()])
        .await;
    let other = zombie.beside(&model, &["--title-sweep", "200ms"]).await;
    let shown = decided(&other.url, &id).await;
    assert_eq!(shown["displayName"], "The Answer of the Other");

    let before = rows.title(&id).await;
    drop(hold);
    zombie.titles_ended("superseded", 1).await;
    assert_eq!(rows.title(&id).await, before);
    assert_eq!(zombie.title(&id).await, shown);
    // Both were paid for.
    assert_eq!(model.title_requests().len(), 2);
    assert_eq!(rows.calls(&id).await, ["title", "title"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rename_on_another_node_stays() {
    let held = Held::at("answered").await;
    let other = held
        .server
        .beside(&held.model, &["--title-sweep", "1h"])
        .await;
    let renamed = rename(&other.url, &held.id, "Ours").await;
    drop(held.hold);
    held.server.titles_ended("superseded", 1).await;
    for server in [&held.server, &other] {
        let shown = server.title(&held.id).await;
        assert_eq!(shown["displayName"], "Ours");
        assert_eq!(shown["titleSource"], "MANUAL");
        assert_eq!(shown["revision"], renamed["revision"]);
    }
}
