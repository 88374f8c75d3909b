//! Titles: the request, each kind of answer, and parameters that a server rejects.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    super::{
        InvalidProvider,
        wire::{Target, WireFormat, chat_completions::ChatCompletions},
    },
    *,
};
use crate::llm::{Finish, ModelError, ModelErrorKind, TitleModel, Usage, profile::Profile};

const TITLE: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1767225600,"model":"gpt-5-mini-2025-08-07",
"choices":[{"index":0,"message":{"role":"assistant","content":"{\"title\":\"Kyoto Trip\"}","refusal":null,
"annotations":[]},"finish_reason":"stop"}],"usage":{"prompt_tokens":61,"completion_tokens":17,"total_tokens":78,
"completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":0}},"service_tier":"default"}"#;

fn unsupported(param: &str) -> Script {
    let message = format!("Unsupported parameter: '{param}' is not supported with this model.");
    let error = json!({ "message": message, "type": "invalid_request_error", "param": param, "code": "unsupported_parameter" });
    super::json(400, &json!({ "error": error }).to_string())
}

async fn failure(script: Script) -> ModelError {
    let server = Server::start([script]);
    let error = server
        .model("local")
        .title(title_request())
        .await
        .unwrap_err();
    assert_eq!(server.requests().len(), 1, "a failure is not retried");
    error
}

#[tokio::test]
async fn the_request_and_its_answer() {
    let server = Server::start([super::json(200, TITLE)]);
    let output = server
        .model("gpt-5-mini")
        .title(title_request())
        .await
        .unwrap();
    assert_eq!(output.text, r#"{"title":"Kyoto Trip"}"#);
    assert_eq!(output.finish, Finish::Stop);
    assert_eq!(
        output.usage,
        Some(Usage {
            prompt_tokens: 61,
            completion_tokens: 17,
            reasoning_tokens: 4
        })
    );

    let asked = server.requests().remove(0);
    assert!(
        asked
            .head
            .starts_with("post /v1/chat/completions http/1.1\r\n"),
        "{}",
        asked.head
    );
    assert!(
        asked
            .head
            .contains(&format!("authorization: bearer {KEY}\r\n")),
        "{}",
        asked.head
    );
    assert!(!asked.head.contains("openai-"), "{}", asked.head);
    let expected = json!({
        "model": "gpt-5-mini",
        "stream": false,
        "messages": [
            { "role": "system", "content": "Name the topic." },
            { "role": "user", "content": "<message>\nplan a trip\n</message>" },
        ],
        "reasoning_effort": "minimal",
        "verbosity": "low",
        "max_completion_tokens": 512,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "title",
                "strict": true,
                "schema": {
                    "type": "object",
                    "properties": { "title": { "type": "string" } },
                    "required": ["title"],
                    "additionalProperties": false,
                },
            },
        },
    });
    assert_eq!(asked.body, expected);
}

#[test]
fn only_openai_gets_the_developer_role_and_store() {
    let request = title_request();
    let body = |model: &str, openai| {
        let profile = Profile::title(model);
        let target = Target {
            model,
            openai,
            reasoning: profile.reasoning,
        };
        json!(ChatCompletions.title(target, &profile, &request))
    };
    let own = body("gpt-5-mini", true);
    assert_eq!(
        (&own["messages"][0]["role"], &own["store"]),
        (&json!("developer"), &json!(false))
    );
    let plain = body("gpt-4.1-mini", true);
    assert_eq!(
        (&plain["messages"][0]["role"], &plain["temperature"]),
        (&json!("system"), &json!(0.2))
    );
    assert_eq!(body("gpt-5-mini", false).get("store"), None);
}

