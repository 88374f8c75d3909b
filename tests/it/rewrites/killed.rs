//! A process that dies while a reply is being written anew leaves exactly one state.

use serde_json::json;
use titlecast_testing::{
    ModelServer, Node, Rows, TestDatabase,
    calls::code,
    eventually,
    replies::{being_written, write},
    server::graphql,
};

use super::{conversation_with, messages, read, regenerate, settled, texts};

const SETTINGS: [&str; 2] = ["--reply-lease", "1s"];

/// The process dies at this step of the second turn. The reply is what the conversation shows then.
async fn dies_at(step: &str, is_begun: bool) {
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &SETTINGS).await;
    let id = conversation_with(&model, &node.url, "Reply 0").await;
    let before = read(&node.url, &id).await;
    let reply = messages(&before)[1]["id"].clone();
    node.stop().await;
    let command = Node::command(&database.url, &model.url, &SETTINGS);
    let node = Node::of(command.env("FAILPOINTS", &format!("{step}=return"))).await;
    let query = "mutation ($id: ID!) { regenerateReply(input: { messageId: $id, idempotencyKey: \"one\" }) { replyId } }";
    let url = node.url.clone();
    let variables = json!({ "id": reply });
    // The process is gone before it answers, or right behind it.
    let asked = titlecast_testing::server::client()
        .post(format!("{url}/graphql"))
        .json(&json!({ "query": query, "variables": variables }))
        .send();
    let _ = asked.await;
    node.process.ended().await;

    let node = Node::start(&database.url, &model.url, &SETTINGS).await;
    let now = settled(&node.url, &id).await;
    match is_begun {
        false => assert_eq!(messages(&now), messages(&before)),
        true => {
            assert_eq!(now["messageCount"], 1);
            assert_eq!(messages(&now)[1]["outcome"], "INCOMPLETE");
            assert_eq!(texts(&messages(&now)[1]["versions"]), ["Reply 0"]);
        }
    }
    // The retry has the same key: it finds the turn, or begins it.
    let answer = graphql(&node.url, query, json!({ "id": reply })).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    let now = settled(&node.url, &id).await;
    assert_eq!(messages(&now).len(), 2);
    assert_eq!(
        messages(&now)[1]["id"],
        answer["data"]["regenerateReply"]["replyId"]
    );
    assert_eq!(texts(&messages(&now)[1]["versions"]), ["Reply 0"]);
    let rows = Rows::of(&database).await;
    let counted = rows.count("agent_messages").await;
    assert_eq!(now["messageCount"], counted);
    eventually(async || {
        let running = rows
            .all(
                "SELECT 1 FROM agent_turns WHERE reply_status = 'running'",
                [],
            )
            .await;
        running.is_empty().then_some(())
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn before_the_commit_nothing_has_happened() {
    dies_at("turns.begin", false).await;
}

#[tokio::test]
async fn behind_the_commit_the_new_reply_is_closed_by_its_lease() {
    dies_at("turns.begun", true).await;
}

#[tokio::test]
async fn before_the_new_reply_is_stored_it_is_closed_by_its_lease() {
    dies_at("turns.end", true).await;
}

#[tokio::test]
async fn a_reply_of_a_dead_node_is_written_anew_once_its_lease_is_over() {
    let settings = ["--reply-lease", "5s"];
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let node = Node::start(&database.url, &model.url, &settings).await;
    let (id, reply, steps) = being_written(&model, &node.url).await;
    write(&steps, "Half");
    eventually(async || (model.reply_requests().len() == 1).then_some(())).await;
    node.kill().await;
    let node = Node::start(&database.url, &model.url, &settings).await;
    let asked = messages(&read(&node.url, &id).await)[0]["id"].clone();
    let input = json!({ "messageId": asked });
    let refused = regenerate(&node.url, input.clone()).await;
    assert_eq!(code(&refused), "REPLY_RUNNING");
    let error = &refused["errors"][0];
    let wait = error["extensions"]["retryAfter"].as_u64().unwrap();
    assert!((1..=8).contains(&wait), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("stop it first") && message.contains(" s)"),
        "{message}"
    );
    let begun = eventually(async || {
        let answer = regenerate(&node.url, input.clone()).await;
        answer.get("errors").is_none().then_some(answer)
    })
    .await;
    let anew = &begun["data"]["regenerateReply"]["replyId"];
    assert_ne!(*anew, reply);
    let now = settled(&node.url, &id).await;
    assert_eq!(messages(&now)[1]["id"], *anew);
    assert_eq!(messages(&now)[1]["content"], ModelServer::REPLY.concat());
    node.stop().await;
}
