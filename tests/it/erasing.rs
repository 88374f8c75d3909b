//! Deleting and renaming erase: on SQLite the texts are in no byte of the file, its log and its index soon after.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};
use titlecast::{
    chat::forget::forget,
    conversation::Owner,
    db::{Database, Forgotten},
};
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, Step, TestDatabase, Titlecast,
    auth::{GUARDED, claims, signed, with},
    calls::{data, delete, rename, send_message, settled_conversation},
    eventually,
    server::client,
    stored::id as bound,
};

/// How many conversations are deleted, and as many renamed.
const CONVERSATIONS: usize = 200;

/// The files of the database that hold one of these, as `file: text`.
fn left(database: &str, texts: &[String]) -> Vec<String> {
    let path = database.trim_start_matches("sqlite://");
    let path = path.split('?').next().unwrap();
    let mut left = Vec::new();
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let file = PathBuf::from(format!("{path}{suffix}"));
        let Some(bytes) = read_apart(&file) else {
            assert!(!suffix.is_empty(), "the database file cannot be read");
            continue;
        };
        let bytes = bytes.to_ascii_lowercase();
        for text in texts {
            if memchr(&bytes, text.to_ascii_lowercase().as_bytes()) {
                left.push(format!("{suffix}: {text}"));
            }
        }
    }
    left
}

/// Reads a file in another process. Closing it in this one would drop this process's locks on it, and the next process
/// that opens the database would take it for unused.
fn read_apart(file: &std::path::Path) -> Option<Vec<u8>> {
    let read = std::process::Command::new("cat")
        .arg(file)
        .output()
        .unwrap();
    read.status.success().then_some(read.stdout)
}

fn memchr(bytes: &[u8], text: &[u8]) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window[0] == text[0] && window == text)
}

#[tokio::test]
async fn what_was_deleted_or_renamed_is_in_no_byte_of_the_file() {
    if TestDatabase::is_on_server() {
        return;
    }
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut deleted = Vec::new();
    for number in 0..CONVERSATIONS {
        let message = format!(
            "Zyxwomb{number} how do I care for a wombat {}",
            "x".repeat(number * 7)
        );
        let id = server.begin(&message).await;
        let kept = server
            .begin(&format!("Keepable{number} what is a lease"))
            .await;
        for (id, title) in [
            (&id, format!("Oldtitle{number} here")),
            (&kept, format!("Formername{number} x")),
        ] {
            let body = json!({ "display_name": title });
            let (status, _) = server
                .send("PATCH", &format!("/api/v1/conversations/{id}/title"), body)
                .await;
            assert_eq!(status, 200);
        }
        deleted.push((id, kept));
    }
    for (id, kept) in &deleted {
        let (status, _) = server
            .send("DELETE", &format!("/api/v1/conversations/{id}"), json!({}))
            .await;
        assert_eq!(status, 204);
        let body = json!({ "display_name": "Present name" });
        let (status, _) = server
            .send(
                "PATCH",
                &format!("/api/v1/conversations/{kept}/title"),
                body,
            )
            .await;
        assert_eq!(status, 200);
    }
    let texts: Vec<String> = ["zyxwomb", "oldtitle", "formername"]
        .map(String::from)
        .into();
    assert!(
        !left(&server.database.url, &["keepable".into()]).is_empty(),
        "the search is no search"
    );
    let url = server.database.url.clone();
    let last = std::sync::Mutex::new(Vec::new());
    let gone = tokio::time::timeout(
        Duration::from_secs(15),
        eventually(|| {
            let found = left(&url, &texts);
            let is_gone = found.is_empty();
            *last.lock().unwrap() = found;
            async move { is_gone.then_some(()) }
        }),
    );
    let gone = gone.await.is_ok();
    assert!(gone, "{:?}", last.lock().unwrap());
    server.stop().await;
}

/// Everything of a person, in many places.
const CANARY: &str = "zyxwomb";

