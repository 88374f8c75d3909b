//! Names that a newer version of the program has stored, on the same database: this one reads the rows, serves everything
//! else, and its loops go on.

use chrono::{TimeDelta, Utc};
use sea_orm::Value as Bound;
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Events, ModelServer, Rows, Server, Titlecast, Watched,
    calls::{data, rename},
    eventually,
    legacy::post,
    server::{client, request},
    stored::id as bound,
    titles::{TITLE_FIELDS, assert_titled, decided, settled},
};
use uuid::Uuid;

const OFTEN: [&str; 2] = ["--title-sweep", "100ms"];

/// What a newer version may write, each into a conversation that is otherwise whole.
const NAMES: [&str; 6] = [
    "title_status = 'failed', title_failure = 'moderated', display_name = NULL",
    "title_failure = 'moderated'",
    "title_status = 'parked'",
    "title_status = 'parked', display_name = NULL",
    "title_source = 'oracle'",
    "title_source = 'oracle', display_name = NULL, title_generated_at = NULL",
];

/// The same of a message, a turn and a call.
const ELSEWHERE: [&str; 6] = [
    "UPDATE agent_messages SET status = 'redacted' WHERE position = 2",
    "UPDATE agent_messages SET role = 'tool' WHERE position = 2",
    "UPDATE agent_messages SET attachments = '[{\"kind\": \"hologram\"}, {\"name\": \"a.pdf\"}]' WHERE position = 1",
    "UPDATE agent_turns SET reply_status = 'parked', reply_failure = 'HEXED'",
    "UPDATE agent_turns SET reply_failure = 'HEXED'",
    "UPDATE agent_title_calls SET outcome = 'moderated'",
];

/// A server with a conversation for each of the names.
async fn with_names(model: &ModelServer) -> (Server, Rows, Vec<String>) {
    let server = Server::start_with(model, &OFTEN).await;
    let rows = Rows::of(&server.database).await;
    let mut ids = Vec::new();
    for (number, names) in NAMES.into_iter().enumerate() {
        let body = json!({ "message": "Plan a trip to Kyoto" });
        let keyed = post(&server.url, "/api/v1/chat/stream", body);
        let keyed = keyed.header("idempotency-key", format!("key-{number}"));
        let events = Events::of(keyed).await.rest().await;
        let id = events[0]["conversation_id"].as_str().unwrap().to_owned();
        assert_titled(&decided(&server.url, &id).await);
        rows.change(&id, names, []).await;
        ids.push(id);
    }
    for sql in ELSEWHERE {
        rows.run(sql, []).await.unwrap();
    }
    (server, rows, ids)
}

