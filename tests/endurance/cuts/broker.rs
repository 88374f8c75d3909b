//! A broker that is killed and comes back, again and again, while replies are written on one node and
//! watched on the other.

use std::time::Duration;

use futures_util::{StreamExt, future::join, stream};
use serde_json::json;
use titlecast_testing::{Events, legacy::post};
use tokio::time::{Instant, sleep};

use super::{
    AT_ONCE,
    model::StoryModel,
    nodes::Nodes,
    story::{Faults, Reading, Tally},
    viewer::{open, watch},
};

/// The longest that a viewer may be behind once the broker is back.
const LAG: Duration = Duration::from_secs(2);

/// One reply: the node that writes it, the node that follows it, and when both saw its end.
struct Pair {
    origin: Tally,
    viewer: Tally,
    ended: Instant,
    seen: Instant,
}

async fn pair(nodes: &Nodes, number: usize) -> Pair {
    let [here, there] = &nodes.urls;
    let body = json!({
        "message": StoryModel::message(number), "context": { "auto_title": false }
    });
    let mut events = open(post(here, "/api/v1/chat/stream", body)).await;
    let created = events.next().await.unwrap();
    let origin = async {
        let tally = to_end(&mut events, number).await;
        (tally, Instant::now())
    };
    let viewer = async {
        let mut events = watch(there, &created["conversation_id"]).await;
        let tally = to_end(&mut events, number).await;
        (tally, Instant::now())
    };
    let ((origin, ended), (viewer, seen)) = join(origin, viewer).await;
    Pair {
        origin,
        viewer,
        ended,
        seen,
    }
}

async fn to_end(events: &mut Events, number: usize) -> Tally {
    let mut reading = Reading::of(number);
    while let Some(event) = events.next().await {
        if reading.take(&event) {
            break;
        }
    }
    reading.tally
}

/// Kills the broker this many times while replies run.
async fn check(mut nodes: Nodes, restarts: usize) {
    let mut nats = nodes.nats.take().unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut returns = Vec::new();
    let trouble = async {
        for _ in 0..restarts {
            // The fault's own time: in the middle of replies, and long enough to be missed.
            sleep(Duration::from_millis(fastrand::u64(200..1_000))).await;
            nats.kill();
            let down = Instant::now();
            sleep(Duration::from_millis(fastrand::u64(100..2_000))).await;
            nats.start();
            nodes.are_connected().await;
            returns.push((down, Instant::now()));
        }
        stop.send_replace(true);
    };
    let load = stream::iter(0..)
        .take_while(|_| std::future::ready(!*stopped.borrow()))
        .map(|number| pair(&nodes, number))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let ((), pairs) = join(trouble, load).await;
    let mut slowest = Duration::ZERO;
    for pair in &pairs {
        for tally in [&pair.origin, &pair.viewer] {
            assert_eq!((tally.completed, tally.faults), (1, Faults::default()));
        }
        let down = returns
            .iter()
            .find(|(down, back)| *down <= pair.ended && pair.ended < *back);
        let since = down.map_or(pair.ended, |(_, back)| *back);
        slowest = slowest.max(pair.seen.saturating_duration_since(since));
    }
    eprintln!(
        "{restarts} restarts, {} replies written and watched, the slowest viewer {slowest:?} behind",
        pairs.len()
    );
    assert!(slowest < LAG, "{slowest:?}");
}

#[tokio::test]
async fn a_broker_that_comes_and_goes_fails_no_reply_and_no_viewer() {
    let model = StoryModel::start().await;
    let Some(nodes) = Nodes::in_process_with_broker(&model).await else {
        return;
    };
    check(nodes, 2).await;
}

#[tokio::test]
#[ignore = "takes a minute: just cuts"]
async fn a_broker_that_comes_and_goes_twenty_times() {
    let model = StoryModel::start().await;
    let nodes = Nodes::processes(&model).await.unwrap();
    check(nodes, titlecast_testing::at_length(20)).await;
}
