//! Malformed and hostile uploads.

use serde_json::json;
use titlecast_testing::{Server, calls::conversation_when, eventually};

use super::{Reply, Upload, asked, refused, replies, serve};

const NDJSON: &str = "application/x-ndjson";
const MINE: &str = "0198d5b2-6f0e-4b8a-9a55-4f3e2d1c0b9a";

#[tokio::test]
async fn what_came_before_a_mistake_is_kept_and_the_upload_may_go_on() {
    let server = serve(&[]).await;
    let long = format!(
        "{{\"type\":\"text\",\"text\":\"{}\"}}\n",
        "x".repeat(300_000)
    );
    for (mistake, status, code) in [
        (b"{\"type\":\"text\",\n".as_slice(), 400, "INVALID_JSON"),
        (
            b"{\"type\":\"text\",\"text\":\"\xff\"}\n",
            400,
            "INVALID_JSON",
        ),
        (b"[]\n", 422, "INVALID_INPUT"),
        (b"{\"type\":\"song\"}\n", 422, "INVALID_INPUT"),
        (b"{\"type\":\"text\",\"text\":1}\n", 422, "INVALID_INPUT"),
        (
            b"{\"type\":\"finish\",\"outcome\":\"maybe\"}\n",
            422,
            "INVALID_INPUT",
        ),
        (long.as_bytes(), 413, "PAYLOAD_TOO_LARGE"),
    ] {
        let url = &server.url;
        let id = asked(url).await;
        let query = format!("?reply_id={}", uuid::Uuid::new_v4());
        let reply_id = query.strip_prefix("?reply_id=").unwrap();
        let upload = Upload::begin(url, &id, &query, NDJSON);
        upload.text("First we");
        upload.write(mistake);
        upload.text("never");
        let refusal = upload.answer().await;
        if status != 413 {
            let message = refusal.1["message"].as_str().unwrap();
            assert!(message.contains("line 2"), "{message}");
        }
        assert_eq!(refused(refusal), (status, code.into()));
        let reply = Reply {
            url,
            id: &id,
            reply: reply_id,
        };
        reply.appended(8, " go.").await;
        assert_eq!(reply.finish("completed").await.0, 200);
        assert_eq!(
            replies(&server, &id).await,
            json!([["COMPLETED", "First we go."]])
        );
    }
    server.stop().await;
}

