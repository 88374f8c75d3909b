//! `regenerateReply`: the newest reply is written anew, and the former one is kept as a version.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, Step, TestDatabase,
    calls::{code, data, delete, send_message},
    nats::{self, two_nodes_with},
    replies::{Reader, write},
    server::request,
};

use super::{conversation_with, edit, messages, read, regenerate, settled, texts};

#[tokio::test]
async fn the_newest_reply_is_written_anew_three_times_and_all_of_them_stay() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = conversation_with(&model, &server.url, "Reply 0").await;
    let before = read(&server.url, &id).await;
    let asked = messages(&before)[0]["id"].clone();
    for (round, text) in ["Reply 1", "Reply 2", "Reply 3"].into_iter().enumerate() {
        model.reply(Answer::Deltas(vec![text]));
        let reply = messages(&read(&server.url, &id).await)[1]["id"].clone();
        // By the reply, or by the message that it answers.
        let target = if round == 1 { &asked } else { &reply };
        let answer = regenerate(&server.url, json!({ "messageId": target })).await;
        let payload = &answer["data"]["regenerateReply"];
        assert_eq!(
            payload["conversation"],
            json!({ "id": id, "messageCount": 1 }),
            "{answer}"
        );
        assert_eq!(payload["message"]["id"], asked);
        let now = settled(&server.url, &id).await;
        assert_eq!(now["messageCount"], 2);
        assert_eq!(now["lastMessagePreview"], text);
        let [first, last] = &messages(&now)[..] else {
            panic!("{now}");
        };
        assert_eq!(first["id"], asked);
        assert_eq!(
            (&last["id"], &last["content"]),
            (&payload["replyId"], &json!(text))
        );
        assert_eq!(last["inReplyTo"], asked);
        let former: Vec<String> = (0..=round).map(|one| format!("Reply {one}")).collect();
        assert_eq!(texts(&last["versions"]), former);
        assert_eq!(last["versions"][0]["inReplyTo"], asked);
        // The model sees neither the former reply nor the message twice.
        let history = &model.reply_requests()[round + 1]["messages"];
        assert_eq!(texts(history), ["Plan a trip to Kyoto"]);
    }
    assert_eq!(
        texts(&before["messages"]["nodes"]),
        ["Plan a trip to Kyoto", "Reply 0"]
    );
    // Former versions are in no search, and each has its own id.
    let (_, found) = request(
        &server.url,
        "GET",
        "/api/v1/conversations/search?q=reply",
        None,
    )
    .await;
    let hits = found["items"].as_array().unwrap();
    assert_eq!(hits.len(), 1, "{found}");
    assert_eq!(hits[0]["preview"], "Reply 3");
    let query = "query ($id: ID!) { node(id: $id) { ... on Message { content } } }";
    let former = data(
        &server.url,
        query,
        json!({ "id": messages(&before)[1]["id"] }),
    )
    .await;
    assert_eq!(former["node"]["content"], "Reply 0");
    // The conversation continues.
    send_message(
        &server.url,
        json!({ "conversationId": id, "text": "Thanks" }),
    )
    .await;
    let now = settled(&server.url, &id).await;
    assert_eq!(now["messageCount"], 4);
    assert_eq!(
        texts(&model.reply_requests()[4]["messages"]),
        ["Plan a trip to Kyoto", "Reply 3", "Thanks"]
    );
    // Deleted, none of it is left.
    delete(&server.url, &id).await;
    let rows = Rows::of(&server.database).await;
    assert_eq!(rows.count("agent_messages").await, 0);
    assert_eq!(rows.count("agent_message_versions").await, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_failed_reply_is_written_anew_and_the_message_is_stored_once() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    model.reply(Answer::error(401, "invalid_request_error", None, "No."));
    let sent = send_message(
        &server.url,
        json!({ "text": "Plan a trip", "autoTitle": false }),
    )
    .await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    settled(&server.url, id).await;
    model.reply(Answer::error(401, "invalid_request_error", None, "No."));
    regenerate(&server.url, json!({ "messageId": sent["replyId"] })).await;
    let now = settled(&server.url, id).await;
    assert_eq!(now["messageCount"], 1);
    assert_eq!(messages(&now)[1]["status"], "FAILED");
    assert_eq!(messages(&now)[1]["versions"][0]["id"], sent["replyId"]);
    model.reply(Answer::Deltas(vec!["At last"]));
    regenerate(&server.url, json!({ "messageId": messages(&now)[0]["id"] })).await;
    let now = settled(&server.url, id).await;
    assert_eq!(texts(&now["messages"]["nodes"]), ["Plan a trip", "At last"]);
    assert_eq!(messages(&now)[1]["versions"].as_array().unwrap().len(), 2);
    assert_eq!(now["messageCount"], 2);
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_written_anew_is_refused_and_changes_nothing() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = conversation_with(&model, &server.url, "Reply 0").await;
    let first = messages(&read(&server.url, &id).await).clone();
    send_message(
        &server.url,
        json!({ "conversationId": id, "text": "And Nara" }),
    )
    .await;
    let before = settled(&server.url, &id).await;
    for older in &first {
        let answer = regenerate(&server.url, json!({ "messageId": older["id"] })).await;
        assert_eq!(code(&answer), "NOT_NEWEST");
        let input = json!({ "messageId": older["id"], "text": "Other" });
        assert_eq!(code(&edit(&server.url, input).await), "NOT_NEWEST");
    }
    let newest = messages(&before)[3]["id"].clone();
    let input = json!({ "messageId": newest, "text": "A reply is not edited" });
    assert_eq!(code(&edit(&server.url, input).await), "NOT_NEWEST");
    let input = json!({ "messageId": messages(&before)[2]["id"], "text": "  " });
    let answer = edit(&server.url, input).await;
    assert_eq!(code(&answer), "INVALID_INPUT");
    assert_eq!(answer["errors"][0]["extensions"]["argument"], "input.text");
    let unknown = json!({ "messageId": uuid::Uuid::now_v7() });
    assert_eq!(code(&regenerate(&server.url, unknown).await), "NOT_FOUND");
    let answer = regenerate(&server.url, json!({ "messageId": "kyoto" })).await;
    assert_eq!(
        answer["errors"][0]["extensions"]["argument"],
        "input.messageId"
    );
    assert_eq!(read(&server.url, &id).await, before);
    // Nor is a reply that is being written.
    let steps = model.live_reply();
    let answer = regenerate(&server.url, json!({ "messageId": newest })).await;
    let running = answer["data"]["regenerateReply"]["replyId"].clone();
    for target in [&running, &messages(&before)[2]["id"]] {
        let answer = regenerate(&server.url, json!({ "messageId": target })).await;
        assert_eq!(code(&answer), "REPLY_RUNNING");
    }
    write(&steps, "Anew");
    steps.send(Step::Finish).unwrap();
    assert_eq!(settled(&server.url, &id).await["messageCount"], 4);
    server.stop().await;
}

