//! Documents that clients name instead of sending, over every transport.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use titlecast_testing::{
    ModelServer, Server,
    raw_socket::RawSocket,
    server::{client, request},
    within,
};

const QUERY: &str = "{ __typename }";

fn hash(document: &str) -> String {
    let digest = Sha256::digest(document);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named(document: &str) -> Value {
    json!({ "persistedQuery": { "version": 1, "sha256Hash": hash(document) } })
}

async fn post(server: &Server, body: Value) -> Value {
    request(&server.url, "POST", "/graphql", Some(body)).await.1
}

async fn over_websocket(server: &Server, payload: Value) -> Value {
    let mut socket = RawSocket::ready(&server.url).await;
    let message = json!({ "type": "subscribe", "id": "1", "payload": payload });
    socket.say(message).await;
    socket.message().await["payload"].take()
}

async fn over_sse(server: &Server, body: Value) -> String {
    let request = client()
        .post(format!("{}/graphql", server.url))
        .header("content-type", "application/json")
        .header("accept", "text/event-stream")
        .body(body.to_string());
    let response = within(request.send()).await.unwrap();
    within(response.text()).await.unwrap()
}

#[tokio::test]
async fn a_hash_that_is_not_known_asks_for_the_document_and_is_enough_from_then_on() {
    let server = Server::offline().await;
    let answer = post(&server, json!({ "extensions": named(QUERY) })).await;
    assert_eq!(answer["errors"][0]["message"], "PersistedQueryNotFound");
    assert_eq!(
        answer["errors"][0]["extensions"]["code"],
        "PERSISTED_QUERY_NOT_FOUND"
    );
    let both = json!({ "query": QUERY, "extensions": named(QUERY) });
    assert_eq!(post(&server, both).await["data"]["__typename"], "Query");
    let alone = json!({ "extensions": named(QUERY) });
    assert_eq!(
        post(&server, alone.clone()).await["data"]["__typename"],
        "Query"
    );
    assert_eq!(
        over_websocket(&server, alone.clone()).await["data"]["__typename"],
        "Query"
    );
    assert!(over_sse(&server, alone.clone()).await.contains("\"Query\""));
    let extensions = named(QUERY).to_string();
    let path = reqwest::Url::parse_with_params(
        &format!("{}/graphql", server.url),
        [("extensions", extensions)],
    )
    .unwrap();
    let response = within(client().get(path).send()).await.unwrap();
    assert!(within(response.text()).await.unwrap().contains("\"Query\""));
}

#[tokio::test]
async fn a_hash_of_another_document_is_refused() {
    let server = Server::offline().await;
    let body = json!({ "query": QUERY, "extensions": named("{ a }") });
    let answer = post(&server, body).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "INVALID_INPUT");
    let message = "sha256Hash is not the SHA-256 of the query";
    assert_eq!(answer["errors"][0]["message"], message);
}

#[tokio::test]
async fn without_trusted_documents_an_id_beside_the_query_is_ignored() {
    let server = Server::offline().await;
    for id in ["typename", "sha256:9ad4e1f0", ""] {
        let body = json!({ "query": QUERY, "documentId": id });
        let answer = post(&server, body.clone()).await;
        assert_eq!(answer["data"]["__typename"], "Query", "{id}: {answer}");
        let answer = over_websocket(&server, body).await;
        assert_eq!(answer["data"]["__typename"], "Query", "{id}: {answer}");
    }
    let answer = post(&server, json!({ "documentId": "" })).await;
    assert_eq!(answer["errors"][0]["message"], "query is missing");
}

#[tokio::test]
async fn with_trusted_documents_nothing_else_is_executed_over_any_transport() {
    let model = ModelServer::start().await;
    let path = std::env::temp_dir().join(format!("titlecast-{}.json", uuid::Uuid::now_v7()));
    std::fs::write(&path, json!({ "typename": QUERY }).to_string()).unwrap();
    let setting = path.display().to_string();
    let server = Server::start_with(&model, &["--trusted-documents", &setting]).await;
    std::fs::remove_file(&path).unwrap();
    let known = json!({ "documentId": "typename" });
    let other = json!({ "query": "mutation { sendMessage(input: { text: \"x\" }) { replyId } }" });
    assert_eq!(
        post(&server, known.clone()).await["data"]["__typename"],
        "Query"
    );
    assert_eq!(
        over_websocket(&server, known.clone()).await["data"]["__typename"],
        "Query"
    );
    assert!(over_sse(&server, known).await.contains("\"Query\""));
    let code = "PERSISTED_QUERY_REQUIRED";
    let answer = post(&server, other.clone()).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], code);
    let errors = over_websocket(&server, other.clone()).await;
    assert_eq!(errors[0]["extensions"]["code"], code);
    assert!(over_sse(&server, other).await.contains(code));
    assert_eq!(model.reply_requests().len(), 0);
}

#[tokio::test]
async fn introspection_can_be_switched_off() {
    let model = ModelServer::start().await;
    let server = Server::start_with(&model, &["--introspection", "false"]).await;
    for query in [
        "{ __schema { types { name } } }",
        "{ __type(name: \"Query\") { name } }",
        "{ _service { sdl } }",
        "{ __typename ...Sdl } fragment Sdl on Query { a: _service { sdl } }",
    ] {
        let body = json!({ "query": query });
        let (status, answer) = request(&server.url, "POST", "/graphql", Some(body.clone())).await;
        assert_eq!(status, 403, "{query}: {answer}");
        let error = &answer["errors"][0];
        assert_eq!(
            error["extensions"]["code"], "FORBIDDEN",
            "{query}: {answer}"
        );
        let message = "introspection is switched off (--introspection)";
        assert_eq!(error["message"], message, "{query}");
        assert!(answer["data"].is_null(), "{query}: {answer}");
        let errors = over_websocket(&server, body).await;
        assert_eq!(errors[0]["extensions"]["code"], "FORBIDDEN", "{query}");
    }
    assert_eq!(
        post(&server, json!({ "query": QUERY })).await["data"]["__typename"],
        "Query"
    );
    let entities = "{ _entities(representations: []) { __typename } }";
    let answer = post(&server, json!({ "query": entities })).await;
    assert_eq!(answer["data"]["_entities"], json!([]), "{answer}");
}
