//! The wires of chat front ends: the AI SDK's UI message stream and AG-UI. The real clients are in `tests/clients`; here
//! are the rules of each wire over random turns, and what clients do not send.

use std::collections::HashMap;

use serde_json::{Value, json};
use titlecast_testing::{
    Events, ModelServer, Server, Step,
    calls::conversation_when,
    server::{client, request},
    within,
};

const STOP: &str = "mutation ($id: ID!) { stopReply(input: { conversationId: $id }) { stopped } }";

/// Random turns of a run.
const TURNS: usize = 100;

/// The keys of each part that version 5.0.0 of the AI SDK lets pass.
const UI_KEYS: [(&str, &[&str]); 17] = [
    ("start", &["messageId", "messageMetadata"]),
    ("start-step", &[]),
    ("text-start", &["id"]),
    ("text-delta", &["id", "delta"]),
    ("text-end", &["id"]),
    ("reasoning-start", &["id"]),
    ("reasoning-delta", &["id", "delta"]),
    ("reasoning-end", &["id"]),
    ("tool-input-start", &["toolCallId", "toolName", "dynamic"]),
    (
        "tool-input-available",
        &["toolCallId", "toolName", "input", "dynamic"],
    ),
    (
        "tool-output-available",
        &["toolCallId", "output", "dynamic"],
    ),
    ("tool-output-error", &["toolCallId", "errorText", "dynamic"]),
    ("data-conversation-title", &["id", "data", "transient"]),
    ("message-metadata", &["messageMetadata"]),
    ("error", &["errorText"]),
    ("finish-step", &[]),
    ("finish", &["messageMetadata"]),
];

/// Reads a stream of JSON frames up to its end, or to `[DONE]`.
pub(super) async fn read(response: reqwest::Response) -> Vec<Value> {
    let body = within(response.text()).await.unwrap();
    let frames = body.split("\n\n").filter(|frame| !frame.is_empty());
    let mut values = Vec::new();
    for frame in frames {
        match frame.strip_prefix("data: ") {
            Some("[DONE]") => values.push(json!("[DONE]")),
            Some(data) => values.push(serde_json::from_str(data).unwrap()),
            None => assert!(frame.starts_with(':'), "{frame}"),
        }
    }
    values
}

/// Checks the invariants of every UI message stream. Returns its text, and how it ended.
#[track_caller]
fn assert_ui(parts: &[Value]) -> (String, String) {
    assert_eq!(parts.last().unwrap(), "[DONE]");
    let parts = &parts[..parts.len() - 1];
    let kind = |part: &Value| part["type"].as_str().unwrap().to_owned();
    assert_eq!(kind(&parts[0]), "start");
    assert!(parts[0]["messageId"].is_string());
    let (mut open, mut text) = (Vec::new(), String::new());
    let mut inputs = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let kind = kind(part);
        let known = UI_KEYS.iter().find(|(name, _)| *name == kind);
        let keys = known.unwrap_or_else(|| panic!("{part}")).1;
        for key in part.as_object().unwrap().keys() {
            assert!(key == "type" || keys.contains(&key.as_str()), "{part}");
        }
        let id = part["id"].clone();
        let block = kind.split('-').next().unwrap().to_owned();
        match kind.as_str() {
            "text-start" | "reasoning-start" => {
                assert_eq!(open, Vec::new(), "one block at a time");
                open.push((block, id));
            }
            "text-delta" | "reasoning-delta" => {
                let delta = part["delta"].as_str().unwrap();
                assert_ne!(delta, "");
                if block == "text" {
                    text.push_str(delta);
                }
                assert_eq!(open, [(block, id)]);
            }
            "text-end" | "reasoning-end" => assert_eq!(open.pop(), Some((block, id))),
            "tool-input-available" => inputs.push(part["toolCallId"].clone()),
            "tool-output-available" | "tool-output-error" => {
                assert!(inputs.contains(&part["toolCallId"]), "{part}");
            }
            "finish" | "error" => {
                assert_eq!(index, parts.len() - 1, "nothing follows the end");
                assert_eq!(open, Vec::new(), "every block is closed");
            }
            _ => {}
        }
    }
    let last = parts.last().unwrap();
    let outcome = match last["type"] == "error" {
        true => json!("failed"),
        false => last["messageMetadata"]["outcome"].clone(),
    };
    (text, outcome.as_str().unwrap().to_owned())
}

