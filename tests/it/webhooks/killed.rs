//! Processes that die between the commit of a change, its sending and the note that it was received; two nodes at once;
//! and a planted loss, which the checker finds.

use serde_json::json;
use titlecast_testing::{
    ModelServer, Node, Receiver, Rows, TestDatabase,
    calls::{delete, rename},
    eventually,
    receiver::{Reaction, TAKEN},
    server::{client, request},
    titles::settled,
};

use super::{Scene, all_is_told, complaints, file, folder, routed};

const PAUSE: &str = "webhooks.pause=return(50)";

/// A process with the webhook, and failpoints.
async fn node(database: &TestDatabase, model: &ModelServer, config: &str, faults: &str) -> Node {
    let settings = [
        "--config",
        config,
        "--title-sweep",
        "1s",
        "--reply-lease",
        "1s",
    ];
    let command = Node::command(&database.url, &model.url, &settings);
    let faults = format!("{PAUSE};{faults}");
    Node::of(command.env("FAILPOINTS", faults.trim_end_matches(';'))).await
}

/// The process dies at a step of the first event; another one continues. Returns the violations.
async fn dies_at(faults: &str) -> Vec<String> {
    let (database, model) = (TestDatabase::new().await, ModelServer::start().await);
    let receiver = Receiver::start().await;
    let folder = folder(&file(&receiver.url, "timeout = \"1s\""));
    let config = folder.path("titlecast.toml");
    let first = node(&database, &model, &config, faults).await;
    routed(&database, 1).await;
    // The process may be gone before it answers.
    let body = json!({ "message": "Plan a trip to Kyoto in April" });
    let sent = client()
        .post(format!("{}/api/v1/chat", first.url))
        .json(&body)
        .send();
    let _ = sent.await;
    first.process.ended().await;
    let rows = Rows::of(&database).await;
    assert_eq!(rows.count("agent_conversations").await, 1);

    let second = node(&database, &model, &config, "").await;
    eventually(async || {
        let open = "SELECT 1 FROM agent_turns WHERE reply_status = 'running'";
        let untitled = "SELECT 1 FROM agent_conversations WHERE title_status = 'pending'";
        let lanes = rows.count("agent_webhook_lanes").await;
        let is_over =
            rows.all(open, []).await.is_empty() && rows.all(untitled, []).await.is_empty();
        (is_over && lanes == 0).then_some(())
    })
    .await;
    let complaints = complaints(&rows, &receiver.deliveries()).await;
    second.stop().await;
    complaints
}

#[tokio::test]
async fn a_process_that_dies_before_it_sends_loses_nothing() {
    assert_eq!(
        dies_at("webhooks.sending=return").await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_process_that_dies_behind_the_sending_sends_again_and_loses_nothing() {
    assert_eq!(dies_at("webhooks.sent=return").await, Vec::<String>::new());
}

#[tokio::test]
async fn an_event_that_is_removed_before_it_is_sent_is_found_to_be_missing() {
    let complaints = dies_at("webhooks.lose=return;webhooks.sending=return").await;
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(
        complaints[0].starts_with("conversation.created "),
        "{complaints:?}"
    );
    assert!(
        complaints[0].ends_with("was not announced"),
        "{complaints:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_and_a_moody_receiver_lose_nothing_and_keep_the_order() {
    const CONVERSATIONS: usize = 12;
    let scene = Scene::new("timeout = \"1s\"\nmax_in_flight = 3").await;
    let config = scene.settings()[1].clone();
    scene.receiver.reacts(|_| match fastrand::u32(0..10) {
        0 => Reaction::Answer(500, ""),
        1 => Reaction::Close,
        2 => Reaction::Answer(302, "location: http://127.0.0.1:1/\r\n"),
        _ => TAKEN,
    });
    let other = node(&scene.server.database, &scene.model, &config, "").await;
    let talking = (0..CONVERSATIONS).map(|number| {
        let urls = [&scene.server.url, &other.url];
        async move {
            let id = settled(urls[number % 2], &format!("Question number {number}")).await;
            for change in 0..4 {
                rename(urls[change % 2], &id, &format!("Name {change}")).await;
            }
            if number % 3 == 0 {
                delete(urls[(number + 1) % 2], &id).await;
            }
        }
    });
    futures_util::future::join_all(talking).await;
    all_is_told(&scene.server.database, &scene.receiver).await;
    assert!(scene.receiver.taken().len() >= CONVERSATIONS * 8);
    other.stop().await;
}

#[tokio::test]
async fn what_a_process_claims_and_does_not_send_at_its_end_is_sent_by_another_soon() {
    let (database, model) = (TestDatabase::new().await, ModelServer::start().await);
    let receiver = Receiver::start().await;
    let folder = folder(&file(&receiver.url, ""));
    let config = folder.path("titlecast.toml");
    let first = node(&database, &model, &config, "").await;
    routed(&database, 1).await;
    let body = json!({ "message": "Plan a trip to Kyoto in April" });
    let (status, _) = request(&first.url, "POST", "/api/v1/chat", Some(body)).await;
    assert_eq!(status, 200);
    first.stop().await;
    let second = node(&database, &model, &config, "").await;
    all_is_told(&database, &receiver).await;
    second.stop().await;
}

#[tokio::test]
async fn a_process_that_waits_for_a_receiver_ends_without_it() {
    let (database, model) = (TestDatabase::new().await, ModelServer::start().await);
    let receiver = Receiver::start().await;
    receiver.reacts(|_| Reaction::Hang);
    let folder = folder(&file(&receiver.url, "timeout = \"1m\""));
    let config = folder.path("titlecast.toml");
    let first = node(&database, &model, &config, "").await;
    routed(&database, 1).await;
    settled(&first.url, "Plan a trip to Kyoto").await;
    receiver.until(1).await;
    let log = first.stop().await;
    assert!(!log.contains("timed out"), "{log}");
    let rows = Rows::of(&database).await;
    assert_eq!(rows.count("agent_webhook_lanes").await, 1);
}
