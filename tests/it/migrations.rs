//! The schema's way up and down on both databases: no step loses a conversation or a message, old
//! rows and old tables are taken over, and the database itself keeps a title to its length.

use chrono::{DateTime, Utc};
use migration::search_text::{marked, owner_mark};
use sea_orm::QueryResult;
use serde_json::json;
use titlecast::db::Database;
use titlecast_testing::{Rows, Server, TestDatabase, assert_common_stream, stored::StoredTitle};
use uuid::Uuid;

/// All of them, oldest first; a new one is added here.
pub const NAMES: [&str; 30] = [
    "m20251101_000001_create_conversations",
    "m20251115_000001_add_titles",
    "m20251116_000001_create_turns",
    "m20251117_000001_create_search",
    "m20251118_000001_add_title_claims",
    "m20251119_000001_add_runs",
    "m20251120_000001_create_cursor_key",
    "m20251121_000001_mark_search_owners",
    "m20251121_000002_index_changes",
    "m20251125_000001_index_search_owners",
    "m20251130_000001_create_reply_calls",
    "m20251201_000001_create_versions",
    "m20251205_000001_create_title_policy",
    "m20251205_000002_index_title_retries",
    "m20251210_000001_add_external_ids",
    "m20251210_000002_add_retention",
    "m20251211_000001_add_external_replies",
    "m20251212_000001_add_title_call_agents",
    "m20251215_000001_add_archive",
    "m20251215_000002_index_archive",
    "m20251220_000001_create_feeds",
    "m20251221_000001_add_authors",
    "m20251221_000002_index_tenants",
    "m20251223_000001_create_webhooks",
    "m20251223_000002_create_audit",
    "m20251224_000001_create_search_texts",
    "m20251224_000002_fill_search_texts",
    "m20251224_000003_replace_search",
    "m20251225_000001_add_reply_reasons",
    "m20251225_000002_index_message_names",
];

/// How many of them come after conversations alone, and from the search on.
const AFTER_THE_FIRST: u32 = NAMES.len() as u32 - 1;
const FROM_SEARCH_ON: u32 = NAMES.len() as u32 - 3;

const OFFLINE: [&str; 5] = ["--migrate", "--openai-base-url", "", "--openai-api-key", ""];

async fn open(database: &TestDatabase) -> Database {
    Database::connect(&database.url, 2).await.unwrap()
}

/// How many migrations the database has, the oldest, by the list that the program shows.
async fn applied(db: &Database) -> usize {
    let (names, applied): (Vec<_>, Vec<_>) = db.migrations().await.unwrap().into_iter().unzip();
    assert_eq!(names, NAMES);
    let count = applied.iter().take_while(|is_applied| **is_applied).count();
    assert!(!applied[count..].contains(&true), "{applied:?}");
    count
}

/// A conversation of two messages, in columns that are older than titles. Returns its id.
async fn insert(rows: &Rows, topic: &str, question: &str) -> String {
    const CONVERSATION: &str = "INSERT INTO agent_conversations
        (id, tenant_id, user_id, topic_hint, agent_entrypoint, active_agent, status, message_count,
         last_message_preview, last_message_at, created_at, updated_at)
        VALUES ($1, 'local', 'local', $2, 'triage', 'triage', 'active', 2, $3, $4, $4, $4)";
    const MESSAGE: &str = "INSERT INTO agent_messages
        (id, conversation_id, position, role, content, status, created_at)
        VALUES ($1, $2, $3, $4, $5, 'complete', $6)";
    let at: DateTime<Utc> = "2025-10-31T12:00:00.123456Z".parse().unwrap();
    let id = Uuid::now_v7();
    let conversation = [id.into(), topic.into(), question.into(), at.into()];
    rows.run(CONVERSATION, conversation).await.unwrap();
    let reply = format!("An answer about {topic}");
    for (position, role, text) in [(1_i64, "user", question), (2, "assistant", &reply)] {
        let message = [
            Uuid::now_v7().into(),
            id.into(),
            position.into(),
            role.into(),
            text.into(),
            at.into(),
        ];
        rows.run(MESSAGE, message).await.unwrap();
    }
    id.to_string()
}