#[tokio::test]
async fn a_refused_parameter_is_dropped_once_and_for_all() {
    let server = Server::start([
        unsupported("reasoning_effort"),
        unsupported("max_completion_tokens"),
        super::json(200, TITLE),
        super::json(200, TITLE),
        unsupported("reasoning_effort"),
    ]);
    let model = server.model("gpt-5-mini");
    model.title(title_request()).await.unwrap();
    let asked = server.requests();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[1].body.get("reasoning_effort"), None);
    assert_eq!(asked[1].body["max_completion_tokens"], 512);
    assert_eq!(
        (
            asked[2].body.get("max_completion_tokens"),
            &asked[2].body["max_tokens"]
        ),
        (None, &json!(512))
    );

    model.title(title_request()).await.unwrap();
    let asked = server.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body.get("reasoning_effort"), None);

    let error = model.title(title_request()).await.unwrap_err();
    assert_eq!(
        error.kind,
        ModelErrorKind::InvalidRequest,
        "it was not sent, so there is nothing left to drop"
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn any_status_and_words_may_refuse_a_parameter() {
    let llama = r#"{"error":{"message":"[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type')}]","type":"internal_server_error"}}"#;
    for status in [404, 405, 422, 500, 503] {
        let server = Server::start([super::json(status, llama), super::json(200, TITLE)]);
        let model = server.model("local");
        model.title(title_request()).await.unwrap();
        let asked = server.requests();
        assert_eq!(asked[0].body["response_format"]["type"], "json_schema");
        assert_eq!(
            asked[1].body["response_format"],
            json!({ "type": "json_object" })
        );
        let instruction = asked[1].body["messages"][0]["content"].as_str().unwrap();
        assert!(instruction.contains("JSON"), "{instruction}");
    }
}

#[tokio::test]
async fn a_refusal_is_remembered_on_evidence_alone() {
    let server = Server::start([
        unsupported("reasoning_effort"),
        super::json(400, r#"{"error":{"message":"flagged"}}"#),
        super::json(200, TITLE),
    ]);
    let model = server.model("gpt-5-mini");
    let error = model.title(title_request()).await.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::InvalidRequest);
    model.title(title_request()).await.unwrap();
    let asked = server.requests();
    assert_eq!(asked[1].body.get("reasoning_effort"), None);
    assert_eq!(asked[2].body["reasoning_effort"], "minimal");
}

#[tokio::test]
async fn a_plain_request_has_nothing_but_the_model_and_the_messages() {
    let request = TitleRequest {
        plain: true,
        ..title_request()
    };
    let full = title_request();
    let answer = || super::json(200, TITLE);
    let server = Server::start([answer(), answer(), answer(), answer(), answer(), answer()]);
    let model = server.model("gpt-5-mini");
    // Plain requests become the default only after three in a row, since one message may be the cause.
    for request in [&request, &request, &full, &request, &request, &request] {
        model.title(request.clone()).await.unwrap();
    }
    let asked = server.requests();
    let keys: Vec<&str> = asked[0]
        .body
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["messages", "model", "stream"]);
    assert!(asked[2].body.get("response_format").is_some());

    let server = Server::start([answer(), answer(), answer(), answer()]);
    let model = server.model("gpt-5-mini");
    for request in [&request, &request, &request, &full] {
        model.title(request.clone()).await.unwrap();
    }
    let asked = server.requests();
    assert_eq!(asked[3].body, asked[0].body, "plain from the start");
}

#[tokio::test]
async fn a_model_that_does_not_reason_has_little_room_where_no_schema_holds_it() {
    let refusal = r#"{"error":{"message":"no response_format here"}}"#;
    let reasoned = r#"{"choices":[{"message":{"content":"","reasoning_content":"hm"},"finish_reason":"length"}]}"#;
    let server = Server::start([
        super::json(500, refusal),
        super::json(500, refusal),
        super::json(200, reasoned),
        super::json(200, TITLE),
    ]);
    let model = server.model("local");
    model.title(title_request()).await.unwrap();
    let twice = TitleRequest {
        max_tokens: 1024,
        ..title_request()
    };
    model.title(twice).await.unwrap();
    let caps: Vec<Value> = server
        .requests()
        .iter()
        .map(|asked| asked.body["max_completion_tokens"].clone())
        .collect();
    assert_eq!(caps, [512, 64, 64, 1024], "it was seen to reason");
}

