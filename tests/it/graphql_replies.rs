//! The subscription `reply`: what is written so far, what is added, how it ends; the same for a client that subscribes
//! early, late or after the end.

use futures_util::future::join_all;
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, ModelServer, Server, Step,
    calls::{conversation, conversation_when, send_message, settled_conversation, stop_reply},
    replies::{REPLY, Reader, being_written, write},
};

#[tokio::test]
async fn a_finished_reply_is_sent_at_once() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let now = conversation(&server.url, &id).await;
    let reply = &now["messages"]["nodes"][1]["id"];
    let reader = Reader::join(&server.url, &id, reply).await;
    assert_eq!(reader.text, "Hello from the model.");
    let ended = reader.end().await;
    assert_eq!(ended["outcome"], "COMPLETED");
    assert_eq!(ended["error"], Value::Null);
}

#[tokio::test]
async fn the_newest_reply_is_the_one_that_is_sent() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = settled_conversation(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let (answer, steps) = Answer::live();
    model.reply(answer);
    let input = json!({ "conversationId": id, "text": "And to Nara" });
    let sent = send_message(&server.url, input).await;
    let mut reader = Reader::join(&server.url, &id, &sent["replyId"]).await;
    write(&steps, "Nara is near");
    reader.read_to("Nara is near").await;
    steps.send(Step::Finish).unwrap();
    assert_eq!(reader.end().await["messageId"], sent["replyId"]);
}

#[tokio::test]
async fn a_stopped_reply_ends_the_same_for_who_watches_and_who_comes_later() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (id, reply, steps) = being_written(&model, &server.url).await;
    let mut reader = Reader::join(&server.url, &id, &reply).await;
    write(&steps, "First we");
    reader.read_to("First we").await;
    assert!(stop_reply(&server.url, &id).await);
    let ended = reader.end().await;
    assert_eq!(ended["outcome"], "INCOMPLETE");
    assert_eq!(ended["error"], Value::Null);
    let late = Reader::join(&server.url, &id, &reply).await;
    assert_eq!(late.text, "First we");
    assert_eq!(late.end().await, ended);
}

#[tokio::test]
async fn a_reply_that_breaks_off_fails_with_a_code_and_keeps_its_text() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (id, reply, steps) = being_written(&model, &server.url).await;
    let mut reader = Reader::join(&server.url, &id, &reply).await;
    write(&steps, "First we");
    reader.read_to("First we").await;
    steps.send(Step::Cut).unwrap();
    let ended = reader.end().await;
    assert_eq!(ended["outcome"], "FAILED");
    assert_eq!(ended["error"]["code"], "MODEL_UNAVAILABLE");
    assert!(!ended["error"]["message"].as_str().unwrap().is_empty());
    let now = conversation(&server.url, &id).await;
    assert_eq!(now["messages"]["nodes"][1]["status"], "FAILED");
    assert_eq!(now["messages"]["nodes"][1]["content"], "First we");
    let late = Reader::join(&server.url, &id, &reply).await;
    assert_eq!(late.end().await, ended);
}

#[tokio::test]
async fn a_reply_that_never_began_fails_with_a_code_and_without_a_message() {
    let model = ModelServer::start().await;
    let refused = Answer::error(
        401,
        "invalid_request_error",
        Some("invalid_api_key"),
        "sk-secret",
    );
    let (answer, gate) = Answer::held(refused);
    model.reply(answer);
    let server = Server::start(&model).await;
    let input = json!({ "text": "Plan a trip to Kyoto", "autoTitle": false });
    let sent = send_message(&server.url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    let reader = Reader::join(&server.url, id, &sent["replyId"]).await;
    gate.send(()).unwrap();
    let ended = reader.end().await;
    assert_eq!(ended["outcome"], "FAILED");
    assert_eq!(ended["error"]["code"], "MODEL_MISCONFIGURED");
    assert!(!ended.to_string().contains("sk-secret"), "{ended}");
    let late = Reader::join(&server.url, id, &sent["replyId"]).await;
    assert_eq!(late.end().await, ended);
    assert_eq!(conversation(&server.url, id).await["messageCount"], 1);

    // The conversation continues.
    let input = json!({ "conversationId": id, "text": "Once more" });
    send_message(&server.url, input).await;
    conversation_when(&server.url, id, |now| now["messageCount"] == 3).await;
}

#[tokio::test]
async fn a_reply_without_a_word_ends_the_same_for_who_watches_and_who_comes_later() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (id, reply, steps) = being_written(&model, &server.url).await;
    let reader = Reader::join(&server.url, &id, &reply).await;
    // A model that answers nothing is asked once more.
    model.reply(Answer::Deltas(vec![]));
    steps.send(Step::Finish).unwrap();
    let ended = reader.end().await;
    assert_eq!(
        (&ended["text"], &ended["outcome"]),
        (&json!(""), &json!("INCOMPLETE"))
    );
    let late = Reader::join(&server.url, &id, &reply).await;
    assert_eq!(late.end().await, ended);
    assert_eq!(conversation(&server.url, &id).await["messageCount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_joins_about_the_end_receives_the_same_end() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let mut sockets = join_all((0..24).map(|_| server.socket())).await;
    for _ in 0..10 {
        let (id, reply, steps) = being_written(&model, &server.url).await;
        let mut first = Reader::join(&server.url, &id, &reply).await;
        write(&steps, "Whole");
        first.read_to("Whole").await;
        steps.send(Step::Finish).unwrap();
        // One behind the other, so that some look before the end is stored and some after it.
        let mut operations = Vec::new();
        for socket in &mut sockets {
            operations.push(socket.subscribe(REPLY, json!({ "id": id })).await);
        }
        let ended = first.end().await;
        assert_eq!(ended["outcome"], "COMPLETED");
        for (socket, operation) in sockets.iter_mut().zip(&operations) {
            let (mut text, mut last) = (String::new(), Value::Null);
            while let Some(mut event) = socket.next(operation).await {
                last = event["data"]["reply"].take();
                if last["__typename"] != "ReplyEnded" {
                    text += last["text"].as_str().unwrap();
                }
            }
            assert_eq!(last, ended);
            assert_eq!(text, "Whole");
        }
    }
}

#[tokio::test]
async fn a_conversation_that_never_had_a_turn_has_no_reply_to_tell() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = server.database.seed(&Owner::local(), 1, 2).await.remove(0);
    let mut socket = server.socket().await;
    let operation = socket.subscribe(REPLY, json!({ "id": id })).await;
    assert_eq!(socket.next(&operation).await, None);
}