/// A server with conversations of three owners, of which one is full of canaries.
async fn of_three(model: &ModelServer) -> (Server, String) {
    let mut server = Server::start_with(model, &["--title-sweep", "500ms"]).await;
    let mut urls = Vec::new();
    for (tenant, user) in [("acme", "ann"), ("acme", "bob"), ("other", "ann")] {
        let (tenant, user) = (tenant.into(), user.into());
        urls.push(server.serve(Owner { tenant, user }).await);
    }
    for (place, url) in urls.iter().enumerate() {
        let word = [CANARY, "keepable", "keepable"][place];
        model.reply(Answer::Deltas(vec!["zyxwomb replies"]));
        for number in 0..5 {
            let text = format!("{word}{number} asks what a lease is");
            let key = format!("{word}-key-{number}");
            let sent = json!({ "text": text, "idempotencyKey": key,
                "attachments": [{ "name": format!("{word}.pdf"), "mediaType": "application/pdf" }] });
            let id = settled_conversation(url, sent).await;
            rename(url, &id, &format!("{word} title {number}")).await;
            let pair = json!([{ "key": "k", "value": format!("{word} value") }]);
            let input = json!({ "conversationId": id, "set": pair });
            let query = "mutation ($input: SetConversationMetadataInput!) {
                setConversationMetadata(input: $input) { conversation { id } } }";
            data(url, query, json!({ "input": input })).await;
            let now = crate::rewrites::settled(url, &id).await;
            let first = &now["messages"]["nodes"][0]["id"];
            crate::rewrites::regenerate(url, json!({ "messageId": first })).await;
            crate::rewrites::settled(url, &id).await;
            if number == 0 {
                delete(url, &id).await;
            }
        }
    }
    (server, urls.remove(0))
}

/// The texts in a dump of the database, and in its files.
fn texts_in(database: &TestDatabase) -> Vec<String> {
    let texts = [CANARY.to_owned()];
    if database.is_sqlite() {
        return left(&database.url, &texts);
    }
    let dump = std::process::Command::new("pg_dump")
        .arg(&database.url)
        .output()
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    let text = String::from_utf8_lossy(&dump.stdout).to_ascii_lowercase();
    assert!(text.contains("keepable"), "the dump has no texts");
    let found = text.lines().filter(|line| line.contains(CANARY));
    found.map(str::to_owned).collect()
}

async fn erase(database: &TestDatabase, arguments: &[&str]) -> Value {
    let command = [&["erase"], arguments].concat();
    let printed = Titlecast::new(&command)
        .env("DATABASE_URL", &database.url)
        .run()
        .await
        .ok();
    let lines: Vec<&str> = printed.lines().collect();
    let [line] = lines.as_slice() else {
        panic!("{printed}");
    };
    serde_json::from_str(line).unwrap()
}

/// The rows of a person, by table.
async fn rows_of(database: &TestDatabase, tenant: &str, user: &str) -> Vec<(String, i64)> {
    let rows = Rows::of(database).await;
    let mut found = Vec::new();
    for (table, columns) in rows.tables().await {
        let has = |column: &str| columns.iter().any(|one| one == column);
        let owned = "SELECT id FROM agent_conversations WHERE tenant_id = $1 AND user_id = $2";
        let condition = match (has("user_id"), has("conversation_id")) {
            (true, _) => "tenant_id = $1 AND user_id = $2".to_owned(),
            (false, true) => format!("conversation_id IN ({owned})"),
            (false, false) => continue,
        };
        let sql = format!("SELECT count(*) AS n FROM {table} WHERE {condition}");
        let counted = rows.all(&sql, [tenant.into(), user.into()]).await;
        found.push((table, counted[0].try_get("", "n").unwrap()));
    }
    found
}

