//! The model: an OpenAI-compatible server that answers at once or after a fixed time, and records when each title was
//! requested.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
    serve::ListenerExt,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use super::words::{number_in, reply, title};
use crate::Result;

/// A running model. Serves as long as the runtime in which it was started.
pub struct Model {
    /// The model's base URL.
    pub url: String,
    script: Arc<Script>,
}

/// When a title was requested, and when the answer was ready.
#[derive(Clone, Copy)]
pub struct Call {
    pub asked: Instant,
    pub answered: Instant,
}

struct Script {
    /// How long a title takes.
    title_takes: Duration,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    titles: HashMap<u64, Call>,
    replies: HashMap<u64, Call>,
    /// Unexpected requests.
    wrong: Vec<String>,
}

impl Model {
    pub async fn start(title_takes: Duration) -> Result<Self> {
        let script = Arc::new(Script {
            title_takes,
            notes: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .with_state(script.clone());
        let listener = listener.tap_io(|socket| {
            // If this fails, the delay of answers shows in the measurement.
            let _ = socket.set_nodelay(true);
        });
        #[expect(clippy::disallowed_methods, reason = "it ends with the runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, script })
    }

    /// The title calls. Fails unless exactly these messages were titled and replied to, each once.
    pub fn titles(&self, count: u64) -> Result<HashMap<u64, Call>> {
        let notes = self.script.notes();
        if let Some(wrong) = notes.wrong.first() {
            return Err(format!("the model was asked: {wrong}").into());
        }
        for (what, calls) in [("titles", &notes.titles), ("replies", &notes.replies)] {
            if calls.len() as u64 != count || !(0..count).all(|one| calls.contains_key(&one)) {
                let asked = calls.len();
                return Err(
                    format!("{what}: the model was asked for {asked}, not for {count}").into(),
                );
            }
        }
        Ok(notes.titles.clone())
    }
}

impl Script {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn complete(State(script): State<Arc<Script>>, Json(request): Json<Value>) -> Response {
    let asked = Instant::now();
    let messages = request["messages"].as_array();
    let last = messages.and_then(|messages| messages.last()?["content"].as_str());
    let Some(number) = last.and_then(number_in) else {
        script.notes().wrong.push(request.to_string());
        return StatusCode::BAD_REQUEST.into_response();
    };
    let is_reply = request["stream"] == true;
    let response = if is_reply {
        streamed(number)
    } else {
        sleep(script.title_takes).await;
        whole(number)
    };
    let call = Call {
        asked,
        answered: Instant::now(),
    };
    let mut notes = script.notes();
    let calls = match is_reply {
        true => &mut notes.replies,
        false => &mut notes.titles,
    };
    match calls.entry(number) {
        Entry::Vacant(place) => {
            place.insert(call);
        }
        Entry::Occupied(_) => notes.wrong.push(format!("twice for {request}")),
    }
    response
}

fn whole(number: u64) -> Response {
    let content = json!({ "title": title(number) }).to_string();
    Json(json!({
        "id": "chatcmpl-title",
        "object": "chat.completion",
        "created": 1_763_800_000,
        "model": "gpt-6-luna",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": content, "refusal": null },
            "finish_reason": "stop"
        }],
        "usage": { "prompt_tokens": 90, "completion_tokens": 12, "total_tokens": 102 }
    }))
    .into_response()
}

fn streamed(number: u64) -> Response {
    let event = |choices: Value, usage: Value| {
        let event = json!({
            "id": "chatcmpl-reply",
            "object": "chat.completion.chunk",
            "created": 1_763_800_000,
            "model": "gpt-6-luna",
            "choices": choices,
            "usage": usage,
        });
        format!("data: {event}\n\n")
    };
    let choice = |delta: Value, finish: Value| {
        let choice = json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
        event(choice, Value::Null)
    };
    let mut body = choice(json!({ "role": "assistant", "content": "" }), Value::Null);
    for part in reply(number) {
        body.push_str(&choice(json!({ "content": part }), Value::Null));
    }
    body.push_str(&choice(json!({}), json!("stop")));
    let usage = json!({ "prompt_tokens": 20, "completion_tokens": 40, "total_tokens": 60 });
    body.push_str(&event(json!([]), usage));
    body.push_str("data: [DONE]\n\n");
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
