//! Two messages at once are two replies, each with a name: followed, stopped and written anew by it.

use serde_json::{Value, json};
use titlecast_testing::{
    GraphqlSocket, ModelServer, Server, Step,
    calls::{code, data, send_message},
    replies::write,
    server::graphql,
};

use super::{messages, read, regenerate, settled, texts};

const STOP: &str = "mutation ($input: StopReplyInput!) {
    stopReply(input: $input) { stopped conversation { id } }
}";

/// The text of one reply up to its end.
async fn followed(url: &str, message: &Value) -> Value {
    let query = "subscription ($id: ID!) { reply(messageId: $id) {
        __typename ... on ReplyEnded { messageId text outcome model usage { totalTokens } }
    } }";
    let mut socket = GraphqlSocket::connect(url).await;
    let operation = socket.subscribe(query, json!({ "id": message })).await;
    loop {
        let event = socket.next_of(&operation, "reply").await;
        if event["__typename"] == "ReplyEnded" {
            return event;
        }
    }
}

#[tokio::test]
async fn two_replies_at_once_are_followed_and_stopped_by_their_ids() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let url = &server.url;
    let first_steps = model.live_reply();
    let first = send_message(url, json!({ "text": "First", "autoTitle": false })).await;
    let id = first["conversation"]["id"].as_str().unwrap();
    // The model has taken the first request before the second is sent.
    titlecast_testing::eventually(async || (model.reply_requests().len() == 1).then_some(())).await;
    let second_steps = model.live_reply();
    let second = send_message(url, json!({ "conversationId": id, "text": "Second" })).await;
    let active = json!([
        { "replyId": first["replyId"], "inReplyTo": first["message"]["id"] },
        { "replyId": second["replyId"], "inReplyTo": second["message"]["id"] },
    ]);
    assert_eq!(read(url, id).await["activeReplies"], active);
    write(&second_steps, "Second reply");
    second_steps.send(Step::Finish).unwrap();
    let ended = followed(url, &second["message"]["id"]).await;
    assert_eq!(
        (&ended["messageId"], &ended["text"]),
        (&second["replyId"], &json!("Second reply"))
    );
    assert_eq!(ended["usage"]["totalTokens"], 25);
    // By the reply's own id too, when it is over.
    assert_eq!(followed(url, &second["replyId"]).await, ended);
    write(&first_steps, "First reply");
    let stop = json!({ "input": { "replyId": first["replyId"] } });
    let stopped = data(url, STOP, stop.clone()).await;
    assert_eq!(
        stopped["stopReply"],
        json!({ "stopped": true, "conversation": { "id": id } })
    );
    assert_eq!(
        followed(url, &first["replyId"]).await["outcome"],
        "INCOMPLETE"
    );
    assert_eq!(data(url, STOP, stop).await["stopReply"]["stopped"], false);
    let now = settled(url, id).await;
    let replies: Vec<(&Value, &Value)> = messages(&now)[2..]
        .iter()
        .map(|one| (&one["id"], &one["inReplyTo"]))
        .collect();
    assert_eq!(replies[0], (&second["replyId"], &second["message"]["id"]));
    // The second is the newest message: its reply precedes the first one's, and the regenerated reply follows it.
    let third_steps = model.live_reply();
    let answer = regenerate(url, json!({ "messageId": second["replyId"] })).await;
    let third = answer["data"]["regenerateReply"]["replyId"].clone();
    write(&third_steps, "Third reply");
    third_steps.send(Step::Finish).unwrap();
    let now = settled(url, id).await;
    let count = messages(&now)
        .iter()
        .filter(|one| one["content"] != "")
        .count();
    assert_eq!(now["messageCount"], count);
    let last = messages(&now)
        .iter()
        .find(|one| one["id"] == third)
        .unwrap();
    assert_eq!(texts(&last["versions"]), ["Second reply"]);
    send_message(url, json!({ "conversationId": id, "text": "Third" })).await;
    let now = settled(url, id).await;
    let asked: Vec<&str> = texts(&now["messages"]["nodes"]);
    assert!(asked.contains(&"Third"), "{asked:?}");
    server.stop().await;
}

#[tokio::test]
async fn exactly_one_of_two_names_is_taken() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let sent = send_message(&server.url, json!({ "text": "Hello", "autoTitle": false })).await;
    let (conversation, reply) = (&sent["conversation"]["id"], &sent["replyId"]);
    let both = json!({ "conversationId": conversation, "replyId": reply });
    for (input, argument) in [(json!({}), "input.conversationId"), (both, "input.replyId")] {
        let answer = graphql(&server.url, STOP, json!({ "input": input })).await;
        assert_eq!(code(&answer), "INVALID_INPUT");
        assert_eq!(answer["errors"][0]["extensions"]["argument"], argument);
    }
    let unknown = json!({ "input": { "replyId": uuid::Uuid::now_v7() } });
    assert_eq!(
        code(&graphql(&server.url, STOP, unknown).await),
        "NOT_FOUND"
    );
    let reply_of = async |arguments: String| {
        let mut socket = GraphqlSocket::connect(&server.url).await;
        let query = format!("subscription {{ reply{arguments} {{ __typename }} }}");
        let operation = socket.subscribe(&query, json!({})).await;
        socket.next(&operation).await.unwrap()["errors"][0]["extensions"].take()
    };
    for (arguments, argument) in [
        (String::new(), "conversationId"),
        (
            format!("(conversationId: {conversation}, messageId: {reply})"),
            "messageId",
        ),
        ("(messageId: \"kyoto\")".into(), "messageId"),
    ] {
        let refused = reply_of(arguments).await;
        assert_eq!(
            (&refused["code"], &refused["argument"]),
            (&json!("INVALID_INPUT"), &json!(argument))
        );
    }
    let unknown = format!("(messageId: \"{}\")", uuid::Uuid::now_v7());
    assert_eq!(reply_of(unknown).await["code"], "NOT_FOUND");
    server.stop().await;
}