/// Checks the invariants of every AG-UI run. Returns its text, and how it ended.
#[track_caller]
fn assert_agui(events: &[Value]) -> (String, String) {
    let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
    assert_eq!(kind(&events[0]), "RUN_STARTED");
    let mut open: HashMap<String, Value> = HashMap::new();
    let mut text = String::new();
    for (index, event) in events.iter().enumerate() {
        let fields = event.as_object().unwrap();
        assert!(fields.values().all(|value| !value.is_null()), "{event}");
        let kind = kind(event);
        let id = ["messageId", "toolCallId"]
            .iter()
            .find_map(|key| fields.get(*key));
        let id = id.cloned().unwrap_or_default();
        for (begin, end, name) in [
            ("TEXT_MESSAGE_START", "TEXT_MESSAGE_END", "text"),
            (
                "REASONING_MESSAGE_START",
                "REASONING_MESSAGE_END",
                "thought",
            ),
            ("REASONING_START", "REASONING_END", "reasoning"),
            ("TOOL_CALL_START", "TOOL_CALL_END", "tool"),
        ] {
            if kind == begin {
                assert_eq!(open.insert(name.into(), id.clone()), None, "{event}");
            } else if kind == end {
                assert_eq!(open.remove(name), Some(id.clone()), "{event}");
            }
        }
        let in_block = |name: &str| assert_eq!(open.get(name), Some(&id), "{event}");
        match kind.as_str() {
            "TEXT_MESSAGE_CONTENT" => {
                in_block("text");
                let delta = event["delta"].as_str().unwrap();
                assert_ne!(delta, "");
                text.push_str(delta);
            }
            "REASONING_MESSAGE_CONTENT" => in_block("thought"),
            "TOOL_CALL_ARGS" => in_block("tool"),
            "RUN_FINISHED" | "RUN_ERROR" => {
                assert_eq!(index, events.len() - 1, "nothing follows the end");
                assert!(open.is_empty(), "{open:?}");
            }
            _ => {}
        }
    }
    let last = events.last().unwrap();
    let outcome = match kind(last).as_str() {
        "RUN_FINISHED" if last["outcome"]["type"] == "cancelled" => "stopped",
        "RUN_FINISHED" => "completed",
        "RUN_ERROR" if last["message"] == "the reply is incomplete" => "incomplete",
        "RUN_ERROR" => "failed",
        other => panic!("{other}"),
    };
    (text, outcome.into())
}

pub(super) fn ui_body(id: &str, message: &str, text: &str) -> Value {
    json!({
        "id": id,
        "messages": [
            { "id": "old", "role": "user", "parts": [{ "type": "text", "text": "not read" }] },
            { "id": message, "role": "user", "parts": [{ "type": "text", "text": text }] },
        ],
        "trigger": "submit-message",
    })
}

pub(super) fn agui_body(id: &str, run: &str, text: &str) -> Value {
    json!({
        "threadId": id, "runId": run, "state": null, "tools": [], "context": [], "forwardedProps": {},
        "messages": [{ "id": "m", "role": "user", "content": [{ "type": "text", "text": text }] }],
    })
}

pub(super) async fn post(server: &Server, path: &str, body: &Value) -> reqwest::Response {
    let url = format!("{}{path}", server.url);
    within(client().post(url).json(body).send()).await.unwrap()
}

/// A random course of a reply, its last step, without which a person stops it, and how it ends.
fn course() -> (Vec<Step>, Option<Step>, &'static str) {
    let mut steps = Vec::new();
    let mut calls = 0;
    for _ in 0..fastrand::usize(0..8) {
        steps.push(match fastrand::usize(0..4) {
            0 => Step::Fields(json!({ "reasoning_content": "Hm, deer. " })),
            1 => {
                calls += 1;
                Step::Fields(json!({ "tool_calls": [{
                    "index": calls - 1, "id": format!("call_{calls}"), "type": "function",
                    "function": { "name": "search", "arguments": "{\"q\":\"deer\"}" },
                }] }))
            }
            _ => Step::delta(["Deer ", "live in Nara. ", "\u{1f98c}\n\n"][fastrand::usize(0..3)]),
        });
    }
    steps.push(Step::delta("End."));
    match fastrand::usize(0..4) {
        0 => (steps, Some(Step::Finish), "completed"),
        1 => (steps, Some(Step::FinishFor("length")), "incomplete"),
        2 => (steps, Some(Step::Cut), "failed"),
        _ => (steps, None, "stopped"),
    }
}

const QUESTION: &str = "Where do deer live?";

