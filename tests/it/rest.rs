//! The legacy routes on one conversation: a whole reply, history, pages of messages, rename, delete.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Server, Step, assert_common_stream, server::client, sse::titles, within,
};

const LIST: &str = "/api/v1/conversations";

fn path_of(id: &str) -> String {
    format!("{LIST}/{id}")
}

#[track_caller]
fn assert_keys(object: &Value, expected: &[&str]) {
    let mut keys: Vec<_> = object.as_object().unwrap().keys().collect();
    let mut expected = expected.to_vec();
    keys.sort();
    expected.sort_unstable();
    assert_eq!(keys, expected);
}

#[track_caller]
fn assert_time(value: &Value) {
    let text = value.as_str().unwrap();
    assert!(
        text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok(),
        "{text}"
    );
}

/// The contents of a page of messages, oldest or newest first as it came.
fn contents(messages: &Value) -> Vec<&str> {
    let messages = messages.as_array().unwrap().iter();
    messages
        .map(|message| message["content"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_whole_reply_comes_with_the_title() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (status, answer) = server
        .send(
            "POST",
            "/api/v1/chat",
            json!({ "message": "Plan a trip to Kyoto" }),
        )
        .await;
    assert_eq!(status, 200);
    assert_keys(
        &answer,
        &[
            "conversation_id",
            "response",
            "agent_used",
            "handoff_occurred",
            "display_name",
            "metadata",
        ],
    );
    assert_eq!(answer["response"], ModelServer::REPLY.concat());
    assert_eq!(answer["display_name"], ModelServer::TITLE);
    assert_eq!(answer["agent_used"], "triage");
    assert_eq!(answer["handoff_occurred"], false);
    assert!(answer["metadata"].is_object());

    let body = json!({ "message": "And Nara?", "conversation_id": answer["conversation_id"] });
    let (status, next) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(status, 200);
    assert_eq!(next["conversation_id"], answer["conversation_id"]);
    assert_eq!(next["display_name"], ModelServer::TITLE);
    assert_eq!(model.title_requests().len(), 1);
}

#[tokio::test]
async fn a_whole_reply_that_fails_is_an_error_and_the_message_stays() {
    let model = ModelServer::start().await;
    model.reply(Answer::error(401, "invalid_request_error", None, "no"));
    let server = Server::start(&model).await;
    let id = uuid::Uuid::now_v7().to_string();
    let body = json!({ "message": "Plan a trip to Kyoto", "conversation_id": id });
    let (status, error) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(status, 502);
    assert_eq!(error["code"], "MODEL_MISCONFIGURED");
    let (_, history) = server.get(&path_of(&id)).await;
    assert_eq!(contents(&history["messages"]), ["Plan a trip to Kyoto"]);
    assert_eq!(history["display_name"], ModelServer::TITLE);
}

#[tokio::test]
async fn null_is_the_same_as_absent_and_what_is_not_known_is_ignored() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for body in [
        json!({
            "message": "Plan a trip", "conversation_id": null, "agent_type": null, "context": null
        }),
        json!({
            "message": "Plan a trip", "share_location": "yes", "location": [1.5], "run_options": 7,
            "attachments": {}, "memory_strategy": null, "something": { "else": true }
        }),
        json!({ "message": "Plan a trip", "context": { "topic_hint": null, "other": [] } }),
    ] {
        let (status, answer) = server.send("POST", "/api/v1/chat", body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["agent_used"], "triage");
        let id = answer["conversation_id"].as_str().unwrap();
        let (_, history) = server.get(&path_of(id)).await;
        assert_eq!(history["topic_hint"], "Plan a trip");
    }
}

#[tokio::test]
async fn a_topic_hint_of_the_client_is_kept_up_to_256_characters() {
    let model = ModelServer::start().await;
    model.refuse_title();
    let server = Server::start(&model).await;
    let hint = "旅".repeat(300);
    let body = json!({ "message": "Plan a trip", "context": { "topic_hint": hint } });
    let (status, answer) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(status, 200);
    assert_eq!(answer["display_name"], Value::Null);
    let id = answer["conversation_id"].as_str().unwrap();
    let (_, history) = server.get(&path_of(id)).await;
    assert_eq!(history["topic_hint"], "旅".repeat(256));
    assert_eq!(history["display_name"], Value::Null);
    assert_eq!(history["title_generated_at"], Value::Null);
}

#[tokio::test]
async fn a_history_holds_the_conversation_oldest_message_first() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let (status, history) = server.get(&path_of(&id)).await;
    assert_eq!(status, 200);
    assert_keys(
        &history,
        &[
            "conversation_id",
            "display_name",
            "topic_hint",
            "title_generated_at",
            "messages",
            "created_at",
            "last_message_at",
            "updated_at",
            "agent_context",
        ],
    );
    assert_eq!(history["conversation_id"], id);
    assert_eq!(history["display_name"], ModelServer::TITLE);
    assert_eq!(history["topic_hint"], "Plan a trip to Kyoto");
    for time in ["title_generated_at", "created_at", "updated_at"] {
        assert_time(&history[time]);
    }
    let reply = ModelServer::REPLY.concat();
    assert_eq!(
        contents(&history["messages"]),
        ["Plan a trip to Kyoto", &reply]
    );
    for (message, role) in history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["user", "assistant"])
    {
        let mut keys = vec!["message_id", "role", "content", "timestamp", "attachments"];
        if role == "user" {
            keys.push("author");
            assert_eq!(message["author"], "local");
        }
        assert_keys(message, &keys);
        assert_eq!(message["role"], role);
        assert_time(&message["timestamp"]);
        assert!(uuid::Uuid::parse_str(message["message_id"].as_str().unwrap()).is_ok());
    }
    // A UUID in capitals is the same one.
    assert_eq!(
        server.get(&path_of(&id.to_uppercase())).await,
        (200, history)
    );
    let nobodys = uuid::Uuid::now_v7().to_string();
    assert_eq!(server.get(&path_of(&nobodys)).await.0, 404);
}

