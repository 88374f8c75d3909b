//! The parts of a reply beside its text: on every node, live and stored, for clients that ask for them.

use futures_util::StreamExt;
use serde_json::{Value, json};
use titlecast::{conversation::Owner, events::ReplyLogEvent};
use titlecast_testing::{
    Answer, Events, GraphqlSocket, ModelServer, Rows, Server, Step,
    calls::{conversation_when, data, delete, send_message},
    nats::{self, two_nodes_with},
    replies::{being_written, write},
    server::client,
    within,
};
use tokio::sync::Barrier;

use crate::agents::{Folder, serve};

const REPLY: &str = "subscription ($id: ID!, $after: String) {
    reply(messageId: $id, after: $after, parts: true) {
        __typename
        ... on ReplySoFar { text recovered cursor parts { index part { ...Part } } }
        ... on ReplyDelta { text cursor }
        ... on ReplyPart { index part { ...Part } cursor }
        ... on ReplyReasoning { index text cursor }
        ... on ReplyEnded { outcome text }
    }
}
fragment Part on MessagePart {
    __typename
    ... on ReasoningPart { reasoning: text }
    ... on ToolPart { callId name arguments result state }
    ... on DataPart { name json }
}";

const PARTS: &str =
    "query ($id: ID!) { conversation(id: $id) { messageCount messages { nodes { id content parts {
    __typename
    ... on TextPart { text }
    ... on ReasoningPart { reasoning: text }
    ... on ToolPart { callId name arguments result state }
} } } } }";

/// A reply that thinks, writes, calls a tool, and writes on.
pub fn thinking() -> Answer {
    streamed(&[
        json!({ "reasoning_content": "The user wants" }),
        json!({ "reasoning_content": " deer." }),
        json!({ "content": "Let me look. " }),
        json!({ "tool_calls": [{ "index": 0, "id": "call_1", "type": "function",
            "function": { "name": "search", "arguments": "{\"q\":" } }] }),
        json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "\"deer\"}" } }] }),
    ])
}

/// A call of a tool in one piece.
fn called(id: &str) -> Value {
    json!({ "tool_calls": [{ "index": 0, "id": id, "type": "function",
        "function": { "name": "search", "arguments": "{}" } }] })
}

/// A reply of these deltas.
fn streamed(deltas: &[Value]) -> Answer {
    let event = |delta: &Value, reason: Value| {
        let chunk = json!({
            "id": "chatcmpl-reply", "object": "chat.completion.chunk", "created": 1_763_800_000, "model": "m",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }],
        });
        format!("data: {chunk}\n\n")
    };
    let events: String = deltas
        .iter()
        .map(|delta| event(delta, Value::Null))
        .collect();
    let end = event(&json!({}), json!("stop"));
    Answer::Raw(format!("{events}{end}data: [DONE]\n\n"))
}

/// What a reader has in the end: text, and parts by index.
async fn followed(
    url: &str,
    reply: &Value,
    after: Option<&str>,
) -> (String, Vec<Value>, Vec<String>) {
    followed_from(url, reply, after, &Barrier::new(1)).await
}

