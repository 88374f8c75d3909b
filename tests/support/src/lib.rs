//! Test support: a server, its database, a scripted model, and clients.

#![expect(missing_docs, reason = "tests are its only users")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

pub mod auth;
pub mod authority;
pub mod calls;
pub mod collector;
pub mod database;
pub mod dump;
pub mod failpoint;
pub mod graphql;
pub mod hostile;
pub mod keys;
pub mod legacy;
pub mod metrics;
pub mod model;
pub mod nats;
pub mod node;
pub mod outage;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod raw_socket;
pub mod receiver;
pub mod recorder;
pub mod refusing;
pub mod replies;
pub mod rows;
pub mod scene;
pub mod server;
pub mod small_disk;
pub mod sse;
pub mod stored;
pub mod surface;
pub mod talkative;
pub mod text;
pub mod titles;

use std::{future::Future, time::Duration};

pub use self::{
    authority::Authority,
    collector::Collector,
    database::TestDatabase,
    failpoint::Hold,
    graphql::GraphqlSocket,
    model::{Answer, ModelServer, Step},
    node::Node,
    process::Titlecast,
    receiver::Receiver,
    recorder::Recorder,
    scene::Scene,
    server::Server,
    small_disk::SmallDisk,
    sse::{Events, assert_common_stream},
    stored::Rows,
    titles::Watched,
};

/// The longest wait for anything awaited. A test never sleeps to wait for something.
const DEADLINE: Duration = Duration::from_secs(20);

/// Reports that a test is skipped because something is missing. With `TEST_SKIP_NOTHING` set, that is a failure.
pub fn skipped(why: &str) {
    assert!(
        std::env::var_os("TEST_SKIP_NOTHING").is_none(),
        "nothing is to be skipped here, and {why}"
    );
    eprintln!("SKIPPED: {why}");
}

/// Whether long suites are shortened, as in CI (`TITLECAST_SHORT`).
pub fn is_short() -> bool {
    std::env::var_os("TITLECAST_SHORT").is_some()
}

/// The size of a long suite: `all`, or a tenth if suites are shortened.
pub fn at_length(all: usize) -> usize {
    match is_short() {
        true => all.div_ceil(10),
        false => all,
    }
}

/// Awaits something that must happen soon.
#[track_caller]
pub fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(output) => output,
            Err(_) => panic!("nothing happened for {DEADLINE:?}, awaited at {caller}"),
        }
    }
}

/// Polls until `ask` returns a value, for states that have no event.
#[track_caller]
pub fn eventually<T, F: Future<Output = Option<T>>>(
    mut ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    within(async move {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}
