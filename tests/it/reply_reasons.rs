//! Why a reply is incomplete: live readers and later readers receive the same reason, on every wire.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, Events, ModelServer, Server,
    server::{client, request},
    within,
};

use crate::front_ends::{agui_body, post, read, ui_body};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// A finish reason of a provider, the reason here, and the status of `public_sse_v1`.
const REASONS: [(&str, &str, &str); 3] = [
    ("content_filter", "content_filter", "refused"),
    ("length", "length", "incomplete"),
    ("a new one", "unknown", "incomplete"),
];

const REPLY: &str = "subscription ($id: ID!) { reply(conversationId: $id) {
    ... on ReplyEnded { outcome reason }
} }";

/// The reason that a client of this wire has at the end, or the status.
async fn reason(server: &Server, wire: &str) -> Value {
    let legacy = json!({ "message": MESSAGE, "conversation_id": wire });
    let stream = |contract: &str| {
        let url = format!("{}/api/v1/chat/stream?contract={contract}", server.url);
        client()
            .post(url)
            .header("Idempotency-Key", "k")
            .json(&legacy)
    };
    match wire {
        "legacy" => {
            let mut last = Events::of(stream("legacy")).await.rest().await;
            last.pop().unwrap()["payload"]["reason"].clone()
        }
        "public" => {
            let response = within(stream("public_sse_v1").send()).await.unwrap();
            read(response).await.pop().unwrap()["final"]["status"].clone()
        }
        "whole" => {
            let answer = client()
                .post(format!("{}/api/v1/chat", server.url))
                .header("Idempotency-Key", "k")
                .json(&legacy);
            let answer = within(answer.send()).await.unwrap();
            let answer: Value = within(answer.json()).await.unwrap();
            answer["metadata"]["reason"].clone()
        }
        "ui" => {
            let body = ui_body(wire, "m1", MESSAGE);
            let parts = read(post(server, "/api/v1/ui/chat", &body).await).await;
            let finish = parts.iter().find(|part| part["type"] == "finish");
            finish.unwrap()["messageMetadata"]["reason"].clone()
        }
        _ => {
            let body = agui_body(wire, "r1", MESSAGE);
            let mut events = read(post(server, "/api/v1/agui", &body).await).await;
            events.pop().unwrap()["code"].clone()
        }
    }
}

#[tokio::test]
async fn a_stored_reply_has_the_reason_that_its_live_readers_had() {
    for (finish, stored, status) in REASONS {
        for wire in ["legacy", "public", "whole", "ui", "agui"] {
            let model = ModelServer::start().await;
            model.reply(Answer::Finished("Half a thought", finish));
            let server = Server::start(&model).await;
            let expected = if wire == "public" { status } else { stored };
            assert_eq!(reason(&server, wire).await, expected, "{wire}, live");
            assert_eq!(reason(&server, wire).await, expected, "{wire}, again");
            assert_eq!(model.reply_requests().len(), 1);

            let path = format!("/api/v1/conversations/{wire}");
            let (_, history) = request(&server.url, "GET", &path, None).await;
            let mut socket = server.socket().await;
            let id = json!({ "id": history["conversation_id"] });
            let subscription = socket.subscribe(REPLY, id).await;
            socket.next(&subscription).await.unwrap();
            let ended = socket.next(&subscription).await.unwrap();
            assert_eq!(
                ended["data"]["reply"],
                json!({ "outcome": "INCOMPLETE", "reason": stored.to_uppercase() }),
                "{wire}"
            );
            let path = format!("{path}/ledger/events");
            let (_, ledger) = request(&server.url, "GET", &path, None).await;
            let last = ledger["items"].as_array().unwrap().last().unwrap();
            assert_eq!(last["final"]["status"], status, "{wire}");
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_reply_without_text_has_its_reason_too() {
    let model = ModelServer::start().await;
    model.reply(Answer::Finished("", "content_filter"));
    let server = Server::start(&model).await;
    for _ in 0..2 {
        assert_eq!(reason(&server, "ui").await, "content_filter");
    }
    assert_eq!(model.reply_requests().len(), 1);
    server.stop().await;
}
