//! `public_sse_v1`, the contract of newer clients of the legacy routes: its events have exactly the fields of their kinds,
//! and its title stream is text.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, Events, ModelServer, Server, Step,
    calls::rename,
    server::{client, request},
    within,
};

const MESSAGE: &str = "Plan a trip to Kyoto";
const STOP: &str = "mutation ($id: ID!) { stopReply(input: { conversationId: $id }) { stopped } }";

/// The fields of each kind beside those of every event. A reader refuses any other.
const KINDS: [(&str, &[&str]); 9] = [
    ("lifecycle", &["status"]),
    (
        "output_item.added",
        &["output_index", "item_id", "item_type", "role", "status"],
    ),
    (
        "output_item.done",
        &["output_index", "item_id", "item_type", "role", "status"],
    ),
    (
        "message.delta",
        &["output_index", "item_id", "content_index", "delta"],
    ),
    (
        "reasoning_summary.part.added",
        &[
            "output_index",
            "item_id",
            "summary_index",
            "part_type",
            "text",
        ],
    ),
    (
        "reasoning_summary.part.done",
        &[
            "output_index",
            "item_id",
            "summary_index",
            "part_type",
            "text",
        ],
    ),
    (
        "reasoning_summary.delta",
        &["output_index", "item_id", "summary_index", "delta"],
    ),
    ("tool.status", &["output_index", "item_id", "tool"]),
    ("final", &["final"]),
];

/// Checks the invariants of every stream of this contract. Returns its last event.
#[track_caller]
pub(super) fn assert_contract(events: &[Value]) -> &Value {
    const COMMON: [&str; 8] = [
        "schema",
        "event_id",
        "stream_id",
        "server_timestamp",
        "kind",
        "conversation_id",
        "response_id",
        "agent",
    ];
    let first = events.first().unwrap();
    assert_eq!(first["kind"], "lifecycle");
    let mut open = Vec::new();
    let mut text = String::new();
    for (number, event) in (1..).zip(events) {
        let kind = event["kind"].as_str().unwrap();
        let own = match kind {
            "error" => &["error"],
            kind => KINDS.iter().find(|(name, _)| *name == kind).unwrap().1,
        };
        for name in event.as_object().unwrap().keys() {
            let name = name.as_str();
            let is_known = COMMON.contains(&name) || own.contains(&name);
            assert!(is_known, "{kind} has no field {name}");
        }
        let common = COMMON.iter().all(|name| event.get(name).is_some());
        assert!(common, "{event}");
        assert_eq!(event["schema"], "public_sse_v1");
        assert_eq!(event["event_id"], number);
        assert_eq!(event["stream_id"], first["stream_id"]);
        assert_eq!(event["conversation_id"], first["conversation_id"]);
        let is_last = number == events.len();
        assert_eq!(matches!(kind, "final" | "error"), is_last, "{event}");
        let item = &event["output_index"];
        match kind {
            "output_item.added" => open.push(item.clone()),
            "output_item.done" => {
                let before = open.len();
                open.retain(|open| open != item);
                assert_eq!(before, open.len() + 1, "{event}");
            }
            "message.delta" => {
                assert!(open.contains(item), "{event}");
                text.push_str(event["delta"].as_str().unwrap());
            }
            "reasoning_summary.delta" => assert!(open.contains(item), "{event}"),
            _ => {}
        }
    }
    let last = events.last().unwrap();
    if last["kind"] == "final" {
        assert_eq!(open, Vec::<Value>::new());
        assert_eq!(last["final"]["response_text"], text);
    }
    last
}

pub(super) async fn post(server: &Server, body: Value) -> Events {
    let url = format!("{}/api/v1/chat/stream?contract=public_sse_v1", server.url);
    Events::of(client().post(url).json(&body)).await
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().map(|event| event["kind"].as_str().unwrap());
    kinds.collect()
}

#[tokio::test]
async fn a_plain_reply_has_one_item_and_a_final_event() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut stream = post(&server, json!({ "message": MESSAGE })).await;
    let events = stream.rest().await;
    let last = assert_contract(&events);
    let names = kinds(&events);
    assert_eq!(names[..2], ["lifecycle", "output_item.added"]);
    assert_eq!(events[0]["status"], "in_progress");
    assert_eq!(events[1]["item_type"], "message");
    assert_eq!(events[1]["role"], "assistant");
    assert_eq!(names[names.len() - 2..], ["output_item.done", "final"]);
    assert_eq!(events[names.len() - 2]["status"], "completed");
    assert_eq!(last["agent"], "triage");
    assert_eq!(last["final"]["status"], "completed");
    assert_eq!(last["final"]["response_text"], ModelServer::REPLY.concat());
    assert_eq!(last["final"]["attachments"], json!([]));
    assert!(
        stream.segments.iter().all(|frame| !frame.contains("\nid:")),
        "this contract has data alone"
    );
    server.stop().await;
}

