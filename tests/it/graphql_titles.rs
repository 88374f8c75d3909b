//! Titles by hand and the end of a conversation: a rename stays whatever a title model says, before,
//! while and after; what was deleted stays gone whatever finishes later.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Server, Step,
    calls::{
        code, conversation, conversation_when, delete, rename, send_message, settled_conversation,
    },
    eventually,
};
use tokio::sync::oneshot;

/// Titles are made one after the other, so the next title shows that the previous one was processed.
const ONE_BY_ONE: [&str; 2] = ["--title-concurrency", "1"];

const RENAME: &str = "mutation ($id: ID!, $name: String!) {
    renameConversation(input: { id: $id, displayName: $name }) { conversation { id } }
}";

/// A conversation with its reply, whose title is held back until the gate is used.
async fn awaiting_its_title(model: &ModelServer, server: &Server) -> (String, oneshot::Sender<()>) {
    let (title, gate) = Answer::held(Answer::Text("A Late Title"));
    model.title(title);
    let sent = send_message(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap().to_owned();
    conversation_when(&server.url, &id, |now| now["messageCount"] == 2).await;
    eventually(async || (!model.title_requests().is_empty()).then_some(())).await;
    (id, gate)
}

/// Releases the held title, and waits until it was processed.
async fn title_dealt_with(server: &Server, gate: oneshot::Sender<()>) {
    gate.send(()).unwrap();
    settled_conversation(&server.url, json!({ "text": "The next one" })).await;
}

#[tokio::test]
async fn a_rename_replaces_a_generated_title_and_keeps_its_time() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let generated = conversation(&server.url, &id).await;
    assert_eq!(generated["titleSource"], "GENERATED");
    let at = &generated["titleGeneratedAt"];
    assert!(at.is_string());

    let mut revision = generated["revision"].as_i64().unwrap();
    for (given, stored) in [
        ("Kyoto, the first time", "Kyoto, the first time"),
        ("  Kyoto\n\tagain  ", "Kyoto again"),
        ("\"Quotes\" & *stars* stay.", "\"Quotes\" & *stars* stay."),
        ("京都 🍁", "京都 🍁"),
    ] {
        let renamed = rename(&server.url, &id, given).await;
        assert_eq!(renamed["displayName"], stored);
        assert_eq!(renamed["title"], stored);
        assert_eq!(renamed["titleSource"], "MANUAL");
        assert_eq!(renamed["titleStatus"], "READY");
        assert_eq!(&renamed["titleGeneratedAt"], at);
        for unchanged in ["topicHint", "lastMessageAt", "messageCount", "createdAt"] {
            assert_eq!(renamed[unchanged], generated[unchanged], "{unchanged}");
        }
        revision += 1;
        assert_eq!(renamed["revision"], revision);
    }
}

#[tokio::test]
async fn a_title_that_is_none_is_refused_and_changes_nothing() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let (before, rows) = (
        conversation(&server.url, &id).await,
        server.database.census().await,
    );
    for name in ["", " \n", "\u{200B}", &"a".repeat(300), &"京".repeat(129)] {
        let answer = server
            .graphql(RENAME, json!({ "id": id, "name": name }))
            .await;
        assert_eq!(code(&answer), "INVALID_INPUT", "{name:?}");
    }
    for (nothing, expected) in [
        (uuid::Uuid::now_v7().to_string(), "NOT_FOUND"),
        ("nonsense".into(), "INVALID_INPUT"),
    ] {
        let answer = server
            .graphql(RENAME, json!({ "id": nothing, "name": "A name" }))
            .await;
        assert_eq!(code(&answer), expected, "{nothing}");
    }
    assert_eq!(conversation(&server.url, &id).await, before);
    assert_eq!(server.database.census().await, rows);
    let longest = "京".repeat(128);
    assert_eq!(
        rename(&server.url, &id, &longest).await["displayName"],
        longest
    );
}

#[tokio::test]
async fn a_rename_while_the_title_is_made_stays_and_the_late_title_is_dropped() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &ONE_BY_ONE).await;
    let (id, gate) = awaiting_its_title(&model, &server).await;
    let renamed = rename(&server.url, &id, "Mine").await;
    assert_eq!(renamed["titleStatus"], "READY");
    assert_eq!(renamed["titleSource"], "MANUAL");
    assert_eq!(renamed["titleGeneratedAt"], Value::Null);

    title_dealt_with(&server, gate).await;
    let now = conversation(&server.url, &id).await;
    for unchanged in [
        "displayName",
        "titleSource",
        "titleGeneratedAt",
        "revision",
        "updatedAt",
    ] {
        assert_eq!(now[unchanged], renamed[unchanged], "{unchanged}");
    }
}