#[tokio::test]
async fn pages_of_messages_can_be_walked_there_and_back_in_both_directions() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = uuid::Uuid::now_v7().to_string();
    let reply = ModelServer::REPLY.concat();
    let mut oldest_first = Vec::new();
    for message in ["one", "two", "three", "four", "five"] {
        let body = json!({ "message": message, "conversation_id": id });
        assert_eq!(server.send("POST", "/api/v1/chat", body).await.0, 200);
        oldest_first.extend([message, &reply]);
    }
    let newest_first: Vec<&str> = oldest_first.iter().rev().copied().collect();
    let messages = format!("{}/messages", path_of(&id));
    let (_, page) = server.get(&messages).await;
    assert_keys(&page, &["items", "next_cursor", "prev_cursor"]);
    assert_eq!(contents(&page["items"]), newest_first);
    assert_eq!(
        (&page["next_cursor"], &page["prev_cursor"]),
        (&Value::Null, &Value::Null)
    );

    for (direction, expected) in [("asc", oldest_first), ("desc", newest_first)] {
        let first = format!("{messages}?limit=4&direction={direction}");
        let (_, mut page) = server.get(&first).await;
        assert_eq!(page["prev_cursor"], Value::Null);
        let mut pages = vec![page.clone()];
        while let Some(cursor) = page["next_cursor"].as_str() {
            page = server.get(&format!("{first}&cursor={cursor}")).await.1;
            pages.push(page.clone());
        }
        let walked: Vec<&str> = pages
            .iter()
            .flat_map(|page| contents(&page["items"]))
            .collect();
        assert_eq!(walked, expected);
        assert_eq!(pages.len(), 3);
        pages.pop();
        while let Some(before) = pages.pop() {
            let cursor = page["prev_cursor"].as_str().unwrap();
            page = server.get(&format!("{first}&cursor={cursor}")).await.1;
            assert_eq!(page, before);
        }
        assert_eq!(page["prev_cursor"], Value::Null);
    }
}

#[tokio::test]
async fn a_rename_is_trimmed_and_collapsed_and_too_long_or_empty_ones_are_refused() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let title_path = format!("{}/title", path_of(&id));
    let longest = "字".repeat(128);
    let almost = format!("  {longest} \n");
    for (typed, stored) in [
        (" \tKyoto \r\n in\u{3000}\u{a0}autumn  ", "Kyoto in autumn"),
        (&longest, &longest),
        (&almost, &longest),
        ("x", "x"),
    ] {
        let (status, summary) = server
            .send("PATCH", &title_path, json!({ "display_name": typed }))
            .await;
        assert_eq!(status, 200, "{typed:?}");
        assert_eq!(summary["display_name"], stored);
        let (_, history) = server.get(&path_of(&id)).await;
        assert_eq!(history["display_name"], stored);
        // Of the generated title that was replaced.
        assert_time(&history["title_generated_at"]);
    }
    let before = server.get(&path_of(&id)).await;
    for typed in [
        json!("x".repeat(300)),
        json!("字".repeat(129)),
        json!(""),
        json!(" \n\t\u{3000}"),
        json!("\u{200b}\u{2060}"),
        json!(null),
        json!(["x"]),
    ] {
        let body = json!({ "display_name": typed });
        let (status, error) = server.send("PATCH", &title_path, body).await;
        assert_eq!(status, 422, "{typed}");
        assert_eq!(error["code"], "INVALID_INPUT");
    }
    assert_eq!(server.get(&path_of(&id)).await, before);
}