#[tokio::test]
async fn a_server_that_only_knows_plain_text_gets_there() {
    let llama = r#"{"error":{"code":400,"message":"Unsupported response_format","type":"invalid_request_error"}}"#;
    let server = Server::start([
        super::json(400, llama),
        super::json(400, llama),
        super::json(200, r#"{"choices":[{"message":{"content":"Trip"}}]}"#),
    ]);
    let model = server.model_with("llama", None, Duration::from_secs(5));
    let output = model.title(title_request()).await.unwrap();
    assert_eq!(
        (output.text.as_str(), output.finish, output.usage),
        ("Trip", Finish::Stop, None)
    );
    let asked = server.requests();
    assert!(
        !asked[0].head.contains("authorization"),
        "no key, no header: {}",
        asked[0].head
    );
    assert_eq!(asked[1].body["response_format"]["type"], "json_object");
    assert_eq!(asked[2].body.get("response_format"), None);
    assert_eq!(asked[2].body["messages"], asked[0].body["messages"]);
}

#[tokio::test]
async fn answers_without_a_title() {
    let choice = |choice: &str| super::json(200, &format!(r#"{{"choices":[{choice}]}}"#));
    let out_of_tokens = "Could not finish the message because max_tokens or model output limit was reached. Please try again.";
    #[rustfmt::skip]
    let table = [
        (choice(r#"{"message":{"content":""},"finish_reason":"length"}"#), Finish::Length),
        (choice(r#"{"message":{"content":null},"finish_reason":null}"#), Finish::Stop),
        (choice(r#"{"message":{"content":null,"refusal":"I can't."},"finish_reason":"stop"}"#), Finish::ContentFilter),
        (choice(r#"{"message":{"content":null},"finish_reason":"content_filter"}"#), Finish::ContentFilter),
        (super::json(400, &json!({ "error": { "message": out_of_tokens, "type": "invalid_request_error" } }).to_string()), Finish::Length),
    ];
    for (script, finish) in table {
        let server = Server::start([script]);
        let output = server.model("local").title(title_request()).await.unwrap();
        assert_eq!((output.text.as_str(), output.finish), ("", finish));
    }
}

#[tokio::test]
async fn the_kinds_of_failure() {
    use ModelErrorKind::*;
    let error = |code: &str| {
        format!(
            r#"{{"error":{{"message":"Incorrect key {KEY}","type":"t","param":null,"code":{code}}}}}"#
        )
    };
    let html = "<html><body>Bad gateway</body></html>".to_owned();
    #[rustfmt::skip]
    let table = [
        (401, error(r#""invalid_api_key""#), Unauthorized, Some("invalid_api_key")),
        (403, error("null"), Unauthorized, Some("t")),
        (404, error(r#""model_not_found""#), NotFound, Some("model_not_found")),
        (404, String::new(), NoEndpoint, None),
        (408, String::new(), Timeout, None),
        (429, error(r#""rate_limit_exceeded""#), RateLimited, Some("rate_limit_exceeded")),
        (429, error(r#""insufficient_quota""#), QuotaExceeded, Some("insufficient_quota")),
        (400, error("400"), InvalidRequest, Some("400")),
        (400, error(r#""no code, but prose""#), InvalidRequest, Some("t")),
        (500, html.clone(), Unavailable, None),
        (503, error("503"), Unavailable, Some("503")),
        (302, String::new(), Malformed, None),
        (200, html, Malformed, None),
        (200, String::new(), Malformed, None),
        (200, "{}".to_owned(), Malformed, None),
        (200, r#"{"choices":[]}"#.to_owned(), Malformed, None),
    ];
    for (status, body, kind, code) in table {
        let error = failure(super::json(status, &body)).await;
        assert_eq!(
            (error.kind, error.code.as_deref()),
            (kind, code),
            "{status} {body}"
        );
        assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::start([super::json(200, TITLE)]);
    let location = format!("location: {}chat/completions\r\n", elsewhere.base_url);
    for status in [302, 307, 308] {
        let error = failure(response(status, &location, "")).await;
        assert_eq!(error.kind, ModelErrorKind::Malformed);
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn how_long_to_wait() {
    let retry_after = async |headers: &str| failure(response(429, headers, "{}")).await.retry_after;
    assert_eq!(retry_after("").await, None);
    assert_eq!(
        retry_after("retry-after: 7200\r\n").await,
        Some(Duration::from_secs(7200))
    );
    assert_eq!(
        retry_after("retry-after: 2\r\nretry-after-ms: 1500\r\n").await,
        Some(Duration::from_millis(1500))
    );
    let dated =
        "date: Wed, 21 Oct 2026 07:27:30 GMT\r\nretry-after: Wed, 21 Oct 2026 07:28:00 GMT\r\n";
    assert_eq!(retry_after(dated).await, Some(Duration::from_secs(30)));
    for odd in ["-1", "NaN", "inf", "soon"] {
        assert_eq!(
            retry_after(&format!("retry-after: {odd}\r\n")).await,
            None,
            "{odd}"
        );
    }
}

#[tokio::test]
async fn a_huge_body_is_not_read_to_its_end() {
    let megabytes = vec![(Duration::ZERO, vec![b'x'; 1024 * 1024]); 10];
    for (status, kind) in [
        (500, ModelErrorKind::Unavailable),
        (200, ModelErrorKind::Malformed),
    ] {
        let head = format!("HTTP/1.1 {status} -\r\ncontent-type: application/json\r\n\r\n");
        let script = [vec![(Duration::ZERO, head.into_bytes())], megabytes.clone()].concat();
        assert_eq!(failure(script).await.kind, kind);
    }
}

#[tokio::test]
async fn silence_and_broken_connections() {
    let hours = Duration::from_secs(3600);
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{".to_vec();
    for script in [
        vec![(hours, Vec::new())],
        vec![(Duration::ZERO, head.clone()), (hours, Vec::new())],
    ] {
        let server = Server::start([script]);
        let begun = Instant::now();
        let error = server
            .model_with_short_timeouts()
            .title(title_request())
            .await
            .unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Timeout);
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
    assert_eq!(
        failure(vec![(Duration::ZERO, head)]).await.kind,
        ModelErrorKind::Interrupted
    );
    assert_eq!(failure(Vec::new()).await.kind, ModelErrorKind::Interrupted);

    let server = Server::start([]);
    std::thread::sleep(Duration::from_millis(50));
    let error = server
        .model("local")
        .title(title_request())
        .await
        .unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Connection, "refused");
}

#[test]
fn settings_that_cannot_work() {
    let config = |key: &str, url: &str| ProviderSettings {
        api_key: Some(key.to_owned()),
        base_url: url.to_owned(),
        ..ProviderSettings::default()
    };
    let invalid = |key, url| Provider::new(config(key, url)).err();
    assert_eq!(invalid("a\nb", ""), Some(InvalidProvider::ApiKey));
    assert_eq!(
        invalid("a", "localhost:11434/v1"),
        Some(InvalidProvider::BaseUrl)
    );
    assert_eq!(invalid("a", "/v1"), Some(InvalidProvider::BaseUrl));
    assert_eq!(
        invalid("a", "http://host/v1#x"),
        Some(InvalidProvider::Fragment)
    );
    assert_eq!(invalid(" a\n", "http://localhost:11434/v1/"), None);
    let shown = format!("{:?}", config(KEY, "http://user:password@host"));
    assert!(
        !shown.contains(KEY) && !shown.contains("password"),
        "{shown}"
    );
}
