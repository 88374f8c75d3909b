//! A model that tells long stories, word by word.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Json, extract::State, response::Response, routing::post};
use serde_json::Value;
use titlecast_testing::{
    Answer, Step,
    model::{respond, serve},
};
use tokio::task::JoinHandle;

use super::story::words;

/// The longest pause between two words.
const SLOWEST: Duration = Duration::from_millis(30);

/// The server. Each request gets the story that its message asks for: `Tell story 7.`
pub struct StoryModel {
    pub url: String,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl StoryModel {
    pub async fn start() -> Self {
        let asked = Arc::<AtomicUsize>::default();
        let (url, serving) = serve(post(tell).with_state(asked.clone())).await;
        Self {
            url,
            asked,
            serving,
        }
    }

    /// How many stories were asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// A message that asks for a story.
    pub fn message(number: usize) -> String {
        format!("Tell story {number}.")
    }
}

impl Drop for StoryModel {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn tell(State(asked): State<Arc<AtomicUsize>>, Json(request): Json<Value>) -> Response {
    asked.fetch_add(1, Ordering::Relaxed);
    let message = request["messages"].as_array().unwrap().last().unwrap();
    let message = message["content"].as_str().unwrap();
    let number = message
        .trim_start_matches("Tell story ")
        .trim_end_matches('.');
    let number = number.parse().unwrap();
    let (answer, steps) = Answer::live();
    #[expect(clippy::disallowed_methods, reason = "ends with its story")]
    tokio::spawn(async move {
        for word in words(number) {
            tokio::time::sleep(SLOWEST.mul_f64(fastrand::f64())).await;
            // The client has disconnected.
            if steps.send(Step::Delta(word)).is_err() {
                return;
            }
        }
        let _ = steps.send(Step::Finish);
    });
    respond(answer).await
}
