//! Messages that another program records: stored once, titled and delivered like any other, and not answered.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Server,
    calls::{conversation_when, rename},
    legacy::post,
    within,
};

use crate::agents::Folder;

const PATH: &str = "/api/v1/conversations/thread-1/messages";

/// What the service answers to these messages: status and body.
pub(super) async fn record(server: &Server, body: Value) -> (u16, Value) {
    server.send("POST", PATH, body).await
}

pub(super) fn user(content: &str, id: &str) -> Value {
    json!({ "role": "user", "content": content, "external_id": id })
}

pub(super) fn assistant(content: &str, id: &str) -> Value {
    json!({ "role": "assistant", "content": content, "external_id": id })
}

/// The messages of the conversation, oldest first.
async fn messages(server: &Server) -> Vec<(String, String)> {
    let (status, page) = server.get(&format!("{PATH}?direction=asc")).await;
    assert_eq!(status, 200, "{page}");
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| (text(item, "role"), text(item, "content")))
        .collect()
}

#[tokio::test]
async fn a_recorded_message_is_titled_at_once_and_delivered_and_nobody_answers_it() {
    let model = ModelServer::start().await;
    model.title(Answer::Title("Kyoto in April".into()));
    let server = Server::start(&model).await;
    let mut socket = server.socket().await;
    let query = "subscription { conversationUpdated { externalId displayName messageCount } }";
    let list = socket.subscribe(query, json!({})).await;
    server.topics(1).await;
    let (status, first) = record(&server, user("Plan a trip to Kyoto", "m-1")).await;
    assert_eq!(
        (status, &first["status"]),
        (201, &json!("created")),
        "{first}"
    );
    assert_eq!(first["external_id"], "thread-1");
    let mut titled = Value::Null;
    while titled["displayName"] != "Kyoto in April" {
        let event = socket.next(&list).await.unwrap();
        titled = event["data"]["conversationUpdated"].clone();
        assert_eq!(titled["externalId"], "thread-1");
    }
    let (status, reply) = record(&server, assistant("In April?", "m-2")).await;
    assert_eq!(status, 201);
    let event = socket.next(&list).await.unwrap();
    assert_eq!(event["data"]["conversationUpdated"]["messageCount"], 2);
    assert_ne!(reply["message_id"], first["message_id"]);
    let said = [("user", "Plan a trip to Kyoto"), ("assistant", "In April?")];
    let said = said.map(|(role, text)| (role.to_owned(), text.to_owned()));
    assert_eq!(messages(&server).await, said);
    let (_, list) = server.get("/api/v1/conversations").await;
    assert_eq!(list["items"][0]["last_message_preview"], "In April?");
    assert_eq!(list["items"][0]["message_count"], 2);
    for words in ["april", "trip"] {
        let (_, found) = server
            .get(&format!("/api/v1/conversations/search?q={words}"))
            .await;
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{words}");
    }
    let id = first["conversation_id"].as_str().unwrap();
    let fields = "{ conversation(externalId: \"thread-1\") { activeReplies { replyId } messages { nodes { externalId } } } }";
    let now = &server.data(fields, Value::Null).await["conversation"];
    assert_eq!(now["activeReplies"], json!([]));
    let ids = json!([{ "externalId": "m-1" }, { "externalId": "m-2" }]);
    assert_eq!(now["messages"]["nodes"], ids);
    assert_eq!(
        server.database.row_counts().await,
        [1, 2, 0],
        "no turn: {id}"
    );
}

