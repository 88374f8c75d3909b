//! The routes and fields of the apps that the legacy contracts come from: events, the replayed ledger, attachments, and what
//! holds under every contract.

use serde_json::{Value, json};
use titlecast_testing::{
    Events, ModelServer, Server, Step,
    calls::conversation_when,
    server::{client, request},
};

use crate::{
    agents::Folder,
    public_stream::{assert_contract, post},
};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// All items of the ledger, read in pages of this size.
async fn ledger(server: &Server, id: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let path =
            format!("/api/v1/conversations/{id}/ledger/events?limit={limit}&cursor={cursor}");
        let (status, page) = server.get(&path).await;
        assert_eq!(
            (status, &page["conversation_id"]),
            (200, &json!(id)),
            "{page}"
        );
        let more = page["items"].as_array().unwrap();
        assert!(more.len() <= limit);
        items.extend(more.iter().cloned());
        match page["next_cursor"].as_str() {
            None => return items,
            Some(next) => cursor = next.to_owned(),
        }
    }
}

#[tokio::test]
async fn the_events_and_the_ledger_are_made_from_what_is_stored() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let server = Server::start(&model).await;
    let mut stream = post(&server, json!({ "message": MESSAGE })).await;
    let first = stream.next().await.unwrap();
    let id = first["conversation_id"].as_str().unwrap().to_owned();
    let running = ledger(&server, &id, 500).await;
    assert_eq!(running.len(), 1, "a reply that is being written has begun");
    assert_eq!(running[0]["kind"], "lifecycle");
    for fields in [
        json!({ "content": "Let me look. " }),
        json!({ "tool_calls": [{ "index": 0, "id": "call_1", "type": "function",
            "function": { "name": "search", "arguments": "{\"q\":\"deer\"}" } }] }),
        json!({ "content": "Nara.\u{2028}" }),
    ] {
        steps.send(Step::Fields(fields)).unwrap();
    }
    steps.send(Step::FinishFor("tool_calls")).unwrap();
    let live = stream.rest().await;

    let replayed = ledger(&server, &id, 500).await;
    let last = assert_contract(&replayed);
    assert_eq!(last["final"]["response_text"], "Let me look. Nara.\u{2028}");
    assert_eq!(
        last["final"]["status"],
        live.last().unwrap()["final"]["status"]
    );
    assert_eq!(replayed[0]["stream_id"], running[0]["stream_id"]);
    let tool = |events: &[Value]| {
        let tool = events.iter().find(|event| event["kind"] == "tool.status");
        tool.unwrap()["tool"].clone()
    };
    assert_eq!(tool(&replayed), tool(&live));
    assert_eq!(ledger(&server, &id, 2).await, replayed, "in pages");

    let path = format!("/api/v1/conversations/{id}/ledger/stream");
    let mut stream = Events::of(client().get(format!("{}{path}", server.url))).await;
    assert_eq!(stream.rest().await, replayed);

    let (status, events) = server
        .get(&format!("/api/v1/conversations/{id}/events"))
        .await;
    assert_eq!((status, &events["conversation_id"]), (200, &json!(id)));
    let items = events["items"].as_array().unwrap();
    let kinds: Vec<_> = items
        .iter()
        .map(|item| item["run_item_type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["user_message", "tool_call", "assistant_message"]);
    assert_eq!(
        (
            &items[0]["role"],
            &items[0]["content_text"],
            &items[0]["sequence_no"]
        ),
        (&json!("user"), &json!(MESSAGE), &json!(1))
    );
    assert_eq!(
        (&items[1]["tool_name"], &items[1]["call_arguments"]),
        (&json!("search"), &json!({ "q": "deer" }))
    );
    assert_eq!(items[2]["agent"], "triage");

    let strange = uuid::Uuid::now_v7();
    for (path, status) in [
        (format!("{id}/ledger/events?cursor=x"), 400),
        (format!("{id}/ledger/stream?cursor=x"), 400),
        (format!("{id}/ledger/events?limit=0"), 422),
        (format!("{id}/ledger/events?limit=1001"), 422),
        (format!("{strange}/events"), 404),
        (format!("{strange}/ledger/events"), 404),
        (format!("{strange}/ledger/stream"), 404),
        (format!("{id}/memory"), 404),
    ] {
        let (answered, body) = server.get(&format!("/api/v1/conversations/{path}")).await;
        assert_eq!(answered, status, "{path}: {body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_full_page_of_the_ledger_leaves_the_running_reply_to_the_next_page() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut stream = post(&server, json!({ "message": MESSAGE })).await;
    let events = stream.rest().await;
    let id = events[0]["conversation_id"].as_str().unwrap().to_owned();
    let stored = ledger(&server, &id, 500).await;
    assert_contract(&stored);

    let _running = model.live_reply();
    let next = json!({ "message": "And now?", "conversation_id": id });
    let mut stream = post(&server, next).await;
    stream.next().await.unwrap();
    let full = stored.len();
    for limit in [full, full + 1] {
        let items = ledger(&server, &id, limit).await;
        assert_eq!(items.len(), full + 1, "with {limit} a page");
        assert_eq!(items[..full], stored);
        assert_eq!(items[full]["kind"], "lifecycle");
    }

    let path = format!("/api/v1/conversations/{id}/ledger/events?limit={full}");
    let (_, page) = server.get(&path).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let other = server.begin("Plan a trip to Rome").await;
    for route in ["events", "stream"] {
        let path = format!("/api/v1/conversations/{other}/ledger/{route}?cursor={cursor}");
        let (status, body) = server.get(&path).await;
        assert_eq!((status, &body["code"]), (400, &json!("INVALID_CURSOR")));
    }
}

#[tokio::test]
async fn attachments_of_every_known_shape_are_kept_by_name() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let object = "3f1d5f0e-8a6f-4f0a-9f57-111111111111";
    let files = json!([
        { "object_id": object, "kind": "file" },
        { "object_id": "7", "filename": "trip.pdf", "mime_type": "application/pdf" },
        { "name": "map.png", "media_type": "nonsense" },
        "what?", 7, { "kind": "image" },
    ]);
    let body = json!({ "message": MESSAGE, "attachments": files });
    let (status, answer) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(status, 200, "{answer}");
    let id = answer["conversation_id"].as_str().unwrap();
    let file = |object: Value, name: &str, kind: Value| {
        json!({ "object_id": object, "filename": name, "mime_type": kind, "size_bytes": null, "url": null,
            "tool_call_id": null })
    };
    let kept = json!([
        file(json!(object), object, Value::Null),
        file(json!("7"), "trip.pdf", json!("application/pdf")),
        file(Value::Null, "map.png", Value::Null),
    ]);
    let (_, history) = server.get(&format!("/api/v1/conversations/{id}")).await;
    assert_eq!(history["messages"][0]["attachments"], kept);
    assert_eq!(history["messages"][1]["attachments"], json!([]));
    let (_, page) = server
        .get(&format!(
            "/api/v1/conversations/{id}/messages?direction=asc"
        ))
        .await;
    assert_eq!(page["items"][0]["attachments"], kept);
    let (_, events) = server
        .get(&format!("/api/v1/conversations/{id}/events"))
        .await;
    assert_eq!(events["items"][0]["attachments"], kept);
    // A message may be its files.
    let body = json!({ "message": "", "attachments": [{ "filename": "notes.txt" }] });
    let (status, answer) = server.send("POST", "/api/v1/chat", body).await;
    assert_eq!(status, 200, "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn what_holds_under_every_contract() {
    let folder = Folder::new().file("titlecast.toml", "[agents.default]\n[agents.billing]\n");
    let file = folder.path("titlecast.toml");
    for contract in ["legacy", "public_sse_v1"] {
        let model = ModelServer::start().await;
        let settings = ["--legacy-contract", contract, "--config", &file];
        let server = Server::start_with(&model, &settings).await;
        let body = json!({ "message": MESSAGE, "agent_type": "nobody-knows", "conversation_id": "thread 1" });
        let mut stream = Events::post(&server.url, body).await;
        let events = stream.rest().await;
        assert_eq!(
            events[0]["agent"], "default",
            "{contract}: an unknown agent falls back"
        );
        let id = events[0]["conversation_id"].as_str().unwrap();
        conversation_when(&server.url, id, |now| now["messageCount"] == 2).await;
        let (_, history) = server.get("/api/v1/conversations/thread%201").await;
        assert_eq!(
            history["agent_context"],
            json!({ "agent_entrypoint": "nobody-knows", "active_agent": "default",
                "topic_hint": history["topic_hint"], "status": "active" })
        );
        let unknown = uuid::Uuid::now_v7().to_string();
        for id in [&*unknown, "thread-9", "7", "thread%209"] {
            let path = format!("/api/v1/conversations/{id}");
            let (status, _) = request(&server.url, "DELETE", &path, None).await;
            assert_eq!(status, 204, "{contract}: {id}");
            for path in [
                path.clone(),
                format!("{path}/messages"),
                format!("{path}/events"),
            ] {
                let (status, body) = server.get(&path).await;
                assert_eq!(
                    (status, &body["code"]),
                    (404, &json!("NOT_FOUND")),
                    "{contract}: {path}"
                );
            }
        }
        for query in ["", "?q=", "?q=%20%09"] {
            let path = format!("/api/v1/conversations/search{query}");
            let (status, body) = server.get(&path).await;
            assert_eq!(
                (status, &body["code"]),
                (400, &json!("BLANK_SEARCH")),
                "{contract}: {path}"
            );
        }
        server.stop().await;
    }
}
