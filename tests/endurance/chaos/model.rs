//! A title model for chaos: each call gets a title of its own, late by chance, and sometimes an error.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, extract::State, response::Response, routing::post};
use fastrand::Rng;
use serde_json::{Value, json};
use titlecast_testing::model::{Answer, ModelServer, respond, serve};
use tokio::{sync::watch, task::JoinHandle};

/// The longest that a title takes.
const SLOWEST_MS: u64 = 300;

/// Of a hundred calls for titles.
const FAILURES: u8 = 5;

/// What the model was asked about one conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub asked: usize,
    /// Answered with an error.
    pub failed: usize,
}

/// The server.
pub struct ChaosModel {
    pub url: String,
    shared: Arc<Shared>,
    gate: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

struct Shared {
    seed: u64,
    /// By the conversations' numbers.
    calls: Mutex<HashMap<usize, Calls>>,
    total: Mutex<u64>,
    gate: watch::Receiver<bool>,
}

impl ChaosModel {
    /// Answers after chance's delay.
    pub async fn start(seed: u64) -> Self {
        let (gate, opened) = watch::channel(true);
        let shared = Arc::new(Shared {
            seed,
            calls: Mutex::default(),
            total: Mutex::default(),
            gate: opened,
        });
        let routes = post(complete).with_state(shared.clone());
        let (url, serving) = serve(routes).await;
        Self {
            url,
            shared,
            gate,
            serving,
        }
    }

    /// Holds all titles back, or lets them go.
    pub fn hold(&self, is_held: bool) {
        self.gate.send_replace(!is_held);
    }

    /// What it was asked, by the conversations' numbers.
    pub fn calls(&self) -> HashMap<usize, Calls> {
        self.shared.calls.lock().unwrap().clone()
    }
}

impl Drop for ChaosModel {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn complete(State(shared): State<Arc<Shared>>, Json(request): Json<Value>) -> Response {
    if request["stream"] == true {
        return respond(Answer::Deltas(ModelServer::REPLY.to_vec())).await;
    }
    let about = about(&request);
    let note = |change: fn(&mut Calls)| {
        change(shared.calls.lock().unwrap().entry(about).or_default());
    };
    note(|calls| calls.asked += 1);
    let call = {
        let mut total = shared.total.lock().unwrap();
        *total += 1;
        *total
    };
    let mut rng = Rng::with_seed(shared.seed ^ call);
    let (delay, fails) = (rng.u64(..=SLOWEST_MS), rng.u8(..100) < FAILURES);
    tokio::time::sleep(Duration::from_millis(delay)).await;
    // The sender goes with the test.
    let _ = shared.gate.clone().wait_for(|is_open| *is_open).await;
    if fails {
        note(|calls| calls.failed += 1);
        return respond(Answer::error(500, "server_error", None, "A bad day")).await;
    }
    respond(Answer::Title(title(call))).await
}

/// A title that no other call gets.
fn title(call: u64) -> String {
    format!("Chapter {call} of the Story")
}

/// The number of the conversation that a title is for.
fn about(request: &Value) -> usize {
    let messages = json!(request["messages"]).to_string();
    let (_, rest) = messages.split_once("Conversation ").unwrap();
    let number = rest.split(' ').next().unwrap();
    number.parse().unwrap()
}

#[test]
fn its_titles_are_titles() {
    for call in [1, 22, 333, 4_444, 55_555] {
        let text = title(call);
        let cleaned = titlecast::titles::clean::clean(&text).unwrap();
        assert_eq!(cleaned.as_str(), text);
    }
}
