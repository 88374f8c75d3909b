//! What GraphQL refuses: every refusal has a code in `extensions.code`, tells no data and changes
//! nothing.

use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{ModelServer, Server, calls::code, server::client, within};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, client::IntoClientRequest},
};

/// A POST as it is; status and answer.
async fn post(server: &Server, headers: &[(&str, &str)], body: impl Into<String>) -> (u16, Value) {
    let mut request = client().post(format!("{}/graphql", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = within(request.body(body.into()).send()).await.unwrap();
    let status = response.status().as_u16();
    let text = within(response.text()).await.unwrap();
    let answer = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    (status, answer)
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// What a document that cannot be executed is refused with.
const REFUSED: [&str; 4] = [
    "INVALID_INPUT",
    "GRAPHQL_PARSE_FAILED",
    "GRAPHQL_VALIDATION_FAILED",
    "QUERY_TOO_COMPLEX",
];

#[tokio::test]
async fn an_argument_that_cannot_be_used_is_refused() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.database.seed(&Owner::local(), 3, 3).await.remove(0);
    let before = server.database.census().await;
    let cursors = server
        .data(
            "query ($id: ID!) {
                conversations { pageInfo { startCursor } }
                conversation(id: $id) { messages { pageInfo { startCursor } } }
            }",
            json!({ "id": id }),
        )
        .await;
    let of_list = &cursors["conversations"]["pageInfo"]["startCursor"];
    let of_messages = &cursors["conversation"]["messages"]["pageInfo"]["startCursor"];

    for count in ["0", "-1", "101", "10000", "-2147483648"] {
        for list in [
            format!("conversations(first: {count}) {{ nodes {{ id }} }}"),
            format!("searchConversations(query: \"a\", first: {count}) {{ nodes {{ snippet }} }}"),
        ] {
            let answer = server.graphql(&format!("{{ {list} }}"), json!({})).await;
            assert_eq!(code(&answer), "INVALID_INPUT", "{list}");
        }
    }
    for cursor in [&json!("nonsense"), &json!(""), &json!("💥"), of_messages] {
        for list in [
            "conversations(after: $cursor) { nodes { id } }",
            "searchConversations(query: \"a\", after: $cursor) { nodes { snippet } }",
        ] {
            let query = format!("query ($cursor: String) {{ {list} }}");
            let answer = server.graphql(&query, json!({ "cursor": cursor })).await;
            assert_eq!(code(&answer), "INVALID_CURSOR", "{list} {cursor}");
        }
    }
    // The nullable conversation around the messages is all that is returned.
    for (arguments, expected) in [
        ("first: 0".to_owned(), "INVALID_INPUT"),
        ("last: 0".into(), "INVALID_INPUT"),
        ("first: 10000".into(), "INVALID_INPUT"),
        ("last: -3".into(), "INVALID_INPUT"),
        ("first: 1, last: 1".into(), "INVALID_INPUT"),
        (format!("after: {of_list}"), "INVALID_CURSOR"),
        (format!("last: 1, before: {of_list}"), "INVALID_CURSOR"),
        ("after: \"nonsense\"".into(), "INVALID_CURSOR"),
    ] {
        let query = format!(
            "query ($id: ID!) {{ conversation(id: $id) {{ id messages({arguments}) {{ nodes {{ id }} }} }} }}"
        );
        let answer = server.graphql(&query, json!({ "id": id })).await;
        assert_eq!(
            answer["data"],
            json!({ "conversation": null }),
            "{arguments}"
        );
        assert_eq!(
            answer["errors"][0]["extensions"]["code"], expected,
            "{arguments}"
        );
        assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
    }
    let query = "{ conversation(id: \"nonsense\") { id } }";
    let answer = server.graphql(query, json!({})).await;
    assert_eq!(answer["data"], json!({ "conversation": null }));
    assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID_INPUT");
    assert_eq!(server.database.census().await, before);
}

#[tokio::test]
async fn a_document_that_cannot_be_executed_is_refused_on_every_transport() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    server.database.seed(&Owner::local(), 1, 1).await;
    let before = server.database.census().await;
    let deep = format!("{{ __schema {}", "{ types { fields { type ".repeat(12));
    let deep = format!("{deep} {{ name }} {}", "} } }".repeat(12) + "}");
    let sends = "mutation { sendMessage(input: { text: \"Hello\" }) { replyId } }";
    for (query, variables) in [
        ("", json!({})),
        ("{", json!({})),
        ("{ conversations { nodes { id } }", json!({})),
        ("hello", json!({})),
        ("{ nothing }", json!({})),
        ("{ conversations { nodes { secret } } }", json!({})),
        ("{ conversations(last: 3) { nodes { id } } }", json!({})),
        (
            "{ conversations(first: \"3\") { nodes { id } } }",
            json!({}),
        ),
        (
            "{ conversations(first: 3000000000) { nodes { id } } }",
            json!({}),
        ),
        ("{ conversations }", json!({})),
        ("{ node { id } }", json!({})),
        ("{ conversations { nodes { id { id } } } }", json!({})),
        (
            "query ($id: ID!) { conversation(id: $id) { id } }",
            json!({}),
        ),
        (
            "query ($id: ID!) { conversation(id: $id) { id } }",
            json!({ "id": null }),
        ),
        (
            "query ($id: ID!) { conversation(id: $id) { id } }",
            json!({ "id": ["a"] }),
        ),
        (
            "query ($id: ID!) { conversation(id: $id) { id } }",
            json!({ "id": { "a": 1 } }),
        ),
        (
            "query ($n: Int) { conversations(first: $n) { nodes { id } } }",
            json!({ "n": "3" }),
        ),
        (
            "query ($n: Int) { conversations(first: $n) { nodes { id } } }",
            json!({ "n": 1.5 }),
        ),
        ("{ conversation(id: $id) { id } }", json!({ "id": "a" })),
        (
            "mutation ($i: SendMessageInput!) { sendMessage(input: $i) { replyId } }",
            json!({ "i": { "text": "Hello", "unknown": 1 } }),
        ),
        (
            "mutation ($i: SendMessageInput!) { sendMessage(input: $i) { replyId } }",
            json!({ "i": { "text": 7 } }),
        ),
        (
            "mutation { sendMessage(input: { text: \"Hello\" }) { nothing } }",
            json!({}),
        ),
        ("mutation { sendMessage(input: {}) { replyId } }", json!({})),
        ("query A { __typename } query B { __typename }", json!({})),
        (&format!("query A {{ __typename }} {sends}"), json!({})),
        ("{ ...F } fragment F on Query { ...F }", json!({})),
        ("fragment F on Query { __typename }", json!({})),
        (&deep, json!({})),
    ] {
        let answer = server.graphql(query, variables.clone()).await;
        assert_eq!(answer["data"], Value::Null, "{query}: {answer}");
        let errors = answer["errors"].as_array();
        let errors = errors.unwrap_or_else(|| panic!("not refused: {query}: {answer}"));
        assert!(!errors.is_empty());
        for error in errors {
            let code = error["extensions"]["code"].as_str().unwrap_or_default();
            assert!(REFUSED.contains(&code), "{query}: {answer}");
        }
        let mut socket = server.socket().await;
        let operation = socket.subscribe(query, variables).await;
        let message = socket.message().await.unwrap();
        assert_eq!(message["id"], operation);
        let errors = match message["type"].as_str().unwrap() {
            "error" => &message["payload"],
            _ => &message["payload"]["errors"],
        };
        let code = errors[0]["extensions"]["code"].as_str().unwrap_or_default();
        assert!(REFUSED.contains(&code), "{query}: {message}");
        assert!(message["payload"]["data"].is_null());
    }
    assert_eq!(server.database.census().await, before);
    assert_eq!(model.reply_requests().len(), 0);
}

