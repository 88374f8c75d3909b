//! What GraphQL changes: messages that are sent and replies that are stopped. Titles by hand and
//! deletions have files of their own.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Server, Step,
    calls::{
        code, conversation, conversation_when, delete, send_message, settled_conversation,
        stop_reply,
    },
    eventually,
    server::request,
};

const SEND: &str = "mutation ($input: SendMessageInput!) {
    sendMessage(input: $input) { replyId }
}";

#[tokio::test]
async fn a_message_is_accepted_with_all_ids_while_the_model_has_said_nothing() {
    let model = ModelServer::start().await;
    let (reply, open_reply) = Answer::held(Answer::Deltas(vec!["At last"]));
    let (title, open_title) = Answer::held(Answer::Text("Trip to Kyoto"));
    model.reply(reply).title(title);
    let server = Server::start(&model).await;

    let sent = send_message(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let (begun, message) = (&sent["conversation"], &sent["message"]);
    let id = begun["id"].as_str().unwrap();
    for id in [&begun["id"], &message["id"], &sent["replyId"]] {
        assert!(uuid::Uuid::parse_str(id.as_str().unwrap()).is_ok(), "{id}");
    }
    assert_ne!(message["id"], sent["replyId"]);
    assert_eq!(message["conversationId"], begun["id"]);
    assert_eq!(message["content"], "Plan a trip to Kyoto");
    assert_eq!(
        (&message["role"], &message["status"]),
        (&json!("USER"), &json!("COMPLETE"))
    );
    assert_eq!(begun["displayName"], Value::Null);
    assert_eq!(begun["title"], "Plan a trip to Kyoto");
    assert_eq!(begun["titleStatus"], "PENDING");
    assert_eq!(begun["titleSource"], "HINT");
    assert_eq!(begun["messageCount"], 1);
    assert_eq!(begun["revision"], 1);
    assert_eq!(begun["lastMessagePreview"], "Plan a trip to Kyoto");
    assert_eq!(begun["createdAt"], message["createdAt"]);

    open_reply.send(()).unwrap();
    let replied = conversation_when(&server.url, id, |now| now["messageCount"] == 2).await;
    let reply = &replied["messages"]["nodes"][1];
    assert_eq!(reply["id"], sent["replyId"]);
    assert_eq!(
        (&reply["role"], &reply["content"]),
        (&json!("ASSISTANT"), &json!("At last"))
    );
    assert_eq!(replied["titleStatus"], "PENDING");
    open_title.send(()).unwrap();
    conversation_when(&server.url, id, |now| now["title"] == "Trip to Kyoto").await;
}

#[tokio::test]
async fn a_client_may_choose_the_id_of_a_new_conversation_and_continue_it() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = uuid::Uuid::new_v4().to_string();
    let input = json!({ "conversationId": id, "text": "Plan a trip to Kyoto" });
    assert_eq!(settled_conversation(&server.url, input).await, id);

    let input = json!({
        "conversationId": id, "text": "And to Nara", "topicHint": "Not new", "autoTitle": false
    });
    let sent = send_message(&server.url, input).await;
    assert_eq!(sent["conversation"]["id"], id);
    assert_eq!(sent["conversation"]["messageCount"], 3);
    assert_eq!(sent["conversation"]["topicHint"], "Plan a trip to Kyoto");
    assert_eq!(sent["conversation"]["titleStatus"], "READY");
    let now = conversation_when(&server.url, &id, |now| now["messageCount"] == 4).await;
    assert_eq!(now["displayName"], ModelServer::TITLE);
    let contents: Vec<_> = now["messages"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    let reply = ModelServer::REPLY.concat();
    assert_eq!(
        contents,
        ["Plan a trip to Kyoto", &reply, "And to Nara", &reply]
    );
    assert_eq!(model.title_requests().len(), 1, "one title a conversation");
}

#[tokio::test]
async fn the_topic_hint_is_the_given_one_or_the_beginning_of_the_message() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    for (hint, text, expected) in [
        (json!("  My\n hint "), "Plan a trip", json!("My hint")),
        (
            json!(null),
            "```\ncode\n```\n# Plan a **trip**\nto Kyoto",
            json!("Plan a trip"),
        ),
        (json!(" "), "Plan a trip", json!("Plan a trip")),
        (json!(null), "...", json!(null)),
    ] {
        let input = json!({ "text": text, "topicHint": hint, "autoTitle": false });
        let sent = send_message(&server.url, input).await;
        assert_eq!(sent["conversation"]["topicHint"], expected, "{text}");
        let title = match expected {
            Value::Null => json!("New conversation"),
            hint => hint,
        };
        assert_eq!(sent["conversation"]["title"], title, "{text}");
    }
}