#[tokio::test]
async fn everything_of_a_user_is_erased_and_nothing_of_others() {
    let model = ModelServer::start().await;
    let (server, url) = of_three(&model).await;
    let database = &server.database;
    let arguments = ["--tenant", "acme", "--user", "ann"];
    let bob = rows_of(database, "acme", "bob").await;
    let other = rows_of(database, "other", "ann").await;
    let before = database.census().await;
    let dry = erase(database, &[&arguments[..], &["--dry-run"]].concat()).await;
    assert_eq!(
        (&dry["event"], database.census().await),
        (&json!("dry_run"), before)
    );
    assert!(!texts_in(database).is_empty(), "the search is no search");

    // A reply is being written, and a subscriber is connected.
    let (answer, steps) = Answer::live();
    model.reply(answer);
    let mut socket = titlecast_testing::GraphqlSocket::connect(&url).await;
    let operation = socket
        .subscribe(
            "subscription { conversationUpdated { id status } }",
            json!({}),
        )
        .await;
    let sent = send_message(
        &url,
        json!({ "text": "zyxwomb is running", "autoTitle": false }),
    )
    .await;
    steps
        .send(Step::Delta("zyxwomb has begun ".into()))
        .unwrap();
    let id = &sent["conversation"]["id"];
    assert_eq!(
        &socket.next_of(&operation, "conversationUpdated").await["id"],
        id
    );

    let erased = erase(database, &arguments).await;
    // The writer continues, without effect.
    let _ = steps.send(Step::Delta("zyxwomb goes on".into()));
    let _ = steps.send(Step::Finish);
    assert_eq!(erased["event"], "erased");
    assert_eq!(
        (&erased["tenant"], &erased["subject"]),
        (&json!("acme"), &dry["subject"])
    );
    assert_eq!(erased["subject"].as_str().unwrap().len(), 64);
    assert!(!erased.to_string().contains("ann"), "{erased}");
    for table in [
        "agent_conversations",
        "agent_messages",
        "agent_message_versions",
        "agent_turns",
        "agent_search_texts",
    ] {
        let counts = |certificate: &Value| certificate["rows"][table].as_u64().unwrap_or_default();
        assert!(
            counts(&erased) >= counts(&dry).max(1),
            "{table}: {erased}, and before {dry}"
        );
    }
    let mut told = std::collections::BTreeSet::new();
    while told.len() < 5 {
        let update = socket.next_of(&operation, "conversationUpdated").await;
        if update["status"] == "DELETED" {
            told.insert(update["id"].to_string());
        }
    }
    // The subscription is a task too.
    drop(socket);
    eventually(async || server.app.is_idle().then_some(())).await;
    for (table, count) in rows_of(database, "acme", "ann").await {
        assert_eq!(count, 0, "{table}");
    }
    assert_eq!(rows_of(database, "acme", "bob").await, bob);
    assert_eq!(rows_of(database, "other", "ann").await, other);
    // The reply that failed, and the log, after the command.
    assert_eq!(erase(database, &arguments).await["rows"], json!({}));
    let gone = eventually(async || texts_in(database).is_empty().then_some(()));
    gone.await;
    if !database.is_sqlite() {
        assert_no_byte(database).await;
    }
    // A new message begins anew.
    settled_conversation(&url, json!({ "text": "Here again" })).await;
    server.stop().await;
}

/// Looks at the bytes of the tables' files after VACUUM FULL, which keeps deleted rows that a running transaction may see.
async fn assert_no_byte(database: &TestDatabase) {
    let rows = Rows::of(database).await;
    let mut found = None;
    for _ in 0..5 {
        found = file_with_text(&rows).await;
        if found.is_none() {
            return;
        }
    }
    panic!("{found:?}");
}

/// A table's file with the text.
async fn file_with_text(rows: &Rows) -> Option<String> {
    rows.0.execute_unprepared("VACUUM FULL").await.unwrap();
    rows.0.execute_unprepared("CHECKPOINT").await.unwrap();
    let sql = "SELECT current_setting('data_directory') || '/' || pg_relation_filepath(oid) AS path \
        FROM pg_class WHERE relkind IN ('r', 'i', 't') AND pg_relation_filepath(oid) IS NOT NULL \
        AND relnamespace <> 'pg_catalog'::regnamespace";
    let mut looked = 0;
    for row in rows.all(sql, []).await {
        let path: String = row.try_get("", "path").unwrap();
        let Ok(bytes) = std::fs::read(&path) else {
            titlecast_testing::skipped("the files of the database cannot be read here");
            return None;
        };
        looked += usize::from(!bytes.is_empty());
        if memchr(&bytes.to_ascii_lowercase(), CANARY.as_bytes()) {
            return Some(path);
        }
    }
    assert!(looked > 5);
    None
}