#[tokio::test]
async fn a_deleted_conversation_is_nowhere_and_stays_so() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let kept = server.begin("Plan a trip to Kyoto").await;
    let delete = client().delete(format!("{}{}", server.url, path_of(&id)));
    let response = within(delete.send()).await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(within(response.bytes()).await.unwrap().len(), 0);

    let path = path_of(&id);
    let title = json!({ "display_name": "Back again" });
    assert_eq!(server.get(&path).await.0, 404);
    assert_eq!(server.get(&format!("{path}/messages")).await.0, 404);
    assert_eq!(server.get(&format!("{path}/stream")).await.0, 404);
    assert_eq!(
        server
            .send("PATCH", &format!("{path}/title"), title)
            .await
            .0,
        404
    );
    assert_eq!(server.send("DELETE", &path, Value::Null).await.0, 204);
    let again = json!({ "message": "Are you there?", "conversation_id": id });
    let (status, error) = server.send("POST", "/api/v1/chat", again).await;
    assert_eq!((status, error["code"].as_str()), (404, Some("NOT_FOUND")));
    for list in [LIST.to_owned(), format!("{LIST}/search?q=kyoto")] {
        let (_, page) = server.get(&list).await;
        let items = page["items"].as_array().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0]["conversation_id"], kept);
    }
}

#[tokio::test]
async fn deleting_while_the_reply_is_written_ends_its_stream_and_leaves_no_text() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let gate = model.held_title(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    let mut server = Server::start_with(&model, &["--title-grace", "60s"]).await;
    let mut stream = server
        .stream(json!({ "message": "Plan a trip to Kyoto" }))
        .await;
    let mut events = vec![stream.next().await.unwrap()];
    steps.send(Step::delta("Hello")).unwrap();
    events.push(stream.next().await.unwrap());
    let path = path_of(events[0]["conversation_id"].as_str().unwrap());
    assert_eq!(server.send("DELETE", &path, Value::Null).await.0, 204);
    // Nothing of it waits for the title, which will never come.
    events.extend(stream.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.incomplete");
    assert_eq!(terminal["response_text"], "Hello");

    // The title that comes now is the last thing that could bring something back.
    drop(gate);
    server.end().await;
    let [conversations, messages, _] = server.database.row_counts().await;
    assert_eq!((conversations, messages), (1, 0));
    let rows = server.database.connect().await;
    let texts = "SELECT count(*) AS n FROM agent_conversations
        WHERE coalesce(display_name, topic_hint, last_message_preview) IS NOT NULL";
    let texts = sea_orm::Statement::from_string(rows.get_database_backend(), texts);
    let row = rows.query_one_raw(texts).await.unwrap().unwrap();
    assert_eq!(row.try_get::<i64>("", "n").unwrap(), 0);
}

#[tokio::test]
async fn a_published_title_is_in_the_end_of_the_stream_even_after_a_deletion() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let server = Server::start(&model).await;
    let mut stream = server
        .stream(json!({ "message": "Plan a trip to Kyoto" }))
        .await;
    let mut events = vec![stream.next().await.unwrap(), stream.next().await.unwrap()];
    assert_eq!(titles(&events), [ModelServer::TITLE]);
    steps.send(Step::delta("Hello")).unwrap();
    events.push(stream.next().await.unwrap());
    let path = path_of(events[0]["conversation_id"].as_str().unwrap());
    assert_eq!(server.send("DELETE", &path, Value::Null).await.0, 204);
    events.extend(stream.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.incomplete");
    assert_eq!(terminal["display_name"], ModelServer::TITLE);
}

#[tokio::test]
async fn first_messages_at_once_under_an_id_that_clients_chose_are_one_conversation() {
    const ROUNDS: usize = 5;
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for round in 1..=ROUNDS {
        let id = uuid::Uuid::new_v4().to_string();
        let sending = (0..8).map(|number| {
            let message = format!("Plan a trip to Kyoto for {number} people");
            let body = json!({ "message": message, "conversation_id": id });
            server.send("POST", "/api/v1/chat", body)
        });
        for (status, answer) in futures_util::future::join_all(sending).await {
            assert_eq!(status, 200, "{answer}");
            assert_eq!(answer["conversation_id"], id);
        }
        let (_, history) = server.get(&path_of(&id)).await;
        let mut contents = contents(&history["messages"]);
        contents.sort_unstable();
        contents.dedup();
        // Each message, and the reply that they all got.
        assert_eq!(
            (
                contents.len(),
                history["messages"].as_array().unwrap().len()
            ),
            (9, 16)
        );
        assert_eq!(model.title_requests().len(), round);
    }
}