/// Turns of every kind: all wires have the same text and the same end, while they are read at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_reply_has_the_same_text_on_every_wire() {
    let model = ModelServer::start().await;
    let settings = ["--messages-per-minute", "0", "--title-grace", "1ms"];
    let server = Server::start_with(&model, &settings).await;
    for turn in 0..TURNS {
        let (steps, end, expected) = course();
        let pen = model.live_reply();
        let id = format!("chat {turn}");
        let is_ui = fastrand::bool();
        let (path, body) = match is_ui {
            true => ("/api/v1/ui/chat", ui_body(&id, "m1", QUESTION)),
            false => ("/api/v1/agui", agui_body(&id, "r1", QUESTION)),
        };
        let ask = async || post(&server, path, &body).await;
        let posted = ask().await;
        assert_eq!(posted.status(), 200);
        let path = |path: &str| format!("{}{path}", server.url);
        let name = id.replace(' ', "%20");
        let resumed = client()
            .get(path(&format!("/api/v1/ui/chat/{name}/stream")))
            .send();
        let resumed = within(resumed).await.unwrap();
        assert_eq!(resumed.status(), 200, "the reply runs");
        let legacy = client().get(path(&format!("/api/v1/conversations/{name}/reply")));
        let mut legacy = Events::of(legacy).await;
        for step in steps {
            pen.send(step).unwrap();
        }
        // A connection that breaks before the text is read would be tried again.
        let ours = legacy.next().await.unwrap()["conversation_id"].clone();
        let mut text = String::new();
        while !text.ends_with("End.") {
            let event = legacy.next().await.unwrap();
            text.push_str(event["text_delta"].as_str().unwrap_or_default());
        }
        match end {
            Some(end) => pen.send(end).unwrap(),
            None => drop(server.data(STOP, json!({ "id": ours })).await),
        }
        let (posted, resumed) = tokio::join!(read(posted), read(resumed));
        let ui = assert_ui(&resumed);
        let first = match is_ui {
            true => assert_ui(&posted),
            false => assert_agui(&posted),
        };
        assert_eq!(first, ui, "{posted:#?}");
        assert_eq!(ui.1, expected, "{resumed:#?}");
        let last = legacy.rest().await.pop().unwrap();
        assert_eq!(last["response_text"], ui.0);
        // A stored reply is the same again.
        let again = ask().await;
        let again = read(again).await;
        let again = match is_ui {
            true => assert_ui(&again),
            false => assert_agui(&again),
        };
        assert_eq!(again.0, ui.0);
        assert_eq!(again.1, expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_title_is_a_transient_part_before_the_end() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let answer = post(
        &server,
        "/api/v1/ui/chat",
        &ui_body("a", "m1", "Plan a trip to Kyoto"),
    )
    .await;
    assert_eq!(answer.headers()["x-vercel-ai-ui-message-stream"], "v1");
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    let parts = read(answer).await;
    assert_ui(&parts);
    let title = parts
        .iter()
        .find(|part| part["type"] == "data-conversation-title");
    let title = title.unwrap();
    assert_eq!(title["transient"], true);
    assert_eq!(title["data"]["title"], ModelServer::TITLE);
    assert_eq!(title["data"]["titleStatus"], "READY");
    assert!(title["data"]["revision"].is_i64());
    let id = title["data"]["conversationId"].as_str().unwrap();
    conversation_when(&server.url, id, |now| now["title"] == ModelServer::TITLE).await;
    server.stop().await;
}

#[tokio::test]
async fn errors_before_the_stream_are_texts() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let assistant = json!({
        "id": "a", "messages": [{ "id": "m", "role": "assistant", "parts": [] }], "trigger": "submit-message",
    });
    let no_messages = json!({ "id": "a", "messages": [] });
    let odd = json!({ "id": "a", "messages": [{ "id": 3, "role": "user" }] });
    let reserved = ui_body("search", "m1", "Hi there");
    for (body, status, text) in [
        (&assistant, 400, "the newest message must be the user's"),
        (&no_messages, 422, "messages must contain a message"),
        (&odd, 422, "the message is empty"),
        (&reserved, 422, "an external id must not be"),
        (&ui_body("a", "m1", " "), 422, "the message is empty"),
    ] {
        let answer = post(&server, "/api/v1/ui/chat", body).await;
        assert_eq!(answer.status(), status, "{body}");
        assert_eq!(
            answer.headers()["content-type"],
            "text/plain; charset=utf-8"
        );
        let answer = answer.text().await.unwrap();
        assert!(answer.starts_with(text), "{answer}");
    }
    let url = format!("{}/api/v1/ui/chat", server.url);
    let form = client().post(&url).body("id=a").send().await.unwrap();
    assert_eq!(form.status(), 415);
    // Long conversations pass, and what is beyond the limit is refused.
    let mut long = ui_body("long", "m1", "Plan a trip to Kyoto");
    long["messages"][0]["parts"][0]["text"] = "x".repeat(7 << 20).into();
    let answer = post(&server, "/api/v1/ui/chat", &long).await;
    assert_eq!(answer.status(), 200);
    assert_ui(&read(answer).await);
    long["messages"][0]["parts"][0]["text"] = "x".repeat(9 << 20).into();
    let answer = post(&server, "/api/v1/ui/chat", &long).await;
    assert_eq!(answer.status(), 413);
    for path in [
        "/api/v1/ui/chat/unknown/stream",
        "/api/v1/ui/chat/long/stream",
    ] {
        let answer = client()
            .get(format!("{}{path}", server.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 204, "{path}");
    }
    let guarded = Server::guarded(&model).await;
    let answer = post(&guarded, "/api/v1/ui/chat", &no_messages).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    server.stop().await;
}

#[tokio::test]
async fn another_reply_to_an_older_message_is_refused() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let first = read(
        post(
            &server,
            "/api/v1/ui/chat",
            &ui_body("a", "m1", "Plan a trip"),
        )
        .await,
    )
    .await;
    read(
        post(
            &server,
            "/api/v1/ui/chat",
            &ui_body("a", "m2", "And in May?"),
        )
        .await,
    )
    .await;
    let again = json!({
        "id": "a", "trigger": "regenerate-message", "messageId": first[0]["messageId"],
        "messages": [{ "id": "m1", "role": "user", "parts": [{ "type": "text", "text": "Plan a trip" }] }],
    });
    let answer = post(&server, "/api/v1/ui/chat", &again).await;
    assert_eq!(answer.status(), 409);
    // Without a message of ours, the newest message is answered, and stored first where it is unknown.
    let unknown = json!({
        "id": "b", "trigger": "regenerate-message",
        "messages": [{ "id": "n1", "role": "user", "parts": [{ "type": "text", "text": "Plan a trip" }] }],
    });
    let answer = post(&server, "/api/v1/ui/chat", &unknown).await;
    assert_eq!(answer.status(), 200);
    let (text, _) = assert_ui(&read(answer).await);
    assert_eq!(text, ModelServer::REPLY.concat());
    server.stop().await;
}