/// Waits until no reply is open: the turn of the message itself may not have ended yet. A reply that an upload left open would
/// outlast the wait.
async fn assert_closed(server: &Server, id: &str) {
    let query = "query ($id: ID!) { conversation(id: $id) { activeReplies { replyId } } }";
    eventually(async || {
        let found = server.data(query, json!({ "id": id })).await;
        (found["conversation"]["activeReplies"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_refused_upload_that_nothing_can_continue_ends_its_reply() {
    let server = serve(&[]).await;
    let url = &server.url;
    let id = asked(url).await;
    let upload = Upload::begin(url, &id, "", NDJSON);
    upload.text("First we");
    upload.line(json!({ "type": "song" }));
    assert_eq!(
        refused(upload.answer().await),
        (422, "INVALID_INPUT".into())
    );
    assert_closed(&server, &id).await;
    assert_eq!(
        replies(&server, &id).await,
        json!([["INCOMPLETE", "First we"]])
    );
    server.stop().await;
}

#[tokio::test]
async fn an_upload_behind_the_end_of_a_lease_loses_nothing_in_silence() {
    let server = serve(&["--ingest-idle", "1s"]).await;
    let url = &server.url;
    let id = asked(url).await;
    let query = format!("?reply_id={MINE}");
    let upload = Upload::begin(url, &id, &query, NDJSON);
    upload.text("First we");
    assert_eq!(upload.end().await.0, 202);
    conversation_when(url, &id, |now| now["messageCount"] == 2).await;
    let late = Upload::begin(url, &id, &query, NDJSON);
    late.text("First we go.");
    late.line(json!({ "type": "finish" }));
    assert_eq!(refused(late.end().await), (409, "REPLY_ENDED".into()));
    // What repeats the end that is stored is answered as before.
    let same = Upload::begin(url, &id, &query, NDJSON);
    same.text("First we");
    same.line(json!({ "type": "finish", "outcome": "incomplete" }));
    assert_eq!(same.end().await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn events_may_have_several_lines_and_equal_data_is_kept() {
    let server = serve(&[]).await;
    let url = &server.url;
    let id = asked(url).await;
    let query = format!("?reply_id={MINE}");
    let body = "data: {\"type\":\"start\"}\n\ndata: {\"type\":\"data-step\",\ndata: \"data\":1}\n\n\
        data: {\"type\":\"data-step\",\"data\":1}\n\n\
        data: {\"type\":\"text-delta\",\"id\":\"1\",\ndata:\"delta\":\"Kyo\\u0000to\"}\n\n";
    let end = "data: {\"type\":\"finish\"}\n\ndata: [DONE]\n\n";
    let upload = Upload::begin(url, &id, &query, "text/event-stream");
    upload.write(body.as_bytes());
    let (status, answer) = upload.end().await;
    assert_eq!((status, &answer["offset"]), (202, &json!(5)), "{answer}");
    // Once more from the beginning, with its end: nothing is doubled.
    let upload = Upload::begin(url, &id, &query, "text/event-stream");
    upload.write(body.as_bytes());
    upload.write(end.as_bytes());
    let (status, message) = upload.end().await;
    assert_eq!((status, &message["content"]), (201, &json!("Kyoto")));
    let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 1) { nodes { parts { __typename } } } } }";
    let parts = server.data(query, json!({ "id": id })).await;
    let parts = &parts["conversation"]["messages"]["nodes"][0]["parts"];
    let names = ["DataPart", "DataPart", "TextPart"].map(|name| json!({ "__typename": name }));
    assert_eq!(parts, &json!(names));
    server.stop().await;
}

#[tokio::test]
async fn an_upload_is_bounded_in_text_in_bytes_and_in_silence() {
    let server = serve(&["--ingest-idle", "1s"]).await;
    let url = &server.url;
    let id = asked(url).await;
    let query = format!("?reply_id={MINE}");
    let upload = Upload::begin(url, &id, &query, NDJSON);
    let text = "x".repeat(100 * 1024);
    for _ in 0..6 {
        upload.text(&text);
    }
    assert_eq!(
        refused(upload.answer().await),
        (413, "PAYLOAD_TOO_LARGE".into())
    );
    let now = replies(&server, &id).await;
    assert_eq!(now[0][0], "INCOMPLETE");
    assert_eq!(now[0][1].as_str().unwrap().len(), 512 * 1024);

    let id = asked(url).await;
    let upload = Upload::begin(url, &id, "", NDJSON);
    for _ in 0..5 {
        upload.write(&b"\n".repeat(1024 * 1024));
    }
    assert_eq!(
        refused(upload.answer().await),
        (413, "PAYLOAD_TOO_LARGE".into())
    );

    // Silence ends the upload, and then the reply.
    let id = asked(url).await;
    let upload = Upload::begin(url, &id, "", NDJSON);
    upload.text("First we");
    assert_eq!(
        refused(upload.answer().await),
        (408, "REQUEST_TIMEOUT".into())
    );
    conversation_when(url, &id, |now| now["messageCount"] == 2).await;
    assert_eq!(
        replies(&server, &id).await,
        json!([["INCOMPLETE", "First we"]])
    );
    server.stop().await;
}

#[tokio::test]
async fn an_upload_is_bounded_by_the_deadline_of_replies() {
    let server = serve(&["--reply-deadline", "1s"]).await;
    let url = &server.url;
    let id = asked(url).await;
    let upload = Upload::begin(url, &id, "", NDJSON);
    upload.text("First we");
    assert_eq!(refused(upload.answer().await), (409, "REPLY_ENDED".into()));
    assert_eq!(
        replies(&server, &id).await,
        json!([["INCOMPLETE", "First we"]])
    );
    server.stop().await;
}

#[tokio::test]
async fn an_event_stream_that_is_none_is_refused() {
    let server = serve(&[]).await;
    let id = asked(&server.url).await;
    let start = "data: {\"type\":\"message_start\",\"message\":{\"role\":\"assistant\"}}\n\n";
    for (query, body, code) in [
        ("", "hello\n\n", (400, "UNKNOWN_FORMAT")),
        ("", "data: {}\n\n", (400, "UNKNOWN_FORMAT")),
        ("", start, (400, "UNKNOWN_FORMAT")),
        (
            "?format=smoke_signals",
            "data: {\"type\":\"start\"}\n\n",
            (400, "UNKNOWN_FORMAT"),
        ),
        ("?offset=x", "", (422, "INVALID_INPUT")),
        ("?reply_id=x", "", (422, "INVALID_INPUT")),
        ("?offset=3&format=ndjson", "\n", (409, "OFFSET_MISMATCH")),
    ] {
        let upload = Upload::begin(&server.url, &id, query, "text/event-stream");
        upload.write(body.as_bytes());
        assert_eq!(
            refused(upload.end().await),
            (code.0, code.1.into()),
            "{query} {body}"
        );
        assert_closed(&server, &id).await;
    }
    assert_eq!(replies(&server, &id).await, json!([]));
    // A format that the request names is believed until the body contradicts it.
    let usage = "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":2}}\n\n";
    for (format, body) in [
        ("chat_completions", usage),
        ("ui_message_stream", start),
        ("chat_completions", start),
        ("responses", "data: {\"type\":\"start\"}\n\n"),
        ("ndjson", "data: {\"type\":\"start\"}\n\n"),
    ] {
        let query = format!("?format={format}&reply_id={}", uuid::Uuid::new_v4());
        let upload = Upload::begin(&server.url, &id, &query, "text/event-stream");
        upload.write(body.as_bytes());
        let (status, code) = refused(upload.end().await);
        let is_named = ["UNKNOWN_FORMAT", "INVALID_JSON"].contains(&&*code);
        assert!(status == 400 && is_named, "{format}: {status} {code}");
        assert_closed(&server, &id).await;
    }
    server.stop().await;
}