/// Everything that was there before there were titles.
async fn contents(rows: &Rows) -> Vec<String> {
    const CONVERSATIONS: &str = "SELECT id, tenant_id, user_id, topic_hint, agent_entrypoint,
        active_agent, status, message_count, last_message_preview, last_message_at, created_at,
        updated_at FROM agent_conversations ORDER BY id";
    const MESSAGES: &str = "SELECT id, conversation_id, position, role, content, status, created_at
        FROM agent_messages ORDER BY id";
    let mut all = Vec::new();
    for row in rows.all(CONVERSATIONS, []).await {
        let id: Uuid = row.try_get("", "id").unwrap();
        let count: i64 = row.try_get("", "message_count").unwrap();
        all.push(format!(
            "{id} {count} {}",
            row_of(&row, &["tenant_id", "user_id", "topic_hint"],)
        ));
        let columns = [
            "agent_entrypoint",
            "active_agent",
            "status",
            "last_message_preview",
        ];
        all.push(row_of(&row, &columns));
        all.push(times(
            &row,
            &["last_message_at", "created_at", "updated_at"],
        ));
    }
    for row in rows.all(MESSAGES, []).await {
        let id: Uuid = row.try_get("", "id").unwrap();
        let of: Uuid = row.try_get("", "conversation_id").unwrap();
        let position: i64 = row.try_get("", "position").unwrap();
        all.push(format!(
            "{id} {of} {position} {}",
            row_of(&row, &["role", "content", "status"])
        ));
        all.push(times(&row, &["created_at"]));
    }
    all
}

fn row_of(row: &QueryResult, columns: &[&str]) -> String {
    let text = |column: &&str| row.try_get::<String>("", column).unwrap();
    columns.iter().map(text).collect::<Vec<_>>().join(" | ")
}

fn times(row: &QueryResult, columns: &[&str]) -> String {
    let time = |column: &&str| {
        row.try_get::<DateTime<Utc>>("", column)
            .unwrap()
            .to_rfc3339()
    };
    columns.iter().map(time).collect::<Vec<_>>().join(" | ")
}

/// What a conversation from before there were titles looks like.
fn untitled(topic: &str) -> StoredTitle {
    StoredTitle {
        display_name: None,
        title_generated_at: None,
        title_source: "hint".into(),
        title_status: "pending".into(),
        title_failure: None,
        topic_hint: Some(topic.into()),
        revision: 1,
    }
}

