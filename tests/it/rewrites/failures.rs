//! A failed reply is a message that does not count.

use serde_json::{Value, json};
use titlecast_testing::{
    Answer, ModelServer, Server, Step,
    calls::{send_message, stop_reply},
    replies::{Reader, being_written, write},
};

use super::{messages, read, settled};

fn refusal() -> Answer {
    Answer::error(401, "invalid_request_error", Some("invalid_api_key"), "No.")
}

#[tokio::test]
async fn a_reply_that_failed_without_text_is_a_message_that_does_not_count() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    model.reply(refusal());
    let input = json!({ "text": "Plan a trip to Kyoto", "autoTitle": false });
    let sent = send_message(&server.url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    let now = settled(&server.url, id).await;
    let [asked, failed] = &messages(&now)[..] else {
        panic!("{now}");
    };
    assert_eq!(failed["id"], sent["replyId"]);
    assert_eq!(failed["inReplyTo"], asked["id"]);
    assert_eq!(
        (&failed["content"], &failed["status"]),
        (&json!(""), &json!("FAILED"))
    );
    assert_eq!(failed["outcome"], "FAILED");
    assert_eq!(failed["error"]["code"], "MODEL_MISCONFIGURED");
    assert_eq!(asked["outcome"], Value::Null);
    assert_eq!(now["messageCount"], 1);
    assert_eq!(now["lastMessagePreview"], "Plan a trip to Kyoto");
    assert_eq!(now["lastMessageAt"], asked["createdAt"]);
    // The legacy routes leave it out.
    let (_, history) = server.get(&format!("/api/v1/conversations/{id}")).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 1);
    // The next reply does not see it, and it stays where it was.
    send_message(
        &server.url,
        json!({ "conversationId": id, "text": "Once more" }),
    )
    .await;
    let now = settled(&server.url, id).await;
    let roles: Vec<&Value> = messages(&now).iter().map(|one| &one["status"]).collect();
    assert_eq!(roles, ["COMPLETE", "FAILED", "COMPLETE", "COMPLETE"]);
    assert_eq!(now["messageCount"], 3);
    let sent_to_model = &model.reply_requests()[1]["messages"];
    let texts: Vec<&Value> = sent_to_model
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["content"])
        .collect();
    assert_eq!(texts, ["Plan a trip to Kyoto\n\nOnce more"]);
    server.stop().await;
}

#[tokio::test]
async fn a_reply_that_broke_off_keeps_its_text_and_does_not_count() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (id, reply, steps) = being_written(&model, &server.url).await;
    let mut reader = Reader::join(&server.url, &id, &reply).await;
    write(&steps, "First we");
    reader.read_to("First we").await;
    steps.send(Step::Cut).unwrap();
    reader.end().await;
    let now = settled(&server.url, &id).await;
    let failed = &messages(&now)[1];
    assert_eq!(
        (&failed["content"], &failed["status"]),
        (&json!("First we"), &json!("FAILED"))
    );
    assert_eq!(failed["error"]["code"], "MODEL_UNAVAILABLE");
    assert_eq!(now["messageCount"], 1);
    assert_eq!(now["lastMessagePreview"], "Plan a trip to Kyoto");
    // It has a text, so the legacy routes show it.
    let (_, history) = server.get(&format!("/api/v1/conversations/{id}")).await;
    assert_eq!(history["messages"][1]["content"], "First we");
    // A search does not.
    let (_, found) = server.get("/api/v1/conversations/search?q=first").await;
    assert_eq!(found["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn how_a_reply_ended_is_told_apart() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let ended = async |id: &str| settled(&server.url, id).await["messages"]["nodes"][1].take();
    let (id, reply, steps) = being_written(&model, &server.url).await;
    write(&steps, "Stopped");
    Reader::join(&server.url, &id, &reply)
        .await
        .read_to("Stopped")
        .await;
    assert!(stop_reply(&server.url, &id).await);
    let stopped = ended(&id).await;
    assert_eq!(
        (&stopped["status"], &stopped["outcome"]),
        (&json!("INCOMPLETE"), &json!("STOPPED"))
    );
    let (id, _, steps) = being_written(&model, &server.url).await;
    write(&steps, "Too long");
    steps.send(Step::FinishFor("length")).unwrap();
    let cut = ended(&id).await;
    assert_eq!(
        (&cut["status"], &cut["outcome"]),
        (&json!("INCOMPLETE"), &json!("INCOMPLETE"))
    );
    let (id, reply, steps) = being_written(&model, &server.url).await;
    write(&steps, "Whole");
    steps.send(Step::Finish).unwrap();
    let whole = ended(&id).await;
    assert_eq!(whole["id"], reply);
    assert_eq!(
        (&whole["status"], &whole["outcome"]),
        (&json!("COMPLETE"), &json!("COMPLETED"))
    );
    let usage = json!({
        "promptTokens": 20, "completionTokens": 5, "reasoningTokens": 0, "totalTokens": 25
    });
    assert_eq!(whole["usage"], usage);
    assert!(whole["model"].is_string(), "{whole}");
    server.stop().await;
}

#[tokio::test]
async fn a_reply_that_was_stopped_before_its_first_word_is_shown_and_does_not_count() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let (id, reply, _steps) = being_written(&model, &server.url).await;
    let reader = Reader::join(&server.url, &id, &reply).await;
    assert!(stop_reply(&server.url, &id).await);
    reader.end().await;
    let now = settled(&server.url, &id).await;
    let stopped = &messages(&now)[1];
    assert_eq!(
        (&stopped["id"], &stopped["outcome"]),
        (&reply, &json!("STOPPED"))
    );
    assert_eq!(now["messageCount"], 1);
    server.stop().await;
}

