//! Well-behaved clients: they keep their connection, request their list, and wait for the answer.

use std::time::Duration;

use serde_json::{Value, json};
use titlecast_testing::within;
use tokio::time::{Instant, sleep};

const CLIENTS: usize = 4;

/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(4);

const LIST: &str =
    "{ conversations(first: 10) { nodes { id title messages(first: 2) { nodes { content } } } } }";

pub(super) struct Healthy {
    clients: Vec<reqwest::Client>,
    url: String,
}

impl Healthy {
    /// Clients with something in their list.
    pub(super) async fn start(url: &str) -> Self {
        // Installed for all of the process; a second time does nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = || reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..10 {
            let body = Some(json!({ "message": "Plan a trip to Kyoto" }));
            let (status, _) =
                titlecast_testing::server::request(url, "POST", "/api/v1/chat", body).await;
            assert_eq!(status, 200);
        }
        Self {
            clients: (0..CLIENTS).map(|_| client()).collect(),
            url: format!("{url}/graphql"),
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.clients.len()
    }

    /// Sends requests for this long. Returns the 99th percentile of the answer times.
    pub(super) async fn round(&mut self, time: Duration) -> Duration {
        let until = Instant::now() + time;
        let asking = self.clients.iter().map(|client| self.ask(client, until));
        let waits = futures_util::future::join_all(asking).await;
        let mut waits: Vec<Duration> = waits.into_iter().flatten().collect();
        waits.sort();
        waits[waits.len() * 99 / 100]
    }

    async fn ask(&self, client: &reqwest::Client, until: Instant) -> Vec<Duration> {
        let body = json!({ "query": LIST }).to_string();
        let mut waits = Vec::new();
        while Instant::now() < until {
            let request = client
                .post(&self.url)
                .header("content-type", "application/json")
                .body(body.clone());
            let begun = Instant::now();
            let response = within(request.send()).await.unwrap();
            let answer: Value = within(response.json()).await.unwrap();
            waits.push(begun.elapsed());
            let nodes = answer["data"]["conversations"]["nodes"].as_array();
            assert_eq!(nodes.map(Vec::len), Some(10), "{answer}");
            sleep(PAUSE).await;
        }
        waits
    }
}
