//! A real HTTP server that speaks the model's wire format and follows a script.
//!
//! Its answers are what the API sends, byte for byte where that matters. A request with `stream: true` asks for a
//! reply, any other for a title.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, post},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

/// How the server answers one request.
pub enum Answer {
    /// A complete answer in one piece, for titles.
    Text(&'static str),
    /// Like `Text`, with this finish reason.
    Finished(&'static str, &'static str),
    /// This title, in the requested shape.
    Title(String),
    /// A stream of these deltas with a regular end, for replies.
    Deltas(Vec<&'static str>),
    /// A stream whose steps the test sends.
    Live(UnboundedReceiver<Step>),
    /// A status, headers and a body.
    Status(u16, Vec<(&'static str, &'static str)>, Value),
    /// Status 200 with a web page, as a proxy or a login wall would answer.
    Page(&'static str),
    /// A stream of arbitrary bytes.
    Raw(String),
    /// No answer, for as long as the client waits.
    Silence,
    /// The connection breaks without an answer.
    Cut,
    /// The inner answer, once the sender of the gate is used or dropped.
    Held(tokio::sync::oneshot::Receiver<()>, Box<Answer>),
}

/// One step of a live stream.
pub enum Step {
    /// More text.
    Delta(String),
    /// A delta with these fields, such as reasoning or tool calls.
    Fields(Value),
    /// The model refuses to answer, with this text.
    Refusal(String),
    /// The regular end, with usage.
    Finish,
    /// The regular end, with this finish reason.
    FinishFor(&'static str),
    /// An end without a finish reason.
    End,
    /// The connection breaks.
    Cut,
}

impl Answer {
    /// A live stream, and the sender for its steps.
    pub fn live() -> (Self, UnboundedSender<Step>) {
        let (sender, receiver) = unbounded_channel();
        (Self::Live(receiver), sender)
    }

    /// An answer that waits until the test releases it.
    pub fn held(answer: Self) -> (Self, tokio::sync::oneshot::Sender<()>) {
        let (gate, opened) = tokio::sync::oneshot::channel();
        (Self::Held(opened, Box::new(answer)), gate)
    }

    /// An error in the API's format.
    pub fn error(status: u16, kind: &str, code: Option<&str>, message: &str) -> Self {
        let body = json!({
            "error": { "message": message, "type": kind, "param": null, "code": code }
        });
        Self::Status(status, Vec::new(), body)
    }
}

/// The server. It follows the script; once that is used up, it answers with a short reply and the title
/// [`ModelServer::TITLE`].
pub struct ModelServer {
    /// The value for `OPENAI_BASE_URL`.
    pub url: String,
    script: Arc<Script>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Answer>>,
    titles: Mutex<VecDeque<Answer>>,
    delay: Mutex<Duration>,
    reply_requests: Mutex<Vec<Value>>,
    title_requests: Mutex<Vec<Value>>,
}

impl ModelServer {
    pub const REPLY: [&str; 3] = ["Hello", " from the", " model."];
    pub const TITLE: &str = "Planning a Trip to Kyoto";

    pub async fn start() -> Self {
        let script = Arc::new(Script::default());
        let routes = post(complete).with_state(script.clone());
        let (url, serving) = serve(routes).await;
        Self {
            url,
            script,
            serving,
        }
    }

    /// Scripts the answer to the next reply request that has none yet.
    pub fn reply(&self, answer: Answer) -> &Self {
        self.script.replies.lock().unwrap().push_back(answer);
        self
    }

    /// Scripts the answer to the next title request that has none yet.
    pub fn title(&self, answer: Answer) -> &Self {
        self.script.titles.lock().unwrap().push_back(answer);
        self
    }

    /// Answers the next title request with a 400, and the retry without parameters as well.
    pub fn refuse_title(&self) -> &Self {
        let refusal = || Answer::error(400, "invalid_request_error", None, "No.");
        self.title(refusal()).title(refusal())
    }

    /// Drops the scripted answers that have not been used.
    pub fn forget(&self) {
        self.script.replies.lock().unwrap().clear();
        self.script.titles.lock().unwrap().clear();
    }

    /// Delays every title by this duration.
    pub fn delay(&self, delay: Duration) {
        *self.script.delay.lock().unwrap() = delay;
    }

    /// The bodies of all reply requests so far.
    pub fn reply_requests(&self) -> Vec<Value> {
        self.script.reply_requests.lock().unwrap().clone()
    }

    /// The bodies of all title requests so far.
    pub fn title_requests(&self) -> Vec<Value> {
        self.script.title_requests.lock().unwrap().clone()
    }
}

/// Serves a handler that speaks the model's wire format. Returns the base URL, and the task to abort at the end.
pub async fn serve(completions: MethodRouter) -> (String, JoinHandle<()>) {
    let router = Router::new().route("/v1/chat/completions", completions);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "ends when its server is dropped")]
    let serving = tokio::spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    (url, serving)
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn complete(State(script): State<Arc<Script>>, Json(request): Json<Value>) -> Response {
    let is_reply = request["stream"] == true;
    let (requests, answers) = match is_reply {
        true => (&script.reply_requests, &script.replies),
        false => (&script.title_requests, &script.titles),
    };
    requests.lock().unwrap().push(request);
    // Take the answer at once: it is used up even if the caller disconnects, and does not go to the next request.
    let scripted = answers.lock().unwrap().pop_front();
    if !is_reply {
        let delay = *script.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
    }
    let answer = scripted.unwrap_or_else(|| match is_reply {
        true => Answer::Deltas(ModelServer::REPLY.to_vec()),
        false => Answer::Finished(r#"{"title":"Planning a Trip to Kyoto"}"#, "stop"),
    });
    respond(answer).await
}

/// Builds the response for an answer.
pub async fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Text(text) => whole(text, "stop"),
        Answer::Finished(text, reason) => whole(text, reason),
        Answer::Title(title) => whole(&json!({ "title": title }).to_string(), "stop"),
        Answer::Deltas(deltas) => {
            let steps = deltas.into_iter().map(|text| Step::Delta(text.into()));
            streamed(stream::iter(steps.chain([Step::Finish])))
        }
        Answer::Live(steps) => streamed(stream::unfold(steps, |mut steps| async move {
            // Dropping the sender breaks the connection.
            let step = steps.recv().await.unwrap_or(Step::Cut);
            Some((step, steps))
        })),
        Answer::Status(status, headers, body) => {
            let mut response = Json(body).into_response();
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            let mut extra = HeaderMap::new();
            for (name, value) in headers {
                extra.insert(name, value.parse().unwrap());
            }
            response.headers_mut().extend(extra);
            response
        }
        Answer::Page(html) => ([(header::CONTENT_TYPE, "text/html")], html).into_response(),
        Answer::Raw(events) => {
            ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
        }
        Answer::Silence => std::future::pending().await,
        // An error before the first byte of the body, so that not even the head is sent.
        Answer::Cut => {
            let cut = Err::<String, _>(std::io::Error::other("cut"));
            Body::from_stream(stream::iter([cut])).into_response()
        }
        Answer::Held(gate, answer) => {
            // Returns an error if the test has dropped the gate.
            let _ = gate.await;
            Box::pin(respond(*answer)).await
        }
    }
}

fn whole(text: &str, reason: &str) -> Response {
    Json(json!({
        "id": "chatcmpl-title",
        "object": "chat.completion",
        "created": 1_763_800_000,
        "model": "gpt-6-luna-2026-09-22",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant", "content": text, "refusal": null, "annotations": []
            },
            "finish_reason": reason
        }],
        "usage": {
            "prompt_tokens": 90, "completion_tokens": 12, "total_tokens": 102,
            "completion_tokens_details": { "reasoning_tokens": 0 }
        },
        "service_tier": "default",
        "system_fingerprint": null
    }))
    .into_response()
}

