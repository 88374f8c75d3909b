//! Reads a reply that another node writes, by long polling over NATS.
//!
//! A node serves requests on a subject of its own. It answers when there is text after the requested offset, or after
//! [`LONG_POLL_WAIT`]. The reader then requests the next offset. So each reader has at most one answer in flight, a
//! slow network makes answers longer instead of more frequent, and a lost answer is simply requested again.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, Request};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::subjects;
use crate::{
    conversation::{MessageId, Usage},
    events::run::{ReplySlice, Runs},
};

/// How long a node waits for new text before it answers with none.
const LONG_POLL_WAIT: Duration = Duration::from_millis(500);

/// How long a reader waits for an answer. A broker that restarts in between loses it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The most text in one answer, in bytes. JSON escapes can make it six times as long, and NATS accepts one megabyte.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RemoteRequest {
    /// ReplySlice the text after this offset.
    Read {
        reply: Uuid,
        #[serde(rename = "place")]
        offset: usize,
    },
    /// Stop the reply.
    Stop { reply: Uuid },
}

/// What another node returns for a reply.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteSlice {
    /// The text after the offset.
    #[serde(flatten)]
    pub read: ReplySlice,
    /// Set if the reply has ended and no text follows.
    pub ended: Option<RemoteEnd>,
}

/// The parts of a reply's end that its row does not store.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteEnd {
    /// The provider's response id, if it sent one.
    pub response_id: Option<String>,
    /// The token usage, if the provider reported it.
    pub usage: Option<Usage>,
}

/// Requests the text after an offset from a node; `None` if it does not answer or does not write the reply.
pub(super) async fn read(
    client: &Client,
    node: Uuid,
    reply: MessageId,
    offset: usize,
) -> Option<RemoteSlice> {
    let reply = reply.0;
    let body = serde_json::to_vec(&RemoteRequest::Read { reply, offset }).ok()?;
    let request = Request::new()
        .payload(body.into())
        .timeout(Some(ANSWER_TIMEOUT));
    let answer = client.send_request(subjects::replies(node), request).await;
    serde_json::from_slice(&answer.ok()?.payload).ok()?
}

/// Requests that a node stops a reply.
pub(super) async fn stop(client: &Client, node: Uuid, reply: MessageId) {
    if let Ok(body) = serde_json::to_vec(&RemoteRequest::Stop { reply: reply.0 }) {
        // If the request is lost, the node finds the stop flag in the row at its next renewal.
        let _ = client.publish(subjects::replies(node), body.into()).await;
    }
}

/// Serves requests of other nodes until the client is closed.
pub(super) async fn serve(client: &Client, node: Uuid, runs: &Arc<Runs>) {
    let Ok(mut requests) = client.subscribe(subjects::replies(node)).await else {
        return;
    };
    let tasks = TaskTracker::new();
    while let Some(message) = requests.next().await {
        match serde_json::from_slice(&message.payload) {
            Ok(RemoteRequest::Read { reply, offset }) => {
                let Some(inbox) = message.reply else { continue };
                let (client, runs) = (client.clone(), runs.clone());
                tasks.spawn(async move {
                    let answer = find(&runs, MessageId(reply), offset).await;
                    if let Ok(body) = serde_json::to_vec(&answer) {
                        // If the answer is lost, the reader repeats its request.
                        let _ = client.publish(inbox, body.into()).await;
                    }
                });
            }
            Ok(RemoteRequest::Stop { reply }) => {
                if let Some(log) = runs.any(MessageId(reply)) {
                    log.stop();
                }
            }
            // Possibly a request that a newer version added.
            Err(_) => {}
        }
    }
}

async fn find(runs: &Runs, reply: MessageId, offset: usize) -> Option<RemoteSlice> {
    let log = runs.any(reply)?;
    let (mut read, end) = log.read(offset, LONG_POLL_WAIT).await;
    let is_truncated = truncate(&mut read);
    Some(RemoteSlice {
        read,
        ended: end.filter(|_| !is_truncated).map(|end| RemoteEnd {
            response_id: end.response_id.clone(),
            usage: end.usage,
        }),
    })
}

/// Truncates the text to the size of an answer. Returns whether it was longer.
fn truncate(read: &mut ReplySlice) -> bool {
    let whole = read.text.len();
    let fits = read.text.floor_char_boundary(MAX_ANSWER_BYTES);
    read.text.truncate(fits);
    read.length -= whole - fits;
    fits < whole
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_and_answers_between_nodes_are_a_contract_between_versions() {
        let reply = Uuid::from_u128(7);
        let request = json!({ "read": { "reply": reply, "place": 5 } });
        assert_eq!(json!(RemoteRequest::Read { reply, offset: 5 }), request);
        assert_eq!(
            json!(RemoteRequest::Stop { reply }),
            json!({ "stop": { "reply": reply } })
        );
        let answer = RemoteSlice {
            read: ReplySlice::from_offset("Kyoto", 2, true),
            ended: Some(RemoteEnd {
                response_id: None,
                usage: Some(Usage {
                    prompt_tokens: 1,
                    completion_tokens: 2,
                    reasoning_tokens: 0,
                }),
            }),
        };
        let written = json!({
            "text": "oto", "length": 5, "recovered": true,
            "ended": { "response_id": null, "usage": {
                "prompt_tokens": 1, "completion_tokens": 2, "reasoning_tokens": 0
            } },
        });
        assert_eq!(json!(answer), written);
        assert_eq!(
            serde_json::from_value::<RemoteSlice>(written).unwrap(),
            answer
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = format!("Ky{}", "é".repeat(MAX_ANSWER_BYTES / 2 + 1));
        let mut read = ReplySlice::from_offset(&text, 1, false);
        assert!(truncate(&mut read));
        assert_eq!(
            (read.text.len(), read.length),
            (MAX_ANSWER_BYTES - 1, MAX_ANSWER_BYTES)
        );
        assert!(!truncate(&mut read));
    }
}
