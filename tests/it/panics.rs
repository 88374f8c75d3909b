//! A panic becomes a response with an id. The log has the same id and the place in the code; the panic's text appears in
//! neither. Tried on the real program, with failpoints that panic.

use serde_json::{Value, json};
use titlecast_testing::{
    Titlecast,
    raw_socket::RawSocket,
    server::{client, request},
    within,
};

/// The panic's text. A slice out of bounds quotes the string, which may be a user's message.
const TEXT: &str = "byte index 1 is inside of my-secret-text";

/// The id that an error names.
#[track_caller]
fn id_of(message: &str) -> String {
    let id = message.strip_prefix("internal error ").unwrap();
    assert_eq!(id.len(), 36, "{message}");
    id.to_owned()
}

#[tokio::test]
async fn a_panic_is_an_error_with_an_id_that_the_log_knows_and_says_nothing_else() {
    let mut process = Titlecast::new(&["--listen", "127.0.0.1:0"])
        .env("FAILPOINTS", &format!("db.conversation=panic({TEXT})"))
        .start();
    let url = process.url().await;
    let begun = json!({ "message": "Hello" });
    let (_, sent) = request(&url, "POST", "/api/v1/chat", Some(begun)).await;
    let id = sent["conversation_id"].as_str().unwrap();
    let path = format!("/api/v1/conversations/{id}");
    let mut ids = Vec::new();

    // On one connection: it stays.
    let connection = reqwest::Client::builder().no_proxy().build().unwrap();
    for _ in 0..2 {
        let response = connection.get(format!("{url}{path}")).send();
        let response = within(response).await.unwrap();
        assert_eq!(response.status(), 500);
        let answer: Value = within(response.json()).await.unwrap();
        assert_eq!(answer["code"], "INTERNAL");
        ids.push(id_of(answer["message"].as_str().unwrap()));
    }

    let stop = "mutation ($id: ID!) { stopReply(input: { conversationId: $id }) { stopped } }";
    let asked = json!({ "query": stop, "variables": { "id": id } });
    for accept in ["application/json", "application/graphql-response+json"] {
        let response = client()
            .post(format!("{url}/graphql"))
            .header("content-type", "application/json")
            .header("accept", accept)
            .body(asked.to_string());
        let response = within(response.send()).await.unwrap();
        assert_eq!(response.status(), 500, "{accept}");
        let answer: Value = within(response.json()).await.unwrap();
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], "INTERNAL", "{answer}");
        ids.push(id_of(error["message"].as_str().unwrap()));
    }

    let watch = "subscription ($id: ID!) { reply(conversationId: $id) { __typename } }";
    for query in [stop, watch] {
        let mut socket = RawSocket::ready(&url).await;
        let payload = json!({ "query": query, "variables": { "id": id } });
        let subscribe = json!({ "type": "subscribe", "id": "1", "payload": payload });
        socket.say(subscribe).await;
        let error = socket.message().await;
        assert_eq!(error["type"], "error", "{error}");
        ids.push(id_of(error["payload"][0]["message"].as_str().unwrap()));
    }

    assert_eq!(request(&url, "GET", "/healthz", None).await.0, 200);
    process.terminate();
    let log = process.ended().await.stderr;
    for id in &ids {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(id)).collect();
        // The place is in the crate that makes it panic.
        assert!(
            matches!(lines.as_slice(), [line] if line.contains("error.place=") && line.contains(".rs:")),
            "{id}: {log}"
        );
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each has its own");
    assert!(!log.contains("my-secret-text"), "{log}");
    assert!(!log.contains("byte index"), "{log}");
}
