//! Helpers for tests of the legacy routes: a request with headers, a scripted model, a transcript, row counts.

use serde_json::Value;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{Answer, Events, ModelServer, Step, TestDatabase, server::client};

/// A POST with a JSON body, for requests that need more than that.
pub fn post(url: &str, path: &str, body: Value) -> reqwest::RequestBuilder {
    client()
        .post(format!("{url}{path}"))
        .header("content-type", "application/json")
        .body(body.to_string())
}

impl ModelServer {
    /// Answers the next reply with a live stream; returns the end of it that the test holds.
    pub fn live_reply(&self) -> UnboundedSender<Step> {
        let (reply, steps) = Answer::live();
        self.reply(reply);
        steps
    }

    /// Holds the next title until the test uses or drops the gate.
    pub fn held_title(&self, title: Answer) -> oneshot::Sender<()> {
        let (title, gate) = Answer::held(title);
        self.title(title);
        gate
    }
}

impl Step {
    /// More text.
    pub fn delta(text: &str) -> Self {
        Self::Delta(text.into())
    }
}

impl Events {
    /// The bytes that were read so far.
    pub fn transcript(&self) -> String {
        let frames = self.segments.iter();
        frames.map(|segment| format!("{segment}\n\n")).collect()
    }
}

impl TestDatabase {
    /// How many conversations, messages and turns there are, tombstones included.
    pub async fn row_counts(&self) -> [i64; 3] {
        let [conversations, messages, turns, ..] = self.census().await;
        [conversations, messages, turns]
    }
}
