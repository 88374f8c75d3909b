//! A provider that is down for an hour.

use std::time::Duration;

/// `cargo test --release --test endurance -- --ignored outages --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn ten_thousand_conversations_are_titled_after_an_hour_without_a_provider() {
    let minute = Duration::from_secs(1);
    titlecast_testing::outage::hour_without_a_provider(10_000, 60, minute).await;
}
