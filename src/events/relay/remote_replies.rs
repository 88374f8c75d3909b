//! Reads a reply that another node writes, by long polling over NATS.
//!
//! A node serves requests on a subject of its own. It answers when there is text after the requested offset or a part
//! changed after the requested change, or after [`LONG_POLL_WAIT`]. The reader then requests what follows. So each
//! reader has at most one answer in flight, a slow network makes answers longer instead of more frequent, and a lost
//! answer is simply requested again.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, Request};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::subjects;
use crate::{
    conversation::{MessageId, Part, Usage},
    events::run::{LogSlice, ReplySlice, Runs},
};

/// How long a node waits for new text before it answers with none.
const LONG_POLL_WAIT: Duration = Duration::from_millis(500);

/// How long a reader waits for an answer. A NATS server that restarts in between loses it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The maximum text in one answer, in bytes. JSON escapes can make it six times as long, and NATS accepts one megabyte.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// The maximum size of the text, and of the parts, in an answer with parts. No single part is larger.
const MAX_ANSWER_BYTES_OF_EACH: usize = 64 * 1024;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RemoteRequest {
    /// Read the text after this offset.
    Read {
        reply: Uuid,
        #[serde(rename = "place")]
        offset: usize,
        /// Also the parts changed after this change. Older versions have no parts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changes: Option<u64>,
    },
    /// Stop the reply.
    Stop { reply: Uuid },
    /// Whether an upload of the reply is open. Older versions do not answer, and have none.
    Held { reply: Uuid },
}

/// Another node's answer to a read of a reply.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteSlice {
    /// The text after the offset.
    #[serde(flatten)]
    pub read: ReplySlice,
    /// The changed parts, in the order of their changes; none from an older version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The number of the last change among them; 0 if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub changes: u64,
    /// Set if the reply has ended and nothing follows.
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

/// Requests the text after an offset and the parts changed after a change from a node; `None` if it does not answer or
/// does not write the reply.
pub(super) async fn read(
    client: &Client,
    node: Uuid,
    reply: MessageId,
    offset: usize,
    changes: u64,
) -> Option<RemoteSlice> {
    let request = RemoteRequest::Read {
        reply: reply.0,
        offset,
        changes: Some(changes),
    };
    let body = serde_json::to_vec(&request).ok()?;
    let request = Request::new()
        .payload(body.into())
        .timeout(Some(ANSWER_TIMEOUT));
    let answer = client.send_request(subjects::replies(node), request).await;
    serde_json::from_slice(&answer.ok()?.payload).ok()?
}

/// Asks a node whether an upload of a reply is open there; `None` if it does not answer.
pub(super) async fn is_held(client: &Client, node: Uuid, reply: MessageId) -> Option<bool> {
    let body = serde_json::to_vec(&RemoteRequest::Held { reply: reply.0 }).ok()?;
    let request = Request::new()
        .payload(body.into())
        .timeout(Some(ANSWER_TIMEOUT));
    let answer = client.send_request(subjects::replies(node), request).await;
    serde_json::from_slice(&answer.ok()?.payload).ok()
}

/// Reads a reply that this node writes, as another node would.
pub(in crate::events) async fn read_here(
    runs: &Runs,
    reply: MessageId,
    offset: usize,
    changes: u64,
) -> Option<RemoteSlice> {
    find(runs, reply, offset, Some(changes)).await
}

