//! Those who follow a reply that the test writes.

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

/// A conversation whose reply the test writes: its id, the reply's, and the pen.
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

/// One who follows a reply.
pub struct Reader {
    socket: GraphqlSocket,
    operation: String,
    /// What it has received, put together as a client would.
    pub text: String,
    /// Where it is.
    pub cursor: String,
    /// Whether it could go on where it was.
    pub recovered: bool,
}

impl Reader {
    /// Joins; the first event must be what there is so far.
    pub async fn join(url: &str, id: &str, reply: &Value) -> Self {
        let reader = Self::open(url, id, reply, None).await;
        assert!(!reader.recovered, "there was nothing to recover");
        reader
    }

    /// Comes back to where it was.
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

    /// Reads deltas up to this text.
    pub async fn read_to(&mut self, text: &str) {
        while self.text != text {
            let event = self.event().await;
            assert_eq!(event["__typename"], "ReplyDelta", "{event}");
            self.text += event["text"].as_str().unwrap();
            self.cursor = event["cursor"].as_str().unwrap().to_owned();
            assert!(text.starts_with(&self.text), "{}", self.text);
        }
    }

    /// Reads to the end. Returns the final event, after which nothing follows.
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
                // What was received differs from what was stored.
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
