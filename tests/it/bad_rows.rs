//! One row that cannot be read or stored does not block other rows.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::Value as Bound;
use serde_json::{Value, json};
use titlecast::conversation::{ConversationId, Owner};
use titlecast_testing::{
    Answer, ModelServer, Node, Rows, Server, Step, TestDatabase, Titlecast,
    calls::{conversation, conversation_when, send_message},
    eventually,
    metrics::series,
    replies::{Reader, being_written, write},
    server::metrics,
    stored,
    titles::{assert_titled, decided},
};
use uuid::Uuid;

/// More rows than the largest page of a loop has.
const PAGES: usize = 250;

const OFTEN: [&str; 2] = ["--title-sweep", "100ms"];

fn ago(seconds: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::seconds(seconds)
}

/// Many conversations with a poisoned row each, and one healthy one that comes behind them in every order.
async fn poisoned(database: &TestDatabase, rows: &Rows) -> (Vec<String>, String) {
    let mut ids = database.seed(&Owner::local(), PAGES + 1, 1).await;
    let healthy = ids.pop().unwrap();
    let sql = "UPDATE agent_conversations SET topic_hint = 'poison' WHERE id <> $1";
    rows.run(sql, [stored::id(&healthy)]).await.unwrap();
    (ids, healthy)
}

/// The reply to the conversation's only message, as a node that died a while ago has left it.
async fn dead_reply(rows: &Rows, conversation: &str, overdue: i64, text: &str) {
    let sql = "INSERT INTO agent_turns (message_id, conversation_id, reply_id, tenant_id, user_id, reply_status, \
               created_at, run_lease_until, run_text, stop_asked) \
               SELECT id, conversation_id, $2, $3, $4, 'running', $5, $5, $6, FALSE \
               FROM agent_messages WHERE conversation_id = $1";
    let owner = Owner::local();
    let values: [Bound; 6] = [
        stored::id(conversation),
        Uuid::now_v7().into(),
        owner.tenant.into(),
        owner.user.into(),
        ago(overdue).into(),
        text.into(),
    ];
    rows.run(sql, values).await.unwrap();
}

/// How often a loop has stepped over a row.
async fn bad_rows(url: &str, name: &str) -> f64 {
    let page = metrics(url).await;
    let of_loop = |one: &titlecast_testing::metrics::Series| {
        one.name == "titlecast_loop_bad_rows_total" && one.labels["loop"] == name
    };
    series(&page).into_iter().find(of_loop).unwrap().value
}

#[tokio::test]
async fn dead_replies_that_cannot_be_closed_keep_none_behind_them_open_and_are_logged_once() {
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let (bad, healthy) = poisoned(&database, &rows).await;
    for (place, id) in bad.iter().enumerate() {
        dead_reply(&rows, id, 1_000 - place as i64, "poison").await;
    }
    dead_reply(&rows, &healthy, 60, "First we").await;
    rows.refuse("UPDATE", "agent_turns", "OLD.run_text = 'poison'")
        .await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &["--reply-lease", "1s"]).await;
    let closed = async |id: &str| {
        conversation_when(&node.url, id, |now| now["messageCount"] == 2).await["messages"]["nodes"]
            [1]["content"]
            .take()
    };
    assert_eq!(closed(&healthy).await, "First we");
    // One that comes later is closed in a later round, which has met all of the others again.
    let later = database.seed(&Owner::local(), 1, 1).await.remove(0);
    dead_reply(&rows, &later, 60, "Then we").await;
    assert_eq!(closed(&later).await, "Then we");
    let log = node.stop().await;
    let logged = log.lines().filter(|line| line.contains("skips it"));
    assert_eq!(logged.count(), bad.len());
}

#[tokio::test]
async fn replies_that_cannot_be_closed_cost_a_round_and_then_a_pause() {
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let (bad, _) = poisoned(&database, &rows).await;
    for id in &bad {
        dead_reply(&rows, id, 60, "poison").await;
    }
    rows.refuse("UPDATE", "agent_turns", "OLD.run_text = 'poison'")
        .await;
    let model = ModelServer::start().await;
    let mut server = Server::start_on(database.shared(), &model, &["--reply-lease", "30s"]).await;
    let metrics_url = server.serve_metrics().await;
    let all = bad.len() as f64;
    eventually(async || (bad_rows(&metrics_url, "dead_replies").await >= all).then_some(())).await;
    // The pause is 7.5 s at least, whatever is still overdue.
    let before = server.app.database().statement_count();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ran = server.app.database().statement_count() - before;
    assert!(ran < 20, "{ran} statements while nothing moves");
    server.stop().await;
}

