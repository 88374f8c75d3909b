//! Malicious documents, over every transport: each is refused or harmless, its answer is short, nothing is changed, and
//! the server keeps working. Their cost is measured in `tests/endurance/attack`.

use serde_json::json;
use titlecast::conversation::Owner;
use titlecast_testing::{
    Server,
    hostile::{ANSWER_BYTES, Wire, requests},
};

async fn server() -> Server {
    let server = Server::offline().await;
    server.database.seed(&Owner::local(), 3, 3).await;
    server
}

async fn survives(wire: Wire) {
    let server = server().await;
    let before = server.database.census().await;
    let requests = requests();
    let (all, mut sent) = (requests.len(), 0);
    for (name, request, is_refused) in requests {
        let Some(answer) = wire.send(&server.url, &request).await else {
            continue;
        };
        sent += 1;
        let start = &answer[..answer.floor_char_boundary(500)];
        let length = answer.len();
        assert!(length <= ANSWER_BYTES, "{name}: {length} bytes: {start}");
        let has_errors = [r#""errors":["#, r#""type":"error""#]
            .iter()
            .any(|mark| answer.contains(mark));
        assert!(has_errors || !is_refused, "{name}: {start}");
        let next = server.data("{ __typename }", json!({})).await;
        assert_eq!(next["__typename"], "Query", "{name}");
    }
    assert_eq!(server.database.census().await, before);
    // Some do not fit into a URL.
    assert!(sent * 2 > all, "{wire:?} carried {sent} of {all}");
}

#[tokio::test]
async fn hostile_documents_by_post() {
    survives(Wire::Post).await;
}

#[tokio::test]
async fn hostile_documents_by_get() {
    survives(Wire::Get).await;
}

#[tokio::test]
async fn hostile_documents_by_websocket() {
    survives(Wire::Socket).await;
}

#[tokio::test]
async fn hostile_documents_by_the_older_websocket() {
    survives(Wire::OlderSocket).await;
}

#[tokio::test]
async fn hostile_documents_as_an_event_stream() {
    survives(Wire::EventStream).await;
}

#[tokio::test]
async fn hostile_documents_as_multipart() {
    survives(Wire::Multipart).await;
}