#[tokio::test]
async fn a_conversation_that_wants_no_title_costs_no_title_call() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let input = json!({ "text": "Plan a trip to Kyoto", "autoTitle": false });
    let id = settled_conversation(&server.url, input).await;
    // Neither does a later message ask for one.
    let input = json!({ "conversationId": id, "text": "And to Nara", "autoTitle": true });
    send_message(&server.url, input).await;
    let now = conversation_when(&server.url, &id, |now| now["messageCount"] == 4).await;
    assert_eq!(now["titleStatus"], "SKIPPED");
    assert_eq!(now["titleSource"], "HINT");
    assert_eq!(now["displayName"], Value::Null);
    assert_eq!(now["titleGeneratedAt"], Value::Null);
    assert_eq!(now["title"], "Plan a trip to Kyoto");
    assert_eq!(model.title_requests().len(), 0);
    assert_eq!(model.reply_requests().len(), 2);
}

#[tokio::test]
async fn the_same_idempotency_key_returns_the_same_turn() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let input = json!({ "text": "Plan a trip to Kyoto", "idempotencyKey": "key-1" });
    let first = send_message(&server.url, input.clone()).await;
    let id = first["conversation"]["id"].as_str().unwrap();
    let is_settled = |now: &Value| now["messageCount"] == 2 && now["titleStatus"] == "READY";
    conversation_when(&server.url, id, is_settled).await;
    let before = server.database.census().await;

    let again = send_message(&server.url, input).await;
    assert_eq!(again["message"], first["message"]);
    assert_eq!(again["replyId"], first["replyId"]);
    assert_eq!(again["conversation"]["id"], id);
    assert_eq!(again["conversation"]["displayName"], ModelServer::TITLE);
    let other = json!({ "input": { "text": "Something else", "idempotencyKey": "key-1" } });
    let refused = server.graphql(SEND, other).await;
    assert_eq!(code(&refused), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(server.database.census().await, before);
    assert_eq!(model.reply_requests().len(), 1);
    assert_eq!(model.title_requests().len(), 1);
}

#[tokio::test]
async fn a_message_that_cannot_be_used_is_refused_and_nothing_is_stored() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let before = server.database.census().await;
    let long_key = "k".repeat(256);
    for input in [
        json!({ "text": "" }),
        json!({ "text": " \n\t\u{0}" }),
        json!({ "text": "Hello", "conversationId": "" }),
        json!({ "text": "Hello", "conversationId": "conversation-1" }),
        json!({ "text": "Hello", "conversationId": "00000000-0000-0000-0000-00000000000g" }),
        json!({ "text": "Hello", "idempotencyKey": "" }),
        json!({ "text": "Hello", "idempotencyKey": "with space" }),
        json!({ "text": "Hello", "idempotencyKey": long_key }),
    ] {
        let answer = server.graphql(SEND, json!({ "input": input })).await;
        assert_eq!(code(&answer), "INVALID_INPUT", "{input}");
    }
    for input in [
        json!({ "text": "Hello", "autoTitle": null }),
        json!({ "text": null }),
        json!({}),
    ] {
        let answer = server.graphql(SEND, json!({ "input": input })).await;
        assert_eq!(code(&answer), "GRAPHQL_VALIDATION_FAILED", "{input}");
    }
    let large = json!({ "query": SEND, "variables": { "input": { "text": "a".repeat(300_000) } } });
    let (status, answer) = request(&server.url, "POST", "/graphql", Some(large)).await;
    assert_eq!((status, code(&answer)), (413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(server.database.census().await, before);
    assert_eq!(
        model.reply_requests().len() + model.title_requests().len(),
        0
    );

    let long = "long ".repeat(12_000);
    let id = settled_conversation(&server.url, json!({ "text": long })).await;
    let now = conversation(&server.url, &id).await;
    assert_eq!(now["messages"]["nodes"][0]["content"], long);
}

#[tokio::test]
async fn a_stopped_reply_keeps_what_was_written_and_the_title_still_comes() {
    let model = ModelServer::start().await;
    let (reply, steps) = Answer::live();
    let (title, open) = Answer::held(Answer::Text("Trip to Kyoto"));
    model.reply(reply).title(title);
    let server = Server::start(&model).await;
    let sent = send_message(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    let mut socket = server.socket().await;
    let watch = "subscription ($id: ID!) { reply(conversationId: $id) {
        ... on ReplySoFar { text } ... on ReplyDelta { text }
        ... on ReplyEnded { messageId outcome whole: text error { code } }
    } }";
    let reply = socket.subscribe(watch, json!({ "id": id })).await;
    steps.send(Step::Delta("First we ".into())).unwrap();
    steps.send(Step::Delta("take the train".into())).unwrap();
    let mut text = String::new();
    while text != "First we take the train" {
        text += socket.next_of(&reply, "reply").await["text"]
            .as_str()
            .unwrap();
    }

    assert!(stop_reply(&server.url, id).await);
    let ended = socket.next_of(&reply, "reply").await;
    let expected = json!({
        "messageId": sent["replyId"], "outcome": "INCOMPLETE", "whole": text, "error": null
    });
    assert_eq!(ended, expected);
    assert_eq!(socket.next(&reply).await, None);
    let stopped = conversation(&server.url, id).await;
    let message = json!({
        "id": sent["replyId"], "role": "ASSISTANT", "content": text, "status": "INCOMPLETE"
    });
    assert_eq!(stopped["messages"]["nodes"][1], message);
    assert_eq!(stopped["titleStatus"], "PENDING");
    assert!(!stop_reply(&server.url, id).await, "it runs no more");

    open.send(()).unwrap();
    let titled = conversation_when(&server.url, id, |now| now["titleStatus"] == "READY").await;
    assert_eq!(titled["displayName"], "Trip to Kyoto");
    assert_eq!(titled["messageCount"], 2);
}