#[tokio::test]
async fn lists_nodes_messages_and_searches_show_the_rows() {
    let model = ModelServer::start().await;
    let (server, _, ids) = with_names(&model).await;
    let list = format!(
        "{{ conversations(first: 20) {{ nodes {{ {TITLE_FIELDS} messages {{ nodes {{ id role status content attachments {{ name }} }} }} }} }} }}"
    );
    let page = data(&server.url, &list, Value::Null).await;
    let nodes = page["conversations"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), ids.len());
    for node in nodes {
        let messages = node["messages"]["nodes"].as_array().unwrap();
        assert_eq!(messages[0]["attachments"], json!([{ "name": "a.pdf" }]));
        assert_eq!(messages[1]["role"], "ASSISTANT");
        assert_eq!(messages[1]["status"], "INCOMPLETE");
    }
    for id in &ids {
        let node = format!(
            "query ($id: ID!) {{ node(id: $id) {{ ... on Conversation {{ {TITLE_FIELDS} }} }} }}"
        );
        let shown = data(&server.url, &node, json!({ "id": id })).await;
        assert_eq!(&shown["node"]["id"], id);
        for path in ["", "/messages"] {
            let path = format!("/api/v1/conversations/{id}{path}");
            let (status, answer) = request(&server.url, "GET", &path, None).await;
            assert!(
                status == 200 || status == 404 && path.ends_with("messages"),
                "{path}: {answer}"
            );
        }
    }
    let unknown = decided(&server.url, &ids[0]).await;
    assert_eq!(unknown["titleError"]["code"], "UNKNOWN");
    let (status, answer) = request(&server.url, "GET", "/api/v1/conversations", None).await;
    assert_eq!(status, 200, "{answer}");
    let search = "{ searchConversations(query: \"Kyoto\", first: 20) { nodes { conversation { id title titleStatus } } } }";
    let found = data(&server.url, search, Value::Null).await;
    let found = found["searchConversations"]["nodes"].as_array().unwrap();
    assert!(!found.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn turns_go_on_and_replies_are_read_again() {
    let model = ModelServer::start().await;
    let (server, _, ids) = with_names(&model).await;
    for (number, id) in ids.iter().enumerate() {
        // The same request finds its turn, whatever the turn's state is called.
        let body = json!({ "message": "Plan a trip to Kyoto" });
        let again = post(&server.url, "/api/v1/chat/stream", body);
        let again = again.header("idempotency-key", format!("key-{number}"));
        let events = Events::of(again).await.rest().await;
        assert_eq!(&events[0]["conversation_id"], id);
        let reply = client().get(format!("{}/api/v1/conversations/{id}/reply", server.url));
        let events = Events::of(reply).await.rest().await;
        let last = events.last().unwrap();
        assert_eq!(last["response_text"], ModelServer::REPLY.concat(), "{last}");
        // Another message's history has the message with the unknown role.
        let body = json!({ "message": "And in May?", "conversation_id": id });
        let (status, answer) = request(&server.url, "POST", "/api/v1/chat", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn subscribers_receive_the_rows() {
    let model = ModelServer::start().await;
    let (server, rows, ids) = with_names(&model).await;
    let mut list = Watched::list(&server.url).await;
    // The sweep publishes direct changes in the database.
    let changed = Utc::now() - TimeDelta::seconds(60);
    for id in &ids {
        let mut one = Watched::one(&server.url, id).await;
        assert_eq!(&one.next().await["id"], id);
        let set = "revision = revision + 1, updated_at = $2";
        rows.change(id, set, [changed.into()]).await;
        list.until(|received| &received["id"] == id).await;
        one.until(|received| &received["id"] == id).await;
    }
    let sql = "SELECT 1 FROM agent_conversations WHERE published_revision < revision";
    eventually(async || rows.all(sql, []).await.is_empty().then_some(())).await;
    let renamed = rename(&server.url, &ids[2], "Kyoto").await;
    assert_eq!(renamed["titleStatus"], "READY");
    list.until(|received| received["displayName"] == "Kyoto")
        .await;
    server.stop().await;
}

#[tokio::test]
async fn the_sweep_takes_over_what_is_overdue_beside_them() {
    let model = ModelServer::start().await;
    let (server, rows, ids) = with_names(&model).await;
    let overdue = Utc::now() - TimeDelta::seconds(5);
    // Those with unknown names have leases too, which are over; the last is one of an older version.
    let sql = "UPDATE agent_conversations SET title_token = $1, title_lease_until = $2, title_attempts = 1";
    let values: [Bound; 2] = [Uuid::new_v4().into(), overdue.into()];
    rows.run(sql, values).await.unwrap();
    let [id] = server
        .database
        .seed(&Owner::local(), 1, 1)
        .await
        .try_into()
        .unwrap();
    let set = "title_status = 'pending', title_failure = 'moderated', title_source = 'oracle', title_token = $2, \
               title_lease_until = $3, title_attempts = 1";
    let values: [Bound; 2] = [Uuid::new_v4().into(), overdue.into()];
    rows.change(&id, set, values).await;
    eventually(async || {
        let title = rows.title(&id).await;
        (title.display_name.as_deref() == Some(ModelServer::TITLE)).then_some(())
    })
    .await;
    // A row with an unknown name is left to the newer version.
    let sql = "SELECT title_status FROM agent_conversations WHERE id = $1";
    let found = rows.all(sql, [bound(&ids[2])]).await;
    assert_eq!(
        found[0].try_get::<String>("", "title_status").unwrap(),
        "parked"
    );
    server.stop().await;
}

#[tokio::test]
async fn backfill_and_stats_count_them() {
    let model = ModelServer::start().await;
    let (server, rows, ids) = with_names(&model).await;
    let stats = Titlecast::new(&["stats"]).env("DATABASE_URL", &server.database.url);
    let printed = stats.run().await.ok();
    for name in ["parked", "oracle", "moderated"] {
        assert!(printed.contains(name), "{name} is missing: {printed}");
    }
    let backfill = Titlecast::new(&["backfill"])
        .env("DATABASE_URL", &server.database.url)
        .env("OPENAI_BASE_URL", &model.url)
        .env("OPENAI_API_KEY", "sk-test-key");
    let ended = backfill.run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // It had failed for a reason that this version does not know.
    let title = rows.title(&ids[0]).await;
    assert_eq!(title.display_name.as_deref(), Some(ModelServer::TITLE));
    let settled_after = settled(&server.url, "Plan a trip to Nara").await;
    assert_titled(&decided(&server.url, &settled_after).await);
    server.stop().await;
}
