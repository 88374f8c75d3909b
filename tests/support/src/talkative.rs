//! A model that answers each message with an individual text, word by word, over a second or two; on request, over 16
//! seconds.

use std::time::Duration;

use axum::{Json, response::Response, routing::post};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::model::{Answer, ModelServer, Step, respond, serve};

/// The interval between two words.
const PACE: Duration = Duration::from_millis(40);

/// The number of words in a reply, and in a long reply, which a message can request.
const WORDS: usize = 40;
const WORDS_AT_LENGTH: usize = 400;

/// The model server.
pub struct TalkativeModel {
    pub url: String,
    serving: JoinHandle<()>,
}

impl TalkativeModel {
    pub async fn start() -> Self {
        let (url, serving) = serve(post(complete)).await;
        Self { url, serving }
    }

    /// A message that contains this text requests a long reply.
    pub const AT_LENGTH: &str = "at length";

    /// The model's reply to this message.
    pub fn reply_to(message: &str) -> String {
        words(message).collect()
    }
}

impl Drop for TalkativeModel {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn words(message: &str) -> impl Iterator<Item = String> + use<> {
    let message = message.to_owned();
    let count = match message.contains(TalkativeModel::AT_LENGTH) {
        true => WORDS_AT_LENGTH,
        false => WORDS,
    };
    (0..count).map(move |number| match number {
        0 => format!("To “{message}”: "),
        number => format!("word {number}, "),
    })
}

async fn complete(Json(request): Json<Value>) -> Response {
    if request["stream"] != true {
        return respond(Answer::Title(ModelServer::TITLE.into())).await;
    }
    let messages = request["messages"].as_array().unwrap();
    let message = messages.last().unwrap()["content"].as_str().unwrap();
    let (answer, steps) = Answer::live();
    let words = words(message);
    #[expect(
        clippy::disallowed_methods,
        reason = "ends when the client disconnects"
    )]
    tokio::spawn(async move {
        for word in words {
            tokio::time::sleep(PACE).await;
            if steps.send(Step::Delta(word)).is_err() {
                return;
            }
        }
        // Fails if the client has disconnected.
        let _ = steps.send(Step::Finish);
    });
    respond(answer).await
}
