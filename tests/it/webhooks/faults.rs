//! Receivers that fail in every way: nothing is lost, nothing comes out of order, and no request waits for them.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;
use titlecast_testing::{
    calls::rename,
    eventually,
    receiver::{Reaction, TAKEN},
    server::request,
};

use super::{Scene, routed};

/// A conversation with three changes, of which the receiver mistreats each request a few times.
async fn survives(reaction: Reaction, times: usize) {
    let scene = Scene::new("timeout = \"1s\"").await;
    let count = AtomicUsize::new(0);
    scene.receiver.reacts(
        move |_| match count.fetch_add(1, Ordering::Relaxed) < times {
            true => reaction.clone(),
            false => TAKEN,
        },
    );
    let began = Instant::now();
    let id = scene.begin("Plan a trip to Kyoto").await;
    rename(&scene.server.url, &id, "One").await;
    rename(&scene.server.url, &id, "Two").await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "requests waited: {took:?}");
    scene.all_is_told().await;
    let all = scene.receiver.deliveries();
    assert!(all.len() >= 7 + times, "{}", all.len());
    // A repeated request has the id of the first.
    let first = all[0].id().to_owned();
    assert_eq!(
        all.iter().filter(|one| one.id() == first).count(),
        times + 1
    );
}

#[tokio::test]
async fn one_that_answers_500() {
    survives(Reaction::Answer(500, ""), 3).await;
}

#[tokio::test]
async fn one_that_closes_the_connection() {
    survives(Reaction::Close, 2).await;
    survives(Reaction::CloseInHead, 2).await;
}

#[tokio::test]
async fn one_that_hangs() {
    survives(Reaction::Hang, 2).await;
}

#[tokio::test]
async fn one_that_answers_byte_by_byte() {
    survives(Reaction::Drip, 2).await;
}

#[tokio::test]
async fn one_that_redirects_is_not_followed() {
    let elsewhere = titlecast_testing::Receiver::start().await;
    let head: &'static str = format!("location: {}\r\n", elsewhere.url).leak();
    survives(Reaction::Answer(307, head), 2).await;
    survives(Reaction::Answer(301, head), 1).await;
    assert!(elsewhere.deliveries().is_empty());
}

#[tokio::test]
async fn one_whose_answer_does_not_end_has_taken_the_event() {
    let scene = Scene::new("").await;
    scene.receiver.reacts(|_| Reaction::Endless);
    scene.begin("Plan a trip to Kyoto").await;
    scene.all_is_told().await;
    assert_eq!(
        scene.receiver.deliveries().len(),
        scene.receiver.taken().len()
    );
}

#[tokio::test]
async fn one_that_dies_and_returns() {
    let mut scene = Scene::new("timeout = \"1s\"").await;
    let id = scene.begin("Plan a trip to Kyoto").await;
    scene.receiver.die().await;
    for number in 0..5 {
        rename(&scene.server.url, &id, &format!("Name {number}")).await;
    }
    let rows = titlecast_testing::Rows::of(&scene.server.database).await;
    eventually(async || {
        let failing =
            "SELECT 1 FROM agent_webhook_lanes WHERE attempts > 2 AND failure = 'connection'";
        (rows.all(failing, []).await.len() == 1).then_some(())
    })
    .await;
    scene.receiver.revive().await;
    scene.all_is_told().await;
    let story = scene.receiver.story(&id);
    assert_eq!(story[story.len() - 5..].len(), 5);
    assert!(
        story.last().unwrap().starts_with("title_changed 8"),
        "{story:?}"
    );
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_is_kept() {
    let scene = Scene::new("").await;
    let count = AtomicUsize::new(0);
    scene
        .receiver
        .reacts(move |_| match count.fetch_add(1, Ordering::Relaxed) {
            0 => Reaction::Answer(429, "retry-after: 2\r\n"),
            _ => TAKEN,
        });
    let began = Instant::now();
    scene.begin("Plan a trip to Kyoto").await;
    scene.all_is_told().await;
    assert!(began.elapsed() > Duration::from_secs(2));
    // A second hook of the same conversation, or another conversation, would not have waited: the wait is the event's.
}

#[tokio::test]
async fn a_hook_that_hangs_holds_no_other_and_no_request() {
    let receiver = titlecast_testing::Receiver::start().await;
    let slow = titlecast_testing::Receiver::start().await;
    slow.reacts(|_| Reaction::Hang);
    let model = titlecast_testing::ModelServer::start().await;
    let hooks = [("crm", &receiver.url), ("slow", &slow.url)].map(|(name, url)| {
        super::file(url, "max_in_flight = 2").replace("webhooks.crm", &format!("webhooks.{name}"))
    });
    let folder = super::folder(&hooks.concat());
    let path = folder.path("titlecast.toml");
    let database = titlecast_testing::TestDatabase::new().await;
    let server = titlecast_testing::Server::start_on(database, &model, &["--config", &path]).await;
    routed(&server.database, 2).await;
    for number in 0..6 {
        let body = json!({ "message": format!("Question {number}") });
        let began = Instant::now();
        let (status, _) = request(&server.url, "POST", "/api/v1/chat", Some(body)).await;
        assert_eq!(status, 200);
        assert!(began.elapsed() < Duration::from_secs(3));
    }
    let told = eventually(async || {
        let ended = receiver.taken().into_iter();
        let ended = ended.filter(|one| one.kind() == "conversation.reply_ended");
        (ended.count() == 6).then_some(())
    });
    told.await;
    // The hanging receiver has at most the allowed concurrent requests.
    assert_eq!(slow.deliveries().len(), 2);
}
