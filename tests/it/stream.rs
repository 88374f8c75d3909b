//! The legacy stream of one turn as golden transcripts: what a deployed client reads, byte for byte,
//! whatever becomes of the reply and its title.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, Events, ModelServer, Server, Step, assert_common_stream, eventually, sse::titles,
};

const MESSAGE: &str = "Plan a trip to Kyoto";
const STOP: &str = "mutation ($id: ID!) { stopReply(input: { conversationId: $id }) { stopped } }";

/// Ids and times differ from run to run; nothing else may.
fn assert_golden(name: &str, stream: &Events) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[id]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "[time]");
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, stream.transcript()));
}

/// Reads the beginning of a first message's stream, up to and with its title.
async fn until_titled(stream: &mut Events) -> Vec<Value> {
    let events = vec![stream.next().await.unwrap(), stream.next().await.unwrap()];
    assert_eq!(events[0]["raw_type"], "response.created");
    assert_eq!(titles(&events), [ModelServer::TITLE]);
    events
}

#[tokio::test]
async fn a_title_comes_while_the_reply_is_being_written() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let server = Server::start(&model).await;
    let mut stream = server.stream(json!({ "message": MESSAGE })).await;
    let mut events = until_titled(&mut stream).await;
    for delta in ModelServer::REPLY {
        steps.send(Step::delta(delta)).unwrap();
    }
    steps.send(Step::Finish).unwrap();
    events.extend(stream.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed");
    assert_golden("title_before_the_end", &stream);
}

#[tokio::test]
async fn a_title_after_the_grace_leaves_the_stream_without_one() {
    let model = ModelServer::start().await;
    let gate = model.held_title(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    let server = Server::start_with(&model, &["--title-grace", "50ms"]).await;
    let mut stream = server.stream(json!({ "message": MESSAGE })).await;
    let events = stream.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal.get("display_name"), None);
    assert!(titles(&events).is_empty());
    assert_golden("title_after_the_grace", &stream);
    drop(gate);
}

#[tokio::test]
async fn a_title_behind_the_reply_and_inside_the_grace_comes_before_the_terminal_event() {
    let model = ModelServer::start().await;
    let gate = model.held_title(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    let server = Server::start_with(&model, &["--title-grace", "60s"]).await;
    let mut stream = server.stream(json!({ "message": MESSAGE })).await;
    let mut events = Vec::new();
    for _ in ["created", "delta", "delta", "delta"] {
        events.push(stream.next().await.unwrap());
    }
    // The reply is over when it is stored.
    stored_reply(&server, &events[0]).await;
    gate.send(()).unwrap();
    events.extend(stream.rest().await);
    assert_common_stream(&events);
    assert_golden("title_inside_the_grace", &stream);
}

#[tokio::test]
async fn a_continued_conversation_shows_its_title_in_the_terminal_event_only() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin(MESSAGE).await;
    let body = json!({ "message": "And Nara?", "conversation_id": id });
    let mut stream = server.stream(body).await;
    let events = stream.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["conversation_id"], id);
    assert_eq!(terminal["display_name"], ModelServer::TITLE);
    assert!(titles(&events).is_empty());
    assert_eq!(model.title_requests().len(), 1);
    assert_golden("continued_conversation", &stream);
}

#[tokio::test]
async fn a_reply_that_fails_before_any_text_ends_with_one_error_and_still_gets_its_title() {
    let model = ModelServer::start().await;
    let refusal = "Incorrect API key provided: sk-test-key.";
    model.reply(Answer::error(
        401,
        "invalid_request_error",
        Some("invalid_api_key"),
        refusal,
    ));
    let server = Server::start(&model).await;
    let mut stream = server.stream(json!({ "message": MESSAGE })).await;
    let events = stream.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["kind"], "error");
    assert_eq!(terminal["payload"]["code"], "MODEL_MISCONFIGURED");
    assert_eq!(titles(&events), [ModelServer::TITLE]);
    assert!(!stream.transcript().contains("sk-test-key"));
    assert_golden("failed_before_any_text", &stream);
}

#[tokio::test]
async fn a_reply_that_is_cut_ends_with_an_error_and_the_text_until_then() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let server = Server::start(&model).await;
    let mut stream = server.stream(json!({ "message": MESSAGE })).await;
    let mut events = until_titled(&mut stream).await;
    for delta in ["Hello", " from"] {
        steps.send(Step::delta(delta)).unwrap();
        events.push(stream.next().await.unwrap());
    }
    steps.send(Step::Cut).unwrap();
    events.extend(stream.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["kind"], "error");
    assert_eq!(terminal["response_text"], "Hello from");
    // Calling again would have written the beginning twice.
    assert_eq!(model.reply_requests().len(), 1);
    assert_golden("cut_in_the_middle", &stream);
}