#[tokio::test]
async fn pages_go_past_a_failed_reply_in_both_directions() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    model.reply(refusal());
    let input = json!({ "text": "One", "autoTitle": false });
    let sent = send_message(&server.url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap().to_owned();
    settled(&server.url, &id).await;
    model.reply(Answer::Deltas(vec!["Two"]));
    send_message(
        &server.url,
        json!({ "conversationId": id, "text": "Again" }),
    )
    .await;
    settled(&server.url, &id).await;
    model.reply(refusal());
    send_message(&server.url, json!({ "conversationId": id, "text": "Last" })).await;
    let now = settled(&server.url, &id).await;
    let all: Vec<&Value> = messages(&now).iter().map(|one| &one["id"]).collect();
    assert_eq!(all.len(), 6);
    let page = async |arguments: &str, cursor: &Value| {
        let query = format!(
            "query ($id: ID!, $cursor: String) {{ conversation(id: $id) {{ messages({arguments}) {{
                edges {{ cursor node {{ id }} }} pageInfo {{ hasNextPage hasPreviousPage }}
            }} }} }}"
        );
        let variables = json!({ "id": id, "cursor": cursor });
        server.data(&query, variables).await["conversation"]["messages"].take()
    };
    for size in 1..=6 {
        let (mut forwards, mut backwards) = (Vec::new(), Vec::new());
        let (mut after, mut before) = (Value::Null, Value::Null);
        while forwards.len() < 6 {
            let page = page(&format!("first: {size}, after: $cursor"), &after).await;
            let edges = page["edges"].as_array().unwrap().clone();
            forwards.extend(edges.iter().map(|edge| edge["node"]["id"].clone()));
            after = edges.last().unwrap()["cursor"].clone();
            assert_eq!(page["pageInfo"]["hasNextPage"], forwards.len() < 6);
        }
        while backwards.len() < 6 {
            let page = page(&format!("last: {size}, before: $cursor"), &before).await;
            let edges = page["edges"].as_array().unwrap().clone();
            backwards.extend(edges.iter().rev().map(|edge| edge["node"]["id"].clone()));
            before = edges[0]["cursor"].clone();
            assert_eq!(page["pageInfo"]["hasPreviousPage"], backwards.len() < 6);
        }
        backwards.reverse();
        assert_eq!(forwards.iter().collect::<Vec<_>>(), all, "{size}");
        assert_eq!(backwards.iter().collect::<Vec<_>>(), all, "{size}");
    }
    // A failed reply has an address of its own.
    let failed = all[1];
    let node = server
        .data(
            &format!("{{ node(id: {failed}) {{ id ... on Message {{ status }} }} }}"),
            json!({}),
        )
        .await;
    assert_eq!(node["node"], json!({ "id": failed, "status": "FAILED" }));
    assert_eq!(read(&server.url, &id).await["messageCount"], 4);
    server.stop().await;
}