/// The same, after all readers of the barrier have had their first event.
async fn followed_from(
    url: &str,
    reply: &Value,
    after: Option<&str>,
    joined: &Barrier,
) -> (String, Vec<Value>, Vec<String>) {
    let mut socket = GraphqlSocket::connect(url).await;
    let variables = json!({ "id": reply, "after": after });
    let operation = socket.subscribe(REPLY, variables).await;
    let (mut text, mut parts, mut cursors) = (String::new(), Vec::new(), Vec::new());
    let put = |parts: &mut Vec<Value>, one: &Value| {
        let index = one["index"].as_u64().unwrap() as usize;
        parts.resize(parts.len().max(index + 1), Value::Null);
        parts[index] = one["part"].clone();
    };
    let mut is_first = true;
    loop {
        let event = socket.next_of(&operation, "reply").await;
        if std::mem::take(&mut is_first) {
            joined.wait().await;
        }
        if let Some(cursor) = event["cursor"].as_str() {
            cursors.push(cursor.to_owned());
        }
        match event["__typename"].as_str().unwrap() {
            "ReplySoFar" => {
                text = event["text"].as_str().unwrap().to_owned();
                event["parts"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .for_each(|one| put(&mut parts, one));
            }
            "ReplyDelta" => text += event["text"].as_str().unwrap(),
            "ReplyPart" => put(&mut parts, &event),
            "ReplyReasoning" => {
                let index = event["index"].as_u64().unwrap() as usize;
                let grown = format!(
                    "{}{}",
                    parts[index]["reasoning"].as_str().unwrap(),
                    event["text"].as_str().unwrap()
                );
                parts[index]["reasoning"] = grown.into();
            }
            _ => return (text, parts, cursors),
        }
    }
}

fn call() -> Value {
    json!({
        "__typename": "ToolPart", "callId": "call_1", "name": "search", "arguments": "{\"q\":\"deer\"}",
        "result": null, "state": "CALLED",
    })
}

/// A conversation whose reply waits behind the gate: its id, and the reply's.
async fn asked(
    model: &ModelServer,
    url: &str,
) -> (String, Value, tokio::sync::oneshot::Sender<()>) {
    let (answer, gate) = Answer::held(thinking());
    model.reply(answer);
    let sent = send_message(
        url,
        json!({ "text": "Are there deer?", "autoTitle": false }),
    )
    .await;
    let id = sent["conversation"]["id"].as_str().unwrap().to_owned();
    (id, sent["replyId"].clone(), gate)
}

#[tokio::test]
async fn parts_arrive_live_and_the_stored_ones_stay() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (id, reply, gate) = asked(&model, &server.url).await;
    let joined = Barrier::new(2);
    let following = followed_from(&server.url, &reply, None, &joined);
    let (live, _) = tokio::join!(following, async {
        joined.wait().await;
        gate.send(())
    });
    let (text, parts, cursors) = live;
    assert_eq!(text, "Let me look. ");
    let reasoning = json!({ "__typename": "ReasoningPart", "reasoning": "The user wants deer." });
    assert_eq!(parts, [reasoning, call()]);
    // Each cursor resumes at its position, also in a stored reply, whose reasoning is not kept.
    for cursor in &cursors {
        let (text, parts, _) = followed(&server.url, &reply, Some(cursor)).await;
        assert!("Let me look. ".ends_with(&text), "{cursor}: {text}");
        assert_eq!(parts.last(), Some(&call()), "{cursor}");
    }
    let now = conversation_when(&server.url, &id, |now| now["messageCount"] == 2).await;
    assert_eq!(now["lastMessagePreview"], "Let me look.");
    let messages = data(&server.url, PARTS, json!({ "id": id })).await;
    let message = &messages["conversation"]["messages"]["nodes"][1];
    assert_eq!(message["content"], "Let me look. ");
    let text = json!({ "__typename": "TextPart", "text": "Let me look. " });
    assert_eq!(message["parts"], json!([text, call()]));
    let question = json!([{ "__typename": "TextPart", "text": "Are there deer?" }]);
    assert_eq!(
        messages["conversation"]["messages"]["nodes"][0]["parts"],
        question
    );
    // The next reply sees the text alone.
    send_message(&server.url, json!({ "conversationId": id, "text": "And?" })).await;
    conversation_when(&server.url, &id, |now| now["messageCount"] == 4).await;
    let history = model.reply_requests()[1]["messages"].to_string();
    assert!(
        !history.contains("call_1") && !history.contains("The user wants"),
        "{history}"
    );
    delete(&server.url, &id).await;
    assert_eq!(
        Rows::of(&server.database)
            .await
            .count("agent_reply_parts")
            .await,
        0
    );
    server.stop().await;
}

#[tokio::test]
async fn an_agent_that_keeps_reasoning_stores_it() {
    let model = ModelServer::start().await;
    let file = format!(
        "[providers.desk]\nbase_url = \"{}\"\n[agents.triage]\nmodels = [\"desk/one\"]\nkeep_reasoning = true\n",
        model.url
    );
    let folder = Folder::new().file("titlecast.toml", &file);
    let server = serve(&folder, &[]).await;
    model.reply(thinking());
    let sent = send_message(
        &server.url,
        json!({ "text": "Are there deer?", "autoTitle": false }),
    )
    .await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    conversation_when(&server.url, id, |now| now["messageCount"] == 2).await;
    let messages = data(&server.url, PARTS, json!({ "id": id })).await;
    let reasoning = json!({ "__typename": "ReasoningPart", "reasoning": "The user wants deer." });
    let text = json!({ "__typename": "TextPart", "text": "Let me look. " });
    assert_eq!(
        messages["conversation"]["messages"]["nodes"][1]["parts"],
        json!([reasoning, text, call()])
    );
    server.stop().await;
}

