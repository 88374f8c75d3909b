//! Replies in one request.

use serde_json::{Value, json};
use titlecast_testing::{
    Events, calls::stop_reply, eventually, replies::Reader, server::client, sse::text,
};

use super::{Reply, Upload, asked, refused, replies, serve};

const NDJSON: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";
const MINE: &str = "0198d5b2-6f0e-4b8a-9a55-4f3e2d1c0b9a";

/// Waits until the server has read so much of the reply's text.
async fn read(url: &str, id: &str, text: &str) -> Reader {
    let reply = eventually(async || {
        let path = format!("/api/v1/conversations/{id}/replies/{MINE}");
        let (status, _) = titlecast_testing::server::request(url, "GET", &path, None).await;
        (status == 200).then_some(json!(MINE))
    })
    .await;
    let mut reader = Reader::join(url, id, &reply).await;
    reader.read_to(text).await;
    reader
}

#[tokio::test]
async fn each_format_becomes_the_same_reply() {
    let server = serve(&[]).await;
    let ndjson = [
        json!({ "type": "reasoning", "text": "Hm" }),
        json!({ "type": "text", "text": "First we " }),
        json!({ "type": "text", "text": "go." }),
        json!({ "type": "finish", "usage": { "prompt_tokens": 3, "completion_tokens": 2 } }),
    ];
    let lines: String = ndjson.iter().map(|line| format!("{line}\n\n")).collect();
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        json!({ "id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice] })
    };
    let chat = [
        chunk(json!({ "role": "assistant", "content": "" }), Value::Null),
        chunk(json!({ "content": "First we " }), Value::Null),
        chunk(json!({ "content": "go." }), Value::Null),
        chunk(json!({}), json!("stop")),
    ];
    let responses = [
        json!({ "type": "response.created", "response": { "id": "r1", "model": "m" } }),
        json!({ "type": "response.output_text.delta", "item_id": "i", "delta": "First we " }),
        json!({ "type": "response.output_text.delta", "item_id": "i", "delta": "go." }),
        json!({ "type": "response.completed", "response": { "id": "r1", "status": "completed" } }),
    ];
    let ui = [
        json!({ "type": "start", "messageId": "m1" }),
        json!({ "type": "text-start", "id": "t" }),
        json!({ "type": "text-delta", "id": "t", "delta": "First we " }),
        json!({ "type": "text-delta", "id": "t", "delta": "go." }),
        json!({ "type": "text-end", "id": "t" }),
        json!({ "type": "finish" }),
    ];
    let events = |events: &[Value]| -> String {
        let events = events.iter().map(|event| format!("data: {event}\n\n"));
        events.chain(["data: [DONE]\n\n".to_owned()]).collect()
    };
    for (kind, query, body) in [
        (NDJSON, "", lines.clone()),
        ("application/octet-stream", "", lines),
        (EVENTS, "", events(&chat)),
        (EVENTS, "?format=chat_completions", events(&chat)),
        (EVENTS, "", events(&responses)),
        (EVENTS, "", events(&ui)),
    ] {
        let id = asked(&server.url).await;
        let upload = Upload::begin(&server.url, &id, query, kind);
        // Split anywhere.
        for part in body.as_bytes().chunks(7) {
            upload.write(part);
        }
        let (status, message) = upload.end().await;
        assert_eq!(status, 201, "{kind} {query} {message}");
        assert_eq!(message["content"], "First we go.");
        assert_eq!(message["role"], "assistant");
        assert_eq!(message["status"], "completed");
        assert_eq!(
            replies(&server, &id).await,
            json!([["COMPLETED", "First we go."]])
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn composed_streams_are_one_reply_and_halves_of_characters_join() {
    let server = serve(&[]).await;
    // As `writer.merge` of two streams writes them; a text is split within a surrogate pair.
    let one = |deltas: [&str; 2]| {
        let deltas = deltas.map(|delta| {
            format!("data: {{\"type\":\"text-delta\",\"id\":\"t\",\"delta\":\"{delta}\"}}\n\n")
        });
        let event = |kind: &str| format!("data: {{\"type\":\"{kind}\",\"id\":\"t\"}}\n\n");
        [event("start"), event("text-start")].concat()
            + &deltas.concat()
            + &[event("text-end"), event("finish")].concat()
    };
    for end in ["data: [DONE]\n\n", ""] {
        let id = asked(&server.url).await;
        let upload = Upload::begin(&server.url, &id, "", EVENTS);
        upload.write((one(["Hi \\ud83d", "\\ude00"]) + &one([" you", "."]) + end).as_bytes());
        let (status, message) = upload.end().await;
        assert_eq!(status, 201, "{message}");
        assert_eq!(message["content"], "Hi 😀 you.");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_same_upload_several_times_at_once_is_answered_as_one() {
    let server = serve(&[]).await;
    let id = asked(&server.url).await;
    let query = format!("?reply_id={MINE}");
    let uploads = (0..6).map(|_| async {
        let upload = Upload::begin(&server.url, &id, &query, NDJSON);
        upload.text("First we go.");
        upload.line(json!({ "type": "finish" }));
        upload.end().await
    });
    let answers = futures_util::future::join_all(uploads).await;
    for (status, answer) in &answers {
        assert!([200, 201].contains(status), "{status} {answer}");
    }
    assert_eq!(
        replies(&server, &id).await,
        json!([["COMPLETED", "First we go."]])
    );
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_has_returned_stays_so() {
    let server = serve(&[]).await;
    let id = asked(&server.url).await;
    let upload = Upload::begin(&server.url, &id, "", NDJSON);
    let call = json!({ "type": "tool", "id": "c1", "name": "map", "arguments": "{}" });
    let mut returned = call.clone();
    returned["result"] = json!(1);
    for line in [call.clone(), returned, call] {
        upload.line(line);
    }
    upload.text("There.");
    upload.line(json!({ "type": "finish" }));
    let (status, message) = upload.end().await;
    assert_eq!(status, 201, "{message}");
    let query = "query ($id: ID!) { conversation(id: $id) { messages(first: 9) { nodes {
        parts { ... on ToolPart { state result } } } } } }";
    let read = titlecast_testing::server::graphql(&server.url, query, json!({ "id": id })).await;
    let part = &read["data"]["conversation"]["messages"]["nodes"][1]["parts"][0];
    assert_eq!(
        part,
        &json!({ "state": "COMPLETED", "result": "1" }),
        "{read}"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_answer_of_calls_alone_is_whole_and_an_end_for_another_reason_is_not() {
    let server = serve(&[]).await;
    let call = json!({ "id": "c1", "function": { "name": "map", "arguments": "{}" } });
    let called =
        json!({ "choices": [{ "delta": { "tool_calls": [call] }, "finish_reason": null }] });
    let ended = json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] });
    let text = json!({ "type": "text-delta", "id": "t", "delta": "First we" });
    let other = json!({ "type": "finish", "finishReason": "other" });
    for (events, expected) in [
        ([called, ended], json!([["COMPLETED", ""]])),
        ([text, other], json!([["INCOMPLETE", "First we"]])),
    ] {
        let id = asked(&server.url).await;
        let upload = Upload::begin(&server.url, &id, "", EVENTS);
        for event in events {
            upload.write(format!("data: {event}\n\n").as_bytes());
        }
        let (status, message) = upload.end().await;
        assert_eq!(status, 201, "{message}");
        assert_eq!(replies(&server, &id).await, expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_cut_upload_goes_on_from_the_offset_that_the_server_names() {
    let server = serve(&[]).await;
    let url = &server.url;
    let id = asked(url).await;
    let begin = |offset: usize| {
        let query = format!("?reply_id={MINE}&offset={offset}");
        Upload::begin(url, &id, &query, NDJSON)
    };
    let first = begin(0);
    first.line(json!({ "type": "data", "name": "map", "data": 1 }));
    first.text("First ");
    first.text("we");
    let reader = read(url, &id, "First we").await;
    // A line that is cut off does not count.
    first.write(b"{\"type\":\"text\",\"te");
    first.cut().await;
    let reply = Reply {
        url,
        id: &id,
        reply: MINE,
    };
    let progress = eventually(async || {
        let progress = reply.progress().await;
        (progress["offset"] == 8).then_some(progress)
    })
    .await;
    assert_eq!(progress["status"], "running");

    let second = begin(8);
    second.text(" go");
    let (status, answer) = second.end().await;
    assert_eq!((status, &answer["offset"]), (202, &json!(11)), "{answer}");
    assert_eq!(answer["status"], "running");
    let gap = begin(12).end().await;
    assert_eq!(gap.1["expected_offset"], 11);
    assert_eq!(refused(gap), (409, "OFFSET_MISMATCH".into()));

    // The whole of it again, and more.
    let third = begin(0);
    third.line(json!({ "type": "data", "name": "map", "data": 1 }));
    third.text("First we g");
    third.text("o to Kyoto.");
    third.line(json!({ "type": "finish", "outcome": "completed" }));
    let (status, message) = third.end().await;
    assert_eq!(
        (status, &message["content"]),
        (201, &json!("First we go to Kyoto."))
    );
    let ended = reader.end().await;
    assert_eq!(ended["text"], "First we go to Kyoto.");
    let (status, message) = begin(0).end().await;
    assert_eq!(
        (status, &message["content"]),
        (200, &json!("First we go to Kyoto."))
    );
    let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 1) { nodes { parts { __typename } } } } }";
    let parts = server.data(query, json!({ "id": id })).await;
    let parts = &parts["conversation"]["messages"]["nodes"][0]["parts"];
    assert_eq!(
        parts,
        &json!([{ "__typename": "DataPart" }, { "__typename": "TextPart" }])
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stop_ends_an_upload_and_a_second_upload_is_refused() {
    let server = serve(&[]).await;
    let url = &server.url;
    let id = asked(url).await;
    let query = format!("?reply_id={MINE}");
    let upload = Upload::begin(url, &id, &query, NDJSON);
    upload.text("First we");
    let reader = read(url, &id, "First we").await;
    let busy = (409, "REPLY_BUSY".to_owned());
    let second = Upload::begin(url, &id, &query, NDJSON);
    second.text("First we stay");
    assert_eq!(refused(second.answer().await), busy);
    let reply = Reply {
        url,
        id: &id,
        reply: MINE,
    };
    assert_eq!(refused(reply.append(8, "!").await), busy);
    assert!(stop_reply(url, &id).await);
    // The body is still open.
    assert_eq!(
        refused(upload.answer().await),
        (409, "REPLY_STOPPED".into())
    );
    assert_eq!(reader.end().await["outcome"], "INCOMPLETE");
    assert_eq!(
        replies(&server, &id).await,
        json!([["STOPPED", "First we"]])
    );
    let again = Upload::begin(url, &id, &query, NDJSON).end().await;
    assert_eq!(refused(again), (409, "REPLY_STOPPED".into()));
    server.stop().await;
}

#[tokio::test]
async fn a_stream_of_the_deployed_clients_reads_it_too() {
    let server = serve(&[]).await;
    let url = &server.url;
    let id = asked(url).await;
    let upload = Upload::begin(url, &id, &format!("?reply_id={MINE}"), NDJSON);
    upload.text("First we");
    read(url, &id, "First we").await;
    let stream = client().get(format!("{url}/api/v1/conversations/{id}/reply"));
    let mut events = Events::of(stream).await;
    upload.text(" go.");
    upload.line(json!({ "type": "finish" }));
    assert_eq!(upload.end().await.0, 201);
    let events = events.rest().await;
    // The first event has the text so far.
    assert_eq!(text(&events), " go.");
    assert_eq!(events.last().unwrap()["response_text"], "First we go.");
    server.stop().await;
}
