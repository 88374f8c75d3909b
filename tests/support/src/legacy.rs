//! Helpers for tests of the legacy routes: requests with headers, scripted models, transcripts, row counts.

use serde_json::Value;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{Answer, Events, ModelServer, Step, TestDatabase, server::client};

/// A POST request with a JSON body, to which tests can add headers.
pub fn post(url: &str, path: &str, body: Value) -> reqwest::RequestBuilder {
    client()
        .post(format!("{url}{path}"))
        .header("content-type", "application/json")
        .body(body.to_string())
}

impl ModelServer {
    /// Answers the next reply with a live stream. Returns the sender for its steps.
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
    /// A step with more text.
    pub fn delta(text: &str) -> Self {
        Self::Delta(text.into())
    }
}

impl Events {
    /// Everything read so far, as text.
    pub fn transcript(&self) -> String {
        let frames = self.segments.iter();
        frames.map(|segment| format!("{segment}\n\n")).collect()
    }
}

impl TestDatabase {
    /// The number of conversations, messages and turns, including tombstones.
    pub async fn row_counts(&self) -> [i64; 3] {
        let [conversations, messages, turns, ..] = self.census().await;
        [conversations, messages, turns]
    }
}
