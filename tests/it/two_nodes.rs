//! Two nodes on one database, and a client whose first message reaches both of them many times at once.

use futures_util::future::join_all;
use serde_json::json;
use titlecast_testing::{
    ModelServer, Rows, Server, Watched,
    server::graphql,
    titles::{appearances, decided, new_id, replied},
};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// Twenty times the same first message at once, on two nodes, with one idempotency key.
async fn twenty_first_messages(conversation_id: Option<String>) {
    const SEND: &str = "mutation ($input: SendMessageInput!) {
        sendMessage(input: $input) { conversation { id } message { id } replyId }
    }";
    let model = ModelServer::start().await;
    let one = Server::start(&model).await;
    let other = one.beside(&model, &[]).await;
    let rows = Rows::of(&one.database).await;
    let mut lists = [
        Watched::list(&one.url).await,
        Watched::list(&other.url).await,
    ];
    let input = json!({ "input": {
        "conversationId": conversation_id, "text": MESSAGE, "idempotencyKey": "one-key"
    } });
    let urls = [&one.url, &other.url];
    let answers =
        join_all((0..20).map(|number| graphql(urls[number % 2], SEND, input.clone()))).await;
    for answer in &answers {
        assert_eq!(answer, &answers[0], "the same turn");
    }
    let id = answers[0]["data"]["sendMessage"]["conversation"]["id"].as_str();
    let id = id.unwrap_or_else(|| panic!("refused: {}", answers[0]));
    replied(&one.url, id, 2).await;
    // The other node shows it as well, from the row.
    let shown = decided(&other.url, id).await;
    assert_eq!(shown["displayName"], ModelServer::TITLE);
    assert_eq!(shown["titleSource"], "GENERATED");
    rows.published(id).await;

    let messages = rows.messages(id).await;
    assert_eq!(messages[0].2, MESSAGE);
    assert_eq!(messages[1].2, ModelServer::REPLY.concat());
    assert_eq!(one.database.row_counts().await, [1, 2, 1]);
    assert_eq!(model.title_requests().len(), 1);
    assert_eq!(model.reply_requests().len(), 1);
    assert_eq!(rows.calls(id).await, ["title"]);
    let mut events = 0;
    for (list, url) in lists.iter_mut().zip(urls) {
        events += appearances(&list.until_now(url).await, id);
    }
    assert_eq!(events, 1, "the title is published once");
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn two_tabs_two_replicas_two_calls() {
    twenty_first_messages(None).await;
}

#[tokio::test]
async fn two_tabs_two_replicas_two_calls_for_an_id_that_the_client_chose() {
    twenty_first_messages(Some(new_id())).await;
}
