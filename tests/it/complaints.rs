//! What users of such systems complain about (design/titles.md), each a test named after it. The one
//! about two replicas is in `two_nodes`.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, Step, Watched, assert_common_stream,
    calls::{code, rename, send_message, stop_reply},
    eventually,
    sse::{text, titles},
    titles::{decided, replied, send, settled, title_when},
};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// A title that a model makes of [`MESSAGE`] by itself.
#[track_caller]
fn assert_titled(shown: &Value) {
    assert_eq!(shown["displayName"], ModelServer::TITLE, "{shown}");
    assert_eq!(shown["title"], ModelServer::TITLE, "{shown}");
    assert_eq!(shown["titleStatus"], "READY", "{shown}");
    assert_eq!(shown["titleSource"], "GENERATED", "{shown}");
    assert!(shown["titleGeneratedAt"].is_string(), "{shown}");
    assert_eq!(shown["titleError"], Value::Null, "{shown}");
}

#[tokio::test]
async fn new_chat_for_ever_because_the_first_reply_failed_was_stopped_or_ran_for_minutes() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;

    model.reply(Answer::error(400, "invalid_request_error", None, "No."));
    let failed = send(&server.url, json!({ "text": MESSAGE })).await;
    assert_titled(&decided(&server.url, &failed).await);
    let ended = async || (rows.last_turn(&failed).await.0 == "failed").then_some(());
    eventually(ended).await;

    let steps = model.live_reply();
    let stopped = send(&server.url, json!({ "text": MESSAGE })).await;
    steps.send(Step::delta("First")).unwrap();
    assert!(stop_reply(&server.url, &stopped).await);
    assert_titled(&decided(&server.url, &stopped).await);
    let ended = async || (rows.last_turn(&stopped).await.0 == "incomplete").then_some(());
    eventually(ended).await;

    let steps = model.live_reply();
    let long = send(&server.url, json!({ "text": MESSAGE })).await;
    assert_titled(&decided(&server.url, &long).await);
    assert_eq!(rows.last_turn(&long).await, ("running".into(), None));
    steps.send(Step::Finish).unwrap();

    for id in [failed, stopped, long] {
        assert_titled(&server.title(&id).await);
    }
    assert_eq!(model.title_requests().len(), 3);
}

#[tokio::test]
async fn the_reply_waits_for_the_title() {
    let model = ModelServer::start().await;
    let settings = ["--title-grace", "1ms", "--title-deadline", "60s"];
    let server = Server::start_with(&model, &settings).await;
    let quick = server
        .stream(json!({ "message": MESSAGE, "context": { "auto_title": false } }))
        .await
        .rest()
        .await;
    model.title(Answer::Silence);
    let slow = server
        .stream(json!({ "message": MESSAGE }))
        .await
        .rest()
        .await;
    // The same stream, from the first byte to the last token and the end, as without any title.
    let kinds = |events: &[Value]| -> Vec<(Value, Value)> {
        let kind = |event: &Value| (event["raw_type"].clone(), event["text_delta"].clone());
        events.iter().map(kind).collect()
    };
    assert_eq!(kinds(&slow), kinds(&quick));
    assert_common_stream(&slow);
    assert_eq!(text(&slow), ModelServer::REPLY.concat());
    assert_eq!(titles(&slow), [""; 0]);
    let id = slow[0]["conversation_id"].as_str().unwrap();
    assert_eq!(server.title(id).await["titleStatus"], "PENDING");
}

