//! A client that sends a message and reads its reply through cuts.

use fastrand::Rng;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use titlecast_testing::{Events, TestDatabase, legacy::post, server::client, within};
use uuid::Uuid;

use super::{
    model::StoryModel,
    nodes::Nodes,
    story::{Reading, Tally},
};

/// How often a request is sent again that found SQLite's file locked by the other node.
const MAX_LOCKED: usize = 3;

/// How readers behave.
#[derive(Clone, Copy)]
pub struct Plan {
    /// By how many bytes they say a wrong place.
    off_by: i64,
}

impl Plan {
    pub fn honest() -> Self {
        Self { off_by: 0 }
    }

    pub fn off_by(off_by: i64) -> Self {
        Self { off_by }
    }
}

/// The reader.
pub struct Viewer<'a> {
    nodes: &'a Nodes,
    number: usize,
    rng: Rng,
    plan: Plan,
    conversation: Uuid,
    /// The last `id:`.
    place: Option<String>,
}

impl<'a> Viewer<'a> {
    pub fn new(nodes: &'a Nodes, number: usize, rng: Rng, plan: Plan) -> Self {
        Self {
            nodes,
            number,
            rng,
            plan,
            conversation: Uuid::new_v4(),
            place: None,
        }
    }

    /// Reads to the end, from one node and then from the other.
    pub async fn read(mut self) -> Tally {
        let mut reading = Reading::of(self.number);
        let mut node = self.number;
        loop {
            let url = &self.nodes.urls[node % 2];
            let mut events = match &self.place {
                Some(place) => self.resume(url, place).await,
                // No response was received: send the same request, with the same key.
                None => {
                    reading.begin();
                    self.send(url).await
                }
            };
            let until = self.rng.usize(..40);
            for _ in 0..until {
                let Some(event) = events.next().await else {
                    panic!("story {} ended without an end", self.number);
                };
                if reading.take(&event) {
                    return reading.tally;
                }
                self.place = Some(events.last_id());
            }
            reading.tally.cuts += 1;
            node += 1;
        }
    }

    async fn send(&self, url: &str) -> Events {
        let body = json!({
            "message": StoryModel::message(self.number),
            "conversation_id": self.conversation,
            "context": { "auto_title": false },
        });
        let request = post(url, "/api/v1/chat/stream?ids=true", body);
        open(request.header("idempotency-key", self.conversation.to_string())).await
    }

    async fn resume(&self, url: &str, place: &str) -> Events {
        let url = format!("{url}/api/v1/conversations/{}/reply", self.conversation);
        let place = match place.split_once('.') {
            Some((message, bytes)) if self.plan.off_by != 0 => {
                let bytes: i64 = bytes.parse().unwrap();
                format!("{message}.{}", (bytes + self.plan.off_by).max(0))
            }
            _ => place.to_owned(),
        };
        open(client().get(url).header("last-event-id", place)).await
    }
}

/// The stream that a request opens. SQLite has no queue for its lock: of two nodes that write to one file, one may not
/// get the lock, and answers 503. PostgreSQL has one, so there every request has to succeed.
pub async fn open(request: RequestBuilder) -> Events {
    for _ in 0..MAX_LOCKED {
        let response = within(request.try_clone().unwrap().send()).await.unwrap();
        if response.status() != 503 || TestDatabase::is_on_server() {
            return Events::of_response(response).await;
        }
    }
    Events::of(request).await
}

/// The events of a reply, from the beginning, on a node that may not write it.
pub async fn watch(url: &str, conversation: &Value) -> Events {
    let id = conversation.as_str().unwrap();
    let url = format!("{url}/api/v1/conversations/{id}/reply");
    open(client().get(url)).await
}
