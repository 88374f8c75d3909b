//! The schemas of events in `/openapi.json`: what the server sends on each stream, no more and no less.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use titlecast_testing::{Answer, ModelServer, Server, Step, server::client, within};

use crate::{
    agents::Folder,
    front_ends::{agui_body, post, read, ui_body},
    openapi::{document, faults},
};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// What no stream here has: only a program that writes replies has results of tools, and AG-UI reads none of those.
const UNSEEN: [&str; 1] = ["TOOL_CALL_RESULT"];

/// The schema of the events of an operation's stream.
fn event_of(document: &Value, path: &str, method: &str) -> Value {
    let response = &document["paths"][path][method]["responses"]["200"];
    let event = response["x-event"].clone();
    assert!(event.is_object(), "{method} {path}: {response}");
    event
}

/// The values of a tag that a schema of events allows.
fn tags(document: &Value, schema: &Value, tag: &str, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "$ref" {
                    let target = document.pointer(&value.as_str().unwrap()[1..]);
                    tags(document, target.unwrap(), tag, found);
                } else if name == "properties" {
                    let values = value[tag]["enum"].as_array().into_iter().flatten();
                    found.extend(values.map(|value| value.as_str().unwrap().to_owned()));
                } else {
                    tags(document, value, tag, found);
                }
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| tags(document, item, tag, found)),
        _ => {}
    }
}

/// Compares events with the schema, and adds the values of their tag.
fn assert_events(document: &Value, schema: &Value, events: &[Value], seen: &mut BTreeSet<String>) {
    assert!(!events.is_empty());
    for event in events.iter().filter(|event| **event != json!("[DONE]")) {
        let mut found = Vec::new();
        faults(document, schema, event, "event", &mut found);
        assert_eq!(found, Vec::<String>::new(), "{event}");
        for tag in ["type", "kind"] {
            seen.extend(event[tag].as_str().map(str::to_owned));
        }
    }
}

/// A reply with all that a model writes, one that is cut off, and one that fails.
fn script(model: &ModelServer) {
    let (answer, steps) = Answer::live();
    let call = json!({ "tool_calls": [{
        "index": 0, "id": "call_1", "type": "function",
        "function": { "name": "search", "arguments": "{\"q\":\"deer\"}" },
    }] });
    for step in [
        Step::Fields(json!({ "reasoning_content": "Hm, deer." })),
        Step::delta("Deer live in Nara."),
        Step::Fields(call),
        Step::Finish,
    ] {
        steps.send(step).unwrap();
    }
    model.reply(answer);
    model.reply(Answer::Finished("Half a thought", "content_filter"));
    model.reply(Answer::error(400, "invalid_request_error", None, "no"));
}

#[tokio::test]
async fn events_are_as_described() {
    let document = document();
    let mut seen = BTreeSet::new();
    let (mut described, mut expected) = (BTreeSet::new(), Vec::new());
    for (path, method, tag) in [
        ("/api/v1/ui/chat", "post", "type"),
        ("/api/v1/agui", "post", "type"),
        ("/api/v1/chat/stream", "post", "kind"),
    ] {
        let model = ModelServer::start().await;
        script(&model);
        let settings = ["--messages-per-minute", "0"];
        let server = Server::start_with(&model, &settings).await;
        let schema = event_of(&document, path, method);
        tags(&document, &schema, tag, &mut described);
        for turn in 0..3 {
            let name = format!("c{turn}");
            let legacy = json!({ "message": MESSAGE, "conversation_id": name });
            let (query, body) = match path {
                "/api/v1/ui/chat" => ("", ui_body(&name, "m1", MESSAGE)),
                "/api/v1/agui" => ("", agui_body(&name, "r1", MESSAGE)),
                _ => ("?contract=public_sse_v1", legacy),
            };
            let events = read(post(&server, &format!("{path}{query}"), &body).await).await;
            assert_events(&document, &schema, &events, &mut seen);
            if query.is_empty() {
                continue;
            }
            // The other contract of the same route, and the replays.
            let events = read(post(&server, path, &body).await).await;
            assert_events(&document, &schema, &events, &mut BTreeSet::new());
            let ledger = "/api/v1/conversations/{id}/ledger/stream";
            let schema = event_of(&document, ledger, "get");
            let url = format!("{}{}", server.url, ledger.replace("{id}", &name));
            let events = read(within(client().get(url).send()).await.unwrap()).await;
            assert_events(&document, &schema, &events, &mut BTreeSet::new());
        }
        expected.push(path);
        server.stop().await;
    }
    results_of_tools(&document, &mut seen).await;
    let missing: Vec<&String> = described
        .iter()
        .filter(|tag| !seen.contains(*tag) && !UNSEEN.contains(&tag.as_str()))
        .collect();
    assert_eq!(missing, Vec::<&String>::new(), "{expected:?}");
    assert!(described.len() > 35, "{described:?}");
}

/// A reply that a program wrote, read by the AI SDK.
async fn results_of_tools(document: &Value, seen: &mut BTreeSet<String>) {
    let agents = "[agents.people]\nsource = \"external\"\n";
    let folder = Folder::new().file("titlecast.toml", agents);
    let model = ModelServer::start().await;
    let file = folder.path("titlecast.toml");
    let server = Server::start_with(&model, &["--config", &file]).await;
    let body = ui_body("a", "m1", MESSAGE);
    let schema = event_of(document, "/api/v1/ui/chat", "post");
    let events = read(post(&server, "/api/v1/ui/chat", &body).await).await;
    assert_events(document, &schema, &events, seen);
    let recorded = json!({ "role": "user", "external_id": "m2", "content": "And foxes?" });
    let path = "/api/v1/conversations/a/messages";
    assert_eq!(server.send("POST", path, recorded).await.0, 201);
    let upload = client()
        .post(format!("{}/api/v1/conversations/a/replies", server.url))
        .header("content-type", "application/x-ndjson")
        .body(format!(
            "{}\n{}\n{}\n{}\n",
            json!({ "type": "tool", "id": "c1", "name": "search", "result": [1], "state": "completed" }),
            json!({ "type": "tool", "id": "c2", "name": "search", "result": "no", "state": "failed" }),
            json!({ "type": "data", "name": "map", "data": { "zoom": 3 } }),
            json!({ "type": "finish" }),
        ));
    assert_eq!(within(upload.send()).await.unwrap().status(), 201);
    let again = ui_body("a", "m2", "And foxes?");
    let events = read(post(&server, "/api/v1/ui/chat", &again).await).await;
    assert_events(document, &schema, &events, seen);
    assert!(
        events.iter().any(|event| event["type"] == "data-map"),
        "{events:?}"
    );
    server.stop().await;
}