#[tokio::test]
async fn another_reply_stops_the_one_that_runs() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let pen = model.live_reply();
    let first = post(
        &server,
        "/api/v1/ui/chat",
        &ui_body("a", "m1", "Plan a trip"),
    )
    .await;
    // `useChat.stop()` only stops reading.
    drop(first);
    let again = json!({
        "id": "a", "trigger": "regenerate-message",
        "message": { "id": "m1", "role": "user", "parts": [{ "type": "text", "text": "Plan a trip" }] },
    });
    let answer = post(&server, "/api/v1/ui/chat", &again).await;
    assert_eq!(answer.status(), 200);
    let (text, _) = assert_ui(&read(answer).await);
    assert_eq!(text, ModelServer::REPLY.concat());
    drop(pen);
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_left_out() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let newest = json!({ "id": 7, "role": "user", "parts": [
        { "type": "text", "text": "Look at this" }, 3, null, { "type": 4 }, { "type": "data-x", "data": [] },
        { "type": "file", "mediaType": "", "filename": "Cargo.toml", "url": "data:," },
        { "type": "file", "mediaType": "text/plain", "mimeType": "text/plain", "filename": "", "url": "data:," },
        { "type": "file", "filename": "long".repeat(99), "url": "data:," },
    ] });
    let older = [
        json!({ "id": "x", "role": "activity", "content": { "an": "object" } }),
        json!({ "role": "data", "parts": 5 }),
        json!(1),
        json!("text"),
        json!(null),
        json!({}),
    ];
    let messages: Vec<&Value> = older.iter().chain([&newest]).collect();
    let ui = json!({ "id": "a", "messages": messages });
    let agui = json!({ "threadId": "b", "runId": "r", "messages": messages });
    for (path, body) in [("/api/v1/ui/chat", ui), ("/api/v1/agui", agui)] {
        let answer = post(&server, path, &body).await;
        assert_eq!(answer.status(), 200, "{path}");
        read(answer).await;
    }
    for id in ["a", "b"] {
        let path = format!("/api/v1/conversations/{id}");
        let (_, history) = request(&server.url, "GET", &path, None).await;
        let message = &history["messages"][0];
        assert_eq!(message["content"], "Look at this");
        let names = message["attachments"].as_array().unwrap();
        let names: Vec<&str> = names
            .iter()
            .map(|file| file["filename"].as_str().unwrap())
            .collect();
        assert_eq!(names[..2], ["Cargo.toml", "file"], "{history}");
        assert_eq!(names[2].len(), 255);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_recorded_message_can_be_answered_by_its_id() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let recorded = json!({ "role": "user", "content": "Plan a trip" });
    let path = "/api/v1/conversations/a/messages";
    let (status, recorded) = request(&server.url, "POST", path, Some(recorded)).await;
    assert_eq!(status, 201, "{recorded}");
    let body = json!({
        "id": "a", "trigger": "submit-message", "messageId": recorded["message_id"],
        "messages": [{ "id": "m9", "role": "user", "parts": [{ "type": "text", "text": "Plan two trips" }] }],
    });
    let answer = post(&server, "/api/v1/ui/chat", &body).await;
    assert_eq!(answer.status(), 200);
    read(answer).await;
    let (_, history) = request(&server.url, "GET", "/api/v1/conversations/a", None).await;
    let texts: Vec<&Value> = history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["content"])
        .collect();
    assert_eq!(
        texts,
        ["Plan two trips", &ModelServer::REPLY.concat()],
        "{history}"
    );
    server.stop().await;
}