#[tokio::test]
async fn a_reply_that_the_index_refuses_is_stored_without_it() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    rows.refuse("INSERT", "agent_search", "NEW.body LIKE '%poison%'")
        .await;
    let (id, reply, steps) = being_written(&model, &server.url).await;
    let reader = Reader::join(&server.url, &id, &reply).await;
    write(&steps, "A poison");
    steps.send(Step::Finish).unwrap();
    let ended = reader.end().await;
    assert_eq!(
        (&ended["outcome"], &ended["text"], &ended["error"]),
        (&json!("COMPLETED"), &json!("A poison"), &Value::Null)
    );
    let now = conversation(&server.url, &id).await;
    assert_eq!(now["messageCount"], 2);
    assert_eq!(
        now["messages"]["nodes"][1],
        json!({ "id": reply, "role": "ASSISTANT", "content": "A poison", "status": "COMPLETE" })
    );
    assert_eq!(rows.last_turn(&id).await, ("completed".into(), None));
    assert_eq!(
        rows.count("agent_search").await,
        2,
        "the title and the question"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_reply_whose_text_is_refused_ends_as_failed_at_once_and_the_conversation_goes_on() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    rows.refuse("INSERT", "agent_messages", "NEW.content LIKE '%poison%'")
        .await;
    let (id, reply, steps) = being_written(&model, &server.url).await;
    let mut reader = Reader::join(&server.url, &id, &reply).await;
    write(&steps, "A poison");
    reader.read_to("A poison").await;
    steps.send(Step::Finish).unwrap();
    // The reported outcome is the stored one.
    let outcome = eventually(async || {
        let now = rows.last_turn(&id).await;
        (now.0 != "running").then_some(now)
    })
    .await;
    assert_eq!(
        outcome,
        ("failed".into(), Some("DATABASE_UNAVAILABLE".into()))
    );
    let again = Reader::join(&server.url, &id, &reply).await.end().await;
    assert_eq!(again["outcome"], "FAILED");
    assert_eq!(again["error"]["code"], "DATABASE_UNAVAILABLE");
    assert_eq!(conversation(&server.url, &id).await["messageCount"], 1);
    send_message(
        &server.url,
        json!({ "conversationId": id, "text": "Again?" }),
    )
    .await;
    conversation_when(&server.url, &id, |now| now["messageCount"] == 3).await;
    server.stop().await;
}

