//! Nodes whose NATS is missing, starts, stops and comes back. Each test has a dedicated NATS.

use std::{
    future::ready,
    net::TcpStream,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use titlecast::conversation::{Audience, Owner};
use titlecast_testing::{
    ModelServer, Server, Titlecast, Watched,
    calls::{delete, rename},
    eventually,
    nats::{NatsServer, nats_is, two_nodes},
    titles::{replied, send},
};

const MESSAGE: &str = "Plan a trip to Kyoto";

/// The longest until missed changes arrive after NATS is back.
const SOON: Duration = Duration::from_secs(2);

async fn untitled(url: &str) -> String {
    let id = send(url, json!({ "text": MESSAGE, "autoTitle": false })).await;
    replied(url, &id, 2).await;
    id
}

#[tokio::test]
async fn what_is_missed_while_nats_is_away_is_seen_when_it_is_back() {
    let Some(mut nats) = NatsServer::down() else {
        return;
    };
    nats.start();
    let model = ModelServer::start().await;
    let (one, other) = two_nodes(&model, &nats.url).await;
    let mut list = Watched::list(&other.url).await;
    let [renamed, deleted] = [untitled(&one.url).await, untitled(&one.url).await];
    let mut open = Watched::one(&other.url, &renamed).await;
    let mut gone = Watched::one(&other.url, &deleted).await;
    open.next().await;
    gone.next().await;

    for round in 1..=2 {
        nats.kill();
        for node in [&one, &other] {
            nats_is(&node.url, "degraded").await;
        }
        // Nothing waits for it, and nothing fails with it.
        let began = Instant::now();
        let name = format!("Away {round}");
        rename(&one.url, &renamed, &name).await;
        let new = untitled(&one.url).await;
        if round == 1 {
            delete(&one.url, &deleted).await;
        }
        assert!(began.elapsed() < Duration::from_secs(5));
        // A new subscriber has no NATS subscription, and is still notified.
        let mut late = Watched::one(&other.url, &new).await;
        late.next().await;
        rename(&one.url, &new, "Late").await;

        nats.start();
        let back = Instant::now();
        open.until(|now| now["displayName"] == *name).await;
        late.until(|now| now["displayName"] == "Late").await;
        if round == 1 {
            gone.until(|now| now["status"] == "DELETED").await;
            gone.ended().await;
        }
        let mut left = vec![new.clone(), renamed.clone()];
        let mut received: Vec<Value> = Vec::new();
        while !left.is_empty() {
            let now = list.next().await;
            let is_last = now["displayName"] == "Late" || now["displayName"] == *name;
            left.retain(|id| !(is_last && now["id"] == **id));
            received.push(now);
        }
        assert!(back.elapsed() < SOON, "{:?}", back.elapsed());
        for node in [&one, &other] {
            nats_is(&node.url, "ok").await;
        }
        received.extend(list.until_now(&other.url).await);
        for id in [&new, &renamed, &deleted] {
            let of_this = received.iter().filter(|now| now["id"] == **id);
            let revisions: Vec<_> = of_this.map(|now| now["revision"].as_i64()).collect();
            assert!(revisions.is_sorted_by(|a, b| a < b), "{received:?}");
        }
        // And from now on at once.
        rename(&one.url, &renamed, "Live").await;
        open.until(|now| now["displayName"] == "Live").await;
        list.until(|now| now["displayName"] == "Live").await;
    }
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn a_node_starts_without_nats_and_connects_when_it_comes() {
    let Some(mut nats) = NatsServer::down() else {
        return;
    };
    let model = ModelServer::start().await;
    let settings = ["--nats-url", &nats.url];
    let one = Server::start_with(&model, &settings).await;
    let other = one.beside(&model, &settings).await;
    for node in [&one, &other] {
        nats_is(&node.url, "degraded").await;
    }
    let mut list = Watched::list(&other.url).await;
    let id = untitled(&one.url).await;
    let mut open = Watched::one(&other.url, &id).await;
    open.next().await;
    rename(&one.url, &id, "Before NATS").await;
    nats.start();
    let came = Instant::now();
    open.until(|now| now["displayName"] == "Before NATS").await;
    list.until(|now| now["displayName"] == "Before NATS").await;
    assert!(came.elapsed() < SOON, "{:?}", came.elapsed());
    for node in [&one, &other] {
        nats_is(&node.url, "ok").await;
    }
    other.stop().await;
    one.stop().await;
}

#[tokio::test]
async fn that_nats_is_away_is_logged_once_and_why_and_without_the_password() {
    let mut table = vec![
        // Port 1 has no listener.
        ("127.0.0.1:1".to_owned(), "Connection refused"),
        ("no-such-host.invalid:4222".to_owned(), "DNS"),
    ];
    let guarded = NatsServer::down().map(|mut nats| {
        nats.start_with(&["--user", "me", "--pass", "another"]);
        nats
    });
    if let Some(nats) = &guarded {
        let place = nats.url.replace("nats://", "");
        eventually(|| ready(TcpStream::connect(&place).ok())).await;
        table.push((place, "authorization violation"));
    }
    join_all(table.into_iter().map(async |(place, why)| {
        let mut node = Titlecast::new(&["--listen", "127.0.0.1:0"])
            .env("TITLECAST_NATS_URL", &format!("nats://me:hunter2@{place}"))
            .start();
        let url = node.url().await;
        let line = node.line("NATS cannot be reached").await;
        for part in [
            place.as_str(),
            why,
            "Start NATS",
            "--nats-url",
            "TITLECAST_NATS_URL",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        nats_is(&url, "degraded").await;
        // It has been tried more than ten times by then.
        node.signal("TERM");
        let log = node.ended().await.stderr;
        let lines = log.lines().filter(|line| line.contains("NATS"));
        assert_eq!(lines.count(), 1, "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }))
    .await;
}

#[tokio::test]
async fn unconsumed_wake_ups_are_dropped_and_counted() {
    let Some(nats) = NatsServer::down() else {
        return;
    };
    let model = ModelServer::start().await;
    let node = Server::start_with(&model, &["--nats-url", &nats.url]).await;
    let id = untitled(&node.url).await;
    let owner = Owner::local();
    let mut row = node
        .app
        .database()
        .find_row(&owner, id.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let began = Instant::now();
    for _ in 0..10_000 {
        row.revision += 1;
        node.app.events().publish(row.clone());
    }
    assert!(began.elapsed() < Duration::from_secs(1));
    let status = node.app.events().relay().unwrap();
    assert!(status.dropped() >= 10_000 - 4_096, "{}", status.dropped());
    assert_eq!(status.published(), 0);
    node.stop().await;
}

#[tokio::test]
async fn a_thousand_subscribers_leave_nothing_behind() {
    let Some(mut nats) = NatsServer::down() else {
        return;
    };
    nats.start();
    let model = ModelServer::start().await;
    let node = Server::start_with(&model, &["--nats-url", &nats.url]).await;
    nats_is(&node.url, "ok").await;
    let without = nats.subscriptions().await;
    let events = node.app.events();
    let status = events.relay().unwrap();
    let subscriptions_are = async |topics: u64| {
        eventually(async || {
            let known = nats.subscriptions().await;
            (known == without + topics && status.subscriptions() == topics).then_some(())
        })
        .await;
    };
    let owner = |number: usize| Owner {
        tenant: format!("tenant {number}"),
        user: "local".into(),
    };
    let watched: Vec<_> = (0..1_000)
        .flat_map(|number| {
            [
                events.watch(Audience::User(owner(number))),
                events.watch(Audience::User(owner(number))),
            ]
        })
        .collect();
    // Two of each, and one subscription for both.
    subscriptions_are(1_000).await;
    drop(watched);
    subscriptions_are(0).await;
    // Many at once that come and go.
    join_all((0..1_000).map(|number| {
        let (events, owner) = (events.clone(), owner(number));
        async move {
            for _ in 0..5 {
                let changes = events.watch(Audience::User(owner.clone()));
                tokio::task::yield_now().await;
                drop(changes);
            }
        }
    }))
    .await;
    subscriptions_are(0).await;
    assert_eq!(events.topic_count(), 0);
    node.stop().await;
}
