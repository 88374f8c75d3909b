//! `resetTitle`: returns a conversation to automatic titles. Removes a user's own title, or the decision to have none;
//! a generated title stays.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, Watched,
    calls::{code, rename},
    eventually,
    titles::{assert_titled, decided, new_id, regenerate, replied, reset, send, settled},
};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// The conversation that the mutation answers with.
#[track_caller]
fn answered(mut answer: Value) -> Value {
    assert_eq!(answer.get("errors"), None, "{answer}");
    answer["data"]["resetTitle"]["conversation"].take()
}

/// It has no title, and one is on its way or will be.
#[track_caller]
fn assert_begun(shown: &Value) {
    assert_eq!(shown["titleStatus"], "PENDING", "{shown}");
    assert_eq!(shown["titleSource"], "HINT", "{shown}");
    for gone in ["displayName", "titleGeneratedAt", "titleError"] {
        assert_eq!(shown[gone], Value::Null, "{gone}: {shown}");
    }
    assert_eq!(shown["title"], shown["topicHint"]);
}

#[tokio::test]
async fn a_title_that_a_person_gave_goes_and_another_comes() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled(&server.url, MESSAGE).await;
    rename(&server.url, &id, "Ours").await;
    let mut list = Watched::list(&server.url).await;
    let gate = model.held_title(Answer::Text(ModelServer::TITLE));
    let begun = answered(reset(&server.url, &id).await);
    assert_begun(&begun);
    assert_eq!(list.next().await, begun);
    gate.send(()).unwrap();
    let shown = decided(&server.url, &id).await;
    assert_titled(&shown);
    assert_eq!(list.next().await, shown);
    // The prompt does not mention the old title.
    let requests = model.title_requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1]["messages"], requests[0]["messages"]);
}

#[tokio::test]
async fn a_generated_title_stays_without_a_model_call_or_an_event() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled(&server.url, MESSAGE).await;
    let rows = Rows::of(&server.database).await;
    let before = rows.published(&id).await;
    let shown = server.title(&id).await;
    let mut list = Watched::list(&server.url).await;
    assert_eq!(answered(reset(&server.url, &id).await), shown);
    assert_eq!(rows.title(&id).await, before);
    assert_eq!(list.until_now(&server.url).await, [json!(null); 0]);
    assert_eq!(model.title_requests().len(), 1);
}

#[tokio::test]
async fn the_decision_to_have_no_title_is_taken_back() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = send(&server.url, json!({ "text": MESSAGE, "autoTitle": false })).await;
    replied(&server.url, &id, 2).await;
    assert_eq!(server.title(&id).await["titleStatus"], "SKIPPED");
    assert_begun(&answered(reset(&server.url, &id).await));
    assert_titled(&decided(&server.url, &id).await);
    assert_eq!(model.title_requests().len(), 1);
}

#[tokio::test]
async fn a_title_that_failed_is_tried_again() {
    let model = ModelServer::start().await;
    model.refuse_title();
    let server = Server::start(&model).await;
    let id = settled(&server.url, MESSAGE).await;
    let failed = server.title(&id).await;
    assert_eq!(failed["titleStatus"], "FAILED");
    assert_eq!(failed["titleError"]["code"], "INVALID_REQUEST");
    assert!(failed["titleError"]["message"].is_string());
    assert_begun(&answered(reset(&server.url, &id).await));
    assert_titled(&decided(&server.url, &id).await);
    assert_eq!(model.title_requests().len(), 3);
}

#[tokio::test]
async fn a_conversation_of_mere_greetings_waits_for_one_that_says_something() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let named = send(&server.url, json!({ "text": "hi" })).await;
    replied(&server.url, &named, 2).await;
    rename(&server.url, &named, "Ours").await;
    let skipped = send(&server.url, json!({ "text": "hi", "autoTitle": false })).await;
    replied(&server.url, &skipped, 2).await;
    for (number, id) in [named, skipped].into_iter().enumerate() {
        assert_begun(&answered(reset(&server.url, &id).await));
        let input = json!({ "conversationId": id, "text": "hello there" });
        send(&server.url, input).await;
        replied(&server.url, &id, 4).await;
        assert_begun(&server.title(&id).await);
        assert_eq!(model.title_requests().len(), number);
        send(
            &server.url,
            json!({ "conversationId": id, "text": MESSAGE }),
        )
        .await;
        assert_titled(&decided(&server.url, &id).await);
        assert_eq!(model.title_requests().len(), number + 1);
    }
}

#[tokio::test]
async fn what_another_wish_began_is_dropped_with_the_title_it_was_for() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled(&server.url, MESSAGE).await;
    rename(&server.url, &id, "Ours").await;
    let gate = model.held_title(Answer::Text("Too Late"));
    let input = json!({ "id": id, "replaceManual": true });
    regenerate(&server.url, input).await;
    eventually(async || (model.title_requests().len() == 2).then_some(())).await;
    assert_begun(&answered(reset(&server.url, &id).await));
    assert_titled(&decided(&server.url, &id).await);
    gate.send(()).unwrap();
    server.titles_ended("superseded", 1).await;
    assert_titled(&server.title(&id).await);
}

#[tokio::test]
async fn what_is_not_the_callers_is_not_there() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let id = settled(&server.url, MESSAGE).await;
    rename(&server.url, &id, "Ours").await;
    let stranger = Owner {
        tenant: "other".into(),
        user: "local".into(),
    };
    let other = server.serve(stranger).await;
    let before = server.database.census().await;
    for (url, id, expected) in [
        (&server.url, new_id().as_str(), "NOT_FOUND"),
        (&other, &id, "NOT_FOUND"),
        (&server.url, "nonsense", "INVALID_INPUT"),
    ] {
        assert_eq!(code(&reset(url, id).await), expected, "{id}");
    }
    assert_eq!(server.database.census().await, before);
    assert_eq!(model.title_requests().len(), 1);
}