fn streamed(steps: impl futures_util::Stream<Item = Step> + Send + 'static) -> Response {
    let first = chunk(
        json!({ "role": "assistant", "content": "", "refusal": null }),
        None,
    );
    let body = stream::iter([Ok::<_, std::io::Error>(first)]).chain(
        steps
            .scan(false, |is_over, step| {
                let goes_on = matches!(step, Step::Delta(_) | Step::Fields(_) | Step::Refusal(_));
                let was_over = std::mem::replace(is_over, !goes_on);
                std::future::ready((!was_over).then_some(step))
            })
            .map(|step| match step {
                Step::Delta(text) => Ok(chunk(json!({ "content": text }), None)),
                Step::Fields(fields) => Ok(chunk(fields, None)),
                Step::Refusal(text) => Ok(chunk(json!({ "refusal": text }), None)),
                Step::Finish => Ok(finish("stop")),
                Step::FinishFor(reason) => Ok(finish(reason)),
                Step::End => Ok(String::new()),
                // An error in the body resets the connection.
                Step::Cut => Err(std::io::Error::other("cut")),
            }),
    );
    let body = Body::from_stream(body);
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn finish(reason: &str) -> String {
    let done = "data: [DONE]\n\n".to_owned();
    [chunk(json!({}), Some(reason)), usage(), done].concat()
}

fn chunk(delta: Value, finish_reason: Option<&str>) -> String {
    event(
        json!([{ "index": 0, "delta": delta, "finish_reason": finish_reason }]),
        Value::Null,
    )
}

fn usage() -> String {
    let usage = json!({
        "prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25,
        "completion_tokens_details": { "reasoning_tokens": 0 }
    });
    event(json!([]), usage)
}

fn event(choices: Value, usage: Value) -> String {
    let event = json!({
        "id": "chatcmpl-reply",
        "object": "chat.completion.chunk",
        "created": 1_763_800_000,
        "model": "gpt-6-luna-2026-09-22",
        "service_tier": "default",
        "system_fingerprint": null,
        "choices": choices,
        "usage": usage,
    });
    format!("data: {event}\n\n")
}