#[tokio::test]
async fn a_retry_with_the_same_key_is_the_same_reply() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = conversation_with(&model, &server.url, "Reply 0").await;
    let reply = messages(&read(&server.url, &id).await)[1]["id"].clone();
    let input = json!({ "messageId": reply, "idempotencyKey": "again" });
    let first = regenerate(&server.url, input.clone()).await;
    settled(&server.url, &id).await;
    let second = regenerate(&server.url, input).await;
    let id_of = |answer: &Value| answer["data"]["regenerateReply"]["replyId"].clone();
    assert_eq!(id_of(&second), id_of(&first));
    assert_eq!(model.reply_requests().len(), 2);
    let asked = messages(&read(&server.url, &id).await)[0]["id"].clone();
    let other = json!({ "messageId": asked, "idempotencyKey": "again" });
    assert_eq!(
        code(&regenerate(&server.url, other).await),
        "IDEMPOTENCY_KEY_REUSED"
    );
    let input =
        json!({ "messageId": asked, "text": "Plan a trip to Nara", "idempotencyKey": "edit" });
    let first = edit(&server.url, input.clone()).await;
    settled(&server.url, &id).await;
    let second = edit(&server.url, input).await;
    let id_of = |answer: &Value| answer["data"]["editMessage"]["replyId"].clone();
    assert_eq!(id_of(&second), id_of(&first));
    assert_eq!(model.reply_requests().len(), 3);
    server.stop().await;
}

