//! Two nodes on one PostgreSQL, each behind a proxy that freezes: connections that are open go silent for good, new ones
//! pass, as when a database host or a NAT's table vanishes. One node after the other is frozen under load.
//!
//! Each request ends within its deadline; those hit by the freeze are refused with a code; the node serves again within
//! [`RECOVERY`], and its `/readyz` reports the state; no reply is lost, and the other node is not affected.
//!
//! - `load`: requests of all kinds on both nodes, and their outcomes
//! - `verdict`: the invariants, tested on made-up records in `planted`

mod load;
mod planted;
mod verdict;

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, TransactionTrait};
use serde_json::json;
use titlecast_testing::{
    ModelServer, Node, TestDatabase, at_length,
    calls::send_message,
    eventually,
    nats::{self, nats_is},
    proxy::Proxy,
    server::client,
    talkative::TalkativeModel,
};
use tokio::time::{sleep, timeout};

use self::{
    load::{Load, Site},
    verdict::Verdict,
};

const SHORT: usize = 2;
const LONG: usize = 20;

/// How many connections a node has by default.
const CONNECTIONS: usize = 8;

/// How soon after a freeze its node serves everything again: a statement is given up after 7 s, and its connection tested
/// for one.
const RECOVERY: Duration = Duration::from_secs(10);

/// The longest that a node may report itself ready while it serves nothing, by docs/operations.md.
const BELIEVED: Duration = Duration::from_secs(4);

/// How long a node may take to serve everything again before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that reaches its database through a proxy.
struct Far {
    node: Node,
    proxy: Proxy,
}

impl Far {
    async fn from(database: &TestDatabase, model_url: &str, settings: &[&str]) -> Self {
        let proxy = Proxy::to_url(&database.url).await;
        let url = proxy.instead_of(&database.url);
        Self {
            node: Node::start(&url, model_url, settings).await,
            proxy,
        }
    }
}

/// Checks that each of these nodes can still use this many connections at once: blocks them all at a lock.
async fn lost_no_connection(database: &TestDatabase, nodes: &[&Far], connections: usize) {
    let past = database.connect().await;
    let lock = locked(&past).await;
    let is_seen = Cell::new(false);
    let asking = nodes.iter().flat_map(|far| {
        (0..connections).map(|_| async {
            while !is_seen.get() {
                // Refused after a while: it waits for a lock.
                list(&far.node.url).await;
            }
        })
    });
    let seeing = async {
        let all = (nodes.len() * connections) as u64;
        let seen = async {
            while waiting(&past).await < all {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let seen = timeout(PATIENCE, seen).await;
        is_seen.set(true);
        lock.rollback().await.unwrap();
        assert!(seen.is_ok(), "a connection is lost");
    };
    join(join_all(asking), seeing).await;
}

/// Lists of conversations wait.
async fn locked(database: &DatabaseConnection) -> DatabaseTransaction {
    let lock = database.begin().await.unwrap();
    let sql = "LOCK TABLE agent_conversations IN ACCESS EXCLUSIVE MODE";
    lock.execute_unprepared(sql).await.unwrap();
    lock
}

async fn list(url: &str) -> u16 {
    let request = client().get(format!("{url}/api/v1/conversations"));
    request.send().await.unwrap().status().as_u16()
}

/// Freezes one node's connections to the database after the other's, this many times in total.
async fn freeze(freezes: usize) {
    if !TestDatabase::is_on_server() {
        return;
    }
    let nats = nats::shared().await;
    let settings: Vec<&str> = match &nats {
        Some(url) => vec!["--nats-url", url],
        None => Vec::new(),
    };
    let database = TestDatabase::new().await;
    let model = TalkativeModel::start().await;
    let nodes = [
        Far::from(&database, &model.url, &settings).await,
        Far::from(&database, &model.url, &settings).await,
    ];
    if nats.is_some() {
        for far in &nodes {
            nats_is(&far.node.url, "ok").await;
        }
    }
    let load = Load::on(nodes.each_ref().map(|far| far.node.url.clone()));
    let freezing = async {
        let mut times = Vec::new();
        let started = Instant::now();
        serves(&load, started).await;
        for number in 0..freezes {
            // At a different moment of the nodes' periodic work.
            sleep(Duration::from_millis(fastrand::u64(200..2_000))).await;
            let site = Site(number % 2);
            let at = Instant::now();
            let frozen = nodes[site.0].proxy.freeze();
            assert!(frozen > 0, "there was nothing to freeze");
            times.push((at, site, frozen));
            serves(&load, at).await;
        }
        load.stop();
        times
    };
    let (times, records) = join(freezing, load.run()).await;
    let frozen: Vec<usize> = times.iter().map(|(.., frozen)| *frozen).collect();
    let freezes: Vec<_> = times.into_iter().map(|(at, site, _)| (at, site)).collect();
    let verdict = Verdict::of(&freezes, &records);
    eprintln!("connections frozen: {frozen:?}\n{verdict}");
    let faults = verdict.faults(RECOVERY, BELIEVED);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    lost_no_connection(&database, &nodes.each_ref(), CONNECTIONS).await;
    for far in nodes {
        far.node.stop().await;
    }
}

/// Waits until both nodes serve each kind of request that was begun after this, and say that they are ready.
async fn serves(load: &Load, since: Instant) {
    let served = async {
        while !load.serves(since) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(PATIENCE, served).await.is_err() {
        panic!(
            "not served for {PATIENCE:?}:\n{}",
            load.unserved(since).join("\n")
        );
    }
}

#[tokio::test]
async fn a_database_that_freezes_is_noticed_by_its_node_alone_and_not_for_long() {
    freeze(SHORT).await;
}

#[tokio::test]
#[ignore = "takes three minutes: just freezes"]
async fn twenty_freezes_lose_nothing() {
    freeze(at_length(LONG)).await;
}

/// How many sessions wait for a lock on this database.
async fn waiting(database: &DatabaseConnection) -> u64 {
    let rows = database.query_all_raw(sea_orm::Statement::from_string(
        sea_orm::DbBackend::Postgres,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    ));
    rows.await.unwrap().len() as u64
}

/// Connections that freeze in use, and cannot be replaced at once: with TLS, each takes its place in the pool along.
#[tokio::test]
async fn a_database_that_vanishes_for_a_while_costs_no_connection_for_good() {
    if !TestDatabase::is_on_server() {
        return;
    }
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let far = Far::from(&database, &model.url, &["--database-connections", "2"]).await;
    let url = far.node.url.clone();
    send_message(&url, json!({ "text": "Plan a trip", "autoTitle": false })).await;
    let ready = async || {
        let request = client().get(format!("{url}/readyz"));
        request.send().await.unwrap().status().as_u16()
    };

    // Both connections are in use.
    let past = database.connect().await;
    let lock = locked(&past).await;
    let vanishing = async {
        eventually(async || (waiting(&past).await == 2).then_some(())).await;
        far.proxy.vanish().await;
        lock.rollback().await.unwrap();
    };
    let (statuses, ()) = join(join_all([list(&url), list(&url)]), vanishing).await;
    assert_eq!(statuses, [503, 503]);
    // These wait for a connection, for longer than one may take to come back.
    assert_eq!(join_all([list(&url), list(&url)]).await, [503, 503]);
    assert_eq!(ready().await, 503);

    far.proxy.come_back().await;
    eventually(async || (ready().await == 200).then_some(())).await;
    assert_eq!(list(&url).await, 200);
    lost_no_connection(&database, &[&far], 2).await;
    far.node.stop().await;
}
