//! `GET /api/v1/conversations/{id}/stream`: the title of one conversation, live, for an `EventSource`.

use serde_json::{Value, json};
use titlecast_testing::{Answer, Events, ModelServer, Server, eventually, server::client};

const TITLE: &str = r#"{"title":"Planning a Trip to Kyoto"}"#;

async fn watch(server: &Server, id: &str) -> Events {
    let path = format!("/api/v1/conversations/{id}/stream");
    Events::of(client().get(format!("{}{path}", server.url))).await
}

async fn rename(server: &Server, id: &str, title: &str) {
    let path = format!("/api/v1/conversations/{id}/title");
    let (status, _) = server
        .send("PATCH", &path, json!({ "display_name": title }))
        .await;
    assert_eq!(status, 200);
}

#[track_caller]
fn assert_title(event: &Value, kind: &str, id: &str, title: &str) {
    let at = event["timestamp"].as_str().unwrap();
    assert!(at.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(at).is_ok());
    let expected = json!({
        "kind": kind, "conversation_id": id, "display_name": title, "timestamp": at
    });
    assert_eq!(*event, expected);
}

#[tokio::test]
async fn the_present_title_comes_at_once_and_each_change_until_the_conversation_is_deleted() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let mut titles = watch(&server, &id).await;
    assert_eq!(titles.headers["content-type"], "text/event-stream");
    assert_eq!(titles.headers["cache-control"], "no-cache, no-transform");
    assert_eq!(titles.headers["x-accel-buffering"], "no");
    let present = titles.next().await.unwrap();
    assert_title(
        &present,
        "conversation.title.generated",
        &id,
        ModelServer::TITLE,
    );

    // A message is no change of the title: the next event is the rename behind it.
    let more = json!({ "message": "And Nara?", "conversation_id": id });
    assert_eq!(server.send("POST", "/api/v1/chat", more).await.0, 200);
    for title in ["Kyoto in autumn", "Kyoto\u{2028}in winter"] {
        rename(&server, &id, title).await;
        let event = titles.next().await.unwrap();
        let title = title.replace('\u{2028}', " ");
        assert_title(&event, "conversation.title.updated", &id, &title);
    }

    // A new subscriber receives the current title, whatever it was before.
    let mut late = watch(&server, &id).await;
    let present = late.next().await.unwrap();
    assert_title(
        &present,
        "conversation.title.updated",
        &id,
        "Kyoto in winter",
    );

    let path = format!("/api/v1/conversations/{id}");
    assert_eq!(server.send("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(titles.next().await, None);
    assert_eq!(late.next().await, None);
    assert!(
        titles
            .segments
            .iter()
            .all(|segment| segment.starts_with("data: {"))
    );
}

#[tokio::test]
async fn a_title_on_its_way_comes_as_generated_and_a_rename_as_updated() {
    let model = ModelServer::start().await;
    let gate = model.held_title(Answer::Text(TITLE));
    let server = Server::start_with(&model, &["--title-grace", "1ms"]).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let mut titles = watch(&server, &id).await;
    gate.send(()).unwrap();
    let event = titles.next().await.unwrap();
    assert_title(
        &event,
        "conversation.title.generated",
        &id,
        ModelServer::TITLE,
    );
    rename(&server, &id, "Kyoto in autumn").await;
    let event = titles.next().await.unwrap();
    assert_title(&event, "conversation.title.updated", &id, "Kyoto in autumn");
}

#[tokio::test]
async fn a_rename_before_the_generated_title_is_the_only_one_published() {
    let model = ModelServer::start().await;
    let gate = model.held_title(Answer::Text(TITLE));
    let mut server = Server::start_with(&model, &["--title-grace", "1ms"]).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let mut titles = watch(&server, &id).await;
    rename(&server, &id, "Kyoto in autumn").await;
    eventually(async || (model.title_requests().len() == 1).then_some(())).await;
    gate.send(()).unwrap();
    let event = titles.next().await.unwrap();
    assert_title(&event, "conversation.title.updated", &id, "Kyoto in autumn");
    // The title's task ends with the server, and with it every event that could still be published.
    server.end().await;
    assert_eq!(titles.next().await, None);
    let history = server
        .app
        .database()
        .conversation(
            &titlecast::conversation::Owner::local(),
            id.parse().unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(history.display_name.as_deref(), Some("Kyoto in autumn"));
    assert_eq!(history.title_generated_at, None);
}

#[tokio::test]
async fn it_stays_open_through_silence_and_has_ids_on_demand() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--keep-alive", "50ms"]).await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let path = format!("{}/api/v1/conversations/{id}/stream", server.url);
    let mut plain = Events::of(client().get(&path)).await;
    let mut with_ids = Events::of(client().get(format!("{path}?ids=true"))).await;
    let mut resumed = Events::of(client().get(&path).header("last-event-id", "1")).await;
    for (titles, has_ids) in [
        (&mut plain, false),
        (&mut with_ids, true),
        (&mut resumed, true),
    ] {
        let segment = titles.segment().await.unwrap();
        assert_eq!(
            segment.lines().count(),
            if has_ids { 2 } else { 1 },
            "{segment}"
        );
        assert_eq!(segment.contains("}\nid: "), has_ids, "{segment}");
        assert_eq!(titles.segment().await.unwrap(), ": ping");
        assert_eq!(titles.segment().await.unwrap(), ": ping");
    }
    rename(&server, &id, "Kyoto in autumn").await;
    for titles in [&mut plain, &mut with_ids, &mut resumed] {
        assert_eq!(
            titles.next().await.unwrap()["display_name"],
            "Kyoto in autumn"
        );
    }
}