#[tokio::test]
async fn reasoning_and_tools_are_items_of_their_own() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let server = Server::start(&model).await;
    let mut stream = post(&server, json!({ "message": MESSAGE })).await;
    for fields in [
        json!({ "reasoning_content": "The user wants" }),
        json!({ "reasoning_content": " deer." }),
        json!({ "content": "Let me look. " }),
        json!({ "tool_calls": [{ "index": 0, "id": "call_1", "type": "function",
            "function": { "name": "search", "arguments": "{\"q\":\"deer\"}" } }] }),
    ] {
        steps.send(Step::Fields(fields)).unwrap();
    }
    steps.send(Step::FinishFor("tool_calls")).unwrap();
    let events = stream.rest().await;
    let last = assert_contract(&events);
    assert_eq!(
        last["final"]["reasoning_summary_text"],
        "The user wants deer."
    );
    let tool = events.iter().find(|event| event["kind"] == "tool.status");
    let tool = &tool.unwrap()["tool"];
    assert_eq!(tool["tool_type"], "function");
    assert_eq!(tool["tool_call_id"], "call_1");
    assert_eq!(tool["status"], "in_progress");
    assert_eq!(tool["arguments_json"], json!({ "q": "deer" }));
    let done = events
        .iter()
        .find(|event| event["kind"] == "reasoning_summary.part.done");
    assert_eq!(done.unwrap()["text"], "The user wants deer.");
    server.stop().await;
}

#[tokio::test]
async fn a_stop_is_cancelled_and_a_failure_is_one_error() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let server = Server::start(&model).await;
    let mut stream = post(&server, json!({ "message": MESSAGE })).await;
    steps.send(Step::delta("Kyoto")).unwrap();
    let mut events = Vec::new();
    while events
        .last()
        .is_none_or(|event: &Value| event["kind"] != "message.delta")
    {
        events.push(stream.next().await.unwrap());
    }
    let id = events[0]["conversation_id"].as_str().unwrap().to_owned();
    server.data(STOP, json!({ "id": id })).await;
    events.extend(stream.rest().await);
    let last = assert_contract(&events);
    assert_eq!(last["final"]["status"], "cancelled");
    assert_eq!(last["final"]["response_text"], "Kyoto");

    model.reply(Answer::error(
        401,
        "invalid_request_error",
        Some("invalid_api_key"),
        "sk-secret",
    ));
    let mut stream = post(&server, json!({ "message": MESSAGE })).await;
    let events = stream.rest().await;
    let last = assert_contract(&events);
    assert_eq!(last["kind"], "error");
    assert_eq!(last["error"]["code"], "MODEL_MISCONFIGURED");
    assert_eq!(last["error"]["source"], "provider");
    assert_eq!(last["error"]["is_retryable"], false);
    assert!(!stream.segments.concat().contains("sk-secret"));
    server.stop().await;
}

/// The whole body of the title stream.
async fn title_text(url: &str, id: &str, query: &str) -> String {
    let stream = client().get(format!("{url}/api/v1/conversations/{id}/stream{query}"));
    let response = within(stream.send()).await.unwrap();
    assert_eq!(response.status(), 200);
    within(response.text()).await.unwrap()
}

#[tokio::test]
async fn the_title_stream_is_text_and_ends() {
    let model = ModelServer::start().await;
    let gate = model.held_title(Answer::Text(r#"{"title":"Planning a Trip to Kyoto"}"#));
    let settings = ["--legacy-contract", "public_sse_v1"];
    let server = Server::start_with(&model, &settings).await;
    let body = json!({ "message": MESSAGE });
    let mut stream = Events::post(&server.url, body).await;
    let first = stream.next().await.unwrap();
    assert_eq!(first["schema"], "public_sse_v1", "the server's contract");
    let id = first["conversation_id"].as_str().unwrap();
    let waiting = title_text(&server.url, id, "");
    let open = async {
        gate.send(()).unwrap();
    };
    let (text, ()) = tokio::join!(waiting, open);
    assert_eq!(text, "data: Planning a Trip to Kyoto\n\ndata: [DONE]\n\n");
    // An existing title is sent at once.
    let text = title_text(&server.url, id, "?contract=text").await;
    assert_eq!(text, "data: Planning a Trip to Kyoto\n\ndata: [DONE]\n\n");
    // A title that would be the end is sent as something else.
    rename(&server.url, id, "[DONE]").await;
    let text = title_text(&server.url, id, "?contract=text").await;
    assert_eq!(text, "data: DONE\n\ndata: [DONE]\n\n");
    // A request has the last word.
    let path = format!("/api/v1/conversations/{id}/stream?contract=legacy");
    let mut events = Events::of(client().get(format!("{}{path}", server.url))).await;
    let event = events.next().await.unwrap();
    assert_eq!(event["kind"], "conversation.title.updated");
    assert_eq!(event["display_name"], "[DONE]");
    let (status, answer) = request(
        &server.url,
        "GET",
        &format!("/api/v1/conversations/{id}/stream?contract=xml"),
        None,
    )
    .await;
    assert_eq!((status, &answer["code"]), (422, &json!("INVALID_INPUT")));
    server.stop().await;
}

#[tokio::test]
async fn a_title_that_failed_is_done_alone() {
    let model = ModelServer::start().await;
    model.title(Answer::error(
        401,
        "invalid_request_error",
        Some("invalid_api_key"),
        "no",
    ));
    let server = Server::start(&model).await;
    let id = server.begin(MESSAGE).await;
    let text = title_text(&server.url, &id, "?contract=text").await;
    assert_eq!(text, "data: [DONE]\n\n");
    server.stop().await;
}

#[tokio::test]
async fn a_title_that_nothing_makes_is_done_at_once() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("hi").await;
    let text = title_text(&server.url, &id, "?contract=text").await;
    assert_eq!(text, "data: [DONE]\n\n");
    server.stop().await;
}
