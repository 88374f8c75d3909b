//! The legacy stream's wire: headers, frames of one line, keep-alive comments, `id:` lines on demand.

use serde_json::json;
use titlecast_testing::{
    Answer, Events, ModelServer, Server, Step, assert_common_stream, legacy::post, sse::text,
};

const PATH: &str = "/api/v1/chat/stream";

#[tokio::test]
async fn the_headers_declare_an_uncacheable_stream() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut stream = server.stream(json!({ "message": "Plan a trip" })).await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(stream.headers["cache-control"], "no-cache, no-transform");
    assert_eq!(stream.headers["x-accel-buffering"], "no");
    assert!(!stream.headers.contains_key("access-control-allow-origin"));
    assert_common_stream(&stream.rest().await);
}

#[tokio::test]
async fn pages_of_a_configured_origin_may_read_it() {
    const ORIGIN: &str = "https://app.example";
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--allowed-origins", ORIGIN]).await;
    let request = post(&server.url, PATH, json!({ "message": "Plan a trip" }));
    let mut stream = Events::of(request.header("origin", ORIGIN)).await;
    assert_eq!(stream.headers["access-control-allow-origin"], ORIGIN);
    assert_common_stream(&stream.rest().await);
}

#[tokio::test]
async fn every_frame_is_one_line_and_every_character_arrives() {
    const DELTAS: [&str; 9] = [
        "two\nlines, ",
        "three\r\n\r\nmore, data: {}\n\n",
        "next\u{85}line ",
        "and\u{2028}line\u{2029}paragraph ",
        "\u{7}\u{1b}[0m\u{feff} ",
        "\"quoted\" \\ back ",
        "京都旅行の計画 ",
        "👩\u{200d}",
        "👩\u{200d}👧 🇯🇵 e\u{301}",
    ];
    let model = ModelServer::start().await;
    model.reply(Answer::Deltas(DELTAS.to_vec()));
    let server = Server::start(&model).await;
    let mut stream = server.stream(json!({ "message": "Plan a trip" })).await;
    let events = stream.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed");
    let deltas = events
        .iter()
        .filter_map(|event| event["text_delta"].as_str());
    assert!(deltas.eq(DELTAS));
    assert_eq!(text(&events), DELTAS.concat());
    assert_eq!(stream.segments.len(), events.len());
    for segment in &stream.segments {
        assert!(
            segment.starts_with("data: {") && segment.ends_with('}'),
            "{segment}"
        );
        assert!(
            !segment.contains([
                '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'
            ]),
            "{segment:?}"
        );
    }
}

#[tokio::test]
async fn silence_is_broken_by_comments_that_clients_skip() {
    let model = ModelServer::start().await;
    let steps = model.live_reply();
    let server = Server::start_with(&model, &["--keep-alive", "50ms"]).await;
    let mut stream = server.stream(json!({ "message": "Plan a trip" })).await;
    // Before the first token as well as between two.
    until_ping(&mut stream).await;
    steps.send(Step::delta("Hello")).unwrap();
    while !stream.segment().await.unwrap().contains("Hello") {}
    until_ping(&mut stream).await;
    steps.send(Step::Finish).unwrap();
    stream.rest().await;

    let mut events = Vec::new();
    for segment in &stream.segments {
        match segment.strip_prefix("data: ") {
            Some(json) => events.push(serde_json::from_str(json).unwrap()),
            None => assert_eq!(segment, ": ping"),
        }
    }
    assert_common_stream(&events);
    assert_eq!(text(&events), "Hello");
}

async fn until_ping(stream: &mut Events) {
    while stream.segment().await.unwrap() != ": ping" {}
}

#[tokio::test]
async fn id_lines_come_behind_the_data_and_only_when_asked_for() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let body = json!({ "message": "Plan a trip" });
    let with_ids = [
        post(&server.url, &format!("{PATH}?ids=true"), body.clone()),
        post(&server.url, PATH, body.clone()).header("last-event-id", "0"),
    ];
    for request in with_ids {
        let mut stream = Events::of(request).await;
        let events = stream.rest().await;
        assert_common_stream(&events);
        assert_eq!(stream.segments.len(), events.len());
        let mut received = 0;
        for (event, segment) in events.iter().zip(&stream.segments) {
            let (data, id) = segment.split_once('\n').unwrap();
            assert!(
                data.starts_with("data: {") && data.ends_with('}'),
                "{segment}"
            );
            // The message, and how far its reply is.
            let (message, place) = id.strip_prefix("id: ").unwrap().split_once('.').unwrap();
            assert!(uuid::Uuid::parse_str(message).is_ok(), "{id}");
            received += event["text_delta"].as_str().unwrap_or_default().len();
            match event["is_terminal"] == true {
                true => assert_eq!(place, "end"),
                false => assert_eq!(place, received.to_string()),
            }
        }
    }
    for path in [PATH.to_owned(), format!("{PATH}?ids=false")] {
        let mut stream = Events::of(post(&server.url, &path, body.clone())).await;
        assert_common_stream(&stream.rest().await);
        assert!(
            stream
                .segments
                .iter()
                .all(|segment| !segment.contains('\n'))
        );
    }
}