#[tokio::test]
async fn a_rename_before_the_title_model_is_asked_stays() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &ONE_BY_ONE).await;
    let (_, gate) = awaiting_its_title(&model, &server).await;
    // The only call there may be is under way, so this conversation's waits.
    let sent = send_message(&server.url, json!({ "text": "Plan a trip to Nara" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    rename(&server.url, id, "Mine").await;

    title_dealt_with(&server, gate).await;
    let now = conversation(&server.url, id).await;
    assert_eq!(now["displayName"], "Mine");
    assert_eq!(now["titleSource"], "MANUAL");
    assert_eq!(now["titleGeneratedAt"], Value::Null);
}

#[tokio::test]
async fn a_rename_after_a_failure_stays_and_mends_it() {
    let model = ModelServer::start().await;
    model.refuse_title();
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let failed = conversation(&server.url, &id).await;
    assert_eq!(failed["titleStatus"], "FAILED");
    assert_eq!(failed["titleSource"], "HINT");
    assert_eq!(failed["displayName"], Value::Null);
    assert_eq!(failed["titleGeneratedAt"], Value::Null);
    assert_eq!(failed["title"], "Plan a trip to Kyoto");
    let renamed = rename(&server.url, &id, "Mine").await;
    assert_eq!(renamed["titleStatus"], "READY");
    assert_eq!(renamed["titleSource"], "MANUAL");
    assert_eq!(renamed["titleGeneratedAt"], Value::Null);
}

#[tokio::test]
async fn a_deletion_leaves_a_tombstone_without_any_text() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let kept = settled_conversation(&server.url, json!({ "text": "Something else" })).await;
    let (before, other) = (
        conversation(&server.url, &id).await,
        conversation(&server.url, &kept).await,
    );

    let payload = delete(&server.url, &id).await;
    assert_eq!(payload["deletedConversationId"], id);
    let tombstone = &payload["conversation"];
    assert_eq!(tombstone["id"], id);
    assert_eq!(tombstone["status"], "DELETED");
    for text in ["displayName", "topicHint", "lastMessagePreview"] {
        assert_eq!(tombstone[text], Value::Null, "{text}");
    }
    assert_eq!(tombstone["title"], "New conversation");
    assert_eq!(tombstone["messageCount"], 0);
    assert_eq!(tombstone["messages"]["nodes"], json!([]));
    assert_eq!(tombstone["createdAt"], before["createdAt"]);
    assert!(tombstone["revision"].as_i64() > before["revision"].as_i64());

    assert_eq!(conversation(&server.url, &id).await, Value::Null);
    assert_eq!(conversation(&server.url, &kept).await, other);
    // One tombstone and one conversation of two messages with three searched texts; the turns stay.
    assert_eq!(server.database.census().await[..4], [2, 2, 2, 3]);
    let send = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { replyId } }";
    let input = json!({ "input": { "conversationId": id, "text": "Still there?" } });
    assert_eq!(code(&server.graphql(send, input).await), "NOT_FOUND");
    let renamed = server
        .graphql(RENAME, json!({ "id": id, "name": "Back" }))
        .await;
    assert_eq!(code(&renamed), "NOT_FOUND");
    let again =
        "mutation ($id: ID!) { deleteConversation(input: { id: $id }) { deletedConversationId } }";
    for (nothing, expected) in [(id.as_str(), "NOT_FOUND"), ("nonsense", "INVALID_INPUT")] {
        let answer = server.graphql(again, json!({ "id": nothing })).await;
        assert_eq!(code(&answer), expected);
    }
    assert_eq!(server.database.census().await[..4], [2, 2, 2, 3]);
}

#[tokio::test]
async fn a_title_that_comes_after_the_deletion_brings_nothing_back() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &ONE_BY_ONE).await;
    let (id, gate) = awaiting_its_title(&model, &server).await;
    delete(&server.url, &id).await;
    let [_, messages, _, searched, revisions] = server.database.census().await;

    title_dealt_with(&server, gate).await;
    assert_eq!(conversation(&server.url, &id).await, Value::Null);
    let now = server.database.census().await;
    // The next conversation has two messages, three searched texts and three revisions of its own.
    assert_eq!(
        [now[1], now[3], now[4]],
        [messages + 2, searched + 3, revisions + 3]
    );
}

#[tokio::test]
async fn a_reply_that_runs_during_the_deletion_ends_and_brings_nothing_back() {
    let model = ModelServer::start().await;
    let (reply, steps) = Answer::live();
    model.reply(reply);
    let server = Server::start(&model).await;
    let input = json!({ "text": "Plan a trip to Kyoto", "autoTitle": false });
    let sent = send_message(&server.url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    let mut socket = server.socket().await;
    let watch = "subscription ($id: ID!) { reply(conversationId: $id) {
        ... on ReplySoFar { text } ... on ReplyDelta { text } ... on ReplyEnded { outcome }
    } }";
    let reply = socket.subscribe(watch, json!({ "id": id })).await;
    steps.send(Step::Delta("First we".into())).unwrap();
    while socket.next_of(&reply, "reply").await["text"] != "First we" {}

    delete(&server.url, id).await;
    // The model may go on as it likes: no client listens.
    let _ = steps.send(Step::Delta(" take the train".into()));
    let _ = steps.send(Step::Finish);
    let ended = socket.next_of(&reply, "reply").await;
    assert_eq!(ended, json!({ "outcome": "INCOMPLETE" }));
    assert_eq!(socket.next(&reply).await, None);
    assert_eq!(conversation(&server.url, id).await, Value::Null);
    assert_eq!(server.database.census().await, [1, 0, 1, 0, 2]);
}
