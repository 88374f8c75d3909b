//! The previous version reads and writes the same rows: it numbers messages by their count, has one reply per turn, and
//! no versions.

use serde_json::json;
use titlecast::db::Database;
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, TestDatabase, calls::send_message, stored::id as value,
};
use uuid::Uuid;

use super::{conversation_with, edit, messages, read, regenerate, settled, texts};

use crate::migrations::NAMES;

/// What the version before selects and inserts, column by column.
const OLD_MESSAGES: &str =
    "SELECT id, conversation_id, position, role, content, status, created_at, attachments
    FROM agent_messages WHERE conversation_id = $1 ORDER BY position";
const OLD_TURNS: &str = "SELECT message_id, conversation_id, reply_id, tenant_id, user_id, idempotency_key,
    request_hash, reply_status, reply_failure, created_at, run_node, run_lease_until, run_text, stop_asked
    FROM agent_turns WHERE conversation_id = $1 ORDER BY created_at DESC, message_id DESC";

#[tokio::test]
async fn rows_of_this_version_are_dense_and_known_to_the_one_before() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    let id = conversation_with(&model, &server.url, "Reply 0").await;
    let refused = || Answer::error(401, "invalid_request_error", None, "No.");
    for answer in [
        Answer::Deltas(vec!["Reply 1"]),
        refused(),
        Answer::Deltas(vec!["Reply 2"]),
    ] {
        model.reply(answer);
        let asked = messages(&read(&server.url, &id).await)[0]["id"].clone();
        regenerate(&server.url, json!({ "messageId": asked })).await;
        settled(&server.url, &id).await;
        // Dense, with values that the version before knows.
        let found = rows.all(OLD_MESSAGES, [value(&id)]).await;
        let count = rows
            .all(
                "SELECT message_count FROM agent_conversations WHERE id = $1",
                [value(&id)],
            )
            .await[0]
            .try_get::<i64>("", "message_count")
            .unwrap();
        let positions: Vec<i64> = found
            .iter()
            .map(|row| row.try_get("", "position").unwrap())
            .collect();
        assert_eq!(positions, (1..=count).collect::<Vec<_>>());
        for row in &found {
            let status: String = row.try_get("", "status").unwrap();
            assert!(["complete", "incomplete"].contains(&status.as_str()));
        }
        // The newest turn is the newest reply, under an id of its own.
        let turns = rows.all(OLD_TURNS, [value(&id)]).await;
        let reply: Uuid = turns[0].try_get("", "reply_id").unwrap();
        assert_eq!(
            messages(&read(&server.url, &id).await)[1]["id"],
            reply.to_string()
        );
        let status: String = turns[0].try_get("", "reply_status").unwrap();
        assert!(["completed", "failed"].contains(&status.as_str()));
    }
    // The version before adds a message and deletes the conversation's messages, in its own words.
    let at = "SELECT created_at FROM agent_turns WHERE conversation_id = $1 LIMIT 1";
    let at: chrono::DateTime<chrono::Utc> = rows.all(at, [value(&id)]).await[0]
        .try_get("", "created_at")
        .unwrap();
    let insert = "INSERT INTO agent_messages (id, conversation_id, position, role, content, status, created_at, attachments)
        VALUES ($1, $2, $3, $4, $5, 'complete', $6, NULL)";
    let count = "UPDATE agent_conversations SET message_count = message_count + 1 WHERE id = $1";
    for (position, role, text) in [
        (3_i64, "user", "An older question"),
        (4, "assistant", "An older reply"),
    ] {
        rows.run(count, [value(&id)]).await.unwrap();
        let values = [
            Uuid::now_v7().into(),
            value(&id),
            position.into(),
            role.into(),
            text.into(),
            at.into(),
        ];
        rows.run(insert, values).await.unwrap();
    }
    let now = read(&server.url, &id).await;
    assert_eq!(
        texts(&now["messages"]["nodes"])[2..],
        ["An older question", "An older reply"]
    );
    assert_eq!(messages(&now)[3]["outcome"], "COMPLETED");
    // Its reply is still regenerated.
    model.reply(Answer::Deltas(vec!["Newer"]));
    regenerate(&server.url, json!({ "messageId": messages(&now)[3]["id"] })).await;
    let now = settled(&server.url, &id).await;
    assert_eq!(texts(&messages(&now)[3]["versions"]), ["An older reply"]);
    rows.run(
        "DELETE FROM agent_messages WHERE conversation_id = $1",
        [value(&id)],
    )
    .await
    .unwrap();
    assert_eq!(rows.count("agent_message_versions").await, 0);
    server.stop().await;
}

#[tokio::test]
async fn the_schema_goes_down_and_up_with_versions_and_loses_no_message_that_counts() {
    let model = ModelServer::start().await;
    let database = TestDatabase::new().await;
    let server = Server::start_on(database.shared(), &model, &[]).await;
    let id = conversation_with(&model, &server.url, "Reply 0").await;
    let asked = messages(&read(&server.url, &id).await)[0]["id"].clone();
    for _ in 0..2 {
        regenerate(&server.url, json!({ "messageId": asked })).await;
        settled(&server.url, &id).await;
    }
    edit(
        &server.url,
        json!({ "messageId": asked, "text": "Plan a trip to Nara" }),
    )
    .await;
    settled(&server.url, &id).await;
    model.reply(Answer::error(401, "invalid_request_error", None, "No."));
    send_message(
        &server.url,
        json!({ "conversationId": id, "text": "Fails" }),
    )
    .await;
    let before = settled(&server.url, &id).await;
    server.stop().await;

    let rows = Rows::of(&database).await;
    let db = Database::connect(&database.url, 2).await.unwrap();
    let versions = NAMES
        .iter()
        .position(|name| name.ends_with("create_versions"));
    let newer = NAMES.len() - versions.unwrap();
    db.migrate_down(newer as u32).await.unwrap();
    let found = rows.all(OLD_MESSAGES, [value(&id)]).await;
    let contents: Vec<String> = found
        .iter()
        .map(|row| row.try_get("", "content").unwrap())
        .collect();
    assert_eq!(contents[0], "Plan a trip to Nara");
    assert_eq!(contents.len(), 3);
    // One turn for each message, with its newest reply.
    let turns = rows.all(OLD_TURNS, [value(&id)]).await;
    let of: Vec<(Uuid, Uuid)> = turns
        .iter()
        .map(|row| {
            (
                row.try_get("", "message_id").unwrap(),
                row.try_get("", "reply_id").unwrap(),
            )
        })
        .collect();
    let id_of = |index: usize| {
        messages(&before)[index]["id"]
            .as_str()
            .unwrap()
            .parse::<Uuid>()
            .unwrap()
    };
    assert_eq!(of, [(id_of(2), id_of(3)), (id_of(0), id_of(1))]);
    db.migrate_up(None).await.unwrap();
    db.close().await.unwrap();

    let server = Server::start_on(database, &model, &[]).await;
    let now = read(&server.url, &id).await;
    assert_eq!(texts(&now["messages"]["nodes"]), contents);
    assert_eq!(now["messageCount"], 3);
    model.reply(Answer::Deltas(vec!["Anew"]));
    let answer = regenerate(&server.url, json!({ "messageId": messages(&now)[2]["id"] })).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    let now = settled(&server.url, &id).await;
    assert_eq!(messages(&now)[3]["content"], "Anew");
    server.stop().await;
}
