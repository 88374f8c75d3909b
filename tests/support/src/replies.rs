//! Subscribers that follow a reply written by the test.

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::{Answer, GraphqlSocket, ModelServer, Step, calls::send_message};

pub const REPLY: &str = "subscription ($id: ID!, $after: String) {
    reply(conversationId: $id, after: $after) {
        __typename
        ... on ReplySoFar { messageId text recovered cursor }
        ... on ReplyDelta { messageId text cursor }
        ... on ReplyEnded { messageId outcome text error { code message } }
    }
}";

/// Starts a conversation whose reply the test writes. Returns its id, the reply's id, and the sender for steps.
pub async fn being_written(
    model: &ModelServer,
    url: &str,
) -> (String, Value, UnboundedSender<Step>) {
    let (reply, steps) = Answer::live();
    model.reply(reply);
    let input = json!({ "text": "Plan a trip to Kyoto", "autoTitle": false });
    let sent = send_message(url, input).await;
    let id = sent["conversation"]["id"].as_str().unwrap().to_owned();
    (id, sent["replyId"].clone(), steps)
}

pub fn write(steps: &UnboundedSender<Step>, text: &str) {
    steps.send(Step::Delta(text.into())).unwrap();
}

/// A subscriber that follows a reply.
pub struct Reader {
    socket: GraphqlSocket,
    operation: String,
    /// The received text, assembled as a client would.
    pub text: String,
    /// The cursor of the last event.
    pub cursor: String,
    /// Whether the reply continued at the given cursor.
    pub recovered: bool,
}

impl Reader {
    /// Joins a reply. The first event must be the text so far.
    pub async fn join(url: &str, id: &str, reply: &Value) -> Self {
        let reader = Self::open(url, id, reply, None).await;
        assert!(!reader.recovered, "there was nothing to recover");
        reader
    }

    /// Resumes a reply at this cursor.
    pub async fn resume(url: &str, id: &str, reply: &Value, cursor: &str) -> Self {
        Self::open(url, id, reply, Some(cursor)).await
    }

    async fn open(url: &str, id: &str, reply: &Value, after: Option<&str>) -> Self {
        let mut socket = GraphqlSocket::connect(url).await;
        let variables = json!({ "id": id, "after": after });
        let operation = socket.subscribe(REPLY, variables).await;
        let so_far = socket.next_of(&operation, "reply").await;
        assert_eq!(so_far["__typename"], "ReplySoFar");
        assert_eq!(so_far["messageId"], *reply);
        Self {
            socket,
            operation,
            text: so_far["text"].as_str().unwrap().to_owned(),
            cursor: so_far["cursor"].as_str().unwrap().to_owned(),
            recovered: so_far["recovered"].as_bool().unwrap(),
        }
    }

    /// Reads deltas until the text is this.
    pub async fn read_to(&mut self, text: &str) {
        while self.text != text {
            let event = self.event().await;
            assert_eq!(event["__typename"], "ReplyDelta", "{event}");
            self.text += event["text"].as_str().unwrap();
            self.cursor = event["cursor"].as_str().unwrap().to_owned();
            assert!(text.starts_with(&self.text), "{}", self.text);
        }
    }

    /// Reads to the end. Returns the final event, after which nothing may follow.
    pub async fn end(mut self) -> Value {
        let is_all = !self.recovered;
        loop {
            let event = self.event().await;
            match event["__typename"].as_str().unwrap() {
                "ReplyEnded" => {
                    let whole = event["text"].as_str().unwrap();
                    assert!(whole.ends_with(&self.text), "{whole} {}", self.text);
                    assert!(!is_all || whole == self.text, "{whole} {}", self.text);
                    assert_eq!(self.socket.next(&self.operation).await, None);
                    return event;
                }
                "ReplyDelta" => self.text += event["text"].as_str().unwrap(),
                // The stored text differs from the received text.
                _ => {
                    assert_eq!(event["recovered"], false, "{event}");
                    self.text = event["text"].as_str().unwrap().to_owned();
                }
            }
        }
    }

    async fn event(&mut self) -> Value {
        self.socket.next_of(&self.operation, "reply").await
    }
}
