//! `editMessage`: the newest message of the user gets another text, and another reply.

use serde_json::json;
use titlecast_testing::{
    Answer, Events, ModelServer, Server,
    calls::{conversation_when, send_message},
    server::request,
};

use super::{conversation_with, edit, messages, read, settled, texts};

#[tokio::test]
async fn an_edited_message_is_answered_anew_and_its_former_text_stays() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = conversation_with(&model, &server.url, "Reply 0").await;
    let before = read(&server.url, &id).await;
    let asked = messages(&before)[0]["id"].clone();
    model.reply(Answer::Deltas(vec!["Deer"]));
    let input = json!({ "messageId": asked, "text": "Plan a trip to Nara" });
    let answer = edit(&server.url, input).await;
    let payload = &answer["data"]["editMessage"];
    assert_eq!(payload["conversation"]["id"], id, "{answer}");
    assert_eq!(payload["message"]["id"], asked);
    assert_eq!(payload["message"]["content"], "Plan a trip to Nara");
    let now = settled(&server.url, &id).await;
    let [message, reply] = &messages(&now)[..] else {
        panic!("{now}");
    };
    assert_eq!(
        (&message["id"], &message["content"]),
        (&asked, &json!("Plan a trip to Nara"))
    );
    assert_eq!(texts(&message["versions"]), ["Plan a trip to Kyoto"]);
    assert_eq!(
        (&reply["id"], &reply["content"]),
        (&payload["replyId"], &json!("Deer"))
    );
    assert_eq!(texts(&reply["versions"]), ["Reply 0"]);
    assert_eq!(now["messageCount"], 2);
    assert_eq!(
        texts(&model.reply_requests()[1]["messages"]),
        ["Plan a trip to Nara"]
    );
    // The hint was the beginning of the message, and follows it; a search finds the new words alone.
    assert_eq!(now["title"], "Plan a trip to Nara");
    for (word, hits) in [("nara", 1), ("kyoto", 0)] {
        let path = format!("/api/v1/conversations/search?q={word}");
        let (_, found) = request(&server.url, "GET", &path, None).await;
        assert_eq!(found["items"].as_array().unwrap().len(), hits, "{word}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_title_stays_and_one_that_waits_for_a_message_begins() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let sent = send_message(&server.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    conversation_when(&server.url, id, |now| now["titleStatus"] == "READY").await;
    settled(&server.url, id).await;
    let input = json!({ "messageId": sent["message"]["id"], "text": "Plan a trip to Nara" });
    edit(&server.url, input).await;
    assert_eq!(settled(&server.url, id).await["title"], ModelServer::TITLE);
    assert_eq!(model.title_requests().len(), 1);
    // An opener has no title yet.
    let sent = send_message(&server.url, json!({ "text": "hi" })).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    settled(&server.url, id).await;
    let input = json!({ "messageId": sent["message"]["id"], "text": "Plan a trip to Nara" });
    edit(&server.url, input).await;
    conversation_when(&server.url, id, |now| now["titleStatus"] == "READY").await;
    assert_eq!(model.title_requests().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn the_legacy_stream_shows_the_newest_reply_to_an_edited_message() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = conversation_with(&model, &server.url, "Reply 0").await;
    let asked = messages(&read(&server.url, &id).await)[0]["id"].clone();
    model.reply(Answer::Deltas(vec!["Deer"]));
    edit(
        &server.url,
        json!({ "messageId": asked, "text": "Plan a trip to Nara" }),
    )
    .await;
    settled(&server.url, &id).await;
    let url = format!("{}/api/v1/conversations/{id}/reply", server.url);
    let client = titlecast_testing::server::client();
    let events = Events::of(client.get(&url)).await.rest().await;
    assert_eq!(events.last().unwrap()["response_text"], "Deer");
    let (_, history) = server.get(&format!("/api/v1/conversations/{id}")).await;
    let contents: Vec<&str> = history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["content"].as_str().unwrap())
        .collect();
    assert_eq!(contents, ["Plan a trip to Nara", "Deer"]);
    server.stop().await;
}
