//! Steps shared by the database fault tests: a refused turn, a successful one, a reply in progress.

use std::time::Duration;

use serde_json::{Value, json};
use titlecast_testing::{
    Events, ModelServer, Step, assert_common_stream,
    calls::code,
    legacy::post,
    server::{client, request},
    sse::text,
    within,
};
use tokio::{sync::mpsc::UnboundedSender, time::timeout};

pub const MESSAGE: &str = "Plan a trip to Kyoto";

/// An end that is published too early arrives within this time.
const SOON: Duration = Duration::from_millis(500);

/// The body of a turn without a title.
pub fn plain(message: &str) -> Value {
    json!({ "message": message, "context": { "auto_title": false } })
}

/// The database rejects a message: 503 with a code, and no internal details.
pub async fn assert_refused(url: &str, key: &str, body: &Value) {
    assert!(is_refused(url, key, body).await, "it was taken");
}

/// The same, unless it was taken after all.
pub async fn is_refused(url: &str, key: &str, body: &Value) -> bool {
    let request = post(url, "/api/v1/chat/stream", body.clone()).header("idempotency-key", key);
    // A statement is waited for, and a connection: longer than what tests usually wait for.
    let response = request.send().await.unwrap();
    if response.status() == 200 {
        let events = Events::from(response).rest().await;
        assert_eq!(
            assert_common_stream(&events)["raw_type"],
            "response.completed"
        );
        return false;
    }
    assert_eq!(response.status(), 503);
    let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(error["code"], "DATABASE_UNAVAILABLE", "{error}");
    assert_eq!(
        error["message"],
        "the database is unavailable; try again later"
    );
    true
}

/// A GraphQL mutation receives the same.
pub async fn assert_mutation_refused(url: &str) {
    let query = "mutation { sendMessage(input: { text: \"Plan\" }) { replyId } }";
    let response = client()
        .post(format!("{url}/graphql"))
        .header("content-type", "application/json")
        .body(json!({ "query": query }).to_string())
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(code(&answer), "DATABASE_UNAVAILABLE");
}

/// The same request once more, when the database is back: it is done, once.
pub async fn assert_taken(url: &str, key: &str, body: &Value) -> String {
    let request = post(url, "/api/v1/chat/stream", body.clone()).header("idempotency-key", key);
    let events = Events::of(request).await.rest().await;
    let terminal = assert_common_stream(&events);
    assert_eq!(terminal["raw_type"], "response.completed", "{terminal}");
    assert_eq!(terminal["response_text"], ModelServer::REPLY.concat());
    terminal["conversation_id"].as_str().unwrap().to_owned()
}

/// Whether it says that it is ready.
pub async fn is_ready(url: &str) -> bool {
    request(url, "GET", "/readyz", None).await.0 == 200
}

/// A reply of which half a thought has been read.
pub struct HalfWritten {
    pub id: String,
    steps: UnboundedSender<Step>,
    stream: Events,
    events: Vec<Value>,
}

impl HalfWritten {
    pub const WHOLE: &str = "Half a thought, and the rest of it";

    pub async fn new(model: &ModelServer, url: &str) -> Self {
        let steps = model.live_reply();
        steps.send(Step::delta("Half a thought")).unwrap();
        let mut stream = Events::post(url, plain(MESSAGE)).await;
        let mut events = Vec::new();
        while text(&events) != "Half a thought" {
            events.push(stream.next().await.unwrap());
        }
        let id = events[0]["conversation_id"].as_str().unwrap().to_owned();
        Self {
            id,
            steps,
            stream,
            events,
        }
    }

    /// The model ends. Readers receive the end only after it is stored.
    pub async fn finish(&mut self) {
        self.steps
            .send(Step::delta(", and the rest of it"))
            .unwrap();
        self.steps.send(Step::Finish).unwrap();
        while text(&self.events) != Self::WHOLE {
            self.events.push(within(self.stream.next()).await.unwrap());
        }
    }

    /// No end was received so far, and none is received now.
    pub async fn assert_open(&mut self) {
        let next = timeout(SOON, self.stream.next()).await;
        assert!(next.is_err(), "published too early: {next:?}");
    }

    /// Now the end is received.
    pub async fn assert_completed(mut self) {
        self.events.extend(self.stream.rest().await);
        let terminal = assert_common_stream(&self.events);
        assert_eq!(terminal["raw_type"], "response.completed", "{terminal}");
        assert_eq!(terminal["response_text"], Self::WHOLE);
    }
}