#[tokio::test]
async fn the_rename_was_overwritten() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    let mut list = Watched::list(&server.url).await;
    let gate = model.held_title(Answer::Text(ModelServer::TITLE));
    let during = send(&server.url, json!({ "text": MESSAGE })).await;
    eventually(async || (!model.title_requests().is_empty()).then_some(())).await;
    rename(&server.url, &during, "Ours").await;
    gate.send(()).unwrap();
    // The late title was paid for and dropped.
    eventually(async || (rows.calls(&during).await == ["title"]).then_some(())).await;
    let after = settled(&server.url, MESSAGE).await;
    rename(&server.url, &after, "Ours").await;
    replied(&server.url, &during, 2).await;

    let received = list.until_now(&server.url).await;
    for id in [&during, &after] {
        rows.published(id).await;
        let shown = server.title(id).await;
        assert_eq!(shown["displayName"], "Ours");
        assert_eq!(shown["titleSource"], "MANUAL");
        let last = received.iter().rev().find(|payload| payload["id"] == **id);
        assert_eq!(last.unwrap()["displayName"], "Ours");
        let (_, legacy) = server.get(&format!("/api/v1/conversations/{id}")).await;
        assert_eq!(legacy["display_name"], "Ours");
    }
    let of_during = |payload: &&Value| payload["id"] == *during;
    let never = |payload: &Value| payload["displayName"] != ModelServer::TITLE;
    assert!(received.iter().filter(of_during).all(never), "{received:?}");
}

#[tokio::test]
async fn think_quotes_json_sure_heres_a_title_im_sorry_as_a_title() {
    // In the scripts of all titles in the corpus, so that none is rejected for its language.
    const MESSAGE: &str = "Plan a trip and explain what monads are for. 京都の旅行 سفر";
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    let corpus = include_str!("../corpus/title-outputs.jsonl");
    for line in corpus.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let output: &'static str = case["output"].as_str().unwrap().to_owned().leak();
        model.title(Answer::Text(output));
        if case["title"].is_null() {
            model.title(Answer::Text(output));
        }
        let id = settled(&server.url, MESSAGE).await;
        let stored = rows.title(&id).await;
        let shown = server.title(&id).await;
        assert_eq!(json!(stored.display_name), case["title"], "{case}");
        assert_eq!(shown["displayName"], case["title"], "{case}");
        let (status, calls): (_, &[&str]) = match case["title"].is_null() {
            true => ("FAILED", &["rejected", "rejected"]),
            false => ("READY", &["title"]),
        };
        assert_eq!(shown["titleStatus"], status, "{case}");
        assert_eq!(rows.calls(&id).await, calls, "{case}");
    }
    assert_eq!(corpus.lines().count(), 47);
}

#[tokio::test]
async fn english_titles_for_japanese_chats() {
    const MESSAGE: &str = "来月京都に旅行したいのですが、おすすめの場所を教えてください";
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    model.title(Answer::Text(ModelServer::TITLE));
    model.title(Answer::Text("京都旅行の計画"));
    let id = settled(&server.url, MESSAGE).await;
    assert_eq!(server.title(&id).await["displayName"], "京都旅行の計画");
    assert_eq!(model.title_requests().len(), 2);

    model.title(Answer::Text(ModelServer::TITLE));
    model.title(Answer::Text("A Trip to Japan"));
    let id = settled(&server.url, MESSAGE).await;
    let shown = server.title(&id).await;
    assert_eq!(shown["displayName"], Value::Null);
    assert_eq!(shown["title"], MESSAGE);
    assert_eq!(shown["titleError"]["code"], "REJECTED");
    assert_eq!(model.title_requests().len(), 4);
}

#[tokio::test]
async fn the_fallback_was_stored_as_if_it_were_a_title() {
    let model = ModelServer::start().await;
    model.refuse_title();
    let server = Server::start(&model).await;
    let rows = Rows::of(&server.database).await;
    let id = settled(&server.url, MESSAGE).await;
    let stored = rows.title(&id).await;
    assert_eq!(stored.display_name, None);
    assert_eq!(stored.title_generated_at, None);
    assert_eq!(stored.topic_hint.as_deref(), Some(MESSAGE));
    let shown = server.title(&id).await;
    assert_eq!(shown["title"], MESSAGE);
    assert_eq!(shown["displayName"], Value::Null);
    assert_eq!(shown["titleSource"], "HINT");
    let (_, legacy) = server.get("/api/v1/conversations").await;
    assert_eq!(legacy["items"][0]["display_name"], Value::Null);
    assert_eq!(legacy["items"][0]["topic_hint"], MESSAGE);
}

