//! How long a title is late whose process was killed in the middle of its call, with the default settings: what
//! docs/titles.md and docs/operations.md promise is what is measured here.

use std::time::{Duration, Instant};

use serde_json::json;
use titlecast_testing::{
    Answer, ModelServer, Node, TestDatabase, eventually,
    server::request,
    titles::{assert_titled, send, title},
};

/// What the documents promise, from the message to its title.
const PROMISED: Duration = Duration::from_secs(20);

/// How much longer it may take here: a database that other tests use, too, stops for seconds now and then.
const SLACK: Duration = Duration::from_secs(5);

/// The process that finishes the title.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The killed process, started again at once.
    Restart,
    /// A node that runs all the while.
    OtherNode,
}

/// From the message to its title.
async fn late(by: By) -> Duration {
    let database = TestDatabase::new().await;
    let model = ModelServer::start().await;
    let start = || Node::start(&database.url, &model.url, &[]);
    let writer = start().await;
    let other = match by {
        By::Restart => None,
        By::OtherNode => Some(start().await),
    };
    let (answer, _never) = Answer::held(Answer::Text(ModelServer::TITLE));
    model.title(answer);
    let began = Instant::now();
    let id = send(&writer.url, json!({ "text": "Plan a trip to Kyoto" })).await;
    eventually(async || (model.title_requests().len() == 1).then_some(())).await;
    writer.kill().await;
    let node = match other {
        Some(other) => other,
        None => start().await,
    };
    let titled = async {
        loop {
            let now = title(&node.url, &id).await;
            if now["titleStatus"] != "PENDING" {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let now = tokio::time::timeout(PROMISED * 3, titled).await.unwrap();
    assert_titled(&now);
    let took = began.elapsed();
    // Asked once for what was lost, and once for what is stored.
    assert_eq!(model.title_requests().len(), 2);
    assert_eq!(request(&node.url, "GET", "/readyz", None).await.0, 200);
    node.stop().await;
    took
}

async fn is_as_promised(by: By, runs: usize) {
    let runs = (0..runs).map(|_| late(by));
    let took = futures_util::future::join_all(runs).await;
    eprintln!("{by:?}: {took:.1?}");
    let most = PROMISED + SLACK;
    assert!(took.iter().all(|took| *took < most), "{took:?}");
}

#[tokio::test]
async fn a_title_whose_process_was_killed_is_made_by_the_same_one_in_the_time_that_is_promised() {
    is_as_promised(By::Restart, 3).await;
}

#[tokio::test]
async fn a_title_whose_process_was_killed_is_made_by_another_node_in_the_time_that_is_promised() {
    is_as_promised(By::OtherNode, 3).await;
}
