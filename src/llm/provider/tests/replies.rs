//! Replies: the request, the order of chunks, and every way in which a stream can end.

use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use serde_json::json;

use super::{
    super::{ProxySettings, stream::MAX_TEXT_BYTES},
    *,
};
use crate::llm::{
    ChatMessage, Finish, ModelError, ModelErrorKind, ReplyChunk, ReplyModel, ReplyRequest, Speaker,
    TitleModel, ToolCall, Usage,
};

pub(super) const START: &str = r#"data: {"id":"chatcmpl-7","object":"chat.completion.chunk","created":1767225600,"model":"gpt-5-mini-2025-08-07","system_fingerprint":null,"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null,"obfuscation":"aB3"}

"#;
pub(super) const STOP: &str = r#"data: {"id":"chatcmpl-7","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}

"#;
const USAGE: &str = r#"data: {"id":"chatcmpl-7","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":70,"total_tokens":79,"completion_tokens_details":{"reasoning_tokens":64}}}

"#;
pub(super) const DONE: &str = "data: [DONE]\n\n";

pub(super) fn delta(text: &str) -> String {
    let event = json!({ "id": "chatcmpl-7", "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] });
    format!("data: {event}\n\n")
}

pub(super) fn request() -> ReplyRequest {
    let message = |speaker, text: &str| ChatMessage {
        speaker,
        text: text.to_owned(),
    };
    ReplyRequest {
        history: [
            message(Speaker::User, "hi"),
            message(Speaker::Assistant, "hello"),
            message(Speaker::User, "more"),
        ]
        .into(),
        ..ReplyRequest::default()
    }
}

/// The id, the text, the counts, and the end. Also asserts their order.
#[derive(Debug, PartialEq)]
pub(super) struct Received {
    pub(super) id: Option<String>,
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) tools: Vec<ToolCall>,
    pub(super) usage: Option<Usage>,
    pub(super) end: Result<Finish, ModelErrorKind>,
}

pub(super) async fn received(model: &Model) -> Received {
    let chunks: Vec<Result<ReplyChunk, ModelError>> = match model.reply(request()).await {
        Ok(reply) => reply.collect().await,
        Err(error) => vec![Err(error)],
    };
    let mut received = Received {
        id: None,
        text: String::new(),
        reasoning: String::new(),
        tools: Vec::new(),
        usage: None,
        end: Err(ModelErrorKind::Malformed),
    };
    let last = chunks.len() - 1;
    for (i, chunk) in chunks.into_iter().enumerate() {
        let is_end = matches!(chunk, Err(_) | Ok(ReplyChunk::Finished(_)));
        assert_eq!(is_end, i == last, "the end comes last: {chunk:?}");
        match chunk {
            Ok(ReplyChunk::Started { response_id, .. }) => {
                assert_eq!(i, 0, "the id comes first");
                received.id = Some(response_id);
            }
            Ok(ReplyChunk::Delta(text)) => {
                assert!(!text.is_empty());
                received.text += &text;
            }
            Ok(ReplyChunk::Reasoning(text)) => received.reasoning += &text,
            Ok(ReplyChunk::Tool(call)) => received.tools.push(call),
            Ok(ReplyChunk::Usage(usage)) => received.usage = Some(usage),
            Ok(ReplyChunk::Finished(finish)) => received.end = Ok(finish),
            Err(error) => received.end = Err(error.kind),
        }
    }
    received
}

pub(super) async fn receive_from(pieces: &[&str], whole: bool) -> Received {
    let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
    let server = Server::start([events(&pieces, whole)]);
    received(&server.model("gpt-5-mini")).await
}

async fn assert_received(pieces: &[&str], text: &str, end: Result<Finish, ModelErrorKind>) {
    let received = receive_from(pieces, true).await;
    assert_eq!(
        (received.text.as_str(), received.end),
        (text, end),
        "{pieces:?}"
    );
}

#[tokio::test]
async fn the_request_and_its_stream() {
    let (hello, world) = (delta("Hello"), delta(" world"));
    let server = Server::start([events(
        &[START, &hello, &world, STOP, USAGE, DONE].map(str::as_bytes),
        true,
    )]);
    let received = received(&server.model("gpt-5-mini")).await;
    let usage = Usage {
        prompt_tokens: 9,
        completion_tokens: 70,
        reasoning_tokens: 64,
    };
    let expected = Received {
        id: Some("chatcmpl-7".to_owned()),
        text: "Hello world".to_owned(),
        reasoning: String::new(),
        tools: Vec::new(),
        usage: Some(usage),
        end: Ok(Finish::Stop),
    };
    assert_eq!(received, expected);
    let asked = server.requests().remove(0);
    assert!(
        asked.head.contains("accept: text/event-stream\r\n"),
        "{}",
        asked.head
    );
    let expected = json!({
        "model": "gpt-5-mini",
        "messages": [
            { "role": "user", "content": "hi" },
            { "role": "assistant", "content": "hello" },
            { "role": "user", "content": "more" },
        ],
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    assert_eq!(asked.body, expected);
}

#[tokio::test]
async fn any_packets_and_line_ends() {
    let text = format!(
        "\u{feff}: ping\n\n{START}{}{STOP}{DONE}",
        delta("京都 🎌 é")
    );
    for text in [text.replace('\n', "\r\n"), text] {
        for size in [1, 2, 3, 5, 64] {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let mut script = events(&pieces, true);
            script
                .iter_mut()
                .for_each(|(pause, _)| *pause = Duration::ZERO);
            let server = Server::start([script]);
            let received = received(&server.model("local")).await;
            assert_eq!(
                (received.text.as_str(), received.end),
                ("京都 🎌 é", Ok(Finish::Stop)),
                "in pieces of {size}"
            );
        }
    }
}

#[tokio::test]
async fn a_cut_is_never_an_end() {
    use ModelErrorKind::Interrupted;
    let half = delta("half");
    for whole in [true, false] {
        let received = receive_from(&[START, &half], whole).await;
        assert_eq!(
            (received.text.as_str(), received.end),
            ("half", Err(Interrupted)),
            "whole: {whole}"
        );
    }
    assert_received(&[&half, DONE], "half", Err(Interrupted)).await;
    assert_received(&[], "", Err(Interrupted)).await;
    assert_received(
        &[
            r#"data: {"choices":[{"delta":{},"finish_reason":"error"}]}"#,
            "\n\n",
        ],
        "",
        Err(Interrupted),
    )
    .await;
    // Events after the finish reason do not change it.
    assert_eq!(
        receive_from(&[&half, STOP], false).await.end,
        Ok(Finish::Stop)
    );
}

#[tokio::test]
async fn the_other_ends() {
    let ended = |delta: &str, reason: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{delta},\"finish_reason\":\"{reason}\"}}]}}\n\n")
    };
    assert_received(
        &[START, &ended("{}", "length"), DONE],
        "",
        Ok(Finish::Length),
    )
    .await;
    assert_received(
        &[&ended(r#"{"content":"a"}"#, "content_filter"), DONE],
        "a",
        Ok(Finish::ContentFilter),
    )
    .await;
    assert_received(
        &[&ended(r#"{"content":null,"refusal":"I can't."}"#, "stop")],
        "I can't.",
        Ok(Finish::Stop),
    )
    .await;
    assert_received(
        &[&ended(
            r#"{"reasoning_content":"hm","content":"a\u0000b"}"#,
            "eos",
        )],
        "ab",
        Ok(Finish::Stop),
    )
    .await;
    assert_received(
        &[&ended(
            r#"{"content":[{"type":"text","text":"parts"}]}"#,
            "stop",
        )],
        "parts",
        Ok(Finish::Stop),
    )
    .await;
}

#[tokio::test]
async fn an_answer_with_nothing_in_it_is_none() {
    let event = |choice: Value| format!("data: {}\n\n", json!({ "choices": [choice] }));
    let delta = |delta: Value| event(json!({ "index": 0, "delta": delta }));
    let thought = delta(json!({ "reasoning_content": "hm" }));
    let call = json!({ "index": 0, "id": "c0", "function": { "name": "f", "arguments": "{}" } });
    let call = delta(json!({ "tool_calls": [call] }));
    let filtered = event(json!({ "index": 0, "delta": {}, "finish_reason": "content_filter" }));
    #[rustfmt::skip]
    let table: [(&[&str], Result<Finish, ModelErrorKind>); 5] = [
        (&[START, STOP, USAGE, DONE], Err(ModelErrorKind::Empty)),
        (&[STOP], Err(ModelErrorKind::Empty)),
        (&[START, &thought, STOP, DONE], Ok(Finish::NoText)),
        (&[START, &call, STOP, DONE], Ok(Finish::NoText)),
        (&[START, &filtered, DONE], Ok(Finish::ContentFilter)),
    ];
    for (pieces, end) in table {
        assert_received(pieces, "", end).await;
    }
    let empty = receive_from(&[START, STOP, USAGE, DONE], true).await;
    let tokens = empty.usage.map(|usage| usage.completion_tokens);
    assert_eq!(tokens, Some(70), "it used tokens");
}

#[tokio::test]
async fn broken_events_are_forgiven_once() {
    let (a, broken) = (delta("a"), "data: {\"choices\":[{x\n\n");
    let odd = "event: keepalive\ndata: x\n\ndata: 1\n\ndata: {\"choices\":null}\n\ndata: {\"type\":\"new\",\"error\":null}\n\n";
    let id = "data: {\"id\":\"a\\u0000b\",\"choices\":[]}\n\n";
    assert_eq!(
        receive_from(&[id, odd, STOP], true).await.id.as_deref(),
        Some("ab")
    );
    // Its text is missing: reading continues, and the reply is incomplete.
    assert_received(
        &[odd, &a, broken, &a, STOP, DONE],
        "aa",
        Ok(Finish::Unreadable),
    )
    .await;
    assert_received(
        &[&a, broken, broken, &a, STOP],
        "a",
        Err(ModelErrorKind::Malformed),
    )
    .await;
}

#[tokio::test]
async fn an_event_that_is_too_large_leaves_the_text_around_it() {
    let image = "A".repeat(3 * 1024 * 1024);
    let image = format!("data: {{\"choices\":[{{\"delta\":{{\"images\":[\"{image}\"]}}}}]}}\n\n");
    let (a, b) = (delta("a"), delta("b"));
    let pieces = [START, &a, &image, &image, &b, STOP];
    let received = receive_from(&pieces, true).await;
    assert_eq!(
        (received.text.as_str(), received.end),
        ("ab", Ok(Finish::Unreadable))
    );
}

#[tokio::test]
async fn keep_alives_are_no_broken_events() {
    let ping = "data: : PROCESSING\n\n";
    let (a, b) = (delta("a"), delta("b"));
    let pieces = [ping, ping, &a, "data: ping\n\n", ping, &b, STOP, DONE];
    assert_received(&pieces, "ab", Ok(Finish::Stop)).await;
    // After a single line break.
    let joined = format!("data: : PROCESSING\n{a}");
    let pieces = [joined.as_str(), &joined, STOP, DONE];
    assert_received(&pieces, "aa", Ok(Finish::Stop)).await;
}

#[tokio::test]
async fn invalid_bytes_do_not_hold_up_the_stream() {
    let (head, tail) = (
        "data: {\"choices\":[{\"delta\":{\"content\":\"a",
        "b\"}}]}\n\n",
    );
    let server = Server::start([events(
        &[head.as_bytes(), b"\xff", tail.as_bytes(), STOP.as_bytes()],
        true,
    )]);
    let received = received(&server.model("local")).await;
    assert_eq!(
        (received.text.as_str(), received.end),
        ("a\u{fffd}b", Ok(Finish::Stop))
    );
}

#[tokio::test]
async fn errors_inside_the_stream() {
    use ModelErrorKind::*;
    for (event, kind) in [
        (
            r#"{"error":{"message":"m","type":"server_error","code":null}}"#,
            Unavailable,
        ),
        (r#"{"error":{"message":"m","code":429}}"#, RateLimited),
        (
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            QuotaExceeded,
        ),
        (
            r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#,
            InvalidRequest,
        ),
        (r#"{"error":"out of memory"}"#, Unavailable),
    ] {
        let event = format!("data: {event}\n\n");
        assert_received(
            &[START, &delta("a"), &event, &delta("b"), STOP],
            "a",
            Err(kind),
        )
        .await;
    }
    // llama.cpp's own field.
    let field =
        "error: {\"code\":400,\"message\":\"the request exceeds the available context size\"}\n\n";
    assert_received(&[START, field, DONE], "", Err(TooLong)).await;
}

#[tokio::test]
async fn a_password_in_the_url_is_sent_where_there_is_no_key() {
    let server = Server::start([events(&[STOP.as_bytes()], true)]);
    let mut server = server;
    server.base_url = server.base_url.replace("http://", "http://me:hunter2@");
    let model = server.model_with("local", None, Duration::from_secs(5));
    received(&model).await;
    let head = server.requests().remove(0).head;
    assert!(head.contains("authorization: basic "), "{head}");
}

#[tokio::test]
async fn a_proxy_gets_what_goes_to_other_machines() {
    let proxy = Server::start([events(&[STOP.as_bytes()], true)]);
    let model = Provider::new(ProviderSettings {
        api_key: Some(KEY.to_owned()),
        base_url: "http://model.invalid/v1?api-version=7".to_owned(),
        proxy: ProxySettings {
            http: Some(proxy.base_url.replace("/v1/", "")),
            ..ProxySettings::default()
        },
        ..proxy.settings()
    });
    received(&model.unwrap().model("local")).await;
    let head = proxy.requests().remove(0).head;
    let asked = "post http://model.invalid/v1/chat/completions?api-version=7 http/1.1\r\n";
    assert!(head.starts_with(asked), "{head}");
}

#[tokio::test]
async fn too_much_text_is_cut_at_a_character() {
    let long = delta(&"é".repeat(50_001));
    let received = receive_from(&[&delta("a"), &long.repeat(6), STOP], true).await;
    assert_eq!(received.text.len(), MAX_TEXT_BYTES - 1);
    assert_eq!(received.end, Ok(Finish::Length));
}

#[tokio::test]
async fn servers_that_do_not_stream() {
    let whole = r#"{"id":"x","choices":[{"message":{"content":"All at once."},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}"#;
    let whole = received(&Server::start([super::json(200, whole)]).model("local")).await;
    assert_eq!(
        (whole.text.as_str(), whole.end),
        ("All at once.", Ok(Finish::Stop))
    );
    assert_eq!(whole.usage.map(|usage| usage.prompt_tokens), Some(3));

    let refused = async |script| {
        let model = Server::start([script]).model("local");
        received(&model).await.end.unwrap_err()
    };
    let html = response(
        200,
        "content-type: text/html; charset=utf-8\r\n",
        "<html></html>",
    );
    assert_eq!(refused(html).await, ModelErrorKind::Malformed);
    assert_eq!(
        refused(super::json(200, r#"{"error":{"code":429}}"#)).await,
        ModelErrorKind::RateLimited
    );
    assert_eq!(
        refused(super::json(401, r#"{"detail":"no"}"#)).await,
        ModelErrorKind::Unauthorized
    );
}

#[tokio::test]
async fn a_reply_goes_on_without_refused_parameters() {
    let refusal = r#"{"error":{"message":"Unrecognized request argument supplied: stream_options","type":"invalid_request_error","param":null,"code":null}}"#;
    let a = delta("a");
    let answer = events(&[a.as_bytes(), STOP.as_bytes()], true);
    let server = Server::start([super::json(400, refusal), answer]);
    let model = server.model("local");
    assert_eq!(received(&model).await.end, Ok(Finish::Stop));
    assert_eq!(server.requests()[1].body.get("stream_options"), None);
}

#[tokio::test]
async fn a_reply_that_may_not_be_streamed_comes_in_one_piece() {
    let refusal = r#"{"error":{"message":"Your organization must be verified to stream this model. Please go to the settings.","type":"invalid_request_error","param":"stream","code":"unsupported_value"}}"#;
    let whole = || {
        let answer = r#"{"id":"x","choices":[{"message":{"content":"All at once."},"finish_reason":"stop"}]}"#;
        super::json(200, answer)
    };
    let server = Server::start([super::json(400, refusal), whole(), whole()]);
    let model = server.model("local");
    for _ in 0..2 {
        let received = received(&model).await;
        assert_eq!(
            (received.text.as_str(), received.end),
            ("All at once.", Ok(Finish::Stop))
        );
    }
    let asked = server.requests();
    assert_eq!(asked.len(), 3, "the next reply asks for no stream at once");
    for request in &asked[1..] {
        assert_eq!(request.body["stream"], false);
        assert_eq!(request.body.get("stream_options"), None);
    }
}

#[tokio::test]
async fn a_dropped_stream_is_dropped_at_the_provider() {
    let a = delta("a");
    let mut script = events(&[a.as_bytes()], false);
    script.extend(vec![
        (Duration::from_millis(20), b"1\r\n\n\r\n".to_vec());
        500
    ]);
    let server = Server::start([script, super::json(200, "{}")]);
    let model = server.model("local");
    let mut reply = model.reply(request()).await.unwrap();
    assert!(reply.next().await.unwrap().is_ok());
    drop(reply);
    // The server takes the next connection only after this one broke.
    let begun = Instant::now();
    model.title(title_request()).map(drop).await;
    assert!(begun.elapsed() < Duration::from_secs(4));
}