#[tokio::test]
async fn a_reply_whose_text_cannot_be_noted_keeps_its_own_lease_and_those_of_others() {
    let model = ModelServer::start().await;
    let settings = ["--reply-lease", "1s"];
    let server = Server::start_with(&model, &settings).await;
    let other = server.beside(&model, &settings).await;
    let rows = Rows::of(&server.database).await;
    rows.refuse("UPDATE", "agent_turns", "NEW.run_text LIKE '%poison%'")
        .await;
    let (bad, bad_reply, bad_steps) = being_written(&model, &server.url).await;
    let (good, good_reply, good_steps) = being_written(&model, &server.url).await;
    write(&bad_steps, "A poison");
    write(&good_steps, "First we");
    let readers = [
        Reader::join(&server.url, &bad, &bad_reply).await,
        Reader::join(&server.url, &good, &good_reply).await,
    ];
    // For three leases, seen from the rows: both are renewed, and the other node closes neither.
    let until = Utc::now() + TimeDelta::seconds(4);
    eventually(async || {
        let sql = "SELECT run_lease_until FROM agent_turns WHERE run_lease_until > $1 AND reply_status = 'running'";
        (rows.all(sql, [until.into()]).await.len() == 2).then_some(())
    })
    .await;
    let noted = "SELECT 1 FROM agent_turns WHERE run_text = 'First we'";
    assert_eq!(rows.all(noted, []).await.len(), 1);
    for steps in [bad_steps, good_steps] {
        steps.send(Step::Finish).unwrap();
    }
    for reader in readers {
        assert_eq!(reader.end().await["outcome"], "COMPLETED");
    }
    other.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn published_revisions_are_recorded_for_every_row_that_accepts_them() {
    let model = ModelServer::start().await;
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let (bad, healthy) = poisoned(&database, &rows).await;
    rows.refuse(
        "UPDATE",
        "agent_conversations",
        "OLD.topic_hint = 'poison' AND NEW.published_revision > 1",
    )
    .await;
    // All of them were changed by a node that died before it published them.
    let sql = "UPDATE agent_conversations SET revision = 2, updated_at = created_at";
    rows.run(sql, []).await.unwrap();
    let mut server = Server::start_on(database.shared(), &model, &OFTEN).await;
    let metrics_url = server.serve_metrics().await;
    let noted = async || {
        let sql = "SELECT id FROM agent_conversations WHERE published_revision = 2";
        let found = rows.all(sql, []).await;
        let ids = found.iter().map(|row| row.try_get::<Uuid>("", "id"));
        ids.map(|id| id.unwrap().to_string())
            .collect::<Vec<String>>()
    };
    eventually(async || (noted().await == [healthy.clone()]).then_some(())).await;
    let all = PAGES as f64;
    eventually(async || (bad_rows(&metrics_url, "title_sweep").await >= all).then_some(())).await;

    // The changes of this process, in one batch with a row that takes nothing.
    let id = server.begin("Plan a trip to Kyoto").await;
    let id: ConversationId = id.parse().unwrap();
    let mut published = [(id, 40), (bad[0].parse().unwrap(), 40)];
    let refused = server
        .app
        .database()
        .record_published(&mut published)
        .await
        .unwrap();
    let refused: Vec<String> = refused.iter().map(|row| row.id.to_string()).collect();
    assert_eq!(refused, bad[..1]);
    let sql = "SELECT 1 FROM agent_conversations WHERE published_revision = 40";
    assert_eq!(rows.all(sql, []).await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn the_sweep_makes_and_gives_up_titles_behind_rows_that_it_cannot_change() {
    let model = ModelServer::start().await;
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    // The newest come first: what is healthy is behind them.
    let (bad, healthy) = poisoned(&database, &rows).await;
    let overdue = "UPDATE agent_conversations SET title_status = 'pending', title_lease_until = $1, \
                   title_token = $2, title_attempts = 1, topic_hint = 'poison'";
    let values: [Bound; 2] = [ago(5).into(), Uuid::new_v4().into()];
    rows.run(overdue, values).await.unwrap();
    let (hopeless, given_up) = (&bad[PAGES - 1], &bad[PAGES - 2]);
    for id in [hopeless, given_up, &healthy] {
        rows.change(id, "topic_hint = 'Kyoto'", []).await;
    }
    let five = "title_attempts = 5";
    for id in [hopeless, given_up] {
        rows.change(id, five, []).await;
    }
    // As many hopeless ones before those.
    for id in &bad[..PAGES / 2] {
        rows.change(id, five, []).await;
    }
    rows.refuse(
        "UPDATE",
        "agent_conversations",
        "OLD.topic_hint = 'poison' \
         AND coalesce(CAST(NEW.title_token AS text), '') <> coalesce(CAST(OLD.title_token AS text), '')",
    )
    .await;
    let server = Server::start_on(database.shared(), &model, &OFTEN).await;
    assert_titled(&decided(&server.url, &healthy).await);
    for id in [hopeless, given_up] {
        let shown = decided(&server.url, id).await;
        assert_eq!(shown["titleError"]["code"], "ABANDONED");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_title_that_the_index_refuses_is_stored_without_it_and_paid_for_once() {
    let model = ModelServer::start().await;
    model.title(Answer::Title("A poison for Kyoto".into()));
    let server = Server::start_with(&model, &OFTEN).await;
    let rows = Rows::of(&server.database).await;
    rows.refuse("UPDATE", "agent_search", "NEW.body LIKE '%poison%'")
        .await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let stored = rows.decided_title(&id).await;
    assert_eq!(stored.display_name.as_deref(), Some("A poison for Kyoto"));
    assert_eq!(model.title_requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_row_that_sqlite_cannot_read_fails_neither_the_sweep_nor_what_other_nodes_tell() {
    // PostgreSQL's columns hold nothing but values of their types.
    if TestDatabase::is_on_server() {
        return;
    }
    let model = ModelServer::start().await;
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let (_, healthy) = poisoned(&database, &rows).await;
    let unreadable =
        "UPDATE agent_conversations SET message_count = 'many' WHERE topic_hint = 'poison'";
    rows.run(unreadable, []).await.unwrap();
    let overdue = "UPDATE agent_conversations SET title_status = 'pending', title_lease_until = $1, \
                   title_attempts = 1, revision = 2";
    rows.run(overdue, [ago(5).into()]).await.unwrap();
    let mut server = Server::start_on(database.shared(), &model, &OFTEN).await;
    let metrics_url = server.serve_metrics().await;
    assert_titled(&decided(&server.url, &healthy).await);
    let noted = "SELECT 1 FROM agent_conversations WHERE published_revision > 1";
    eventually(async || (rows.all(noted, []).await.len() == 1).then_some(())).await;
    let all = PAGES as f64;
    eventually(async || (bad_rows(&metrics_url, "title_sweep").await >= all).then_some(())).await;

    let (changed, bad) = server
        .app
        .database()
        .rows_changed_since(&Owner::local(), DateTime::UNIX_EPOCH, None)
        .await
        .unwrap();
    let changed: Vec<String> = changed.iter().map(|row| row.id.to_string()).collect();
    assert_eq!(changed, [healthy]);
    assert!(bad.len() >= PAGES - 200, "{}", bad.len());
    server.stop().await;
}

#[tokio::test]
async fn a_backfill_goes_on_behind_a_row_that_it_cannot_claim() {
    let database = TestDatabase::new().await;
    let ids = database.seed_untitled(3).await;
    let rows = Rows::of(&database).await;
    let condition = "OLD.topic_hint = 'poison' AND NEW.title_attempts <> OLD.title_attempts";
    rows.change(&ids[0], "topic_hint = 'poison'", []).await;
    rows.refuse("UPDATE", "agent_conversations", condition)
        .await;
    let model = ModelServer::start().await;
    let backfill = Titlecast::new(&["backfill"])
        .env("DATABASE_URL", &database.url)
        .env("OPENAI_BASE_URL", &model.url)
        .env("OPENAI_API_KEY", "sk-test-key");
    let ended = backfill.run().await;
    let last: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
    let done = (&last["done"]["titled"], &last["done"]["failed"]);
    assert_eq!(done, (&json!(2), &json!(1)), "{ended:?}");
}
