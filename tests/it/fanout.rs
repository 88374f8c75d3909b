//! Many subscribers of one conversation cost one execution an event, and all get the same bytes.

use serde_json::json;
use titlecast_testing::{
    ModelServer, Server, calls::rename, eventually, raw_socket::RawSocket, server::metrics,
};

/// A process may have 1,024 open files unless configured otherwise, and both ends of every socket are
/// in this one. So the subscribers share sockets, five to each.
const SOCKETS: usize = 200;
const OPERATIONS: usize = 5;
const SUBSCRIBERS: usize = SOCKETS * OPERATIONS;

const ROUNDS: usize = 3;

const QUERY: &str =
    "subscription ($id: ID!) { conversationUpdated(id: $id) { displayName revision } }";

/// What `/metrics` says.
#[derive(Debug, PartialEq)]
struct Metrics {
    cohorts: usize,
    members: usize,
    executions: usize,
    deliveries: usize,
    lagged: usize,
}

impl Metrics {
    async fn read(url: &str) -> Self {
        let text = metrics(url).await;
        let value = |name: &str| {
            let start = format!("titlecast_subscription_{name} ");
            let mut values = text.lines().filter_map(|line| line.strip_prefix(&start));
            values.next().unwrap().parse().unwrap()
        };
        Self {
            cohorts: value("cohorts"),
            members: value("members"),
            executions: value("executions_total"),
            deliveries: value("deliveries_total"),
            lagged: value("lagged_total"),
        }
    }
}

/// Opens this many sockets and subscribes on them; the first event of each subscriber is taken.
async fn subscribers(url: &str, id: &str, sockets: usize) -> Vec<RawSocket> {
    let mut opened = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        let mut socket = RawSocket::ready(url).await;
        for operation in 0..OPERATIONS {
            let payload = json!({ "query": QUERY, "variables": { "id": id } });
            let operation = operation.to_string();
            let message = json!({ "type": "subscribe", "id": operation, "payload": payload });
            socket.say(message).await;
        }
        next_payloads(&mut socket).await;
        opened.push(socket);
    }
    opened
}

/// Renames the conversation; every subscriber gets it, once, and all get the same bytes.
async fn rename_for_all(url: &str, id: &str, title: &str, sockets: &mut [RawSocket]) {
    rename(url, id, title).await;
    let mut received = Vec::new();
    for socket in sockets {
        received.extend(next_payloads(socket).await);
    }
    assert!(received[0].contains(title), "{}", received[0]);
    assert!(received.iter().all(|payload| *payload == received[0]));
}

/// The next event of every subscriber of a socket, as it was written.
async fn next_payloads(socket: &mut RawSocket) -> Vec<String> {
    let mut payloads = vec![None; OPERATIONS];
    for _ in 0..OPERATIONS {
        let text = socket.text().await;
        let (head, payload) = text.split_once(r#","payload":"#).unwrap();
        let operation = (0..OPERATIONS).find(|one| head.contains(&format!(r#""id":"{one}""#)));
        let earlier = payloads[operation.unwrap()].replace(payload.to_owned());
        assert_eq!(earlier, None, "received twice: {text}");
    }
    payloads.into_iter().map(Option::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_subscribers_cost_one_execution_an_event_and_get_the_same_bytes() {
    let model = ModelServer::start().await;
    let mut server = Server::start(&model).await;
    let counts = server.serve_metrics().await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let mut sockets = subscribers(&server.url, &id, SOCKETS).await;
    let start = Metrics::read(&counts).await;
    assert_eq!((start.cohorts, start.members), (1, SUBSCRIBERS));
    for round in 1..=ROUNDS {
        rename_for_all(&server.url, &id, &format!("Round {round}"), &mut sockets).await;
        let expected = Metrics {
            executions: start.executions + round,
            deliveries: start.deliveries + round * SUBSCRIBERS,
            ..start
        };
        assert_eq!(Metrics::read(&counts).await, expected);
    }
    drop(sockets);
    eventually(async || {
        let now = Metrics::read(&counts).await;
        ((now.cohorts, now.members) == (0, 0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_cohorts_each_subscriber_costs_an_execution_an_event() {
    let model = ModelServer::start().await;
    let mut server = Server::start_with(&model, &["--cohorts", "false"]).await;
    let counts = server.serve_metrics().await;
    let id = server.begin("Plan a trip to Kyoto").await;
    let mut sockets = subscribers(&server.url, &id, 2).await;
    let start = Metrics::read(&counts).await;
    assert_eq!((start.cohorts, start.members), (0, 0));
    for round in 1..=ROUNDS {
        rename_for_all(&server.url, &id, &format!("Round {round}"), &mut sockets).await;
        let expected = Metrics {
            executions: start.executions + round * 2 * OPERATIONS,
            deliveries: start.deliveries + round * 2 * OPERATIONS,
            ..start
        };
        assert_eq!(Metrics::read(&counts).await, expected);
    }
}