#[tokio::test]
async fn parts_of_one_id_are_apart_and_limits_leave_no_holes() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let call = |index: usize, name: &str, arguments: &str| {
        let function = json!({ "name": name, "arguments": arguments });
        json!({ "tool_calls": [{ "index": index, "function": function }] })
    };
    const LIMIT: usize = 64 * 1024;
    let fits = format!("\"{}\"", "x".repeat(LIMIT - 2));
    let (answer, gate) = Answer::held(streamed(&[
        json!({ "reasoning_content": "a".repeat(LIMIT - 1) }),
        json!({ "reasoning_content": "é" }),
        json!({ "reasoning_content": "b" }),
        json!({ "content": "Two calls." }),
        json!({ "reasoning_content": "c".repeat(LIMIT + 1) }),
        json!({ "reasoning_content": "d" }),
        call(0, "one", "{\"a\":1}"),
        call(1, "two", "{\"b\":2}"),
        call(2, "three", &fits),
        call(3, "four", &format!("{fits} ")),
    ]));
    model.reply(answer);
    let sent = send_message(
        &server.url,
        json!({ "text": "Are there deer?", "autoTitle": false }),
    )
    .await;
    let joined = Barrier::new(2);
    let following = followed_from(&server.url, &sent["replyId"], None, &joined);
    let ((text, parts, _), _) = tokio::join!(following, async {
        joined.wait().await;
        gate.send(())
    });
    assert_eq!(text, "Two calls.");
    assert_eq!(parts[0]["reasoning"], "a".repeat(LIMIT - 1));
    assert_eq!(parts[1]["reasoning"], "c".repeat(LIMIT));
    let tools = |parts: &[Value]| -> Vec<Value> {
        let tools = parts.iter().filter(|part| part["__typename"] == "ToolPart");
        tools
            .map(|part| json!([part["callId"], part["name"], part["arguments"]]))
            .collect()
    };
    let expected = [
        json!(["", "one", "{\"a\":1}"]),
        json!(["", "two", "{\"b\":2}"]),
        json!(["", "three", fits]),
        json!(["", "four", ""]),
    ];
    assert_eq!(tools(&parts), expected);
    let id = sent["conversation"]["id"].as_str().unwrap();
    conversation_when(&server.url, id, |now| now["messageCount"] == 2).await;
    let messages = data(&server.url, PARTS, json!({ "id": id })).await;
    let message = &messages["conversation"]["messages"]["nodes"][1];
    assert_eq!(tools(message["parts"].as_array().unwrap()), expected);
    server.stop().await;
}

#[tokio::test]
async fn another_node_delivers_the_same_parts() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let model = ModelServer::start().await;
    let (one, other) = two_nodes_with(&model, &nats, &[]).await;
    let (_, reply, gate) = asked(&model, &one.url).await;
    let joined = Barrier::new(3);
    let (here, there) = (
        followed_from(&one.url, &reply, None, &joined),
        followed_from(&other.url, &reply, None, &joined),
    );
    let (here, there, _) = tokio::join!(here, there, async {
        joined.wait().await;
        gate.send(())
    });
    assert_eq!((&there.0, &there.1), (&here.0, &here.1));
    assert_eq!(there.1.len(), 2);
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn the_legacy_stream_has_tool_calls_and_the_usage_at_its_end() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    model.reply(thinking());
    let body = json!({ "message": "Are there deer?", "context": { "auto_title": false } });
    let events = server.stream(body).await.rest().await;
    let calls: Vec<&Value> = events
        .iter()
        .filter(|event| event["kind"] == "run_item_stream_event")
        .collect();
    assert_eq!(calls.len(), 1, "{events:?}");
    assert_eq!(calls[0]["event"], "tool_called");
    let payload = json!({ "call_id": "call_1", "name": "search", "arguments": "{\"q\":\"deer\"}" });
    assert_eq!(calls[0]["payload"], payload);
    // Later readers get the call too.
    let id = events[0]["conversation_id"].as_str().unwrap();
    let url = format!("{}/api/v1/conversations/{id}/reply", server.url);
    let again = Events::of(client().get(url)).await.rest().await;
    assert!(
        again.iter().any(|event| event["payload"] == payload),
        "{again:?}"
    );
    let body = json!({ "message": "Thanks", "conversation_id": id });
    let events = server.stream(body).await.rest().await;
    assert_eq!(
        events.last().unwrap()["payload"]["usage"]["total_tokens"],
        25
    );
    // Readers after the end get them too.
    let url = format!("{}/api/v1/conversations/{id}/reply", server.url);
    let again = Events::of(client().get(url)).await.rest().await;
    let usage = again.iter().filter(|event| event["kind"] == "usage");
    let usage: Vec<&Value> = usage.map(|event| &event["payload"]).collect();
    assert_eq!(usage.len(), 1, "{again:?}");
    assert_eq!(usage[0]["total_tokens"], 25);
    assert_eq!(again.last().unwrap()["payload"]["usage"], *usage[0]);
    server.stop().await;
}

