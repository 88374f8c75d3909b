//! Escapes of half a surrogate pair, from programs that cut a text between two code units: accepted on every surface
//! and stored as U+FFFD. Halves that belong together are one character.

use serde_json::{Value, json};
use titlecast_testing::{Server, raw_socket::RawSocket, server::client, within};

/// What is sent inside a JSON string, and what is stored.
const TABLE: [(&str, &str); 6] = [
    (r"cut \ud83d", "cut \u{fffd}"),
    (r"\ude00 cut", "\u{fffd} cut"),
    (r"whole \ud83d\ude00", "whole \u{1f600}"),
    (r"swapped \ude00\ud83d", "swapped \u{fffd}\u{fffd}"),
    (r"thrice \ud83d\ud83d\ude00", "thrice \u{fffd}\u{1f600}"),
    (r"quoted \\ud83d", r"quoted \ud83d"),
];

const SEND: &str =
    "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { content } } }";

async fn post(url: &str, path: &str, body: String) -> Value {
    let request = client()
        .post(format!("{url}{path}"))
        .header("content-type", "application/json")
        .body(body);
    let response = within(request.send()).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    serde_json::from_slice(&within(response.bytes()).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_message_with_half_a_character_is_stored_by_every_route() {
    let server = Server::offline().await;
    for (sent, stored) in TABLE {
        let body = format!(r#"{{"message":"{sent}","unread\udc00":["\ud800"]}}"#);
        let answer = post(&server.url, "/api/v1/chat", body).await;
        let id = answer["conversation_id"].as_str().unwrap();
        let path = format!("/api/v1/conversations/{id}");
        assert_eq!(server.get(&path).await.1["messages"][0]["content"], stored);

        let variables = format!(r#"{{"input":{{"text":"{sent}"}},"unread":"\udfff"}}"#);
        let body = format!(r#"{{"query":"{SEND}","variables":{variables}}}"#);
        let answer = post(&server.url, "/graphql", body.clone()).await;
        assert_eq!(answer["data"]["sendMessage"]["message"]["content"], stored);

        let mut socket = RawSocket::ready(&server.url).await;
        let message = format!(r#"{{"type":"subscribe","id":"1","payload":{body}}}"#);
        socket.say_text(&message).await;
        let answer = socket.message().await;
        let data = &answer["payload"]["data"];
        assert_eq!(data["sendMessage"]["message"]["content"], stored);
    }
}

#[tokio::test]
async fn a_title_and_the_variables_of_a_link_may_hold_half_a_character() {
    let server = Server::offline().await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let request = client()
        .patch(format!("{}/api/v1/conversations/{id}/title", server.url))
        .header("content-type", "application/json")
        .body(r#"{"display_name":"Kyoto \ud83d trip"}"#);
    let response = within(request.send()).await.unwrap();
    assert_eq!(response.status(), 200);
    let body: Value = serde_json::from_slice(&within(response.bytes()).await.unwrap()).unwrap();
    assert_eq!(body["display_name"], "Kyoto \u{fffd} trip");

    let link = reqwest::Url::parse_with_params(
        &format!("{}/graphql", server.url),
        [
            ("query", "query ($id: ID!) { conversation(id: $id) { id } }"),
            (
                "variables",
                &format!(r#"{{"id":"{id}","unread":"\ud83d"}}"#),
            ),
        ],
    );
    let response = within(client().get(link.unwrap()).send()).await.unwrap();
    let body: Value = serde_json::from_slice(&within(response.bytes()).await.unwrap()).unwrap();
    assert_eq!(body, json!({ "data": { "conversation": { "id": id } } }));
}
