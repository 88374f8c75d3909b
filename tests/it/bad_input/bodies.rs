//! Bodies that are no JSON, too large, or hold what cannot be used.

use axum::body::Bytes;
use serde_json::{Value, json};
use titlecast_testing::{server::client, within};

use super::{CHAT, Filled, LIST};

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let filled = Filled::start().await;
    let deep = format!("{{\"message\":{}", "[".repeat(10_000));
    let not_json: [&[u8]; 9] = [
        b"",
        b"message=hello",
        b"{\"message\": \"cut",
        b"{\"message\": \"two\"} {}",
        b"{'message': 'single quotes'}",
        b"{\"message\": \"\xff\xfe\"}",
        b"{\"message\": \"\xed\xa0\xbd\"}",
        b"\xef\xbb\xbf",
        deep.as_bytes(),
    ];
    let title_path = format!("{LIST}/{}/title", filled.id);
    let title = filled.server.url.clone() + &title_path;
    for body in not_json {
        for path in CHAT {
            let request = filled.post(path, &Value::Null).body(body.to_vec());
            filled.refused(request, 400, "INVALID_JSON").await;
        }
        let request = client()
            .patch(&title)
            .header("content-type", "application/json");
        filled
            .refused(request.body(body.to_vec()), 400, "INVALID_JSON")
            .await;
    }
    for body in [
        json!([]),
        json!([{ "message": "Plan a trip" }]),
        json!("hi"),
        json!(5),
        json!(null),
    ] {
        filled.invalid(body, "object").await;
    }
    filled.assert_unchanged().await;
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_named() {
    let filled = Filled::start().await;
    let hi = "Plan a trip";
    for (body, field) in [
        (json!({ "message": 5 }), "message"),
        (json!({ "message": ["hi"] }), "message"),
        (json!({ "message": { "text": "hi" } }), "message"),
        (json!({ "message": true }), "message"),
        (
            json!({ "message": hi, "conversation_id": 5 }),
            "conversation_id",
        ),
        (
            json!({ "message": hi, "conversation_id": [filled.id] }),
            "conversation_id",
        ),
        (json!({ "message": hi, "agent_type": 5 }), "agent_type"),
        (json!({ "message": hi, "context": "Kyoto" }), "context"),
        (json!({ "message": hi, "context": [] }), "context"),
        (
            json!({ "message": hi, "context": { "topic_hint": 5 } }),
            "topic_hint",
        ),
        (
            json!({ "message": hi, "context": { "auto_title": "no" } }),
            "auto_title",
        ),
    ] {
        filled.invalid(body, field).await;
    }
    let path = format!("{LIST}/{}/title", filled.id);
    for body in [
        json!({}),
        json!({ "display_name": null }),
        json!({ "display_name": 5 }),
        json!([]),
    ] {
        let (status, error) = filled.server.send("PATCH", &path, body.clone()).await;
        assert_eq!(
            (status, error["code"].as_str()),
            (422, Some("INVALID_INPUT")),
            "{body}"
        );
        let field = if body.is_array() {
            "object"
        } else {
            "display_name"
        };
        assert!(
            error["message"].as_str().unwrap().contains(field),
            "{error}"
        );
    }
    filled.assert_unchanged().await;
}

#[tokio::test]
async fn a_message_that_is_missing_or_empty_is_refused() {
    let filled = Filled::start().await;
    for body in [
        json!({}),
        json!({ "message": null }),
        json!({ "messages": "Plan a trip" }),
        json!({ "message": "" }),
        json!({ "message": " \n\t " }),
        json!({ "message": "\u{3000}\u{a0}\r\n\u{2028}" }),
        json!({ "message": "\u{0}" }),
        json!({ "message": "", "conversation_id": filled.id }),
    ] {
        filled.invalid(body, "message").await;
    }
    filled.assert_unchanged().await;
}

#[tokio::test]
async fn a_body_of_two_megabytes_is_too_large_with_and_without_its_length() {
    let filled = Filled::start().await;
    let body = json!({ "message": "x".repeat(2 * 1024 * 1024) });
    for path in CHAT {
        // The client is still sending when the answer comes; it has to get it nevertheless.
        for _ in 0..5 {
            let request = filled.post(path, &body);
            filled.refused(request, 413, "PAYLOAD_TOO_LARGE").await;
            let bytes = Bytes::from(body.to_string());
            let pieces = (0..bytes.len()).step_by(64 * 1024);
            let pieces: Vec<_> = pieces
                .map(|at| Ok::<_, std::io::Error>(bytes.slice(at..bytes.len().min(at + 64 * 1024))))
                .collect();
            let request = filled.post(path, &body);
            let request = request.body(reqwest::Body::wrap_stream(futures_util::stream::iter(
                pieces,
            )));
            filled.refused(request, 413, "PAYLOAD_TOO_LARGE").await;
        }
    }
    filled.assert_unchanged().await;
}

#[tokio::test]
async fn a_body_that_is_not_announced_as_json_is_refused() {
    let filled = Filled::start().await;
    let body = json!({ "message": "Plan a trip" }).to_string();
    let types = [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("text/json"),
        Some(""),
    ];
    for path in CHAT {
        for content_type in types {
            let mut request = client().post(format!("{}{path}", filled.server.url));
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let request = request.body(body.clone());
            let text = filled.refused(request, 415, "UNSUPPORTED_MEDIA_TYPE").await;
            assert!(text.contains("application/json"), "{text}");
        }
    }
    filled.assert_unchanged().await;
    let request = client().post(format!("{}{}", filled.server.url, CHAT[1]));
    let request = request.header("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(
        within(request.body(body).send()).await.unwrap().status(),
        200
    );
}
