//! What executes: methods × Accept × content types × kinds of operations, verified by the stored rows.

use form_urlencoded::Serializer;
use futures_util::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use titlecast_testing::{Server, server::client, within};

const MUTATION: &str =
    "mutation M { sendMessage(input: { text: \"Hello\", autoTitle: false }) { replyId } }";
const QUERY: &str = "query Q { __typename }";

const JSON: &str = "application/json";
const MULTIPART: &str = "multipart/mixed;subscriptionSpec=1.0, application/json";
const ACCEPTS: [&str; 7] = [
    "*/*",
    JSON,
    "application/graphql-response+json",
    "text/event-stream",
    MULTIPART,
    "application/graphql-response+json, application/json, text/event-stream",
    "image/png",
];
const CONTENT_TYPES: [&str; 8] = [
    JSON,
    "application/json; charset=utf8",
    "Application/JSON; Charset=\"UTF-8\"",
    "application/json; charset=latin1",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/graphql",
    "",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Query,
    Mutation,
    Subscription,
    None,
}

/// Requests by name, and what they ask for.
fn operations(id: &str) -> Vec<(&'static str, Value, Kind)> {
    let watch = format!("subscription S {{ conversationUpdated(id: \"{id}\") {{ id }} }}");
    let both = format!("{QUERY} {MUTATION}");
    let all = format!("{QUERY} {MUTATION} {watch}");
    let named = |document: &str| {
        let hash: String = Sha256::digest(document)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": hash } } })
    };
    let mut persisted = named(MUTATION);
    persisted["query"] = MUTATION.into();
    vec![
        ("query", json!({ "query": QUERY }), Kind::Query),
        ("mutation", json!({ "query": MUTATION }), Kind::Mutation),
        (
            "subscription",
            json!({ "query": watch }),
            Kind::Subscription,
        ),
        (
            "the query of two",
            json!({ "query": both, "operationName": "Q" }),
            Kind::Query,
        ),
        (
            "the mutation of two",
            json!({ "query": both, "operationName": "M" }),
            Kind::Mutation,
        ),
        (
            "the subscription of three",
            json!({ "query": all, "operationName": "S" }),
            Kind::Subscription,
        ),
        ("none of two", json!({ "query": both }), Kind::None),
        (
            "an unknown one",
            json!({ "query": both, "operationName": "X" }),
            Kind::None,
        ),
        ("a persisted mutation", named(MUTATION), Kind::Mutation),
        ("a mutation with its hash", persisted, Kind::Mutation),
        ("a persisted query", named(QUERY), Kind::Query),
    ]
}

/// Sends a request; its status, `Allow`, and the beginning of its body up to the first data.
async fn send(
    server: &Server,
    method: &str,
    accept: &str,
    content_type: Option<&str>,
    operation: &Value,
) -> (u16, String, String) {
    let mut url = format!("{}/graphql", server.url);
    let mut body = String::new();
    match content_type {
        Some(_) => body = operation.to_string(),
        None => {
            let mut query = Serializer::new(String::new());
            for (name, value) in operation.as_object().unwrap() {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                query.append_pair(name, &text);
            }
            url = format!("{url}?{}", query.finish());
        }
    }
    let mut request = client()
        .request(method.parse().unwrap(), url)
        .header("accept", accept);
    if let Some(content_type) = content_type.filter(|content_type| !content_type.is_empty()) {
        request = request.header("content-type", content_type);
    }
    let response = within(request.body(body).send()).await.unwrap();
    let status = response.status().as_u16();
    let allow = response.headers().get("allow");
    let allow = allow.map(|allow| allow.to_str().unwrap().to_owned());
    let mut received = String::new();
    let mut chunks = response.bytes_stream();
    while !received.contains("\"data\":")
        && let Some(chunk) = within(chunks.next()).await
    {
        received.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    (status, allow.unwrap_or_default(), received)
}

#[tokio::test]
async fn a_link_changes_nothing_and_only_json_by_post_changes_something() {
    let server = Server::offline().await;
    let id = server.begin("Plan a trip to Kyoto").await;
    // Registered without being executed.
    for document in [MUTATION, QUERY] {
        for (_, mut request, _) in operations(&id) {
            if request["extensions"].is_object() {
                request["query"] = document.into();
                request["operationName"] = "Nothing".into();
                send(&server, "POST", JSON, Some(JSON), &request).await;
            }
        }
    }
    let mut stored = server.database.census().await[0];
    assert_eq!(stored, 1);
    let mut methods: Vec<(&str, Option<&str>)> = vec![("GET", None), ("HEAD", None)];
    methods.extend(CONTENT_TYPES.map(|content_type| ("POST", Some(content_type))));
    methods.extend([
        ("PUT", Some(JSON)),
        ("PATCH", Some(JSON)),
        ("DELETE", Some(JSON)),
    ]);
    methods.extend([
        ("PUT", None),
        ("DELETE", None),
        ("OPTIONS", None),
        ("REPORT", None),
    ]);
    for (method, content_type) in methods {
        for accept in ACCEPTS {
            for (name, operation, kind) in operations(&id) {
                let (status, allow, received) =
                    send(&server, method, accept, content_type, &operation).await;
                let now = server.database.census().await[0];
                let has_stored = now - stored;
                stored = now;
                let is_json = content_type.is_some_and(|content_type| {
                    content_type.to_ascii_lowercase().starts_with(JSON)
                        && !content_type.contains("latin1")
                });
                let streams = accept.contains("event-stream") || accept == MULTIPART;
                let executes = accept != "image/png"
                    && match (method, kind) {
                        ("GET", Kind::Query) => true,
                        ("GET", Kind::Subscription) => streams,
                        ("POST", Kind::Query | Kind::Mutation) => is_json,
                        ("POST", Kind::Subscription) => is_json && streams,
                        _ => false,
                    };
                let case = format!(
                    "{method}, Accept {accept}, Content-Type {content_type:?}, {name}: {status} {received}"
                );
                assert_eq!(
                    has_stored,
                    i64::from(executes && kind == Kind::Mutation),
                    "{case}"
                );
                assert_eq!(received.contains("\"data\":"), executes, "{case}");
                let expected = match method {
                    // Answered as a preflight.
                    "OPTIONS" => {
                        assert!(!allow.contains("HEAD"), "{case}: {allow}");
                        continue;
                    }
                    "GET" | "POST" if accept == "image/png" => 406,
                    "GET" if kind == Kind::Mutation => 405,
                    "POST" if !is_json => 415,
                    "GET" | "POST" if kind == Kind::Subscription && !streams => 406,
                    "GET" | "POST" if executes => 200,
                    // Refused, with a status that depends on the media type.
                    "GET" | "POST" => continue,
                    _ => 405,
                };
                assert_eq!(status, expected, "{case}");
                assert_eq!(allow == "GET, POST", status == 405, "{case}");
            }
        }
    }
    server.stop().await;
}
