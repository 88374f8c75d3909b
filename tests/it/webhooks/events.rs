//! What is sent: the life of a conversation in order, signed, without any text unless it is wanted; and what is not
//! announced.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, Titlecast,
    calls::{delete, rename, send_message},
    eventually,
    receiver::Delivery,
    replies::being_written,
    server::client,
    titles::replied,
};

use super::{KEY, Scene, all_is_told, file, folder, routed};

/// Verifies a request as a receiver does, by the specification.
fn assert_signed(one: &Delivery, keys: &[&str]) {
    let signed = format!("{}.{}.", one.id(), one.headers["webhook-timestamp"]);
    let signed = [signed.as_bytes(), &one.bytes].concat();
    let expected: Vec<String> = keys
        .iter()
        .map(|key| {
            let key = STANDARD.decode(key.trim_start_matches("whsec_")).unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed)))
        })
        .collect();
    assert_eq!(one.headers["webhook-signature"], expected.join(" "));
    let sent: i64 = one.headers["webhook-timestamp"].parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    assert!((now.unwrap().as_secs() as i64 - sent).abs() < 30);
    assert!(one.id().starts_with("msg_"), "{}", one.id());
    assert_eq!(one.headers["content-type"], "application/json");
}

#[tokio::test]
async fn the_life_of_a_conversation_is_told_in_order_without_its_texts() {
    let scene = Scene::new("").await;
    scene
        .model
        .reply(Answer::Deltas(vec!["Take the Haruka express."]));
    let id = scene.begin("Plan a trip to Kyoto in April").await;
    rename(&scene.server.url, &id, "My secret name").await;
    scene.all_is_told().await;
    delete(&scene.server.url, &id).await;
    scene.all_is_told().await;
    let story = scene.receiver.story(&id);
    let of = |kind: &str| story.iter().filter(|one| one.starts_with(kind)).count();
    assert_eq!(story[..2], ["created 1", "message_stored 1"]);
    // The title and the reply come in either order.
    assert_eq!(
        story[2..5]
            .iter()
            .filter(|one| one.starts_with("title_changed"))
            .count(),
        1
    );
    assert_eq!(of("message_stored"), 2);
    assert_eq!(of("reply_ended"), 1);
    assert_eq!(story[5..], ["title_changed 4", "deleted 5"]);
    for one in scene.receiver.deliveries() {
        assert_signed(&one, &[KEY]);
        let text = String::from_utf8(one.bytes.clone()).unwrap();
        for word in ["Kyoto", "Haruka", "secret"] {
            assert!(!text.contains(word), "{text}");
        }
        assert_eq!(one.body["data"]["tenant"], "local");
        assert_eq!(one.body["data"]["user"], "local");
    }
}

#[tokio::test]
async fn texts_are_sent_where_they_are_wanted_and_a_deleted_one_never() {
    let scene = Scene::new("include_text = true").await;
    scene
        .model
        .reply(Answer::Deltas(vec!["Take the Haruka express."]));
    let id = scene.begin("Plan a trip to Kyoto in April").await;
    scene.all_is_told().await;
    let taken = scene.receiver.taken();
    let find = |kind: &str, role: &str| {
        let mut found = taken.iter();
        let found = found.find(|one| {
            one.kind() == kind && (role.is_empty() || one.body["data"]["message"]["role"] == role)
        });
        found.unwrap_or_else(|| panic!("no {kind} {role}")).body["data"].clone()
    };
    let message = find("conversation.message_stored", "user");
    assert_eq!(
        message["message"]["content"],
        "Plan a trip to Kyoto in April"
    );
    let reply = find("conversation.message_stored", "assistant");
    assert_eq!(reply["message"]["content"], "Take the Haruka express.");
    let ended = find("conversation.reply_ended", "");
    assert_eq!(ended["reply"]["outcome"], "completed");
    assert_eq!(ended["reply"]["content"], "Take the Haruka express.");
    assert_eq!(ended["reply"]["id"], reply["message"]["id"]);
    assert_eq!(ended["reply"]["in_reply_to"], message["message"]["id"]);
    let title = find("conversation.title_changed", "");
    assert_eq!(title["conversation"]["title_source"], "generated");
    assert!(title["conversation"]["title"].is_string());

    // Events that wait while the conversation is deleted are sent without what was deleted.
    scene
        .receiver
        .reacts(|_| titlecast_testing::receiver::Reaction::Answer(503, ""));
    let before = scene.receiver.deliveries().len();
    rename(&scene.server.url, &id, "Unspeakable").await;
    scene.receiver.until(before + 1).await;
    delete(&scene.server.url, &id).await;
    scene
        .receiver
        .reacts(|_| titlecast_testing::receiver::TAKEN);
    let before = scene.receiver.deliveries().len();
    scene.all_is_told().await;
    for one in &scene.receiver.deliveries()[before + 1..] {
        assert!(
            !one.body.to_string().contains("Unspeakable"),
            "{}",
            one.body
        );
        assert_eq!(one.body["data"]["conversation"]["status"], "deleted");
        assert_eq!(one.body["data"]["conversation"]["title"], Value::Null);
    }
}