#[tokio::test]
async fn lists_in_lists_are_refused_as_too_complex() {
    let server = Server::start(&ModelServer::start().await).await;
    let query = "{ conversations(first: 100) { nodes { messages(first: 100) { nodes { id } } } } }";
    let answer = server.graphql(query, json!({})).await;
    assert_eq!(code(&answer), "QUERY_TOO_COMPLEX", "{answer}");
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.database.seed(&Owner::local(), 1, 1).await.remove(0);
    let before = server.database.census().await;
    let deletes = format!(
        "mutation {{ deleteConversation(input: {{ id: \"{id}\" }}) {{ deletedConversationId }} }}"
    );
    for body in [
        "",
        "{",
        "query { __typename }",
        "{\"query\": }",
        "\u{FEFF}{}",
        "NaN",
    ] {
        let (status, answer) = post(&server, &[JSON], body).await;
        assert_eq!((status, code(&answer)), (400, "INVALID_JSON"), "{body}");
    }
    for body in [
        json!([{ "query": deletes }]),
        json!([{ "query": deletes }, { "query": "{ __typename }" }]),
        json!([]),
        json!([deletes]),
        json!([deletes, null, {}, {}]),
        json!(deletes),
        json!(null),
        json!(7),
        json!({}),
        json!({ "query": null }),
        json!({ "query": [deletes] }),
        json!({ "query": deletes, "variables": [] }),
        json!({ "query": deletes, "variables": "{}" }),
        json!({ "query": deletes, "operationName": 7 }),
        json!({ "query": deletes, "operationName": "Unknown" }),
    ] {
        let (status, answer) = post(&server, &[JSON], body.to_string()).await;
        assert!(REFUSED.contains(&code(&answer)), "{body}");
        assert!([200, 400, 422].contains(&status), "{status} {body}");
    }
    // A page of another origin can send these unasked.
    let whole = json!({ "query": deletes }).to_string();
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        let (status, answer) = post(&server, &[("content-type", content_type)], &whole).await;
        assert_eq!(
            (status, code(&answer)),
            (415, "UNSUPPORTED_MEDIA_TYPE"),
            "{content_type}"
        );
    }
    let (status, answer) = post(&server, &[], &whole).await;
    assert_eq!((status, code(&answer)), (415, "UNSUPPORTED_MEDIA_TYPE"));
    let large = json!({ "query": deletes, "variables": { "x": "a".repeat(2_000_000) } });
    let (status, answer) = post(&server, &[JSON], large.to_string()).await;
    assert_eq!((status, code(&answer)), (413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(server.database.census().await, before);

    // What is not said may be said to be null.
    let body = json!({
        "query": "{ __typename }", "variables": null, "operationName": null, "extensions": null
    });
    let utf8 = ("content-type", "Application/JSON; charset=utf-8");
    let (status, answer) = post(&server, &[utf8], body.to_string()).await;
    assert_eq!(
        (status, answer),
        (200, json!({ "data": { "__typename": "Query" } }))
    );
}

#[tokio::test]
async fn a_method_that_is_not_spoken_is_refused() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let body = json!({ "query": "{ __typename }" });
    for method in ["PUT", "DELETE", "PATCH"] {
        let (status, answer) = server.send(method, "/graphql", body.clone()).await;
        assert_eq!(
            (status, code(&answer)),
            (405, "METHOD_NOT_ALLOWED"),
            "{method}"
        );
    }
    for path in [
        "/graphql",
        "/graphql?variables={}",
        "/graphql?query=%7B__typename%7D&variables=x",
    ] {
        let (_, answer) = server.get(path).await;
        assert_eq!(code(&answer), "INVALID_INPUT", "{path}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_by_http_and_by_websocket() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--allowed-origins", "https://app.example"]).await;
    let before = server.database.census().await;
    let sends = "mutation { sendMessage(input: { text: \"Hello\" }) { replyId } }";
    let body = json!({ "query": sends }).to_string();
    let upgrade = async |origin: &str| {
        let url = format!("{}/graphql", server.url.replace("http://", "ws://"));
        let mut request = url.into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert(
            "sec-websocket-protocol",
            "graphql-transport-ws".parse().unwrap(),
        );
        headers.insert("origin", origin.parse().unwrap());
        match within(connect_async(request)).await {
            Ok(_) => 101,
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    for foreign in [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:8443",
    ] {
        let (status, answer) = post(&server, &[JSON, ("origin", foreign)], &body).await;
        assert_eq!(
            (status, code(&answer)),
            (403, "FORBIDDEN_ORIGIN"),
            "{foreign}"
        );
        assert_eq!(upgrade(foreign).await, 403, "{foreign}");
    }
    assert_eq!(server.database.census().await, before);
    assert_eq!(model.reply_requests().len(), 0);

    let body = json!({ "query": "{ __typename }" }).to_string();
    for own in ["https://app.example", &server.url] {
        assert_eq!(
            post(&server, &[JSON, ("origin", own)], &body).await.0,
            200,
            "{own}"
        );
        assert_eq!(upgrade(own).await, 101, "{own}");
    }
}

#[tokio::test]
async fn a_link_on_a_page_elsewhere_leads_to_no_data() {
    let server = Server::offline().await;
    let get = async |path: &str, site: &str| {
        let request = client()
            .get(format!("{}{path}", server.url))
            .header("sec-fetch-site", site);
        within(request.send()).await.unwrap().status().as_u16()
    };
    for path in ["/graphql?query={__typename}", "/api/v1/conversations"] {
        assert_eq!(get(path, "cross-site").await, 403, "{path}");
        assert_eq!(get(path, "same-site").await, 403, "{path}");
        assert_eq!(get(path, "same-origin").await, 200, "{path}");
        assert_eq!(get(path, "none").await, 200, "typed by hand: {path}");
    }
    for page in ["/explorer", "/healthz"] {
        assert_eq!(get(page, "cross-site").await, 200, "{page}");
    }
    server.stop().await;
}
