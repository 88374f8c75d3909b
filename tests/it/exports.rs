//! `titlecast export` and `GET /api/v1/export`: what is exported, imports again to the same rows.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, TestDatabase, Titlecast,
    auth::{GUARDED, claims, signed, with},
    calls::{conversation_when, data, rename, send_message, settled_conversation},
    server::{client, request},
    stored::id as bound,
};

use crate::{
    rewrites::{edit, regenerate, settled},
    sharing::{Team, owner},
};

/// `titlecast export`; the lines.
async fn export(database: &TestDatabase, arguments: &[&str]) -> String {
    let command = [&["export"], arguments].concat();
    Titlecast::new(&command)
        .env("DATABASE_URL", &database.url)
        .run()
        .await
        .ok()
}

/// `titlecast import` of these lines; what it counted.
async fn import(database: &TestDatabase, lines: &str) -> Value {
    let ended = Titlecast::new(&["import", "lines.jsonl"])
        .env("DATABASE_URL", &database.url)
        .file("lines.jsonl", lines)
        .run()
        .await;
    let last = ended.stdout.lines().last().unwrap_or_default().to_owned();
    assert_eq!(ended.stderr, "");
    serde_json::from_str::<Value>(&last).unwrap()["done"].take()
}

fn parsed(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Sends the first message of a conversation, and waits for its reply; its id.
async fn begin(url: &str, input: Value) -> String {
    let sent = send_message(url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap().to_owned();
    settled(url, &id).await;
    id
}

async fn first_message(url: &str, id: &str) -> Value {
    settled(url, id).await["messages"]["nodes"][0]["id"].clone()
}

/// Conversations with everything that one can have.
async fn fill(model: &ModelServer, server: &Server) {
    let url = &server.url;
    // Titled, renamed, archived, pinned, with metadata and an attachment.
    let sent = json!({ "text": "Plan a trip to Kyoto\u{2028}in April", "idempotencyKey": "key-1",
        "attachments": [{ "name": "plan.pdf", "mediaType": "application/pdf" }] });
    let id = settled_conversation(url, sent).await;
    rename(url, &id, "Kyoto, \u{1f98c} and deer").await;
    for mutation in [
        "archiveConversation(input: { conversationId: $id })",
        "pinConversation(input: { conversationId: $id })",
        "setConversationMetadata(input: { conversationId: $id, set: [{ key: \"project\", value: \"x \\\"y\\\"\" }] })",
    ] {
        let query = format!("mutation ($id: ID!) {{ {mutation} {{ conversation {{ id }} }} }}");
        data(url, &query, json!({ "id": id })).await;
    }
    // A failed reply, then regenerated; an edited message; versions.
    model.reply(Answer::error(400, "invalid_request_error", None, "no"));
    let id = begin(url, json!({ "text": "Fail once" })).await;
    let first = first_message(url, &id).await;
    regenerate(url, json!({ "messageId": first })).await;
    settled(url, &id).await;
    edit(url, json!({ "messageId": first, "text": "Do not fail" })).await;
    let now = settled(url, &id).await;
    assert_ne!(now["messages"]["nodes"][0]["versions"], json!([]));
    // Recorded from outside, with parts, under ids of another system.
    let body = json!({ "external_id": "m1", "role": "user", "content": "What is a lease?" });
    let path = "/api/v1/conversations/chat-7/messages";
    let (status, answer) = server.send("POST", path, body).await;
    assert_eq!(status, 201, "{answer}");
    // A reply that thinks and calls a tool.
    model.reply(crate::reply_parts::thinking());
    let id = settled_conversation(url, json!({ "text": "Look for deer" })).await;
    settled(url, &id).await;
    // A title that failed.
    model.refuse_title();
    let id = begin(url, json!({ "text": "Untitled for now" })).await;
    conversation_when(url, &id, |now| now["titleStatus"] == "FAILED").await;
}

/// As `retain = "until_titled"` leaves a conversation.
async fn drop_texts(database: &TestDatabase, id: &str) {
    let rows = Rows::of(database).await;
    for sql in [
        "UPDATE agent_conversations SET retain = 'until_titled', topic_hint = display_name, \
         last_message_preview = display_name WHERE id = $1",
        "UPDATE agent_messages SET content = '', attachments = NULL WHERE conversation_id = $1",
        "DELETE FROM agent_search WHERE conversation_id = $1 AND message_id IS NOT NULL",
    ] {
        rows.run(sql, [bound(id)]).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_exported_is_imported_to_the_same_rows() {
    let model = ModelServer::start().await;
    let mut server = Server::start_with(&model, &["--title-sweep", "1h"]).await;
    fill(&model, &server).await;
    let other = Owner {
        tenant: "other".into(),
        user: "ann".into(),
    };
    let theirs = server.serve(other).await;
    settled_conversation(&theirs, json!({ "text": "Of another tenant" })).await;
    let id = settled_conversation(&theirs, json!({ "text": "Kept until it is titled" })).await;
    drop_texts(&server.database, &id).await;
    let before = server.database.dump().await;
    for (table, rows) in &before {
        assert!(!rows.is_empty(), "nothing is compared of {table}");
    }
    let lines = export(&server.database, &[]).await;
    assert!(!lines.contains('\u{2028}'), "a line reader splits here");
    assert_eq!(parsed(&lines).len(), before["agent_conversations"].len());

    let copy = TestDatabase::new().await;
    let done = import(&copy, &lines).await;
    assert_eq!(done["added"], before["agent_conversations"].len());
    assert_eq!(copy.dump().await, before);
    assert_eq!(export(&copy, &[]).await, lines);
    let again = import(&copy, &lines).await;
    assert_eq!(again["unchanged"], done["added"]);
    assert_eq!(copy.dump().await, before);

    // Of a tenant, of a user, since a time.
    let of = async |arguments: &[&str]| -> BTreeSet<String> {
        let lines = parsed(&export(&server.database, arguments).await);
        let owner = |line: &Value| format!("{}/{}", line["tenant"], line["user"]).replace('"', "");
        lines.iter().map(owner).collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(of(&["--tenant", "other"]).await, set(&["other/ann"]));
    assert_eq!(of(&["--user", "local"]).await, set(&["local/local"]));
    assert_eq!(
        of(&["--tenant", "other", "--user", "local"]).await,
        set(&[])
    );
    assert_eq!(of(&["--since", "2999-01-01"]).await, set(&[]));
    let all = set(&["local/local", "other/ann"]);
    assert_eq!(of(&["--since", "2020-01-01"]).await, all);
    server.stop().await;
}

#[tokio::test]
async fn a_long_conversation_and_many_short_ones_are_exported_in_pieces() {
    let database = TestDatabase::new().await;
    let owner = Owner::local();
    database.seed(&owner, 230, 3).await;
    database.seed(&owner, 1, 1_203).await;
    database.seed(&owner, 2, 0).await;
    let rows = Rows::of(&database).await;
    let long = "x".repeat(150_000);
    for _ in 0..2 {
        database.seed(&owner, 1, 30).await;
    }
    rows.run(
        "UPDATE agent_messages SET content = $1 WHERE conversation_id IN \
         (SELECT id FROM agent_conversations WHERE message_count = 30)",
        [long.into()],
    )
    .await
    .unwrap();
    let lines = export(&database, &[]).await;
    let parsed = parsed(&lines);
    let mut counts: Vec<usize> = parsed
        .iter()
        .map(|line| line["messages"].as_array().unwrap().len())
        .collect();
    counts.sort_unstable();
    let mut expected = vec![0, 0];
    expected.extend([3; 230]);
    expected.extend([30, 30, 1_203]);
    assert_eq!(counts, expected);
    let copy = TestDatabase::new().await;
    assert_eq!(import(&copy, &lines).await["added"], 235);
    assert_eq!(export(&copy, &[]).await, lines);
}

#[tokio::test]
async fn an_exported_line_that_was_changed_by_hand_is_refused_with_a_reason() {
    let database = TestDatabase::new().await;
    database.seed(&Owner::local(), 1, 2).await;
    let line = parsed(&export(&database, &[]).await).remove(0);
    let copy = TestDatabase::new().await;
    let secret = "Zyxwomb";
    // The messages, with other fields in one of them.
    let changed = |place: usize, fields: Value| {
        let mut messages = line["messages"].clone();
        let fields = fields.as_object().unwrap().clone();
        messages[place].as_object_mut().unwrap().extend(fields);
        messages
    };
    let reply = line["messages"][1]["id"].clone();
    for (field, value, reason) in [
        ("revision", json!(0), "revision must be positive"),
        ("revision", json!(i64::MAX), "revision must be positive"),
        ("revision", json!(secret), "another type"),
        ("colour", json!(secret), "does not write"),
        ("title", json!(secret.repeat(40)), "title is no valid title"),
        ("title_status", json!(secret), "title_status is unknown"),
        ("agent", json!("x".repeat(65)), "agent is longer than 64"),
        ("created_at", json!("2999-01-01T00:00:00Z"), "in the future"),
        ("created_at", json!(secret), "another type"),
        (
            "created_at",
            json!("-5000-01-01T00:00:00Z"),
            "from the years 1 to 9999",
        ),
        (
            "last_message_at",
            json!("2016-12-31T23:59:60Z"),
            "no leap second",
        ),
        (
            "pinned_at",
            json!("+10000-01-01T00:00:00Z"),
            "from the years 1 to 9999",
        ),
        (
            "updated_at",
            json!("2024-05-01T09:00:00.123456789Z"),
            "in microseconds",
        ),
        ("user", json!(""), "user is no valid name"),
        ("external_id", json!("a\nb"), "external_id is no valid id"),
        ("external_id", json!(""), "external_id is no valid id"),
        (
            "topic_hint",
            json!("a\u{0}"),
            "topic_hint has the character",
        ),
        ("messages", Value::Null, "missing field"),
        ("metadata", json!({ "a b": secret }), "a key of metadata"),
        ("turns", json!([{ "id": secret }]), "another type"),
        ("title_status", json!("ready"), "title is missing"),
        ("pinned_at", json!("2999-01-01T00:00:00Z"), "in the future"),
        (
            "messages",
            changed(0, json!({ "created_at": "2999-01-01T00:00:00Z" })),
            "in the future",
        ),
        (
            "messages",
            changed(0, json!({ "content": " " })),
            "messages[0]: the message is empty",
        ),
        (
            "messages",
            changed(0, json!({ "content": secret.repeat(40_000) })),
            "messages[0]: the message is longer than 262144 bytes",
        ),
        (
            "messages",
            changed(1, json!({ "author": secret })),
            "messages.author is that of a reply",
        ),
        (
            "messages",
            changed(1, json!({ "in_reply_to": reply })),
            "a message answers itself",
        ),
    ] {
        let mut line = line.clone();
        line[field] = value;
        let ended = Titlecast::new(&["import", "lines.jsonl"])
            .env("DATABASE_URL", &copy.url)
            .file("lines.jsonl", &format!("{line}\n"))
            .run()
            .await;
        assert_eq!(ended.code, Some(1), "{field}: {ended:?}");
        assert!(ended.stderr.contains(reason), "{field}: {}", ended.stderr);
        assert!(!ended.stderr.contains(secret), "{field}: {}", ended.stderr);
    }
    assert_eq!(copy.census().await, [0; 5]);
    // A reply may be empty, as one that failed is, and the next try of a title lies ahead.
    let mut line = line.clone();
    line["messages"] = changed(1, json!({ "content": "", "status": "incomplete" }));
    line["title_retry_at"] = json!("2999-01-01T00:00:00Z");
    assert_eq!(import(&copy, &format!("{line}\n")).await["added"], 1);
}

#[tokio::test]
async fn a_line_names_its_owner_once_and_another_owner_is_erased_with_all_texts() {
    let database = TestDatabase::new().await;
    let rows = Rows::of(&database).await;
    // One of them is exported in pieces.
    let mut ids = database.seed(&Owner::local(), 1, 4).await;
    ids.extend(database.seed(&Owner::local(), 1, 601).await);
    let authors = "UPDATE agent_messages SET author = 'local' WHERE role = 'user'";
    rows.run(authors, []).await.unwrap();
    for id in &ids {
        rows.run(
            "INSERT INTO agent_message_versions \
             (id, conversation_id, message_id, position, role, content, status, created_at, replaced_at, author) \
             SELECT $1, conversation_id, id, position, role, 'former', status, created_at, created_at, author \
             FROM agent_messages WHERE conversation_id = $2 AND position = 1",
            [uuid::Uuid::now_v7().into(), bound(id)],
        )
        .await
        .unwrap();
    }
    let lines = export(&database, &[]).await;
    assert!(!lines.contains("author"), "the owner is named again");

    let authors = async |database: &TestDatabase| -> Vec<(String, i64)> {
        let sql = "SELECT author, count(*) AS n FROM (SELECT author FROM agent_messages WHERE author IS NOT NULL \
             UNION ALL SELECT author FROM agent_message_versions) AS written GROUP BY author";
        let found = Rows::of(database).await.all(sql, []).await;
        let of = |row: &sea_orm::QueryResult| {
            let author: String = row.try_get("", "author").unwrap();
            (author, row.try_get("", "n").unwrap())
        };
        found.iter().map(of).collect()
    };
    let written = authors(&database).await;
    assert_eq!(written, [("local".to_owned(), 2 + 301 + 2)]);
    let copy = TestDatabase::new().await;
    import(&copy, &lines).await;
    assert_eq!(authors(&copy).await, written);

    let mut moved = parsed(&lines);
    for line in &mut moved {
        line["user"] = json!("ada2");
    }
    let moved: String = moved.iter().map(|line| format!("{line}\n")).collect();
    let copy = TestDatabase::new().await;
    assert_eq!(import(&copy, &moved).await["added"], 2);
    assert_eq!(
        authors(&copy).await,
        [("ada2".to_owned(), 2 + 301 + 2)],
        "the new owner wrote what the former one did"
    );
    let arguments = [
        "erase", "--tenant", "local", "--user", "ada2", "--wait", "0s",
    ];
    let erase = Titlecast::new(&arguments).env("DATABASE_URL", &copy.url);
    erase.run().await.ok();
    assert_eq!(copy.census().await, [0; 5]);

    // Others are named.
    let guest =
        "UPDATE agent_messages SET author = 'bob' WHERE conversation_id = $1 AND position = 3";
    rows.run(guest, [bound(&ids[0])]).await.unwrap();
    let lines = export(&database, &[]).await;
    assert_eq!(lines.matches("\"author\":\"bob\"").count(), 1);
    assert_eq!(lines.matches("author").count(), 1);
}

#[tokio::test]
async fn a_conversation_of_another_owner_is_found_by_its_external_id_again() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let body = json!({ "external_id": "m1", "role": "user", "content": "What is a lease?" });
    let path = "/api/v1/conversations/chat-7/messages";
    let (status, answer) = server.send("POST", path, body.clone()).await;
    assert_eq!(status, 201, "{answer}");
    let mut line = parsed(&export(&server.database, &[]).await).remove(0);
    server.stop().await;
    line["user"] = json!("ada");
    let mut copy = Server::start(&model).await;
    let ended = Titlecast::new(&["import", "lines.jsonl"])
        .env("DATABASE_URL", &copy.database.url)
        .file("lines.jsonl", &format!("{line}\n"))
        .run()
        .await;
    assert_eq!(ended.code, Some(1));
    let reason = "line 1: id is not the one that external_id has under this tenant and user; if they changed, remove id";
    assert!(ended.stderr.starts_with(reason), "{}", ended.stderr);
    line.as_object_mut().unwrap().remove("id");
    let line = format!("{line}\n");
    assert_eq!(import(&copy.database, &line).await["added"], 1);
    assert_eq!(import(&copy.database, &line).await["unchanged"], 1);
    let theirs = copy.serve(owner("local", "ada")).await;
    assert_eq!(request(&theirs, "GET", path, None).await.0, 200);
    // Also the message: it is not recorded twice.
    let (status, answer) = request(&theirs, "POST", path, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(copy.database.census().await[1], 1);
    copy.stop().await;
}

#[tokio::test]
async fn a_caller_downloads_own_conversations_and_no_others() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &GUARDED).await;
    let url = format!("{}/api/v1/export", server.url);
    let token = |scope: &str| signed(&with(claims("acme", "ann"), "scope", scope.into()));
    let own = Owner {
        tenant: "acme".into(),
        user: "ann".into(),
    };
    server.database.seed(&own, 3, 2).await;
    server.database.seed(&Owner::local(), 3, 2).await;
    let answer = client().get(&url).bearer_auth(token("conversations:read"));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/jsonl");
    assert_eq!(
        header("content-disposition"),
        "attachment; filename=\"conversations.jsonl\""
    );
    assert_eq!(header("cache-control"), "no-store");
    let lines = answer.text().await.unwrap();
    assert_eq!(
        lines,
        export(&server.database, &["--tenant", "acme", "--user", "ann"]).await
    );
    assert_eq!(parsed(&lines).len(), 3);
    let refused = client().get(&url).bearer_auth(token("conversations:write"));
    assert_eq!(refused.send().await.unwrap().status(), 403);
    assert_eq!(client().get(&url).send().await.unwrap().status(), 401);
    server.stop().await;
}

#[tokio::test]
async fn what_is_sent_during_an_export_is_not_in_it_and_is_not_held_up() {
    let database = TestDatabase::new().await;
    let user = |user: &str| Owner {
        tenant: "local".into(),
        user: user.into(),
    };
    for owner in [Owner::local(), user("bob")] {
        database.seed(&owner, 400, 2).await;
    }
    let rows = Rows::of(&database).await;
    // More than the buffers between the server and a client that does not read.
    rows.run(
        "UPDATE agent_messages SET content = $1",
        ["x".repeat(60_000).into()],
    )
    .await
    .unwrap();
    let model = ModelServer::start().await;
    let mut server = Server::start_on(database, &model, &[]).await;
    let bobs = server.serve(user("bob")).await;
    let eves = server.serve(user("eve")).await;
    let begin = async |url: &str| {
        let url = format!("{url}/api/v1/export");
        client().get(url).send().await.unwrap()
    };
    let mut first = begin(&server.url).await;
    let mut text = first.chunk().await.unwrap().unwrap().to_vec();
    let refused = async |url: &str| {
        let answer = begin(url).await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "OVERLOADED");
    };
    // One for each user, and two in all: others wait for neither.
    refused(&server.url).await;
    let second = begin(&bobs).await;
    assert_eq!(second.status(), 200);
    refused(&eves).await;
    drop(second);
    let id = server.begin("Sent during the export").await;
    rows.0
        .execute_unprepared("UPDATE agent_messages SET content = 'changed'")
        .await
        .unwrap();
    while let Some(chunk) = first.chunk().await.unwrap() {
        text.extend(chunk);
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(parsed(&text).len(), 400);
    assert!(!text.contains(&id) && !text.contains("changed"));
    server.stop().await;
}

#[tokio::test]
async fn a_guest_downloads_what_they_wrote_while_the_tenant_shares() {
    let model = ModelServer::start().await;
    let team = Team::start(&model, "tenant").await;
    let database = &team.server.database;
    let adas = database.seed(&owner("acme", "ada"), 3, 40).await;
    let bobs = database.seed(&owner("acme", "bob"), 1, 2).await;
    let rows = Rows::of(database).await;
    // Twenty messages in each of two: more than are read at once.
    for id in &adas[1..] {
        rows.run(
            "UPDATE agent_messages SET author = 'bob' WHERE conversation_id = $1 AND role = 'user'",
            [bound(id)],
        )
        .await
        .unwrap();
    }
    rows.run(
        "UPDATE agent_messages SET author = 'carl' WHERE conversation_id = $1 AND role = 'user'",
        [bound(&adas[0])],
    )
    .await
    .unwrap();
    let download = async |door: &str| {
        let answer = client().get(format!("{door}/api/v1/export"));
        parsed(&answer.send().await.unwrap().text().await.unwrap())
    };
    let lines = download(&team.bob).await;
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["id"], bobs[0].as_str());
    let mut ids: Vec<&str> = Vec::new();
    for line in &lines[1..] {
        ids.push(line["id"].as_str().unwrap());
        assert_eq!(line["user"], "bob");
        assert_eq!(line["revision"], Value::Null);
        let messages = line["messages"].as_array().unwrap();
        let texts: Vec<_> = messages.iter().map(|message| &message["content"]).collect();
        let written: Vec<_> = (1..40).step_by(2).map(|n| format!("message {n}")).collect();
        assert_eq!(texts, written.iter().collect::<Vec<_>>());
        assert!(messages.iter().all(|message| message["role"] == "user"));
    }
    ids.sort_unstable();
    let mut expected: Vec<&str> = adas[1..].iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert_eq!(download(&team.ada).await.len(), 3, "she wrote only in hers");
    assert_eq!(download(&team.eve).await.len(), 0, "another tenant's");

    // The command prints the same, whatever the policy, and leaves others' conversations out where Bob moves.
    let of_bob = ["--tenant", "acme", "--user", "bob"];
    assert_eq!(parsed(&export(database, &of_bob).await), lines);
    let owned = export(database, &[&of_bob[..], &["--owned"]].concat()).await;
    assert_eq!(parsed(&owned), lines[..1]);
    let new = export(
        database,
        &[&of_bob[..], &["--since", "2999-01-01"]].concat(),
    )
    .await;
    assert_eq!(new, "");
    let all = parsed(&export(database, &["--tenant", "acme"]).await);
    assert_eq!(all.len(), 4);

    // They can be imported, as a conversation of Bob's.
    let copy = TestDatabase::new().await;
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let counts = import(&copy, &text).await;
    assert_eq!(
        (&counts["added"], &counts["messages"]),
        (&json!(3), &json!(42))
    );

    team.reload("private");
    assert_eq!(download(&team.bob).await.len(), 1);
    assert_eq!(parsed(&export(&team.server.database, &of_bob).await), lines);
    team.server.stop().await;
}
