//! Reading a reply that another node writes.
//!
//! Requests and answers, on a subject of the node that writes. It answers when there is something behind
//! the place that it is asked about, or after a moment; whoever asked goes on from there. So at most one
//! answer a reader is on its way, a slow network makes longer answers instead of more of them, and it does
//! not matter which of them are lost.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, Request};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::subject;
use crate::{
    conversation::{MessageId, Usage},
    events::run::{Read, Runs},
};

/// How long an answer may wait for something to say.
const HOLD: Duration = Duration::from_millis(500);

/// How long an answer is waited for: a broker that was restarted in between has lost it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most text of an answer, in bytes. As JSON it may be six times as long, and a broker takes a
/// megabyte.
const MAX_TEXT: usize = 128 * 1024;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    /// What is behind this place?
    Read { reply: Uuid, place: usize },
    /// Nobody wants the rest.
    Stop { reply: Uuid },
}

/// What another node has of a reply.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadElsewhere {
    /// What follows the place.
    #[serde(flatten)]
    pub read: Read,
    /// Set when nothing follows any more.
    pub ended: Option<Ended>,
}

/// What a row does not hold of the end of a reply.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The provider's id of it, if it gave one.
    pub response_id: Option<String>,
    /// What it cost, if the provider said so.
    pub usage: Option<Usage>,
}

/// Asks a node for what is behind a place; `None`: it does not answer, or does not know the reply.
pub(super) async fn read(
    client: &Client,
    node: Uuid,
    reply: MessageId,
    place: usize,
) -> Option<ReadElsewhere> {
    let reply = reply.0;
    let body = serde_json::to_vec(&Ask::Read { reply, place }).ok()?;
    let request = Request::new().payload(body.into()).timeout(Some(PATIENCE));
    let answer = client.send_request(subject::replies(node), request).await;
    serde_json::from_slice(&answer.ok()?.payload).ok()?
}

/// Asks a node to stop a reply.
pub(super) async fn stop(client: &Client, node: Uuid, reply: MessageId) {
    if let Ok(body) = serde_json::to_vec(&Ask::Stop { reply: reply.0 }) {
        // When it is lost, the node finds it in the row.
        let _ = client.publish(subject::replies(node), body.into()).await;
    }
}

/// Answers what other nodes ask. Never ends, unless the client does.
pub(super) async fn answer(client: &Client, node: Uuid, runs: &Arc<Runs>) {
    let Ok(mut asked) = client.subscribe(subject::replies(node)).await else {
        return;
    };
    let tasks = TaskTracker::new();
    while let Some(message) = asked.next().await {
        match serde_json::from_slice(&message.payload) {
            Ok(Ask::Read { reply, place }) => {
                let Some(inbox) = message.reply else { continue };
                let (client, runs) = (client.clone(), runs.clone());
                tasks.spawn(async move {
                    let answer = find(&runs, MessageId(reply), place).await;
                    if let Ok(body) = serde_json::to_vec(&answer) {
                        // When it is lost, it is asked for again.
                        let _ = client.publish(inbox, body.into()).await;
                    }
                });
            }
            Ok(Ask::Stop { reply }) => {
                if let Some(log) = runs.any(MessageId(reply)) {
                    log.stop();
                }
            }
            // A newer version's, perhaps.
            Err(_) => {}
        }
    }
}

async fn find(runs: &Runs, reply: MessageId, place: usize) -> Option<ReadElsewhere> {
    let log = runs.any(reply)?;
    let (mut read, end) = log.read(place, HOLD).await;
    let is_cut = cut(&mut read);
    Some(ReadElsewhere {
        read,
        ended: end.filter(|_| !is_cut).map(|end| Ended {
            response_id: end.response_id.clone(),
            usage: end.usage,
        }),
    })
}

/// Whether the text was longer than an answer.
fn cut(read: &mut Read) -> bool {
    let whole = read.text.len();
    let fits = read.text.floor_char_boundary(MAX_TEXT);
    read.text.truncate(fits);
    read.length -= whole - fits;
    fits < whole
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nodes_ask_and_answer_is_a_contract_between_versions() {
        let reply = Uuid::from_u128(7);
        let ask = json!({ "read": { "reply": reply, "place": 5 } });
        assert_eq!(json!(Ask::Read { reply, place: 5 }), ask);
        assert_eq!(
            json!(Ask::Stop { reply }),
            json!({ "stop": { "reply": reply } })
        );
        let answer = ReadElsewhere {
            read: Read::of("Kyoto", 2, true),
            ended: Some(Ended {
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
            serde_json::from_value::<ReadElsewhere>(written).unwrap(),
            answer
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = format!("Ky{}", "é".repeat(MAX_TEXT / 2 + 1));
        let mut read = Read::of(&text, 1, false);
        assert!(cut(&mut read));
        assert_eq!((read.text.len(), read.length), (MAX_TEXT - 1, MAX_TEXT));
        assert!(!cut(&mut read));
    }
}