/// Every cursor of a replaced reply resumes in that reply, on the node that wrote it, on another, and on a new one.
#[tokio::test]
async fn a_place_in_a_replaced_reply_stays_in_that_reply() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let model = ModelServer::start().await;
    let (one, other) = two_nodes_with(&model, &nats, &[]).await;
    let id = conversation_with(&model, &one.url, "The first reply").await;
    let old = messages(&read(&one.url, &id).await)[1]["id"].clone();
    let asked = messages(&read(&one.url, &id).await)[0]["id"].clone();
    let end = Reader::join(&one.url, &id, &old).await.cursor;
    let turn = end.split_once('.').unwrap().0.to_owned();
    let cursors = [
        (format!("{turn}.0"), "The first reply"),
        (format!("{turn}.4"), "first reply"),
        (end, ""),
    ];
    let steps = model.live_reply();
    let answer = regenerate(&one.url, json!({ "messageId": old })).await;
    let new = answer["data"]["regenerateReply"]["replyId"].clone();
    let mut reader = Reader::join(&other.url, &id, &new).await;
    write(&steps, "Another one");
    reader.read_to("Another one").await;
    let middle = reader.cursor.clone();
    let still_there = async |url: &str| {
        for (cursor, rest) in &cursors {
            let reader = Reader::resume(url, &id, &old, cursor).await;
            assert!(reader.recovered);
            assert_eq!(reader.text, *rest);
            let ended = reader.end().await;
            assert_eq!(
                (&ended["messageId"], &ended["text"]),
                (&old, &json!("The first reply"))
            );
            let query = format!(
                "subscription {{ reply(messageId: {asked}, after: \"{cursor}\") {{
                    ... on ReplySoFar {{ messageId }} ... on ReplyEnded {{ messageId }}
                }} }}"
            );
            let mut socket = titlecast_testing::GraphqlSocket::connect(url).await;
            let operation = socket.subscribe(&query, json!({})).await;
            assert_eq!(socket.next_of(&operation, "reply").await["messageId"], old);
        }
    };
    still_there(&one.url).await;
    still_there(&other.url).await;
    let back = Reader::resume(&other.url, &id, &new, &middle).await;
    assert!(back.recovered);
    steps.send(Step::Finish).unwrap();
    assert_eq!(back.end().await["text"], "Another one");
    settled(&one.url, &id).await;
    still_there(&other.url).await;
    let back = Reader::resume(&other.url, &id, &new, &middle).await;
    assert_eq!((back.recovered, back.text.as_str()), (true, ""));
    // On a node that has written and read nothing, as after a restart.
    let third = one.beside(&model, &[]).await;
    still_there(&third.url).await;
    third.stop().await;
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn an_imported_reply_is_written_anew() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let owner = titlecast::conversation::Owner::local();
    let id = server.database.seed(&owner, 1, 4).await.remove(0);
    let before = read(&server.url, &id).await;
    let last = messages(&before)[3].clone();
    model.reply(Answer::Deltas(vec!["Anew"]));
    let answer = regenerate(&server.url, json!({ "messageId": last["id"] })).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    let now = settled(&server.url, &id).await;
    assert_eq!(messages(&now).len(), 4);
    assert_eq!(messages(&now)[3]["content"], "Anew");
    assert_eq!(
        texts(&messages(&now)[3]["versions"]),
        [last["content"].as_str().unwrap()]
    );
    server.stop().await;
}

#[tokio::test]
async fn another_owner_sees_no_version_and_writes_nothing_anew() {
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let server = Server::start_on(database, &model, &[]).await;
    let foreign = titlecast::conversation::Owner {
        tenant: "acme".into(),
        user: "ana".into(),
    };
    let id = server.database.seed(&foreign, 1, 2).await.remove(0);
    let rows = Rows::of(&server.database).await;
    let values = [titlecast_testing::stored::id(&id)];
    let found = rows
        .all(
            "SELECT id FROM agent_messages WHERE conversation_id = $1 ORDER BY position",
            values,
        )
        .await;
    for row in found {
        let message: uuid::Uuid = row.try_get("", "id").unwrap();
        let input = json!({ "messageId": message });
        assert_eq!(code(&regenerate(&server.url, input).await), "NOT_FOUND");
        let input = json!({ "messageId": message, "text": "Mine" });
        assert_eq!(code(&edit(&server.url, input).await), "NOT_FOUND");
    }
    server.stop().await;
}