#[tokio::test]
async fn the_same_message_in_another_run_is_answered_again() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let run = async |run: &str, text: &str| {
        post(&server, "/api/v1/agui", &agui_body("a", run, text)).await
    };
    read(run("r1", "Plan a trip").await).await;
    let (text, _) = assert_agui(&read(run("r2", "Plan a trip").await).await);
    assert_eq!(text, ModelServer::REPLY.concat());
    // A retry of each run is the same.
    for retry in ["r1", "r2"] {
        assert_agui(&read(run(retry, "Plan a trip").await).await);
    }
    for (run_id, id) in [("r3", "m"), ("r2", "m"), ("r2", "n"), ("r1", "n")] {
        let mut body = agui_body("a", run_id, "Plan another trip");
        body["messages"][0]["id"] = json!(id);
        let other = post(&server, "/api/v1/agui", &body).await;
        assert_eq!(other.status(), 409, "{run_id} {id}");
        let text = within(other.text()).await.unwrap();
        assert!(text.contains("used with another text"), "{text}");
    }
    let (_, history) = request(&server.url, "GET", "/api/v1/conversations/a", None).await;
    let roles: Vec<&Value> = history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["role"])
        .collect();
    assert_eq!(roles, ["user", "assistant"], "{history}");
    server.stop().await;
}

#[tokio::test]
async fn ids_of_another_conversation_are_unknown() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    read(
        post(
            &server,
            "/api/v1/ui/chat",
            &ui_body("a", "m1", "Plan a trip"),
        )
        .await,
    )
    .await;
    let other = read(
        post(
            &server,
            "/api/v1/ui/chat",
            &ui_body("b", "n1", "Bake bread"),
        )
        .await,
    )
    .await;
    let (_, history) = request(&server.url, "GET", "/api/v1/conversations/b", None).await;
    let message = &history["messages"][0]["message_id"];
    assert!(message.is_string(), "{history}");
    for (trigger, id, client_id) in [
        ("regenerate-message", &other[0]["messageId"], "m1"),
        ("submit-message", message, "m2"),
    ] {
        let body = json!({
            "id": "a", "trigger": trigger, "messageId": id,
            "messages": [{ "id": client_id, "role": "user", "parts": [{ "type": "text", "text": "Plan a trip" }] }],
        });
        let answer = post(&server, "/api/v1/ui/chat", &body).await;
        assert_eq!(answer.status(), 200);
        read(answer).await;
    }
    let (_, after) = request(&server.url, "GET", "/api/v1/conversations/b", None).await;
    assert_eq!(after["messages"], history["messages"]);
    server.stop().await;
}

#[tokio::test]
async fn the_text_before_an_edit_is_refused() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let send = async |body: &Value| post(&server, "/api/v1/ui/chat", body).await;
    let first = ui_body("a", "m1", "Plan a trip");
    read(send(&first).await).await;
    let mut edit = ui_body("a", "m1", "Plan two trips");
    edit["messageId"] = json!("m1");
    read(send(&edit).await).await;
    // It would be the former reply.
    let again = send(&first).await;
    assert_eq!(again.status(), 409);
    let text = within(again.text()).await.unwrap();
    assert!(text.contains("used with another text"), "{text}");
    server.stop().await;
}
