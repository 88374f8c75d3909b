//! What operators see of events that are not received, and what they do about it.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use titlecast_testing::{
    Receiver, Rows, Titlecast,
    calls::rename,
    eventually,
    metrics::series,
    receiver::{Reaction, TAKEN},
    server::{metrics, request},
};

use super::Scene;

/// What `titlecast webhooks` prints.
async fn webhooks(scene: &Scene, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["webhooks"], arguments].concat();
    let printed = Titlecast::new(&arguments)
        .env("DATABASE_URL", &scene.server.database.url)
        .run()
        .await
        .ok();
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Refuses every change of a title, and takes the rest.
fn refuses_titles(receiver: &Receiver) {
    receiver.reacts(|one| match one.kind() == "conversation.title_changed" {
        true => Reaction::Answer(400, ""),
        false => TAKEN,
    });
}

/// A conversation whose event was given up, and its id.
async fn parked(scene: &Scene) -> String {
    refuses_titles(&scene.receiver);
    let id = scene.begin("Plan a trip to Kyoto").await;
    let rows = Rows::of(&scene.server.database).await;
    eventually(async || {
        let parked = "SELECT 1 FROM agent_webhook_lanes WHERE parked_at IS NOT NULL";
        (rows.all(parked, []).await.len() == 1).then_some(())
    })
    .await;
    id
}