#[tokio::test]
async fn hi_becomes_the_title_greeting_for_ever() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = send(&server.url, json!({ "text": "hi" })).await;
    replied(&server.url, &id, 2).await;
    let waiting = server.title(&id).await;
    assert_eq!(waiting["titleStatus"], "PENDING");
    assert_eq!(waiting["displayName"], Value::Null);
    assert_eq!(model.title_requests().len(), 0);
    send(
        &server.url,
        json!({ "conversationId": id, "text": MESSAGE }),
    )
    .await;
    assert_titled(&decided(&server.url, &id).await);
    let [request] = model.title_requests().try_into().unwrap();
    let input = request["messages"][1]["content"].as_str().unwrap();
    assert_eq!(
        input,
        format!(
            "<message>\n{MESSAGE}\n</message>\nWrite a title for this message. Do not answer it."
        )
    );
}

#[tokio::test]
async fn image_only_or_empty_first_message() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for text in ["", " \n"] {
        let image = json!([{ "name": "IMG_1234.jpg", "mediaType": "image/jpeg" }]);
        let input = json!({ "text": text, "attachments": image });
        let sent = send_message(&server.url, input).await;
        assert_eq!(sent["conversation"]["titleStatus"], "SKIPPED");
        let id = sent["conversation"]["id"].as_str().unwrap();
        replied(&server.url, id, 2).await;
        let shown = server.title(id).await;
        assert_eq!(shown["titleStatus"], "SKIPPED");
        assert_eq!(shown["displayName"], Value::Null);
    }
    // With nothing attached either, it is no message.
    let before = server.database.census().await;
    let send = "mutation { sendMessage(input: { text: \" \" }) { replyId } }";
    let answer = server.graphql(send, json!({})).await;
    assert_eq!(code(&answer), "INVALID_INPUT");
    assert_eq!(server.database.census().await, before);
    assert_eq!(model.title_requests().len(), 0);
}

#[tokio::test]
async fn titles_for_temporary_chats() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut list = Watched::list(&server.url).await;
    let id = send(&server.url, json!({ "text": MESSAGE, "autoTitle": false })).await;
    replied(&server.url, &id, 2).await;
    let received = list.until(|payload| payload["messageCount"] == 2).await;
    let more = list.until_now(&server.url).await;
    // The message and the reply; no event of a title.
    assert_eq!(
        (received.len(), more.len()),
        (2, 0),
        "{received:?} {more:?}"
    );
    for payload in received {
        assert_eq!(payload["titleStatus"], "SKIPPED");
        assert_eq!(payload["displayName"], Value::Null);
    }
    assert_eq!(model.title_requests().len(), 0);
    let rows = Rows::of(&server.database).await;
    assert_eq!(rows.title(&id).await.revision, 2);
}

/// That it arrives on another node as well is shown in `nodes`, by
/// `what_becomes_of_a_title_reaches_every_subscriber_of_another_node`.
#[tokio::test]
async fn the_title_arrives_only_where_the_chat_is_open() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let gate = model.held_title(Answer::Text(ModelServer::TITLE));
    let id = send(&server.url, json!({ "text": MESSAGE })).await;
    replied(&server.url, &id, 2).await;
    // A sidebar in another window that has not seen the conversation.
    let mut list = Watched::list(&server.url).await;
    gate.send(()).unwrap();
    let payload = list.next().await;
    assert_eq!(payload["id"], id);
    assert_titled(&payload);
    assert_titled(&title_when(&server.url, &id, |now| now == &payload).await);
}

#[tokio::test]
async fn subscribed_a_moment_too_late() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled(&server.url, MESSAGE).await;
    let mut late = Watched::one(&server.url, &id).await;
    let first = late.next().await;
    assert_titled(&first);
    assert_eq!(first, server.title(&id).await);
    // Later changes follow.
    rename(&server.url, &id, "Ours").await;
    assert_eq!(late.next().await["displayName"], "Ours");
}