#[tokio::test]
async fn replies_that_stop_fail_or_are_written_anew_are_told_with_their_outcome() {
    let scene = Scene::new("include_text = true").await;
    let url = &scene.server.url;
    let (id, _reply, steps) = being_written(&scene.model, url).await;
    titlecast_testing::replies::write(&steps, "Half");
    titlecast_testing::calls::stop_reply(url, &id).await;
    replied(url, &id, 2).await;
    drop(steps);
    scene
        .model
        .reply(Answer::error(400, "invalid_request_error", None, "No."));
    send_message(url, json!({ "conversationId": id, "text": "Again?" })).await;
    scene.all_is_told().await;
    let outcomes = || -> Vec<Value> {
        let taken = scene.receiver.taken().into_iter();
        taken
            .filter(|one| one.kind() == "conversation.reply_ended")
            .map(|one| one.body["data"]["reply"]["outcome"].clone())
            .collect()
    };
    eventually(async || (outcomes().len() == 2).then_some(())).await;
    assert_eq!(outcomes(), ["stopped", "failed"]);
    let last = scene.receiver.taken();
    let last = last
        .iter()
        .rfind(|one| one.kind() == "conversation.reply_ended");
    let reply = &last.unwrap().body["data"]["reply"];
    assert_eq!(reply["is_message"], false);
    assert!(reply["failure"].is_string(), "{reply}");

    // An edit announces the message again, under its id.
    scene.model.reply(Answer::Deltas(vec!["Better."]));
    let query = "query ($id: ID!) { conversation(id: $id) { messages { nodes { id role } } } }";
    let found = titlecast_testing::calls::data(url, query, json!({ "id": id })).await;
    let nodes = found["conversation"]["messages"]["nodes"]
        .as_array()
        .unwrap()
        .clone();
    let mine = nodes.iter().rfind(|node| node["role"] == "USER").unwrap()["id"].clone();
    let edit = "mutation ($id: ID!) { editMessage(input: { messageId: $id, text: \"Once more, please\" }) { replyId } }";
    titlecast_testing::calls::data(url, edit, json!({ "id": mine })).await;
    eventually(async || (outcomes().len() == 3).then_some(())).await;
    scene.all_is_told().await;
    let taken = scene.receiver.deliveries();
    let edited = taken
        .iter()
        .filter(|one| one.body["data"]["message"]["id"] == mine);
    let texts: Vec<_> = edited
        .map(|one| one.body["data"]["message"]["content"].clone())
        .collect();
    assert_eq!(texts.last().unwrap(), "Once more, please");
    assert!(texts.len() >= 2, "{texts:?}");
}

#[tokio::test]
async fn other_tenants_and_other_events_are_not_told_and_cost_no_statement() {
    let mut scene = Scene::new("events = [\"conversation.deleted\"]").await;
    let other = Owner {
        tenant: "other".into(),
        user: "local".into(),
    };
    let theirs = scene.server.serve(other).await;
    let their = titlecast_testing::titles::settled(&theirs, "Theirs alone").await;
    delete(&theirs, &their).await;
    let id = scene.begin("Plan a trip to Kyoto").await;
    let rows = titlecast_testing::Rows::of(&scene.server.database).await;
    assert_eq!(rows.count("agent_webhook_lanes").await, 0);
    assert_eq!(rows.count("agent_webhook_events").await, 0);
    delete(&scene.server.url, &id).await;
    let deliveries = scene.receiver.until(1).await;
    assert_eq!(deliveries[0].kind(), "conversation.deleted");
    assert_eq!(deliveries[0].conversation(), id);
    assert_eq!(deliveries.len(), 1);
}

#[tokio::test]
async fn an_import_is_not_told_and_what_continues_it_is() {
    let scene = Scene::new("").await;
    let database = &scene.server.database;
    let import = async |messages: Value| {
        let line = json!({ "id": "old", "title": "Old title", "messages": messages });
        let arguments = ["import", "lines.jsonl"];
        Titlecast::new(&arguments)
            .env("DATABASE_URL", &database.url)
            .file("lines.jsonl", &format!("{line}\n"))
            .run()
            .await
            .ok();
    };
    let message = |text: &str| json!({ "role": "user", "content": text });
    import(json!([message("One")])).await;
    let rows = titlecast_testing::Rows::of(database).await;
    assert_eq!(rows.count("agent_conversations").await, 1);
    assert_eq!(rows.count("agent_webhook_lanes").await, 0);
    import(json!([message("One"), message("Two")])).await;
    let deliveries = scene.receiver.until(1).await;
    assert_eq!(deliveries[0].kind(), "conversation.message_stored");
    eventually(async || (rows.count("agent_webhook_lanes").await == 0).then_some(())).await;
    assert_eq!(scene.receiver.deliveries().len(), 1);
}

#[tokio::test]
async fn each_key_of_the_file_signs() {
    let scene = Scene::new("").await;
    let second = format!("whsec_{}", STANDARD.encode([7; 32]));
    let both = folder(&file(&scene.receiver.url, "")).file("key", &format!("{second}\n\n{KEY}\n"));
    let path = both.path("titlecast.toml");
    let settings = ["--config", path.as_str()];
    let node =
        titlecast_testing::Node::start(&scene.server.database.url, &scene.model.url, &settings)
            .await;
    routed(&scene.server.database, 1).await;
    scene.server.begin_stop();
    let sent = client()
        .post(format!("{}/api/v1/chat", node.url))
        .json(&json!({ "message": "Hello there" }))
        .send()
        .await;
    assert_eq!(sent.unwrap().status(), 200);
    let keys = [second.as_str(), KEY];
    let signed = eventually(async || {
        let mut deliveries = scene.receiver.deliveries().into_iter();
        deliveries.find(|one| one.headers["webhook-signature"].contains(' '))
    });
    assert_signed(&signed.await, &keys);
    all_is_told(&scene.server.database, &scene.receiver).await;
    node.stop().await;
}
