//! Resuming a reply over server-sent events: with the request that sent the message, or by
//! `GET /api/v1/conversations/{id}/reply`; from the position in the last `id:`.

use serde_json::{Value, json};
use titlecast_testing::{
    Events, ModelServer, Server, Step, assert_common_stream,
    legacy::post,
    replies::write,
    server::{client, request},
    sse::{text, titles},
    within,
};
use tokio::sync::mpsc::UnboundedSender;

const PATH: &str = "/api/v1/chat/stream?ids=true";

fn body() -> Value {
    json!({ "message": "Plan a trip to Kyoto", "context": { "auto_title": false } })
}

fn reply_path(event: &Value) -> String {
    let id = event["conversation_id"].as_str().unwrap();
    format!("/api/v1/conversations/{id}/reply")
}

async fn resumed(url: &str, path: &str, place: &str) -> Events {
    let request = client().get(format!("{url}{path}"));
    Events::of(request.header("last-event-id", place)).await
}

/// A stream whose client has read `text` of it and is gone: its first event, where it was, and the pen.
async fn cut(model: &ModelServer, url: &str, text: &str) -> (Value, String, UnboundedSender<Step>) {
    let steps = model.live_reply();
    let mut events = Events::of(post(url, PATH, body())).await;
    let created = events.next().await.unwrap();
    write(&steps, text);
    assert_eq!(events.next().await.unwrap()["text_delta"], text);
    (created, events.last_id(), steps)
}

/// Where the reader is, as its first event tells.
#[track_caller]
fn assert_place(event: &Value, recovered: bool) {
    assert_eq!(event["raw_type"], "response.in_progress", "{event}");
    assert_eq!(event["payload"], json!({ "recovered": recovered }));
    assert_eq!(event["sequence_number"], 0);
}

#[tokio::test]
async fn an_event_source_goes_on_where_it_was_and_is_not_called_back_after_the_end() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (created, place, steps) = cut(&model, &server.url, "First we").await;
    write(&steps, " take the train");
    let path = reply_path(&created);
    let mut back = resumed(&server.url, &path, &place).await;
    assert_place(&back.next().await.unwrap(), true);
    let missed = back.next().await.unwrap();
    assert_eq!(missed["text_delta"], " take the train");
    // Once more, from what it has now.
    let place = back.last_id();
    drop(back);
    let mut back = resumed(&server.url, &path, &place).await;
    assert_place(&back.next().await.unwrap(), true);
    write(&steps, ".");
    steps.send(Step::Finish).unwrap();
    let events = back.rest().await;
    assert_eq!(text(&events), ".");
    let terminal = events.last().unwrap();
    assert_eq!(terminal["raw_type"], "response.completed");
    assert_eq!(terminal["response_text"], "First we take the train.");
    // An EventSource comes back by itself after a stream has ended, unless it gets a 204.
    let request = client().get(format!("{}{path}", server.url));
    let response = within(request.header("last-event-id", back.last_id()).send()).await;
    assert_eq!(response.unwrap().status(), 204);
    assert_eq!(model.reply_requests().len(), 1);
}

/// A place that came with the title, before the reader's own, would resend what the reader has.
#[tokio::test]
async fn a_reader_that_resumes_in_a_titled_conversation_receives_its_offset_first() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let steps = model.live_reply();
    let body = json!({ "message": "Plan a trip to Kyoto" });
    let mut events = Events::of(post(&server.url, PATH, body.clone())).await;
    let created = events.next().await.unwrap();
    assert_eq!(
        titles(&[events.next().await.unwrap()]),
        [ModelServer::TITLE]
    );
    write(&steps, "First we");
    events.next().await.unwrap();
    let place = events.last_id();
    write(&steps, " take");
    events.next().await.unwrap();
    let newest = events.last_id();
    drop(events);

    let again = post(&server.url, PATH, body).header("last-event-id", &place);
    for mut back in [
        resumed(&server.url, &reply_path(&created), &place).await,
        Events::of(again).await,
    ] {
        assert_place(&back.next().await.unwrap(), true);
        assert_eq!(back.last_id(), place);
        assert_eq!(back.next().await.unwrap()["text_delta"], " take");
        assert_eq!(titles(&[back.next().await.unwrap()]), [ModelServer::TITLE]);
        assert_eq!(back.last_id(), newest);
    }
    steps.send(Step::Finish).unwrap();
}