#[tokio::test]
async fn an_event_that_is_given_up_parks_those_behind_it_until_it_is_sent_again() {
    let mut scene = Scene::new("retry_for = \"1s\"").await;
    let metrics_url = scene.server.serve_metrics().await;
    let id = parked(&scene).await;
    rename(&scene.server.url, &id, "Behind").await;
    // Others are sent.
    scene.receiver.reacts(|_| TAKEN);
    let other = scene.begin("Another conversation").await;
    eventually(async || (scene.receiver.story(&other).len() == 5).then_some(())).await;
    let story = scene.receiver.story(&id);
    assert!(
        !story.iter().any(|one| one.starts_with("title_changed")),
        "{story:?}"
    );

    let listed = webhooks(&scene, &["list", "--parked"]).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["hook"], "crm");
    assert_eq!(listed[0]["conversation_id"], id);
    assert_eq!(listed[0]["event"], "conversation.title_changed");
    assert_eq!(listed[0]["failure"], "status 400");
    assert!(listed[0]["attempts"].as_i64().unwrap() > 1, "{listed:?}");
    eventually(async || {
        let (status, page) = request(&scene.server.url, "GET", "/readyz", None).await;
        let is_degraded = page["degraded"]
            .as_array()
            .unwrap()
            .contains(&json!("webhooks"));
        (status == 200 && is_degraded && page["webhooks"] == "crm: 1 parked").then_some(())
    })
    .await;
    let of = |page: &str, name: &str, label: (&str, &str)| {
        let found = series(page);
        let mut found = found.iter();
        let found = found.find(|one| {
            one.name == name
                && one
                    .labels
                    .get(label.0)
                    .is_some_and(|value| value == label.1)
        });
        found.map_or(0.0, |one| one.value)
    };
    let page = metrics(&metrics_url).await;
    let parked = of(
        &page,
        "titlecast_webhook_conversations",
        ("state", "parked"),
    );
    assert_eq!(parked, 1.0);
    let refused = of(
        &page,
        "titlecast_webhook_deliveries_total",
        ("outcome", "refused"),
    );
    assert!(refused > 1.0);
    let given_up = of(&page, "titlecast_webhook_given_up_total", ("hook", "crm"));
    assert_eq!(given_up, 1.0);

    let retried = webhooks(&scene, &["retry", "crm"]).await;
    assert_eq!(
        retried,
        [json!({ "hook": "crm", "conversation_id": id, "done": "retried" })]
    );
    scene.all_is_told().await;
    assert!(webhooks(&scene, &["list"]).await.is_empty());
    eventually(async || {
        let (_, page) = request(&scene.server.url, "GET", "/readyz", None).await;
        (page["webhooks"] == "ok").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_dropped_lets_those_behind_it_pass() {
    let scene = Scene::new("retry_for = \"1s\"").await;
    let id = parked(&scene).await;
    let before = scene.receiver.story(&id).len();
    rename(&scene.server.url, &id, "Behind").await;
    scene.receiver.reacts(|_| TAKEN);
    let dropped = webhooks(&scene, &["drop", "crm", "--conversation", &id]).await;
    assert_eq!(
        dropped,
        [json!({ "hook": "crm", "conversation_id": id, "done": "dropped" })]
    );
    let rows = Rows::of(&scene.server.database).await;
    eventually(async || (rows.count("agent_webhook_lanes").await == 0).then_some(())).await;
    let story = scene.receiver.story(&id);
    assert!(story.len() > before, "{story:?}");
    assert!(
        story.last().unwrap().starts_with("title_changed 4"),
        "{story:?}"
    );
    // There is nothing more to drop.
    let done = webhooks(&scene, &["drop", "crm"]).await;
    assert_eq!(done, [json!({ "hook": "crm", "done": "nothing" })]);
}

#[tokio::test]
async fn a_receiver_that_is_gone_gets_nothing_more_until_an_operator_says_so() {
    let scene = Scene::new("").await;
    scene.receiver.reacts(|_| Reaction::Answer(410, ""));
    let id = scene.begin("Plan a trip to Kyoto").await;
    let rows = Rows::of(&scene.server.database).await;
    eventually(async || (rows.count("agent_webhook_gone").await == 1).then_some(())).await;
    let asked = scene.receiver.deliveries().len();
    scene.receiver.reacts(|_| TAKEN);
    rename(&scene.server.url, &id, "Unheard").await;
    scene.begin("Another conversation").await;
    eventually(async || {
        let (status, page) = request(&scene.server.url, "GET", "/readyz", None).await;
        (status == 200 && page["webhooks"] == "crm: gone").then_some(())
    })
    .await;
    assert_eq!(scene.receiver.deliveries().len(), asked);
    let retried = webhooks(&scene, &["retry", "crm"]).await;
    assert_eq!(retried[0], json!({ "hook": "crm", "done": "sends again" }));
    scene.all_is_told().await;
}

#[tokio::test]
async fn a_webhook_that_does_not_exist_has_nothing_to_list() {
    let scene = Scene::new("").await;
    assert!(webhooks(&scene, &["list", "nobody"]).await.is_empty());
    let done = webhooks(&scene, &["retry", "nobody"]).await;
    assert_eq!(done, [json!({ "hook": "nobody", "done": "nothing" })]);
    let wrong = ["webhooks", "drop", "crm", "--conversation", "7"];
    let ended = Titlecast::new(&wrong)
        .env("DATABASE_URL", &scene.server.database.url)
        .run()
        .await;
    ended.assert_refused(&["expected the id of a conversation"]);
}

#[tokio::test]
async fn the_age_of_what_waits_is_known_without_what_is_parked() {
    let scene = Scene::new("").await;
    let db = scene.server.app.database();
    let rows = Rows::of(&scene.server.database).await;
    let ago = |hours| -> sea_orm::Value { (Utc::now() - TimeDelta::hours(hours)).into() };
    let age = async || db.webhook_backlog("crm").await.unwrap().oldest;
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!(age().await, Duration::ZERO);
    // Nothing is sent meanwhile.
    db.webhook_is_gone("crm").await.unwrap();
    scene.begin("Plan a trip to Kyoto").await;
    for (change, values, expected) in [
        ("next_at = $1", vec![ago(1)], 1),
        ("failing_since = $1, next_at = $2", vec![ago(2), ago(-1)], 2),
        ("parked_at = $1", vec![ago(1)], 0),
        (
            "parked_at = NULL, failing_since = NULL, next_at = $1",
            vec![ago(3)],
            3,
        ),
    ] {
        let sql = format!("UPDATE agent_webhook_lanes SET {change}");
        rows.run(&sql, values).await.unwrap();
        let age = age().await;
        let is_expected =
            (hours(expected)..hours(expected) + Duration::from_secs(60)).contains(&age);
        assert!(is_expected, "{change}: {age:?}");
    }
    db.webhook_is_back("crm").await.unwrap();
    scene.all_is_told().await;
    assert_eq!(age().await, Duration::ZERO);
}
