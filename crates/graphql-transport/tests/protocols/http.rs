//! GraphQL over HTTP. npm `graphql-http` also audits the example `plain_axum`.

use serde_json::json;

use crate::support::Server;

const JSON: &str = "application/json";

#[tokio::test]
async fn a_get_request_never_executes_a_mutation() {
    let server = Server::start().await;
    let query = "/graphql?query=mutation%20%7Bpublish(text%3A%22a%22)%7D";
    for accept in [
        JSON,
        "text/event-stream",
        "multipart/mixed;subscriptionSpec=1.0",
    ] {
        let accept = format!("Accept: {accept}\r\n");
        let answer = server.send("GET", query, &accept, "").await;
        assert_eq!(answer.status(), 405, "{accept}");
        assert_eq!(answer.header("allow").unwrap(), "GET, POST");
    }
}

#[tokio::test]
async fn every_accept_of_multipart_gets_a_query_as_json() {
    let server = Server::start().await;
    let body = json!({ "query": "{ __typename }" });
    for accept in ["*", "multipart/mixed", "multipart/*"] {
        let answer = server.post(accept, &body).await;
        assert_eq!(answer.status(), 200, "{accept}");
        let media = answer.header("content-type").unwrap();
        assert!(media.starts_with(JSON), "{accept}: {media}");
    }
}

#[tokio::test]
async fn other_methods_and_content_types_are_refused() {
    let server = Server::start().await;
    let body = json!({ "query": "{ __typename }" }).to_string();
    for method in ["PUT", "DELETE", "PATCH", "HEAD"] {
        assert_eq!(
            server.send(method, "/graphql", "", &body).await.status(),
            405
        );
    }
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let header = format!("Content-Type: {content_type}\r\n");
        let answer = server.send("POST", "/graphql", &header, &body).await;
        assert_eq!(answer.status(), 415, "{content_type}");
    }
}

#[tokio::test]
async fn a_request_over_a_limit_is_refused_with_the_limit() {
    let server = Server::start().await;
    let deep = format!("{{ {} }}", "a { ".repeat(20) + "b" + &" }".repeat(20));
    let answer = server
        .post(JSON, &json!({ "query": deep }))
        .await
        .json()
        .await;
    let extensions = &answer["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "QUERY_TOO_COMPLEX", "{answer}");
    assert_eq!(extensions["limit"], 15);
    let long = "x".repeat(65 * 1024);
    assert_eq!(
        server.post(JSON, &json!({ "query": long })).await.status(),
        413
    );
}

#[tokio::test]
async fn lone_surrogates_become_replacement_characters() {
    let server = Server::start().await;
    let body = r#"{"query":"query ($a: String!) { echo(text: $a) }","variables":{"a":"\ud83d"}}"#;
    let header = "Content-Type: application/json\r\n";
    let answer = server.send("POST", "/graphql", header, body).await;
    assert_eq!(answer.json().await["data"]["echo"], "\u{fffd}");
}

#[tokio::test]
async fn an_apollo_hash_suffices_once_the_document_was_sent() {
    let server = Server::start().await;
    // SHA-256 of `{__typename}`, from Apollo's documentation.
    let hash = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38";
    let named = json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
    let alone = json!({ "extensions": named });
    let unknown = server.post(JSON, &alone).await.json().await;
    assert_eq!(unknown["errors"][0]["message"], "PersistedQueryNotFound");
    let both = json!({ "query": "{__typename}", "extensions": named });
    for body in [&both, &alone] {
        let answer = server.post(JSON, body).await.json().await;
        assert_eq!(answer["data"]["__typename"], "Query", "{answer}");
    }
    let other = json!({ "query": "{ a }", "extensions": named });
    let answer = server.post(JSON, &other).await.json().await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID_INPUT");
}