/// Asks a node to stop a reply.
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
            Ok(RemoteRequest::Read {
                reply,
                offset,
                changes,
            }) => {
                let Some(inbox) = message.reply else { continue };
                let (client, runs) = (client.clone(), runs.clone());
                tasks.spawn(async move {
                    let answer = find(&runs, MessageId(reply), offset, changes).await;
                    if let Ok(body) = serde_json::to_vec(&answer) {
                        // If the answer is lost, the reader repeats its request.
                        let _ = client.publish(inbox, body.into()).await;
                    }
                });
            }
            Ok(RemoteRequest::Held { reply }) => {
                let Some(inbox) = message.reply else { continue };
                let log = runs.any(MessageId(reply));
                let is_held = log.is_some_and(|log| log.is_held());
                if let Ok(body) = serde_json::to_vec(&is_held) {
                    // If the answer is lost, the other node takes the reply over.
                    let _ = client.publish(inbox, body.into()).await;
                }
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

async fn find(
    runs: &Runs,
    reply: MessageId,
    offset: usize,
    changes: Option<u64>,
) -> Option<RemoteSlice> {
    let log = runs.any(reply)?;
    let LogSlice {
        text: mut read,
        parts: changed,
        end,
    } = log.read(offset, changes, LONG_POLL_WAIT).await;
    let max_bytes = match changed.is_empty() {
        true => MAX_ANSWER_BYTES,
        false => MAX_ANSWER_BYTES_OF_EACH,
    };
    let is_truncated = truncate(&mut read, max_bytes);
    let all = changed.len();
    let (parts, changes) = fitting(changed, read.length);
    let is_whole = !is_truncated && parts.len() == all;
    Some(RemoteSlice {
        read,
        parts,
        changes,
        ended: end.filter(|_| is_whole).map(|end| RemoteEnd {
            response_id: end.response_id.clone(),
            usage: end.usage,
        }),
    })
}

/// The first of these parts that fit into an answer and lie within its text, and the change number of the last one.
fn fitting(changed: Vec<(Arc<Part>, u64)>, length: usize) -> (Vec<Part>, u64) {
    let (mut parts, mut last, mut bytes) = (Vec::new(), 0, 0);
    for (part, change) in changed {
        bytes += part.size();
        let is_too_much = bytes > MAX_ANSWER_BYTES_OF_EACH && !parts.is_empty();
        if is_too_much || part.at > length {
            break;
        }
        parts.push(Arc::unwrap_or_clone(part));
        last = change;
    }
    (parts, last)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Truncates the text to a size. Returns whether it was longer.
fn truncate(read: &mut ReplySlice, max_bytes: usize) -> bool {
    let whole = read.text.len();
    let fits = read.text.floor_char_boundary(max_bytes);
    read.text.truncate(fits);
    read.length -= whole - fits;
    fits < whole
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::conversation::PartContent;

    #[test]
    fn requests_and_answers_between_nodes_are_a_contract_between_versions() {
        let reply = Uuid::from_u128(7);
        let read = |changes| RemoteRequest::Read {
            reply,
            offset: 5,
            changes,
        };
        // The request of an older version, and that of this one.
        let older = json!({ "read": { "reply": reply, "place": 5 } });
        assert_eq!(json!(read(None)), older);
        let request = json!({ "read": { "reply": reply, "place": 5, "changes": 2 } });
        assert_eq!(json!(read(Some(2))), request);
        for (request, expected) in [(older, read(None)), (request, read(Some(2)))] {
            let parsed: RemoteRequest = serde_json::from_value(request).unwrap();
            assert_eq!(parsed, expected);
        }
        assert_eq!(
            json!(RemoteRequest::Stop { reply }),
            json!({ "stop": { "reply": reply } })
        );
        let answer = RemoteSlice {
            read: ReplySlice::from_offset("Kyoto", 2, true),
            parts: Vec::new(),
            changes: 0,
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
        let part = Part {
            index: 3,
            at: 5,
            content: PartContent::Data {
                id: None,
                name: "map".into(),
                json: "{}".into(),
            },
        };
        let with_parts = RemoteSlice {
            parts: vec![part],
            changes: 9,
            ..answer
        };
        let written = json!(with_parts);
        assert_eq!(
            written["parts"],
            json!([{ "index": 3, "at": 5, "type": "data", "name": "map", "json": "{}" }])
        );
        assert_eq!(
            serde_json::from_value::<RemoteSlice>(written).unwrap(),
            with_parts
        );
    }

    #[test]
    fn parts_that_do_not_fit_or_stand_behind_the_text_wait() {
        let part = |index, at, bytes| {
            let part = Part {
                index,
                at,
                content: PartContent::Reasoning {
                    text: "x".repeat(bytes),
                },
            };
            (Arc::new(part), index as u64 + 1)
        };
        let whole = MAX_ANSWER_BYTES_OF_EACH;
        let (parts, last) = fitting(vec![part(0, 0, whole), part(1, 0, 1)], 5);
        assert_eq!((parts.len(), last), (1, 1));
        let (parts, last) = fitting(vec![part(0, 5, 1), part(1, 6, 1)], 5);
        assert_eq!((parts.len(), last), (1, 1));
        assert_eq!(fitting(vec![part(0, 6, 1)], 5), (Vec::new(), 0));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = format!("Ky{}", "é".repeat(MAX_ANSWER_BYTES / 2 + 1));
        let mut read = ReplySlice::from_offset(&text, 1, false);
        assert!(truncate(&mut read, MAX_ANSWER_BYTES));
        assert_eq!(
            (read.text.len(), read.length),
            (MAX_ANSWER_BYTES - 1, MAX_ANSWER_BYTES)
        );
        assert!(!truncate(&mut read, MAX_ANSWER_BYTES));
    }
}