#[tokio::test]
async fn the_same_message_is_stored_once_and_another_with_its_id_is_refused() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let of_id = json!({ "role": "user", "content": "Plan a trip", "attachments": [{ "name": "map.pdf" }],
        "message_id": "0199D0A0-0000-7000-8000-000000000001" });
    let (status, first) = record(&server, of_id.clone()).await;
    assert_eq!(
        (status, &first["message_id"]),
        (201, &json!("0199d0a0-0000-7000-8000-000000000001"))
    );
    assert_eq!(record(&server, user("And then?", "m-2")).await.0, 201);
    let id = first["conversation_id"].as_str().unwrap().to_owned();
    conversation_when(&server.url, &id, |now| now["displayName"].is_string()).await;
    let revision = "{ conversation(externalId: \"thread-1\") { revision } }";
    let before = server.data(revision, Value::Null).await;
    // The same again, also by our id and in other cases of its attributes.
    let mut other_hint = of_id.clone();
    other_hint["topic_hint"] = "Travel".into();
    for again in [of_id.clone(), other_hint, user("And then?", "m-2")] {
        let (status, answer) = record(&server, again.clone()).await;
        assert_eq!(
            (status, &answer["status"]),
            (200, &json!("exists")),
            "{again}"
        );
    }
    let by_uuid = format!("/api/v1/conversations/{id}/messages");
    assert_eq!(
        server
            .send("POST", &by_uuid, user("And then?", "m-2"))
            .await
            .0,
        200
    );
    let with = |name: &str, value: Value| {
        let mut other = of_id.clone();
        other[name] = value;
        other
    };
    for other in [
        with("content", json!("Plan a journey")),
        with("role", json!("assistant")),
        with("attachments", json!([])),
        user("Another text", "m-2"),
    ] {
        let (status, answer) = record(&server, other.clone()).await;
        assert_eq!(
            (status, &answer["code"]),
            (409, &json!("ID_TAKEN")),
            "{other}"
        );
    }
    // Its id in another conversation; an external id is another message there.
    let elsewhere = "/api/v1/conversations/thread-2/messages";
    let (status, answer) = server.send("POST", elsewhere, of_id).await;
    assert_eq!((status, &answer["code"]), (409, &json!("ID_TAKEN")));
    assert_eq!(server.data(revision, Value::Null).await, before);
    assert_eq!(
        server
            .send("POST", elsewhere, user("And then?", "m-2"))
            .await
            .0,
        201
    );
    assert_eq!(server.database.row_counts().await, [2, 3, 0]);
}

#[tokio::test]
async fn the_title_waits_for_a_message_that_says_something() {
    let model = ModelServer::start().await;
    model.title(Answer::Title("Kyoto in April".into()));
    let server = Server::start(&model).await;
    let (_, first) = record(&server, json!([user("hi", "1"), assistant("Hello!", "2")])).await;
    let id = first["conversation_id"].as_str().unwrap().to_owned();
    let query = "{ conversation(externalId: \"thread-1\") { titleStatus titleWaitsFor } }";
    let waits = &server.data(query, Value::Null).await["conversation"];
    assert_eq!(
        waits,
        &json!({ "titleStatus": "PENDING", "titleWaitsFor": "MESSAGE" })
    );
    let more = json!([
        user("hey", "3"),
        assistant("Yes?", "4"),
        user("Plan a trip to Kyoto", "5")
    ]);
    assert_eq!(record(&server, more).await.0, 201);
    conversation_when(&server.url, &id, |now| {
        now["displayName"] == "Kyoto in April"
    })
    .await;
    // A title that a person gave stays.
    rename(&server.url, &id, "Ours").await;
    record(&server, user("Plan a trip to Rome", "6")).await;
    let now = conversation_when(&server.url, &id, |now| now["messageCount"] == 6).await;
    assert_eq!(now["displayName"], "Ours");
    // In one request, and without a title.
    let path = "/api/v1/conversations/thread-2/messages";
    model.title(Answer::Title("Trip to Rome".into()));
    let (_, all) = server
        .send(
            "POST",
            path,
            json!([user("hi", "1"), user("Plan a trip to Rome", "2")]),
        )
        .await;
    let id = all["conversation_id"].as_str().unwrap();
    conversation_when(&server.url, id, |now| now["displayName"] == "Trip to Rome").await;
    let path = "/api/v1/conversations/thread-3/messages";
    let mut untitled = user("Plan a trip to Oslo", "1");
    untitled["auto_title"] = false.into();
    untitled["topic_hint"] = "Travel".into();
    assert_eq!(server.send("POST", path, untitled).await.0, 201);
    let (_, now) = server.get("/api/v1/conversations/thread-3").await;
    assert_eq!(
        (&now["display_name"], &now["topic_hint"]),
        (&Value::Null, &json!("Travel"))
    );
}