#[tokio::test]
async fn nothing_is_stopped_where_no_reply_runs() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let (reply, steps) = Answer::live();
    model.reply(reply);
    let other = send_message(&server.url, json!({ "text": "Something else" })).await;
    let other = other["conversation"]["id"].as_str().unwrap();
    let before = conversation(&server.url, &id).await;
    assert!(!stop_reply(&server.url, &id).await);
    assert_eq!(conversation(&server.url, &id).await, before);

    // The reply of the other conversation was not stopped.
    steps.send(Step::Delta("Whole".into())).unwrap();
    steps.send(Step::Finish).unwrap();
    let now = conversation_when(&server.url, other, |now| now["messageCount"] == 2).await;
    assert_eq!(now["messages"]["nodes"][1]["status"], "COMPLETE");

    delete(&server.url, &id).await;
    let stop = "mutation ($id: ID!) { stopReply(input: { conversationId: $id }) { stopped } }";
    for (nothing, expected) in [
        (id.as_str(), "NOT_FOUND"),
        (&uuid::Uuid::now_v7().to_string(), "NOT_FOUND"),
        ("nonsense", "INVALID_INPUT"),
    ] {
        let answer = server.graphql(stop, json!({ "id": nothing })).await;
        assert_eq!(code(&answer), expected);
    }
}

#[tokio::test]
async fn a_message_that_is_sent_while_a_reply_runs_gets_its_own_and_both_are_stopped() {
    let model = ModelServer::start().await;
    let (first, first_steps) = Answer::live();
    let (second, second_steps) = Answer::live();
    model.reply(first).reply(second);
    let server = Server::start(&model).await;
    let begun = send_message(&server.url, json!({ "text": "First question" })).await;
    let id = begun["conversation"]["id"].as_str().unwrap();
    first_steps.send(Step::Delta("First".into())).unwrap();
    eventually(async || (model.reply_requests().len() == 1).then_some(())).await;
    let input = json!({ "conversationId": id, "text": "Second question" });
    let again = send_message(&server.url, input).await;
    eventually(async || (model.reply_requests().len() == 2).then_some(())).await;
    second_steps.send(Step::Delta("Second".into())).unwrap();

    assert!(stop_reply(&server.url, id).await);
    eventually(async || (!stop_reply(&server.url, id).await).then_some(())).await;
    let now = conversation(&server.url, id).await;
    let messages = now["messages"]["nodes"].as_array().unwrap();
    let replies = [&begun["replyId"], &again["replyId"]];
    for message in messages
        .iter()
        .filter(|message| message["role"] == "ASSISTANT")
    {
        assert!(replies.contains(&&message["id"]), "{message}");
        assert_eq!(message["status"], "INCOMPLETE");
    }
    // A reply that was stopped before its first word is no message that counts.
    let counted = messages.iter().filter(|message| message["content"] != "");
    assert_eq!(now["messageCount"], counted.count());
}
