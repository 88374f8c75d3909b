//! GraphQL over server-sent events (graphql-sse's PROTOCOL.md, distinct connections) and Apollo's multipart
//! subscriptions.

use serde_json::{Value, json};

use crate::support::{Answer, Server};

const MULTIPART: &str =
    r#"multipart/mixed;boundary="graphql";subscriptionSpec="1.0",application/json"#;
const PART: &str = "\r\n--graphql";

async fn sse(server: &Server, query: &str) -> Answer {
    server
        .post("text/event-stream", &json!({ "query": query }))
        .await
}

#[tokio::test]
async fn a_subscription_streams_next_events_and_complete() {
    let server = Server::start().await;
    let mut stream = sse(&server, "subscription { two }").await;
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.header("content-type").unwrap(), "text/event-stream");
    for number in [1, 2] {
        let next = format!(r#"{{"data":{{"two":{number}}}}}"#);
        assert_eq!(stream.event().await, Some(("next".to_owned(), next)));
    }
    assert_eq!(
        stream.event().await,
        Some(("complete".to_owned(), String::new()))
    );
    assert_eq!(stream.event().await, None);
}

#[tokio::test]
async fn a_query_is_one_next_and_complete_by_post_and_by_get() {
    let server = Server::start().await;
    let by_post = sse(&server, "{ __typename }").await;
    let accept = "Accept: text/event-stream\r\n";
    let by_get = server
        .send("GET", "/graphql?query=%7B__typename%7D", accept, "")
        .await;
    for mut stream in [by_post, by_get] {
        let next = r#"{"data":{"__typename":"Query"}}"#.to_owned();
        assert_eq!(stream.event().await, Some(("next".to_owned(), next)));
        assert_eq!(stream.event().await.unwrap().0, "complete");
        assert_eq!(stream.event().await, None);
    }
}

#[tokio::test]
async fn an_invalid_document_is_a_next_event_without_data() {
    let server = Server::start().await;
    for query in ["{ unknown }", "{ not closed", "subscription { unknown }"] {
        let mut stream = sse(&server, query).await;
        assert_eq!(stream.status(), 200, "{query}");
        let (name, data) = stream.event().await.unwrap();
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(name, "next");
        assert!(
            data["errors"][0]["extensions"]["code"].is_string(),
            "{data}"
        );
        assert_eq!(data.get("data"), None);
        assert_eq!(stream.event().await.unwrap().0, "complete");
    }
}

#[tokio::test]
async fn a_malformed_request_is_a_400() {
    let server = Server::start().await;
    for body in [json!({}), json!({ "query": 1 }), json!([])] {
        assert_eq!(server.post("text/event-stream", &body).await.status(), 400);
    }
}

#[tokio::test]
async fn a_subscription_without_a_stream_is_a_406() {
    let server = Server::start().await;
    let body = json!({ "query": "subscription { two }" });
    assert_eq!(server.post("application/json", &body).await.status(), 406);
    let path = "/graphql?query=subscription%20%7Btwo%7D";
    for accept in ["", "Accept: application/json\r\n", "Accept: *\r\n"] {
        let answer = server.send("GET", path, accept, "").await;
        assert_eq!(
            (answer.status(), answer.header("allow")),
            (406, None),
            "{accept}"
        );
    }
}

#[tokio::test]
async fn closing_the_connection_ends_the_operation() {
    let server = Server::start().await;
    for root in ["alone", "state", "events"] {
        let stream = sse(&server, &format!("subscription {{ {root} }}")).await;
        server.subscribed(1).await;
        drop(stream);
        server.subscribed(0).await;
    }
}

#[tokio::test]
async fn a_shutdown_ends_the_stream_without_complete() {
    let server = Server::start().await;
    let mut stream = sse(&server, "subscription { alone }").await;
    server.subscribed(1).await;
    server.close();
    assert_eq!(stream.event().await, None);
}

#[tokio::test]
async fn multipart_parts_are_complete_when_they_arrive() {
    let server = Server::start().await;
    let body = json!({ "query": "subscription { state }" });
    let mut stream = server.post(MULTIPART, &body).await;
    let content_type = stream.header("content-type").unwrap();
    assert!(
        content_type.starts_with("multipart/mixed"),
        "{content_type}"
    );
    assert!(content_type.contains("boundary=graphql"), "{content_type}");
    server.subscribed(1).await;
    server.publish("text");
    // Each part ends with the next delimiter, so reading the first event does not require a second one.
    assert_eq!(stream.until("--graphql").await.unwrap(), "");
    let part = stream.until(PART).await.unwrap();
    let (_, part) = part.split_once("\r\n\r\n").unwrap();
    let part: Value = serde_json::from_str(part).unwrap();
    assert_eq!(part["payload"]["data"]["state"], "text");
}

#[tokio::test]
async fn multipart_closes_with_its_last_delimiter() {
    let server = Server::start().await;
    let body = json!({ "query": "subscription { two }" });
    let text = server.post(MULTIPART, &body).await.text().await;
    assert!(text.ends_with("{}\r\n--graphql--\r\n"), "{text}");
    assert_eq!(text.matches("\"payload\"").count(), 2);
}

#[tokio::test]
async fn a_query_of_a_multipart_client_is_plain_json() {
    let server = Server::start().await;
    let answer = server
        .post(MULTIPART, &json!({ "query": "{ __typename }" }))
        .await;
    let content_type = answer.header("content-type").unwrap();
    assert!(
        content_type.starts_with("application/json"),
        "{content_type}"
    );
}

#[tokio::test]
async fn an_event_is_one_line_whatever_the_text() {
    const TEXT: &str = "a\nb\r\nc\u{85}d\u{2028}e\u{2029}f é – 京 \"quoted\"";
    let server = Server::start().await;
    let mut stream = sse(&server, "subscription { alone }").await;
    server.subscribed(1).await;
    server.publish(TEXT);
    let (_, data) = stream.event().await.unwrap();
    assert!(
        !data.contains(['\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']),
        "{data:?}"
    );
    let data: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(data["data"]["alone"], TEXT);
}