/// The conversations that the service finds for a word.
async fn found(server: &Server, word: &str) -> Vec<String> {
    let path = format!("/api/v1/conversations/search?q={word}");
    let (status, page) = server.get(&path).await;
    assert_eq!(status, 200, "{page}");
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item["conversation_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_list_shows_which_migrations_a_database_has() {
    let database = TestDatabase::empty().await;
    let db = open(&database).await;
    assert_eq!(applied(&db).await, 0);
    db.migrate_up(Some(2)).await.unwrap();
    assert_eq!(applied(&db).await, 2);
    db.migrate_up(None).await.unwrap();
    assert_eq!(applied(&db).await, NAMES.len());
    // Nothing is pending: nothing happens.
    db.migrate_up(None).await.unwrap();
    db.migrate_down(1).await.unwrap();
    assert_eq!(applied(&db).await, NAMES.len() - 1);
    db.close().await.unwrap();
}

#[tokio::test]
async fn below_the_titles_and_up_again_loses_no_conversation_and_no_message() {
    let database = TestDatabase::empty().await;
    let db = open(&database).await;
    db.migrate_up(None).await.unwrap();
    let rows = Rows::of(&database).await;
    let kyoto = insert(&rows, "Kyoto", "Plan a trip in April").await;
    let tokyo = insert(&rows, "東京", "桜はいつ咲きますか").await;
    let before = contents(&rows).await;

    db.migrate_down(AFTER_THE_FIRST).await.unwrap();
    assert_eq!(applied(&db).await, 1);
    assert_eq!(contents(&rows).await, before);
    assert!(
        rows.run("SELECT display_name FROM agent_conversations", [])
            .await
            .is_err()
    );
    // The older program keeps writing.
    let nara = insert(&rows, "Nara", "Feed the deer").await;
    let before = contents(&rows).await;

    db.migrate_up(None).await.unwrap();
    assert_eq!(applied(&db).await, NAMES.len());
    assert_eq!(contents(&rows).await, before);
    for (id, topic) in [(&kyoto, "Kyoto"), (&tokyo, "東京"), (&nara, "Nara")] {
        assert_eq!(rows.title(id).await, untitled(topic));
    }
    rows.0.close().await.unwrap();
    db.close().await.unwrap();

    let server = Server::on(database, &OFFLINE).await;
    assert_eq!(found(&server, "kyoto").await, [kyoto.as_str()], "a hint");
    assert_eq!(found(&server, "april").await, [kyoto.as_str()], "a message");
    assert_eq!(
        found(&server, "%E6%A1%9C").await,
        [tokyo.as_str()],
        "one ideograph"
    );
    assert_eq!(
        found(&server, "deer").await,
        [nara.as_str()],
        "one written meanwhile"
    );
    server.stop().await;
}

#[tokio::test]
async fn search_alone_can_go_down_and_up_and_titles_stay() {
    let database = TestDatabase::empty().await;
    let db = open(&database).await;
    db.migrate_up(None).await.unwrap();
    let rows = Rows::of(&database).await;
    let id = insert(&rows, "Kyoto", "Plan a trip in April").await;
    let name = "UPDATE agent_conversations SET display_name = 'Spring holiday'";
    rows.run(name, []).await.unwrap();

    db.migrate_down(FROM_SEARCH_ON).await.unwrap();
    db.migrate_up(None).await.unwrap();
    let name = rows.title(&id).await.display_name;
    assert_eq!(name.as_deref(), Some("Spring holiday"));
    rows.0.close().await.unwrap();
    db.close().await.unwrap();
    let server = Server::on(database, &OFFLINE).await;
    assert_eq!(found(&server, "holiday").await, [id.as_str()]);
    server.stop().await;
}

/// On PostgreSQL between the steps, on SQLite behind them.
#[tokio::test]
async fn what_the_version_before_writes_while_the_search_index_is_replaced_is_found() {
    let database = TestDatabase::empty().await;
    let db = open(&database).await;
    let steps_before = NAMES
        .iter()
        .take_while(|name| !name.starts_with("m20251224"));
    db.migrate_up(Some(steps_before.count() as u32))
        .await
        .unwrap();
    let rows = Rows::of(&database).await;
    let body = |words: &str| marked(&owner_mark("local", "local"), words);
    let index = async |topic: &str, words: &str| {
        let id = insert(&rows, topic, "A question").await;
        let sql =
            "INSERT INTO agent_search (conversation_id, message_id, body) VALUES ($1, NULL, $2)";
        let values = [titlecast_testing::stored::id(&id), body(words).into()];
        rows.run(sql, values).await.unwrap();
        id
    };
    let rename = async |id: &str, words: &str| {
        let sql =
            "UPDATE agent_search SET body = $2 WHERE conversation_id = $1 AND message_id IS NULL";
        let values = [titlecast_testing::stored::id(id), body(words).into()];
        rows.run(sql, values).await.unwrap();
    };
    let delete = async |id: &str| {
        let sql = "DELETE FROM agent_search WHERE conversation_id = $1";
        rows.run(sql, [titlecast_testing::stored::id(id)])
            .await
            .unwrap();
    };
    let early = index("One", "earlyword").await;
    let deleted = index("Two", "deletedword").await;
    let kept = index("Three", "keptword").await;
    db.migrate_up(Some(1)).await.unwrap();
    let meanwhile = index("Four", "meanwhileword snake_case").await;
    rename(&early, "renamedword").await;
    delete(&deleted).await;
    db.migrate_up(None).await.unwrap();
    let late = index("Five", "lateword").await;
    let later = index("Six", "firstword").await;
    rename(&later, "laterword").await;
    let last = index("Seven", "lastword").await;
    delete(&last).await;
    // No title is made of them.
    let settle =
        "UPDATE agent_conversations SET title_status = 'skipped', published_revision = revision";
    rows.run(settle, []).await.unwrap();
    rows.0.close().await.unwrap();
    db.close().await.unwrap();

    let server = Server::on(database, &OFFLINE).await;
    for (word, id) in [
        ("keptword", &kept),
        ("renamedword", &early),
        ("meanwhileword", &meanwhile),
        ("case", &meanwhile),
        ("snake_case", &meanwhile),
        ("lateword", &late),
        ("laterword", &later),
    ] {
        assert_eq!(found(&server, word).await, [id.as_str()], "{word}");
    }
    for word in ["earlyword", "deletedword", "firstword", "lastword"] {
        assert!(found(&server, word).await.is_empty(), "{word}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_text_of_more_words_than_can_be_indexed_does_not_stop_a_migration() {
    let database = TestDatabase::empty().await;
    let db = open(&database).await;
    db.migrate_up(None).await.unwrap();
    let rows = Rows::of(&database).await;
    let long: String = (0..90_000).map(|number| format!("word{number} ")).collect();
    let id = insert(&rows, "kyoto", "Plan a trip to Kyoto").await;
    insert(&rows, "nara", "Plan a trip to Nara").await;
    let sql = "UPDATE agent_messages SET content = $2 WHERE conversation_id = $1";
    let values = [titlecast_testing::stored::id(&id), long.into()];
    rows.run(sql, values).await.unwrap();
    db.migrate_down(FROM_SEARCH_ON).await.unwrap();
    db.migrate_up(None).await.unwrap();
    let indexed = rows
        .all(
            "SELECT 1 FROM agent_search WHERE message_id IS NOT NULL",
            [],
        )
        .await;
    assert_eq!(indexed.len(), 4);
    db.close().await.unwrap();
}

#[tokio::test]
async fn titles_alone_are_added_to_conversations_that_exist() {
    let database = TestDatabase::empty().await;
    let db = open(&database).await;
    db.migrate_up(Some(1)).await.unwrap();
    let rows = Rows::of(&database).await;
    let id = insert(&rows, "Kyoto", "Plan a trip in April").await;
    let before = contents(&rows).await;

    db.migrate_up(Some(1)).await.unwrap();
    assert_eq!(applied(&db).await, 2);
    assert_eq!(contents(&rows).await, before);
    assert_eq!(rows.title(&id).await, untitled("Kyoto"));

    db.migrate_down(1).await.unwrap();
    assert_eq!(contents(&rows).await, before);
    db.close().await.unwrap();
}

#[tokio::test]
async fn the_first_does_not_go_down_while_there_are_conversations_and_says_why() {
    let database = TestDatabase::empty().await;
    let db = open(&database).await;
    db.migrate_up(None).await.unwrap();
    let rows = Rows::of(&database).await;
    insert(&rows, "Kyoto", "Plan a trip in April").await;
    let before = contents(&rows).await;

    let refusal = db
        .migrate_down(AFTER_THE_FIRST + 1)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refusal.contains("agent_conversations is not empty"),
        "{refusal}"
    );
    assert!(refusal.contains("Delete its rows first"), "{refusal}");
    assert_eq!(contents(&rows).await, before);

    rows.run("DELETE FROM agent_messages", []).await.unwrap();
    rows.run("DELETE FROM agent_conversations", [])
        .await
        .unwrap();
    let left = applied(&db).await;
    db.migrate_down(left as u32).await.unwrap();
    assert_eq!(applied(&db).await, 0);
    assert!(
        rows.run("SELECT id FROM agent_conversations", [])
            .await
            .is_err()
    );
    db.migrate_up(None).await.unwrap();
    assert_eq!(rows.count("agent_conversations").await, 0);
    db.close().await.unwrap();
}

#[tokio::test]
async fn the_database_refuses_a_title_that_is_too_long_or_empty() {
    const RENAME: &str = "UPDATE agent_conversations SET display_name = $1";
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    let id = insert(&rows, "Kyoto", "Plan a trip in April").await;
    let longest = "京".repeat(128);
    rows.run(RENAME, [longest.as_str().into()]).await.unwrap();
    for refused in ["京".repeat(129), "a".repeat(1_000), String::new()] {
        let length = refused.chars().count();
        let result = rows.run(RENAME, [refused.into()]).await;
        assert!(result.is_err(), "{length} characters were taken");
    }
    assert_eq!(rows.title(&id).await.display_name, Some(longest));
    let none: Option<String> = None;
    rows.run(RENAME, [none.into()]).await.unwrap();
}

#[tokio::test]
async fn tables_that_are_older_than_the_migrations_are_taken_over() {
    // What a deployment has that made its tables itself. SQLite does not look at the types, but
    // SeaORM does.
    let types = |is_sqlite| match is_sqlite {
        true => ("uuid_text", "timestamp_with_timezone_text"),
        false => ("uuid", "timestamptz"),
    };
    let database = TestDatabase::empty().await;
    let (uuid, time) = types(database.is_sqlite());
    let rows = Rows::of(&database).await;
    let conversations = format!(
        "CREATE TABLE agent_conversations (
            id {uuid} NOT NULL PRIMARY KEY, tenant_id varchar(128) NOT NULL,
            user_id varchar(128) NOT NULL, topic_hint varchar(256),
            agent_entrypoint varchar(64) NOT NULL, active_agent varchar(64) NOT NULL,
            status varchar(16) NOT NULL DEFAULT 'active', message_count bigint NOT NULL DEFAULT 0,
            last_message_preview varchar(256), last_message_at {time} NOT NULL,
            created_at {time} NOT NULL, updated_at {time} NOT NULL
        )"
    );
    let messages = format!(
        "CREATE TABLE agent_messages (
            id {uuid} NOT NULL PRIMARY KEY,
            conversation_id {uuid} NOT NULL REFERENCES agent_conversations (id) ON DELETE CASCADE,
            position bigint NOT NULL, role varchar(16) NOT NULL, content text NOT NULL,
            status varchar(16) NOT NULL DEFAULT 'complete', created_at {time} NOT NULL
        )"
    );
    rows.run(&conversations, []).await.unwrap();
    rows.run(&messages, []).await.unwrap();
    let id = insert(&rows, "Kyoto", "Plan a trip in April").await;
    let before = contents(&rows).await;

    let server = Server::on(database, &OFFLINE).await;
    assert_eq!(contents(&rows).await, before);
    assert_eq!(rows.title(&id).await, untitled("Kyoto"));
    assert_eq!(found(&server, "april").await, [id.as_str()]);

    // The conversation continues.
    let body = json!({ "message": "And in May?", "conversation_id": id });
    let events = server.stream(body).await.rest().await;
    assert_eq!(
        assert_common_stream(&events)["raw_type"],
        "response.completed"
    );
    let messages = rows.messages(&id).await;
    let texts: Vec<&str> = messages.iter().map(|(_, _, text)| text.as_str()).collect();
    assert_eq!(
        texts[..3],
        [
            "Plan a trip in April",
            "An answer about Kyoto",
            "And in May?"
        ]
    );
    assert_eq!(texts.len(), 4);
    server.stop().await;
}
