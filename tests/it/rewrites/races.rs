//! Invariants when requests race, the clock moves back, or the conversation's agent changes.

use futures_util::future::join_all;
use serde_json::{Value, json};
use titlecast::auth::Scope;
use titlecast_testing::{
    Answer, ModelServer, Rows, Server, Step,
    auth::{claims, graphql_as, signed, with},
    calls::{code, send_message},
    eventually,
    replies::write,
    stored,
};

use super::{conversation_with, edit, messages, read, regenerate, settled, texts};

#[tokio::test]
async fn concurrent_retries_with_one_key_get_the_same_reply() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = conversation_with(&model, &server.url, "Reply 0").await;
    for round in 0..5 {
        model.reply(Answer::Deltas(vec!["Anew"]));
        let reply = messages(&read(&server.url, &id).await)[1]["id"].clone();
        let input = json!({ "messageId": reply, "idempotencyKey": format!("round-{round}") });
        let answers = join_all((0..8).map(|_| regenerate(&server.url, input.clone()))).await;
        let ids: Vec<&Value> = answers
            .iter()
            .map(|answer| &answer["data"]["regenerateReply"]["replyId"])
            .collect();
        assert!(ids[0].is_string(), "{answers:?}");
        assert!(ids.iter().all(|id| *id == ids[0]), "{answers:?}");
        assert_eq!(settled(&server.url, &id).await["messageCount"], 2);
    }
    server.stop().await;
}

#[tokio::test]
async fn after_the_clock_moved_back_a_running_reply_is_still_found() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let id = conversation_with(&model, &server.url, "Reply 0").await;
    let rows = Rows::of(&server.database).await;
    let ahead = chrono::Utc::now() + chrono::TimeDelta::hours(2);
    let sql = "UPDATE agent_turns SET created_at = $2 WHERE conversation_id = $1";
    rows.run(sql, [stored::id(&id), ahead.into()])
        .await
        .unwrap();
    let asked = messages(&read(&server.url, &id).await)[0]["id"].clone();
    let steps = model.live_reply();
    let input = json!({ "messageId": asked });
    let begun = regenerate(&server.url, input.clone()).await;
    let reply = &begun["data"]["regenerateReply"]["replyId"];
    assert!(reply.is_string(), "{begun}");
    for _ in 0..3 {
        assert_eq!(
            code(&regenerate(&server.url, input.clone()).await),
            "REPLY_RUNNING"
        );
    }
    write(&steps, "Reply 1");
    steps.send(Step::Finish).unwrap();
    let now = settled(&server.url, &id).await;
    assert_eq!(
        texts(&now["messages"]["nodes"]),
        ["Plan a trip to Kyoto", "Reply 1"]
    );
    assert_eq!(now["messageCount"], 2);
    server.stop().await;
}

#[tokio::test]
async fn an_edit_without_text_keeps_the_attachments_of_the_message() {
    let model = ModelServer::start().await;
    let server = Server::start(&model).await;
    let files = json!([{ "name": "kyoto.pdf" }]);
    let input = json!({ "text": "Look at this", "attachments": files, "autoTitle": false });
    let sent = send_message(&server.url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap();
    settled(&server.url, id).await;
    let message = &sent["message"]["id"];
    let answer = edit(&server.url, json!({ "messageId": message, "text": "" })).await;
    assert_eq!(
        answer["data"]["editMessage"]["message"]["content"], "",
        "{answer}"
    );
    settled(&server.url, id).await;
    let input = json!({ "messageId": message, "text": "", "attachments": [] });
    assert_eq!(code(&edit(&server.url, input).await), "INVALID_INPUT");
    let query = "query ($id: ID!) { node(id: $id) { ... on Message { attachments { name } } } }";
    let stored = titlecast_testing::calls::data(&server.url, query, json!({ "id": message })).await;
    assert_eq!(stored["node"]["attachments"], files);
    server.stop().await;
}

#[tokio::test]
async fn a_token_that_may_only_write_reads_no_stored_text() {
    let model = ModelServer::start().await;
    let server = Server::guarded(&model).await;
    let with_scopes = |scopes: &[Scope]| {
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        let scopes = scopes.join(" ").into();
        signed(&with(claims("acme", "ada"), "scope", scopes))
    };
    let all = with_scopes(&[Scope::Read, Scope::Write]);
    let writer = with_scopes(&[Scope::Write]);
    let send = "mutation { sendMessage(input: { text: \"A secret\", autoTitle: false }) {
        replyId message { id } conversation { id activeReplies { replyId } }
    } }";
    // Which replies are running is no text: the change and its answer are whole.
    let sent = graphql_as(&writer, &server.url, send).await;
    let sent = &sent["data"]["sendMessage"];
    let message = sent["message"]["id"].as_str().unwrap();
    let id = sent["conversation"]["id"].as_str().unwrap();
    let running = format!("{{ conversation(id: \"{id}\") {{ activeReplies {{ replyId }} }} }}");
    let ended = async || {
        let now = graphql_as(&all, &server.url, &running).await;
        (now["data"]["conversation"]["activeReplies"] == json!([])).then_some(())
    };
    eventually(ended).await;
    let anew = format!(
        "mutation {{ regenerateReply(input: {{ messageId: \"{message}\" }}) {{ replyId message {{ content }} }} }}"
    );
    let answer = graphql_as(&writer, &server.url, &anew).await;
    let payload = &answer["data"]["regenerateReply"];
    assert!(payload["replyId"].is_string(), "{answer}");
    assert_eq!(payload["message"], Value::Null, "{answer}");
    eventually(ended).await;
    let answer = graphql_as(&all, &server.url, &anew).await;
    let content = &answer["data"]["regenerateReply"]["message"]["content"];
    assert_eq!(content, "A secret", "{answer}");
    server.stop().await;
}
