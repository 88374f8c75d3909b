//! Readers that lose their connection at any moment and come back on the other node: whether each
//! reply reaches each of them once and in order; and what they notice of a broker that comes and goes.

mod broker;
mod model;
mod nodes;
mod story;
mod viewer;

use fastrand::Rng;
use futures_util::{StreamExt, stream};
use titlecast_testing::at_length;

use self::{
    model::StoryModel,
    nodes::Nodes,
    story::{Faults, Tally},
    viewer::{Plan, Viewer},
};

/// How many replies run at once.
const AT_ONCE: usize = 50;

/// Sends this many messages and reads their replies through cuts. Returns the outcomes.
async fn read_all(nodes: &Nodes, replies: usize, seed: u64, plan: Plan) -> Tally {
    let viewers = (0..replies).map(|number| {
        let rng = Rng::with_seed(seed ^ (number as u64) << 20);
        Viewer::new(nodes, number, rng, plan).read()
    });
    let tally = stream::iter(viewers).buffer_unordered(AT_ONCE);
    tally
        .fold(Tally::default(), async |all, one| all + one)
        .await
}

/// Every reply whole, and each message answered once.
async fn check(replies: usize, nodes: &Nodes, model: &StoryModel) {
    let tally = read_all(nodes, replies, fastrand::u64(..), Plan::honest()).await;
    eprintln!("{replies} replies: {tally:?}");
    assert_eq!(tally.faults, Faults::default());
    assert!(tally.cuts > replies / 2, "{tally:?}");
    assert_eq!(model.asked(), replies);
    assert_eq!(tally.completed, replies);
}

#[tokio::test]
async fn a_reader_that_is_cut_off_and_comes_back_elsewhere_misses_nothing() {
    let model = StoryModel::start().await;
    let Some(nodes) = Nodes::in_process(&model).await else {
        return;
    };
    check(40, &nodes, &model).await;
}

/// Verifies the check itself: readers whose cursors are one character off.
#[tokio::test]
async fn a_place_that_is_off_is_noticed() {
    let model = StoryModel::start().await;
    let Some(nodes) = Nodes::in_process(&model).await else {
        return;
    };
    let tally = read_all(&nodes, 10, 1, Plan::off_by(-1)).await;
    assert!(tally.faults.doubled > 0, "{tally:?}");
    let tally = read_all(&nodes, 10, 1, Plan::off_by(1)).await;
    assert!(tally.faults.missing > 0, "{tally:?}");
}

#[tokio::test]
#[ignore = "takes a minute: just cuts"]
async fn a_thousand_replies_through_two_processes() {
    let model = StoryModel::start().await;
    let mut nodes = Nodes::processes(&model).await.unwrap();
    check(at_length(1_000), &nodes, &model).await;
    nodes.stop().await;
}