#[tokio::test]
async fn a_list_is_stored_whole_or_not_at_all() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let refused = async |body: Value, status: u16, code: &str, text: &str| {
        let (found, answer) = record(&server, body).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{answer}");
        assert!(
            answer["message"].as_str().unwrap().contains(text),
            "{answer}"
        );
    };
    refused(json!([]), 422, "INVALID_INPUT", "500").await;
    let many: Vec<Value> = (0..501)
        .map(|place| user("Hi", &place.to_string()))
        .collect();
    refused(many.clone().into(), 422, "INVALID_INPUT", "500").await;
    refused(assistant("Hello!", "1"), 422, "INVALID_INPUT", "user").await;
    refused(
        json!([user("Hi", "1"), user("Hi", "1")]),
        422,
        "INVALID_INPUT",
        "messages[1]",
    )
    .await;
    refused(
        json!([user("Hi", "1"), 7]),
        422,
        "INVALID_INPUT",
        "messages[1]",
    )
    .await;
    refused(
        json!([user("Hi", "1"), user(" ", "2")]),
        422,
        "INVALID_INPUT",
        "messages[1]",
    )
    .await;
    refused(
        json!({ "role": "system", "content": "Hi" }),
        422,
        "INVALID_INPUT",
        "role",
    )
    .await;
    refused(json!({ "content": "Hi" }), 422, "INVALID_INPUT", "role").await;
    refused(user("Hi", &"a".repeat(256)), 422, "INVALID_INPUT", "255").await;
    let ahead = (chrono::Utc::now() + chrono::TimeDelta::hours(25)).to_rfc3339();
    let mut late = user("Hi", "1");
    late["created_at"] = ahead.into();
    refused(late.clone(), 422, "INVALID_INPUT", "created_at").await;
    late["created_at"] = "yesterday".into();
    refused(late, 422, "INVALID_INPUT", "created_at").await;
    let large: Vec<Value> = (0..5)
        .map(|place| user(&"a".repeat(250_000), &place.to_string()))
        .collect();
    refused(large.into(), 413, "PAYLOAD_TOO_LARGE", "1048576").await;
    assert_eq!(server.database.row_counts().await, [0, 0, 0]);

    let (status, answer) = record(&server, many[..500].into()).await;
    assert_eq!(status, 201);
    assert_eq!(answer["items"].as_array().unwrap().len(), 500);
    refused(
        json!([user("New", "new"), user("Other", "7")]),
        409,
        "ID_TAKEN",
        "messages[1]",
    )
    .await;
    let (status, answer) = record(
        &server,
        json!([user("Hi", "499"), assistant("Hello!", "500")]),
    )
    .await;
    let states: Vec<&Value> = answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["status"])
        .collect();
    assert_eq!(
        (status, states),
        (201, vec![&json!("exists"), &json!("created")])
    );
    assert_eq!(server.database.row_counts().await, [1, 501, 0]);
}

#[tokio::test]
async fn lines_of_json_are_a_list_and_times_of_the_past_order_it() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let newest = server.begin("Plan a trip to Rome").await;
    let at = |content: &str, time: &str| json!({ "role": "user", "content": content, "created_at": time });
    let lines = format!(
        "{}\n\n{}\r\n",
        at("Plan a trip to Kyoto", "2024-05-01T09:00:00+02:00"),
        at("And then?", "2024-05-01T09:00:01.123456789Z")
    );
    for (kind, status) in [
        ("application/x-ndjson", 201),
        ("application/jsonl; charset=utf-8", 201),
        ("text/plain", 415),
    ] {
        let response = titlecast_testing::server::client()
            .post(format!("{}{PATH}", server.url))
            .header("content-type", kind)
            .body(lines.clone());
        let response = within(response.send()).await.unwrap();
        assert_eq!(response.status(), status, "{kind}");
    }
    let (_, page) = server.get(&format!("{PATH}?direction=asc")).await;
    let times: Vec<&Value> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["timestamp"])
        .collect();
    assert_eq!(
        times[..2],
        [
            &json!("2024-05-01T07:00:00Z"),
            &json!("2024-05-01T09:00:01.123456Z")
        ]
    );
    let (_, list) = server.get("/api/v1/conversations").await;
    assert_eq!(list["items"][0]["conversation_id"], json!(newest));
    assert_eq!(list["items"][1]["created_at"], "2024-05-01T07:00:00Z");
    // It moves up with a message of now, and never down.
    record(&server, user("And now?", "now")).await;
    record(&server, at("Before", "2024-04-01T09:00:00Z")).await;
    let (_, list) = server.get("/api/v1/conversations").await;
    assert_eq!(list["items"][0]["external_id"], "thread-1");
}

