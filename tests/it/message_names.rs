//! A message that a client names is one message in its conversation: sent on any wire of front ends, or recorded.

use serde_json::{Value, json};
use titlecast_testing::{ModelServer, Server, within};

use crate::{
    agents::Folder,
    front_ends::{agui_body, post, read, ui_body},
};

const TEXT: &str = "Plan a trip to Kyoto";

/// The id that `agui_body` gives its message.
const NAME: &str = "m";

fn wires() -> [(&'static str, Value); 2] {
    [
        ("/api/v1/ui/chat", ui_body("a", NAME, TEXT)),
        ("/api/v1/agui", agui_body("a", "r1", TEXT)),
    ]
}

async fn record(server: &Server, body: Value) -> (u16, Value) {
    let path = "/api/v1/conversations/a/messages";
    server.send("POST", path, body).await
}

fn message(role: &str, name: &str, text: &str) -> Value {
    json!({ "role": role, "external_id": name, "content": text })
}

/// Sends and reads to the end.
async fn send(server: &Server, path: &str, body: &Value) -> Vec<Value> {
    let answer = post(server, path, body).await;
    assert_eq!(answer.status(), 200, "{path}");
    read(answer).await
}

/// The roles and texts of the history, and the ids.
async fn history(server: &Server) -> (Vec<(String, String)>, Vec<Value>) {
    let (status, history) = server.get("/api/v1/conversations/a").await;
    assert_eq!(status, 200, "{history}");
    let messages = history["messages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let shown = messages
        .iter()
        .map(|message| (text(&message["role"]), text(&message["content"])));
    let ids = messages.iter().map(|message| message["message_id"].clone());
    (shown.collect(), ids.collect())
}

fn question_and_reply() -> Vec<(String, String)> {
    [("user", TEXT), ("assistant", &ModelServer::REPLY.concat())]
        .map(|(role, text)| (role.to_owned(), text.to_owned()))
        .into()
}

#[tokio::test]
async fn a_message_that_was_sent_is_recorded_as_the_same_one() {
    for (path, body) in wires() {
        let model = ModelServer::start().await;
        let server = Server::start(&model).await;
        send(&server, path, &body).await;
        let (_, ids) = history(&server).await;
        for _ in 0..2 {
            let (status, answer) = record(&server, message("user", NAME, TEXT)).await;
            assert_eq!(status, 200, "{path}: {answer}");
            assert_eq!(answer["status"], "exists");
            assert_eq!(answer["message_id"], ids[0]);
        }
        for other in [
            message("user", NAME, "Plan another trip"),
            message("assistant", NAME, TEXT),
        ] {
            let (status, answer) = record(&server, other).await;
            assert_eq!(
                (status, &answer["code"]),
                (409, &json!("ID_TAKEN")),
                "{path}"
            );
        }
        assert_eq!(history(&server).await.0, question_and_reply(), "{path}");
        // Beside others.
        let list = json!([
            message("user", NAME, TEXT),
            message("user", "n", "And to Nara?")
        ]);
        let (status, answer) = record(&server, list).await;
        assert_eq!(status, 201, "{path}: {answer}");
        let items = answer["items"].as_array().unwrap();
        assert_eq!(
            items[0],
            json!({ "message_id": ids[0], "status": "exists" })
        );
        assert_eq!(items[1]["status"], "created");
        assert_eq!(history(&server).await.0.len(), 3);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_message_that_was_recorded_is_answered_and_not_stored_again() {
    for (path, body) in wires() {
        let model = ModelServer::start().await;
        let server = Server::start(&model).await;
        let (status, recorded) = record(&server, message("user", NAME, TEXT)).await;
        assert_eq!(status, 201, "{recorded}");
        send(&server, path, &body).await;
        let (shown, ids) = history(&server).await;
        assert_eq!(shown, question_and_reply(), "{path}");
        assert_eq!(ids[0], recorded["message_id"]);
        // The same turn.
        send(&server, path, &body).await;
        assert_eq!(history(&server).await.1, ids, "{path}");
        let mut other = body.clone();
        let last = other["messages"].as_array().unwrap().len() - 1;
        other["messages"][last] = json!({ "id": NAME, "role": "user", "content": "Another text" });
        other["runId"] = json!("r2");
        let answer = post(&server, path, &other).await;
        assert_eq!(answer.status(), 409, "{path}");
        let text = within(answer.text()).await.unwrap();
        assert!(text.contains("used with another text"), "{text}");
        assert_eq!(history(&server).await.1, ids, "{path}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_name_counts_on_both_wires() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let [(ui, ui_message), (agui, run)] = wires();
    send(&server, agui, &run).await;
    let (_, ids) = history(&server).await;
    // The turn of the other wire.
    let parts = send(&server, ui, &ui_message).await;
    assert_eq!(parts[0]["messageId"], ids[1]);
    assert_eq!(history(&server).await.1, ids);
    // Another run of the newest message is another reply to it.
    let again = agui_body("a", "r2", TEXT);
    send(&server, agui, &again).await;
    let (shown, newer) = history(&server).await;
    assert_eq!(shown, question_and_reply());
    assert_eq!(newer[0], ids[0]);
    assert_ne!(newer[1], ids[1]);
    // Further back it is neither answered nor stored.
    send(&server, ui, &ui_body("a", "n", "And to Nara?")).await;
    let answer = post(&server, agui, &agui_body("a", "r3", TEXT)).await;
    assert_eq!(answer.status(), 409);
    assert_eq!(history(&server).await.0.len(), 4);
    server.stop().await;
}

#[tokio::test]
async fn another_reply_to_a_recorded_message_stores_no_second_one() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let list = json!([
        message("user", NAME, TEXT),
        message("assistant", "r", "In April, for the blossoms.")
    ]);
    assert_eq!(record(&server, list).await.0, 201);
    let mut again = ui_body("a", NAME, TEXT);
    again["trigger"] = json!("regenerate-message");
    send(&server, "/api/v1/ui/chat", &again).await;
    assert_eq!(history(&server).await.0, question_and_reply());
    let mut edit = ui_body("a", NAME, "Plan two trips");
    edit["messageId"] = json!(NAME);
    send(&server, "/api/v1/ui/chat", &edit).await;
    let (shown, _) = history(&server).await;
    assert_eq!(shown[0].1, "Plan two trips");
    assert_eq!(shown.len(), 2);
    // An assistant's message of this name is not the person's.
    let reply = message("assistant", "r2", "In autumn, too.");
    assert_eq!(record(&server, reply).await.0, 201);
    let answer = post(&server, "/api/v1/ui/chat", &ui_body("a", "r2", TEXT)).await;
    assert_eq!(answer.status(), 409);
    server.stop().await;
}

#[tokio::test]
async fn another_reply_is_asked_for_with_unknown_ids_and_the_same_text() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    send(&server, "/api/v1/ui/chat", &ui_body("a", NAME, TEXT)).await;
    let (_, before) = history(&server).await;
    let mut body = ui_body("a", "unknown here", TEXT);
    body["trigger"] = json!("regenerate-message");
    body["messageId"] = json!("unknown too");
    send(&server, "/api/v1/ui/chat", &body).await;
    let (shown, ids) = history(&server).await;
    assert_eq!(shown, question_and_reply());
    assert_eq!(ids[0], before[0]);
    assert_ne!(ids[1], before[1]);
    server.stop().await;
}

#[tokio::test]
async fn what_is_sent_and_recorded_at_once_is_one_message() {
    let model = ModelServer::start().await;
    let settings = ["--messages-per-minute", "0"];
    let server = Server::start_with(&model, &settings).await;
    for place in 0..20 {
        let id = format!("c{place}");
        let path = format!("/api/v1/conversations/{id}/messages");
        let (wire, body) = match place % 2 {
            0 => ("/api/v1/ui/chat", ui_body(&id, NAME, TEXT)),
            _ => ("/api/v1/agui", agui_body(&id, "r1", TEXT)),
        };
        let recording = server.send("POST", &path, message("user", NAME, TEXT));
        let sending = send(&server, wire, &body);
        let ((status, answer), _) = tokio::join!(recording, sending);
        assert!(status == 200 || status == 201, "{answer}");
        let (_, history) = server.get(&format!("/api/v1/conversations/{id}")).await;
        let messages = history["messages"].as_array().unwrap();
        let roles: Vec<&Value> = messages.iter().map(|message| &message["role"]).collect();
        assert_eq!(roles, ["user", "assistant"], "{history}");
        assert_eq!(messages[0]["message_id"], answer["message_id"]);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_message_to_an_agent_outside_is_one_with_the_one_that_it_records() {
    let folder = Folder::new().file("titlecast.toml", "[agents.people]\nsource = \"external\"\n");
    let model = ModelServer::start().await;
    let file = folder.path("titlecast.toml");
    let server = Server::start_with(&model, &["--config", &file]).await;
    let body = ui_body("a", NAME, TEXT);
    send(&server, "/api/v1/ui/chat", &body).await;
    let (status, answer) = record(&server, message("user", NAME, TEXT)).await;
    assert_eq!((status, &answer["status"]), (200, &json!("exists")));
    // The error states the remedy, since another reply cannot be requested.
    let mut again = body.clone();
    again["trigger"] = json!("regenerate-message");
    let refused = post(&server, "/api/v1/ui/chat", &again).await;
    assert_eq!(refused.status(), 422);
    let text = within(refused.text()).await.unwrap();
    assert!(text.contains("send a new message instead"), "{text}");
    server.stop().await;
}