#[tokio::test]
async fn a_tenant_is_erased_and_another_one_is_not() {
    let model = ModelServer::start().await;
    let (server, _) = of_three(&model).await;
    let database = &server.database;
    let other = rows_of(database, "other", "ann").await;
    let erased = erase(database, &["--tenant", "acme"]).await;
    assert_eq!(erased["rows"]["agent_conversations"], 10);
    for user in ["ann", "bob"] {
        for (table, count) in rows_of(database, "acme", user).await {
            assert_eq!(count, 0, "{table}");
        }
    }
    assert_eq!(rows_of(database, "other", "ann").await, other);
    let rows = Rows::of(database).await;
    for table in ["agent_title_calls", "agent_reply_calls"] {
        let sql = format!("SELECT count(*) AS n FROM {table} WHERE tenant_id = 'acme'");
        let count: i64 = rows.all(&sql, []).await[0].try_get("", "n").unwrap();
        assert_eq!(count, 0, "{table}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_title_that_ends_after_the_erasure_of_its_conversation_is_counted_for_no_tenant() {
    let model = ModelServer::start().await;
    let gate = model.held_title(Answer::Text("Too Late"));
    let server = Server::start(&model).await;
    send_message(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    eventually(async || (model.title_requests().len() == 1).then_some(())).await;
    erase(&server.database, &["--tenant", "local", "--wait", "0s"]).await;
    gate.send(()).unwrap();
    server.titles_ended("superseded", 1).await;
    let rows = Rows::of(&server.database).await;
    assert!(rows.count("agent_title_calls").await > 0);
    let led = "SELECT count(*) AS n FROM agent_title_calls WHERE tenant_id <> '' OR conversation_id IS NOT NULL";
    let led: i64 = rows.all(led, []).await[0].try_get("", "n").unwrap();
    assert_eq!(led, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_user_erases_the_own_account_with_the_scope_for_it() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &GUARDED).await;
    let database = &server.database;
    for user in ["ann", "bob"] {
        let (tenant, user) = ("acme".into(), user.into());
        database.seed(&Owner { tenant, user }, 3, 2).await;
    }
    let token = |scope: &str| signed(&with(claims("acme", "ann"), "scope", scope.into()));
    let ask = async |token: String, header: Option<(&str, &str)>| {
        let mut request = client()
            .delete(format!("{}/api/v1/me", server.url))
            .bearer_auth(token);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let all_others =
        "conversations:read conversations:write conversations:delete conversations:ingest";
    assert_eq!(ask(token(all_others), None).await.0, 403);
    let both = "account:erase conversations:ingest";
    let (status, body) = ask(token(both), Some(("titlecast-on-behalf-of", "bob"))).await;
    assert_eq!(status, 403, "{body}");
    assert_eq!(database.census().await[0], 6);
    let (status, certificate) = ask(token("account:erase"), None).await;
    assert_eq!(status, 200, "{certificate}");
    let expected = json!({ "agent_conversations": 3, "agent_feeds": 1, "agent_messages": 6 });
    assert_eq!(
        (&certificate["rows"], &certificate["tenant"]),
        (&expected, &json!("acme"))
    );
    assert_eq!(database.census().await[..2], [3, 6]);
    let (status, again) = ask(token("account:erase"), None).await;
    assert_eq!(
        (status, &again["rows"], &again["subject"]),
        (200, &json!({}), &certificate["subject"])
    );
    server.stop().await;
}

#[tokio::test]
async fn every_table_of_the_schema_has_an_entry_in_the_erasure() {
    let database = TestDatabase::new().await;
    let tables = Rows::of(&database).await.tables().await;
    let tables: Vec<String> = tables.into_iter().map(|(table, _)| table).collect();
    let mut known: Vec<&str> = titlecast::db::Database::known_tables().collect();
    known.sort_unstable();
    assert_eq!(
        known, tables,
        "say in src/db/forget.rs how rows of a person are found in the table"
    );
}

#[tokio::test]
async fn conversations_in_which_others_wrote_go_on_without_the_messages_of_the_erased_user() {
    let database = TestDatabase::new().await;
    let owner = |user: &str| Owner {
        tenant: "acme".into(),
        user: user.into(),
    };
    let of_ann = database.seed(&owner("ann"), 1, 8).await.remove(0);
    let of_bob = database.seed(&owner("bob"), 1, 8).await.remove(0);
    database.seed(&owner("ann"), 2, 2).await;
    let rows = Rows::of(&database).await;
    // The third and the seventh message are the other's, with the replies behind them.
    for (id, guest) in [(&of_ann, "bob"), (&of_bob, "ann")] {
        let sql = "UPDATE agent_messages SET author = $2 WHERE conversation_id = $1 AND position IN (3, 7)";
        rows.run(
            sql,
            [id.parse::<uuid::Uuid>().unwrap().into(), guest.into()],
        )
        .await
        .unwrap();
    }
    rows.0
        .execute_unprepared("UPDATE agent_conversations SET display_name = 'Secret', title_status = 'ready', title_source = 'manual'")
        .await
        .unwrap();
    let [sixth, last] = ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]
        .map(|at| at.parse::<DateTime<Utc>>().unwrap());
    for (at, positions) in [(sixth, "position = 6"), (last, "position > 6")] {
        let sql = format!("UPDATE agent_messages SET created_at = $1 WHERE {positions}");
        rows.run(&sql, [at.into()]).await.unwrap();
    }
    let sql = "UPDATE agent_conversations SET last_message_at = $1";
    rows.run(sql, [last.into()]).await.unwrap();
    let arguments = ["--tenant", "acme", "--user", "ann", "--wait", "0s"];
    let erased = erase(&database, &arguments).await;
    assert_eq!(erased["rows"]["agent_conversations"], 2, "{erased}");
    // Four in that of ann, four in that of bob, and two conversations of two.
    assert_eq!(erased["rows"]["agent_messages"], 4 + 4 + 4, "{erased}");
    let texts = async |id: &str| -> Vec<String> {
        let messages = rows.messages(id).await.into_iter();
        messages.map(|(_, _, content)| content).collect()
    };
    let numbered = |numbers: [usize; 4]| numbers.map(|number| format!("message {number}")).to_vec();
    assert_eq!(texts(&of_ann).await, numbered([3, 4, 7, 8]));
    assert_eq!(texts(&of_bob).await, numbered([1, 2, 5, 6]));
    let sql = "SELECT user_id, message_count, display_name, topic_hint, last_message_at FROM agent_conversations ORDER BY user_id";
    let found = rows.all(sql, []).await;
    let users: Vec<String> = found
        .iter()
        .map(|row| row.try_get("", "user_id").unwrap())
        .collect();
    assert!(
        users[0] == "bob" && users[1].starts_with("erased-"),
        "{users:?}"
    );
    let titles: Vec<Option<String>> = found
        .iter()
        .map(|row| row.try_get("", "display_name").unwrap())
        .collect();
    assert_eq!(titles, [Some("Secret".to_owned()), None]);
    // No hint is the beginning of a removed message, and no time is that of one.
    let hints: Vec<String> = found
        .iter()
        .map(|row| row.try_get("", "topic_hint").unwrap())
        .collect();
    assert_eq!(hints, ["Secret", "message 3"]);
    let times: Vec<DateTime<Utc>> = found
        .iter()
        .map(|row| row.try_get("", "last_message_at").unwrap())
        .collect();
    assert_eq!(times, [sixth, last]);
    for row in &found {
        let count: i64 = row.try_get("", "message_count").unwrap();
        assert_eq!(count, 4);
    }
    let dense = "SELECT 1 FROM agent_messages GROUP BY conversation_id HAVING max(position) <> 4 OR min(position) <> 1";
    assert_eq!(rows.all(dense, []).await.len(), 0);
    assert_eq!(erase(&database, &arguments).await["rows"], json!({}));
}

#[tokio::test]
async fn former_texts_of_the_erased_user_in_messages_that_others_edited_go_with_their_replies() {
    let database = TestDatabase::new().await;
    let bob = Owner {
        tenant: "acme".into(),
        user: "bob".into(),
    };
    let id = database.seed(&bob, 1, 2).await.remove(0);
    let rows = Rows::of(&database).await;
    let conversation: uuid::Uuid = id.parse().unwrap();
    let sql = "SELECT id FROM agent_messages WHERE conversation_id = $1 AND position = 1";
    let message: uuid::Uuid = rows.all(sql, [conversation.into()]).await[0]
        .try_get("", "id")
        .unwrap();
    let start = Utc::now();
    // Ann's text was regenerated once, then bob edited it, and regenerated the reply to his own.
    for (content, role, author, replaced) in [
        ("first reply to ann", "assistant", None, 1),
        ("second reply to ann", "assistant", None, 2),
        ("text of ann", "user", Some("ann"), 2),
        ("reply to bob", "assistant", None, 3),
    ] {
        let author: Option<String> = author.map(String::from);
        let reply = uuid::Uuid::now_v7();
        let sql = "INSERT INTO agent_message_versions \
            (id, conversation_id, message_id, position, role, content, status, created_at, replaced_at, author) \
            VALUES ($1, $2, $3, 1, $4, $5, 'complete', $6, $7, $8)";
        let values: [sea_orm::Value; 8] = [
            reply.into(),
            conversation.into(),
            message.into(),
            role.into(),
            content.into(),
            start.into(),
            (start + TimeDelta::seconds(replaced)).into(),
            author.into(),
        ];
        rows.run(sql, values).await.unwrap();
        if role == "assistant" {
            let sql = "INSERT INTO agent_reply_parts (reply_id, conversation_id, message_id, parts) \
                VALUES ($1, $2, $3, '[]')";
            let values: [sea_orm::Value; 3] = [reply.into(), conversation.into(), message.into()];
            rows.run(sql, values).await.unwrap();
        }
    }
    let arguments = ["--tenant", "acme", "--user", "ann", "--wait", "0s"];
    let erased = erase(&database, &arguments).await;
    assert_eq!(
        erased["rows"],
        json!({ "agent_message_versions": 3, "agent_reply_parts": 2 })
    );
    let sql = "SELECT content FROM agent_message_versions";
    let left: Vec<String> = rows.all(sql, []).await.iter().map(text).collect();
    assert_eq!(left, ["reply to bob"]);
    assert_eq!(rows.messages(&id).await.len(), 2);
}

/// The column `content`.
fn text(row: &sea_orm::QueryResult) -> String {
    row.try_get("", "content").unwrap()
}

#[tokio::test]
async fn an_erasure_waits_for_a_process_that_keeps_the_file_locked() {
    let database = TestDatabase::new().await;
    if !database.is_sqlite() {
        return;
    }
    let (tenant, user) = ("acme".into(), "ann".into());
    database.seed(&Owner { tenant, user }, 1, 2).await;
    let rows = Rows::of(&database).await;
    let locked = rows.0.begin().await.unwrap();
    let lock = "UPDATE agent_conversations SET revision = revision";
    locked.execute_unprepared(lock).await.unwrap();
    let unlocking = async {
        // Longer than one statement waits for a lock.
        tokio::time::sleep(Duration::from_secs(7)).await;
        locked.rollback().await.unwrap();
    };
    let erasing = erase(&database, &["--tenant", "acme", "--wait", "0s"]);
    let (erased, ()) = tokio::join!(erasing, unlocking);
    assert_eq!(erased["rows"]["agent_conversations"], 1, "{erased}");
}

#[tokio::test]
async fn an_erasure_that_failed_leaves_no_calls_to_its_repetition() {
    let database = TestDatabase::new().await;
    if !database.is_sqlite() {
        // Its triggers look up the table that is renamed below when they run.
        return;
    }
    let owner = Owner {
        tenant: "acme".into(),
        user: "ada".into(),
    };
    let of = Forgotten {
        tenant: owner.tenant.clone(),
        user: Some(owner.user.clone()),
    };
    let rows = Rows::of(&database).await;
    for id in database.seed(&owner, 25, 2).await {
        let call = "INSERT INTO agent_reply_calls (id, tenant_id, conversation_id, agent, model, prompt_tokens, \
                    completion_tokens, reasoning_tokens, created_at) \
                    VALUES ($1, 'acme', $1, 'triage', 'm', 1, 1, 0, $2)";
        let values = [bound(&id), chrono::Utc::now().into()];
        rows.run(call, values).await.unwrap();
    }
    let db = Database::connect(&database.url, 2).await.unwrap();
    // It fails after the conversations are gone.
    let rename = async |from: &str, to: &str| {
        let rename = format!("ALTER TABLE {from} RENAME TO {to}");
        rows.0.execute_unprepared(&rename).await.unwrap();
    };
    rename("agent_webhook_lanes", "moved").await;
    assert!(forget(&db, &of, Duration::ZERO, drop).await.is_err());
    assert_eq!(rows.count("agent_conversations").await, 0);
    rename("moved", "agent_webhook_lanes").await;
    forget(&db, &of, Duration::ZERO, drop).await.unwrap();
    assert_eq!(rows.count("agent_reply_calls").await, 0);
    db.close().await.unwrap();
}