#[tokio::test]
async fn an_external_id_of_uuid_form_is_unique_in_its_conversation() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let of_id = user("Plan a trip", "0199d0a0-0000-7000-8000-000000000001");
    let (_, first) = record(&server, of_id.clone()).await;
    let (status, again) = record(&server, of_id.clone()).await;
    assert_eq!((status, &again["message_id"]), (200, &first["message_id"]));
    let elsewhere = "/api/v1/conversations/thread-2/messages";
    let (status, other) = server.send("POST", elsewhere, of_id).await;
    assert_eq!(status, 201, "{other}");
    assert_ne!(other["message_id"], first["message_id"]);
    let query = "{ conversation(externalId: \"thread-2\") { messages { nodes { externalId } } } }";
    let stored = server.data(query, Value::Null).await;
    assert_eq!(
        stored["conversation"]["messages"]["nodes"],
        json!([{ "externalId": "0199d0a0-0000-7000-8000-000000000001" }])
    );
}

#[tokio::test]
async fn an_unknown_agent_is_refused_and_a_hint_of_any_message_is_kept() {
    let folder = Folder::new().file("titlecast.toml", "[agents.default]\n[agents.billing]\n");
    let model = ModelServer::start().await;
    let file = folder.path("titlecast.toml");
    let server = Server::start_with(&model, &["--config", &file]).await;
    let mut unknown = user("Plan a trip", "1");
    unknown["agent"] = "nobody-knows".into();
    let (status, answer) = record(&server, unknown.clone()).await;
    assert_eq!((status, &answer["code"]), (422, &json!("INVALID_INPUT")));
    assert!(
        answer["message"].as_str().unwrap().contains("agent"),
        "{answer}"
    );
    let (status, answer) = record(&server, json!([user("Hi", "0"), unknown])).await;
    assert_eq!(status, 422);
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .starts_with("messages[1]"),
        "{answer}"
    );
    assert_eq!(server.database.row_counts().await, [0, 0, 0]);
    let mut hinted = assistant("Gladly", "2");
    hinted["topic_hint"] = "Travel".into();
    let mut first = user("Plan a trip\0", "1");
    first["auto_title"] = false.into();
    assert_eq!(record(&server, json!([first, hinted])).await.0, 201);
    let (_, now) = server.get("/api/v1/conversations/thread-1").await;
    assert_eq!(now["topic_hint"], "Travel");
    assert_eq!(now["messages"][0]["content"], "Plan a trip", "without NUL");
}

#[tokio::test]
async fn a_line_that_is_no_json_is_named() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let response = titlecast_testing::server::client()
        .post(format!("{}{PATH}", server.url))
        .header("content-type", "application/x-ndjson")
        .body("{\"role\":\"user\",\"content\":\"Hi\"}\n\n{\"role\":\n");
    let response = within(response.send()).await.unwrap();
    assert_eq!(response.status(), 400);
    let answer: Value = within(response.json()).await.unwrap();
    assert_eq!(answer["code"], "INVALID_JSON");
    assert!(
        answer["message"].as_str().unwrap().contains("line 3"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_deleted_conversation_records_nothing_and_another_users_is_not_found() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let other = titlecast::conversation::Owner {
        tenant: "local".into(),
        user: "other".into(),
    };
    let theirs = server.serve(other).await;
    let (_, first) = record(&server, user("Plan a trip to Kyoto", "m-1")).await;
    let path = format!(
        "/api/v1/conversations/{}/messages",
        first["conversation_id"].as_str().unwrap()
    );
    for body in [user("Plan a trip to Kyoto", "m-1"), user("Mine now", "m-2")] {
        let response = within(post(&theirs, &path, body.clone()).send())
            .await
            .unwrap();
        assert_eq!(response.status(), 404, "{body}");
    }
    let (status, _) = server
        .send("DELETE", "/api/v1/conversations/thread-1", Value::Null)
        .await;
    assert_eq!(status, 204);
    for body in [user("Plan a trip to Kyoto", "m-1"), user("Back?", "m-3")] {
        assert_eq!(record(&server, body).await.0, 404);
    }
    assert_eq!(server.database.row_counts().await, [1, 0, 0]);
}