#[tokio::test]
async fn a_stopped_reply_ends_incomplete_with_the_text_until_then() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let server = Server::start(&model).await;
    let mut stream = server.stream(json!({ "message": MESSAGE })).await;
    let mut events = until_titled(&mut stream).await;
    steps.send(Step::delta("Hello")).unwrap();
    events.push(stream.next().await.unwrap());
    let stopped = server
        .data(STOP, json!({ "id": events[0]["conversation_id"] }))
        .await;
    assert_eq!(stopped["stopReply"]["stopped"], true);
    events.extend(stream.rest().await);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.incomplete");
    assert_eq!(terminal["response_text"], "Hello");
    assert_golden("stopped", &stream);
}

#[tokio::test]
async fn a_stopped_reply_does_not_wait_for_the_title() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let title = model.held_title(Answer::Text("Never"));
    // Longer than the test waits for the end.
    let settings = ["--title-grace", "10m", "--title-deadline", "10m"];
    let server = Server::start_with(&model, &settings).await;
    let mut stream = server.stream(json!({ "message": MESSAGE })).await;
    steps.send(Step::delta("Hello")).unwrap();
    let mut events = Vec::new();
    while events
        .last()
        .is_none_or(|event: &Value| event["raw_type"] != "response.output_text.delta")
    {
        events.push(stream.next().await.unwrap());
    }
    let id = json!({ "id": events[0]["conversation_id"] });
    server.data(STOP, id).await;
    let rest = stream.rest().await;
    assert_eq!(rest.last().unwrap()["raw_type"], "response.incomplete");
    drop(title);
    server.stop().await;
}

/// The reply to the first message, once it is stored.
async fn stored_reply(server: &Server, created: &Value) -> Value {
    const MESSAGES: &str =
        "query ($id: ID!) { conversation(id: $id) { messages { nodes { role content status } } } }";
    eventually(async || {
        let id = json!({ "id": created["conversation_id"] });
        let data = server.data(MESSAGES, id).await;
        data.pointer("/conversation/messages/nodes/1").cloned()
    })
    .await
}

#[tokio::test]
async fn a_reply_whose_reader_left_is_finished_and_stored() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let server = Server::start(&model).await;
    let mut stream = server.stream(json!({ "message": MESSAGE })).await;
    let created = until_titled(&mut stream).await.swap_remove(0);
    steps.send(Step::delta("Hello")).unwrap();
    stream.next().await.unwrap();
    drop(stream);
    for delta in [" and", " goodbye."] {
        steps.send(Step::delta(delta)).unwrap();
    }
    steps.send(Step::Finish).unwrap();
    let reply = stored_reply(&server, &created).await;
    assert_eq!(
        reply,
        json!({ "role": "ASSISTANT", "content": "Hello and goodbye.", "status": "COMPLETE" })
    );
}

#[tokio::test]
async fn a_title_model_that_hangs_holds_back_nothing_but_the_terminal_event() {
    let grace = std::time::Duration::from_millis(300);
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let gate = model.held_title(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    let settings = ["--title-grace", "300ms", "--title-deadline", "60s"];
    let server = Server::start_with(&model, &settings).await;

    let mut stream = server.stream(json!({ "message": MESSAGE })).await;
    let mut events = vec![stream.next().await.unwrap()];
    for delta in ModelServer::REPLY {
        steps.send(Step::delta(delta)).unwrap();
        events.push(stream.next().await.unwrap());
        assert_eq!(events.last().unwrap()["text_delta"], delta);
    }
    let finished = std::time::Instant::now();
    steps.send(Step::Finish).unwrap();
    events.extend(stream.rest().await);
    assert!(finished.elapsed() >= grace);
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed");
    assert_eq!(terminal.get("display_name"), None);
    assert_eq!(model.title_requests().len(), 1);

    let path = format!(
        "/api/v1/conversations/{}",
        events[0]["conversation_id"].as_str().unwrap()
    );
    assert_eq!(server.get(&path).await.1["display_name"], Value::Null);
    gate.send(()).unwrap();
    let title = eventually(async || {
        let (_, history) = server.get(&path).await;
        history["display_name"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(title, ModelServer::TITLE);
    assert_eq!(model.title_requests().len(), 1);
}