#[tokio::test]
async fn the_same_request_with_the_last_event_id_goes_on_and_sends_nothing() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (_, place, steps) = cut(&model, &server.url, "First we").await;
    let before = server.database.row_counts().await;
    let again = post(&server.url, PATH, body()).header("last-event-id", &place);
    let mut back = Events::of(again).await;
    assert_place(&back.next().await.unwrap(), true);
    write(&steps, " take the train");
    steps.send(Step::Finish).unwrap();
    let events = back.rest().await;
    assert_eq!(text(&events), " take the train");
    let terminal = events.last().unwrap();
    assert_eq!(terminal["response_text"], "First we take the train");
    assert_eq!(model.reply_requests().len(), 1);
    let after = server.database.row_counts().await;
    assert_eq!(after[1], before[1] + 1, "the reply, and no second message");
}

#[tokio::test]
async fn a_last_event_id_of_another_message_sends_nothing_and_says_so() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (_, place, steps) = cut(&model, &server.url, "First we").await;
    steps.send(Step::Finish).unwrap();
    let other = json!({ "message": "Bake bread" });
    let request = post(&server.url, PATH, other).header("last-event-id", &place);
    let response = within(request.send()).await.unwrap();
    assert_eq!(response.status(), 422);
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(answer["code"], "INVALID_INPUT");
    assert_eq!(model.reply_requests().len(), 1);
}

#[tokio::test]
async fn a_place_that_is_in_no_text_begins_anew() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (created, place, steps) = cut(&model, &server.url, "Kyōto").await;
    let message = place.split_once('.').unwrap().0;
    let path = format!("{}?after={message}.3", reply_path(&created));
    let mut anew = Events::of(client().get(format!("{}{path}", server.url))).await;
    let first = anew.next().await.unwrap();
    assert_place(&first, false);
    assert_eq!(first["response_text"], "Kyōto");
    steps.send(Step::Finish).unwrap();
    let events = anew.rest().await;
    assert_eq!(text(&events), "");
    assert_eq!(events.last().unwrap()["response_text"], "Kyōto");
}

#[tokio::test]
async fn without_an_offset_the_newest_reply_is_sent_from_its_beginning() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (created, _, steps) = cut(&model, &server.url, "First we").await;
    let url = format!("{}{}", server.url, reply_path(&created));
    let mut late = Events::of(client().get(&url)).await;
    let first = late.next().await.unwrap();
    assert_place(&first, false);
    assert_eq!(first["response_text"], "First we");
    steps.send(Step::Finish).unwrap();
    assert_eq!(
        late.rest().await.last().unwrap()["response_text"],
        "First we"
    );
}

#[tokio::test]
async fn what_cannot_be_gone_on_with_is_refused() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (created, place, steps) = cut(&model, &server.url, "First we").await;
    steps.send(Step::Finish).unwrap();
    let path = reply_path(&created);
    let another = server.begin("Bake bread").await;
    let unknown = uuid::Uuid::now_v7();
    for (path, status, code) in [
        (format!("{path}?after=7"), 400, "INVALID_CURSOR"),
        (format!("{path}?after={unknown}.7"), 400, "INVALID_CURSOR"),
        (
            format!("/api/v1/conversations/{another}/reply?after={place}"),
            400,
            "INVALID_CURSOR",
        ),
        (
            format!("/api/v1/conversations/{unknown}/reply"),
            404,
            "NOT_FOUND",
        ),
        // An id of the caller's own system.
        ("/api/v1/conversations/7/reply".into(), 404, "NOT_FOUND"),
        (
            "/api/v1/conversations/search/reply".into(),
            422,
            "INVALID_INPUT",
        ),
    ] {
        let (found, answer) = request(&server.url, "GET", &path, None).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{path}");
    }
}

#[tokio::test]
async fn a_stream_that_only_watches_breaks_off_when_the_server_ends() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (created, _, steps) = cut(&model, &server.url, "First we").await;
    let url = format!("{}{}", server.url, reply_path(&created));
    let mut response = within(client().get(&url).send()).await.unwrap();
    assert!(within(response.chunk()).await.unwrap().is_some());
    server.begin_stop();
    // Not a proper end, after which a client would not come back.
    let end = async {
        loop {
            match response.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => return "ended",
                Err(_) => return "broken off",
            }
        }
    };
    assert_eq!(within(end).await, "broken off");
    steps.send(Step::Finish).unwrap();
    server.stop().await;
}

/// The contract of a stream that is not resumed holds beside all this.
#[tokio::test]
async fn a_last_event_id_that_is_none_of_ours_is_none() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for id in ["", "7", "41", "not-an-id", "a.b"] {
        let request = post(&server.url, "/api/v1/chat/stream", body());
        let mut events = Events::of(request.header("last-event-id", id)).await;
        let events = events.rest().await;
        assert_common_stream(&events);
    }
    assert_eq!(model.reply_requests().len(), 5);
}
