//! A provider that records requests with path, headers and body, and answers for any model with the model's name.
//! Models whose names begin with `gone` are unknown.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The provider, which speaks Chat Completions and Responses.
pub struct Recorder {
    /// The provider's base URL.
    pub url: String,
    requests: Arc<Mutex<Vec<Value>>>,
    serving: JoinHandle<()>,
}

impl Recorder {
    pub async fn start() -> Self {
        let requests = Arc::<Mutex<Vec<Value>>>::default();
        let router = Router::new()
            .route("/v1/chat/completions", post(answer))
            .route("/v1/responses", post(answer))
            .with_state(requests.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        #[expect(clippy::disallowed_methods, reason = "ends when it is dropped")]
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            url,
            requests,
            serving,
        }
    }

    /// All requests so far: path, headers (except those about the connection), and body.
    pub fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    State(requests): State<Arc<Mutex<Vec<Value>>>>,
    uri: Uri,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let is_about_connection = |name: &str| {
        let names = [
            "host",
            "content-length",
            "connection",
            "accept-encoding",
            "user-agent",
        ];
        names.contains(&name)
    };
    let headers: serde_json::Map<String, Value> = headers
        .iter()
        .filter(|(name, _)| !is_about_connection(name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect();
    let (model, is_stream) = (body["model"].clone(), body["stream"] == true);
    requests
        .lock()
        .unwrap()
        .push(json!({ "path": uri.path(), "headers": headers, "body": body }));
    let name = model.as_str().unwrap();
    if name.starts_with("gone") {
        let error = json!({ "message": "No such model", "type": "invalid_request_error", "code": "model_not_found" });
        return (StatusCode::NOT_FOUND, Json(json!({ "error": error }))).into_response();
    }
    let text = format!("From {name}.");
    let is_responses = uri.path().ends_with("/responses");
    match (is_responses, is_stream) {
        (false, true) => events(&[
            json!({ "id": "c", "model": model, "choices": [{ "index": 0, "delta": { "content": text } }] }),
            json!({ "id": "c", "model": model, "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
            json!({ "id": "c", "model": model, "choices": [], "usage": usage() }),
        ]),
        (false, false) => Json(json!({
            "id": "c", "model": model, "usage": usage(),
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": TITLE }, "finish_reason": "stop" }],
        }))
        .into_response(),
        (true, true) => events(&[
            json!({ "type": "response.created", "response": { "id": "r", "model": model, "status": "in_progress" } }),
            json!({ "type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": text }),
            json!({ "type": "response.completed", "response": whole_response(&model, &text) }),
        ]),
        (true, false) => Json(whole_response(&model, TITLE)).into_response(),
    }
}

/// The title that every model returns.
const TITLE: &str = r#"{"title":"Planning a Trip to Kyoto"}"#;

fn usage() -> Value {
    json!({ "prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25 })
}

fn whole_response(model: &Value, text: &str) -> Value {
    json!({
        "id": "r", "model": model, "status": "completed",
        "output": [{ "type": "message", "id": "m", "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }] }],
        "usage": { "input_tokens": 20, "output_tokens": 5, "total_tokens": 25 },
    })
}

fn events(events: &[Value]) -> Response {
    let named = |event: &Value| match event["type"].as_str() {
        Some(name) => format!("event: {name}\ndata: {event}\n\n"),
        None => format!("data: {event}\n\n"),
    };
    let mut body: String = events.iter().map(named).collect();
    body.push_str("data: [DONE]\n\n");
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
