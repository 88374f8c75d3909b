//! Two nodes on one database, connected by NATS: a change on one is published on the other. What happens
//! when NATS is not there is in `nodes_outage`.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use titlecast::conversation::Owner;
use titlecast_testing::{
    Answer, Events, ModelServer, Rows, Server, Watched,
    calls::{delete, rename},
    eventually,
    nats::{self, nats_is, two_nodes},
    server::{client, metrics},
    titles::{regenerate, replied, send, title},
};
use uuid::Uuid;

const MESSAGE: &str = "Plan a trip to Kyoto";
const RENAMED: &str = "Kyoto in autumn";
const ANOTHER: &str = r#"{"title":"Temples of Kyoto"}"#;

/// The legacy stream of a conversation's title.
async fn title_stream(url: &str, id: &str) -> Events {
    let path = format!("/api/v1/conversations/{id}/stream");
    Events::of(client().get(format!("{url}{path}"))).await
}

/// Every state of the conversation once, and in order.
#[track_caller]
fn assert_rising(payloads: &[Value], id: &str) {
    let of_this = payloads.iter().filter(|payload| payload["id"] == id);
    let revisions: Vec<i64> = of_this
        .map(|payload| payload["revision"].as_i64().unwrap())
        .collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
}

#[tokio::test]
async fn what_becomes_of_a_title_reaches_every_subscriber_of_another_node() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let model = ModelServer::start().await;
    let (one, other) = two_nodes(&model, &nats).await;
    let mut own_list = Watched::list(&one.url).await;
    let mut list = Watched::list(&other.url).await;
    let gate = model.held_title(Answer::Text(ModelServer::TITLE));
    let id = send(&one.url, json!({ "text": MESSAGE })).await;
    replied(&one.url, &id, 2).await;
    let mut open = Watched::one(&other.url, &id).await;
    let mut titles = title_stream(&other.url, &id).await;
    let (mut listed, mut seen) = (Vec::new(), Vec::new());

    // Made.
    gate.send(()).unwrap();
    let is_titled = |now: &Value| now["id"] == *id && now["displayName"] == ModelServer::TITLE;
    listed.extend(list.until(is_titled).await);
    seen.extend(open.until(is_titled).await);
    let event = titles.next().await.unwrap();
    assert_eq!(event["kind"], "conversation.title.generated");
    assert_eq!(event["display_name"], ModelServer::TITLE);

    // Renamed.
    rename(&one.url, &id, RENAMED).await;
    let is_renamed = |now: &Value| now["id"] == *id && now["displayName"] == RENAMED;
    listed.extend(list.until(is_renamed).await);
    seen.extend(open.until(is_renamed).await);
    let event = titles.next().await.unwrap();
    assert_eq!(event["kind"], "conversation.title.updated");
    assert_eq!(event["display_name"], RENAMED);

    // Made again.
    let gate = model.held_title(Answer::Text(ANOTHER));
    let wish = json!({ "id": id, "replaceManual": true });
    regenerate(&one.url, wish).await;
    let is_pending = |now: &Value| now["id"] == *id && now["titleStatus"] == "PENDING";
    listed.extend(list.until(is_pending).await);
    seen.extend(open.until(is_pending).await);
    gate.send(()).unwrap();
    let is_another = |now: &Value| now["id"] == *id && now["displayName"] == "Temples of Kyoto";
    listed.extend(list.until(is_another).await);
    seen.extend(open.until(is_another).await);
    let event = titles.next().await.unwrap();
    assert_eq!(event["display_name"], "Temples of Kyoto");

    // Deleted.
    delete(&one.url, &id).await;
    let is_deleted = |now: &Value| now["id"] == *id && now["status"] == "DELETED";
    listed.extend(list.until(is_deleted).await);
    seen.extend(open.until(is_deleted).await);
    open.ended().await;
    assert_eq!(titles.next().await, None);

    // Nothing twice, neither there nor here, and nothing comes back.
    listed.extend(list.until_now(&other.url).await);
    let own = own_list.until_now(&one.url).await;
    for payloads in [&listed, &seen, &own] {
        assert_rising(payloads, &id);
    }
    let of_this = own.iter().filter(|payload| payload["id"] == *id);
    let last = listed.iter().rfind(|payload| payload["id"] == *id).unwrap();
    assert_eq!(of_this.clone().count(), last["revision"], "each state once");
    assert_eq!(model.title_requests().len(), 2);
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_change_right_behind_a_subscription_is_not_missed() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let model = ModelServer::start().await;
    let (one, other) = two_nodes(&model, &nats).await;
    for round in 0..30 {
        let id = send(&one.url, json!({ "text": MESSAGE, "autoTitle": false })).await;
        replied(&one.url, &id, 2).await;
        let name = format!("Round {round}");
        // The first state is read before NATS knows of the subscription.
        let mut open = Watched::one(&other.url, &id).await;
        open.next().await;
        rename(&one.url, &id, &name).await;
        open.until(|now| now["displayName"] == *name).await;
    }
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn no_name_of_a_tenant_or_user_hears_of_others() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let model = ModelServer::start().await;
    let (mut one, mut other) = two_nodes(&model, &nats).await;
    let names = [
        ("a*", "*"),
        (">", ">"),
        ("a.b", "c"),
        ("a", "b.c"),
        ("tenant", "one"),
        ("tenant", "two"),
        ("another", "one"),
    ];
    let mut owners = Vec::new();
    for (tenant, user) in names {
        let owner = Owner {
            tenant: tenant.into(),
            user: user.into(),
        };
        let here = one.serve(owner.clone()).await;
        let there = other.serve(owner).await;
        let list = Watched::list(&there).await;
        owners.push((here, there, list));
    }
    let mut ids = Vec::new();
    for (here, ..) in &owners {
        ids.push(send(here, json!({ "text": MESSAGE, "autoTitle": false })).await);
    }
    let mut listed = Vec::new();
    for (id, (.., list)) in ids.iter().zip(&mut owners) {
        listed.push(
            list.until(|now| now["id"] == **id && now["messageCount"] == 2)
                .await,
        );
    }
    for (number, (_, there, list)) in owners.iter_mut().enumerate() {
        listed[number].extend(list.until_now(there).await);
        for payload in &listed[number] {
            assert_eq!(
                payload["id"], *ids[number],
                "{:?}: {payload}",
                names[number]
            );
        }
        assert_rising(&listed[number], &ids[number]);
    }
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn what_a_sweep_tells_reaches_the_other_node() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let model = ModelServer::start().await;
    let settings = ["--nats-url", &nats, "--title-sweep", "100ms"];
    let one = Server::start_with(&model, &settings).await;
    // Its only sweep is the one at the start.
    let settings = ["--nats-url", &nats, "--title-sweep", "1h"];
    let mut other = one.beside(&model, &settings).await;
    let rows = Rows::of(&one.database).await;
    let mut lists = [
        Watched::list(&one.url).await,
        Watched::list(&other.url).await,
    ];
    for node in [&one, &other] {
        nats_is(&node.url, "ok").await;
    }
    let id = send(&one.url, json!({ "text": MESSAGE, "autoTitle": false })).await;
    replied(&one.url, &id, 2).await;
    rows.published(&id).await;
    // As a backfill leaves it: committed, not published.
    let set = "display_name = $2, revision = revision + 1, updated_at = $3";
    let at = Utc::now() - TimeDelta::seconds(60);
    rows.change(&id, set, ["Backfilled".into(), at.into()])
        .await;
    for (list, url) in lists.iter_mut().zip([&one.url, &other.url]) {
        let mut received = list.until(|now| now["displayName"] == "Backfilled").await;
        received.extend(list.until_now(url).await);
        assert_rising(&received, &id);
    }
    let published = rows.published(&id).await;
    assert_eq!(published.display_name.as_deref(), Some("Backfilled"));
    // Hearing of it is not sending it again.
    let page = metrics(&other.serve_metrics().await).await;
    assert!(page.contains("titlecast_nats_connected 1\n"), "{page}");
    assert!(page.contains("titlecast_nats_dropped_total 0\n"), "{page}");
    let published = |page: &str| -> u64 {
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("titlecast_nats_published_total "));
        line.unwrap().parse().unwrap()
    };
    // What it sent is of its own conversation, the end of the list.
    assert!(published(&page) <= 4, "{page}");
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_wake_up_is_only_a_hint_and_many_cost_one_look() {
    let Some(nats) = nats::shared().await else {
        return;
    };
    let model = ModelServer::start().await;
    let mut node = Server::start_with(&model, &["--nats-url", &nats]).await;
    let user = Uuid::new_v4().simple().to_string();
    let tenant = "hints";
    let owner = Owner {
        tenant: tenant.into(),
        user: user.clone(),
    };
    let url = node.serve(owner).await;
    nats_is(&url, "ok").await;
    let id = send(&url, json!({ "text": MESSAGE, "autoTitle": false })).await;
    replied(&url, &id, 2).await;
    let mut open = Watched::one(&url, &id).await;
    let mut list = Watched::list(&url).await;
    let now = open.next().await;
    let status = || node.app.events().relay().unwrap();
    let settle = async || eventually(async || (status().subscriptions() == 2).then_some(())).await;
    settle().await;
    let hex = |text: &str| -> String { text.bytes().map(|byte| format!("{byte:02x}")).collect() };
    let subject = format!(
        "titlecast.v1.conv.{}.{}.{}",
        hex(tenant),
        hex(&user),
        id.replace('-', "")
    );
    let stranger = async_nats::connect(&nats).await.unwrap();
    let (read, received) = (status().reads(), status().received());
    for body in ["", "{}", "null", "{\"node\":1}", "\u{0}"] {
        stranger
            .publish(subject.clone(), body.into())
            .await
            .unwrap();
    }
    let hint = json!({ "node": Uuid::new_v4(), "id": id, "revision": 1_000_000 }).to_string();
    for _ in 0..1_000 {
        let hint = hint.clone().into();
        stranger.publish(subject.clone(), hint).await.unwrap();
    }
    stranger.flush().await.unwrap();
    // Both topics receive it.
    eventually(async || (status().received() >= received + 2_000).then_some(())).await;
    rename(&url, &id, RENAMED).await;
    let received = open.until(|now| now["displayName"] == RENAMED).await;
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(
        received[0]["revision"],
        now["revision"].as_i64().unwrap() + 1
    );
    assert_rising(&list.until_now(&url).await, &id);
    let reads = status().reads() - read;
    assert!(reads < 200, "{reads} reads for 2,000 wake-ups");
    assert_eq!(title(&url, &id).await["displayName"], RENAMED);
    node.stop().await;
}