#[tokio::test]
async fn clients_that_do_not_ask_for_parts_get_text_alone() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (_, reply, gate) = asked(&model, &server.url).await;
    let query = "subscription ($id: ID!) { reply(messageId: $id) {
        __typename ... on ReplySoFar { text cursor } ... on ReplyDelta { text cursor }
    } }";
    let mut socket = GraphqlSocket::connect(&server.url).await;
    let operation = socket.subscribe(query, json!({ "id": reply })).await;
    gate.send(()).unwrap();
    loop {
        let event = socket.next_of(&operation, "reply").await;
        match event["__typename"].as_str().unwrap() {
            "ReplyEnded" => break,
            "ReplySoFar" | "ReplyDelta" => {
                // The form of before.
                let cursor = event["cursor"].as_str().unwrap();
                assert_eq!(cursor.matches('.').count(), 1, "{cursor}");
            }
            other => panic!("{other} was not asked for"),
        }
    }
    server.stop().await;
}

/// A model that thinks and writes by turns, much more than a reply may have.
#[tokio::test]
async fn a_slow_reader_of_parts_gets_few_events_and_all_that_is_kept() {
    const ROUNDS: usize = 2_000;
    const MOST_PARTS: usize = 256;
    let model = ModelServer::start().await;
    let file = "[agents.triage]\nmodels = [\"openai/one\"]\nkeep_reasoning = true\n";
    let folder = Folder::new().file("titlecast.toml", file);
    let server = Server::start_with(&model, &["--config", &folder.path("titlecast.toml")]).await;
    let (id, reply, steps) = being_written(&model, &server.url).await;
    let reply = reply.as_str().unwrap().parse().unwrap();
    let chat = server.app.chat();
    let followed = chat
        .follow_reply_of(&Owner::local(), reply, None, true)
        .await;
    let mut events = followed.unwrap().events;
    // The first event, and nothing more until the reply is stored.
    let first = within(events.next()).await;
    assert!(
        matches!(first, Some(ReplyLogEvent::Snapshot(_))),
        "{first:?}"
    );
    let thought = "thinking ".repeat(40);
    for _ in 0..ROUNDS {
        let fields = json!({ "reasoning_content": thought });
        steps.send(Step::Fields(fields)).unwrap();
        write(&steps, "More. ");
    }
    steps.send(Step::Finish).unwrap();
    conversation_when(&server.url, &id, |now| now["messageCount"] == 2).await;
    let (mut count, mut parts, mut text) = (0, 0, String::new());
    while let Some(event) = within(events.next()).await {
        count += 1;
        match event {
            ReplyLogEvent::Delta(delta) => text += &delta.text,
            ReplyLogEvent::Part(_) => parts += 1,
            ReplyLogEvent::Snapshot(_) | ReplyLogEvent::Reasoning(_) => {}
            ReplyLogEvent::Ended(end) => assert_eq!(end.text, text),
        }
    }
    assert_eq!(text, "More. ".repeat(ROUNDS));
    assert_eq!(parts, MOST_PARTS);
    // A part and the text behind it, and the rest of the text as one.
    assert!(count <= 2 * MOST_PARTS + 3, "{count} of {}", 2 * ROUNDS);
    let stored = data(&server.url, PARTS, json!({ "id": id })).await;
    let stored = stored["conversation"]["messages"]["nodes"][1]["parts"].clone();
    let reasoning = json!({ "__typename": "ReasoningPart", "reasoning": thought });
    let kept = stored.as_array().unwrap().iter();
    assert_eq!(kept.filter(|part| **part == reasoning).count(), MOST_PARTS);
    server.stop().await;
}

#[tokio::test]
async fn a_call_stands_before_the_text_that_follows_it() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    model.reply(streamed(&[
        json!({ "content": "Let me look. " }),
        called("call_1"),
        json!({ "content": "Deer live in Nara." }),
        // As some servers do with the finish reason.
        called("call_1"),
    ]));
    let sent = send_message(&server.url, json!({ "text": "Where do deer live?" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    conversation_when(&server.url, id, |now| now["messageCount"] == 2).await;
    let stored = server.data(PARTS, json!({ "id": id })).await;
    let parts = &stored["conversation"]["messages"]["nodes"][1]["parts"];
    let kinds = parts.as_array().unwrap().iter();
    assert_eq!(
        kinds.map(|part| &part["__typename"]).collect::<Vec<_>>(),
        ["TextPart", "ToolPart", "TextPart"],
        "{parts}"
    );
    server.stop().await;
}
