//! Checks that a reply arrived: the model's whole text, once and in order, and the end.

use std::time::Instant;

use super::wire::{Said, Wire};
use crate::Result;

pub struct Reply {
    wire: Wire,
    /// The text that the model writes.
    text: String,
    /// How much of the text has arrived, in bytes.
    length: usize,
    conversation: Option<String>,
    first: Option<Instant>,
    over: bool,
}

impl Reply {
    /// A reply of which nothing has arrived. The conversation's id is known if the client chose it, or in later turns.
    pub fn new(wire: Wire, text: String, conversation: Option<String>) -> Self {
        // Over WebSocket the answer to the message comes first and contains the id.
        let known = conversation.filter(|_| wire != Wire::Graphql);
        Self {
            wire,
            text,
            length: 0,
            conversation: known,
            first: None,
            over: false,
        }
    }

    /// Processes an event.
    pub fn take(&mut self, payload: &[u8]) -> Result<()> {
        let wrong = |what: &str| -> crate::Error {
            let payload = String::from_utf8_lossy(payload);
            format!("a reply {what}: {payload}").into()
        };
        match self.wire.said(payload)? {
            Said::Other => Ok(()),
            Said::Failed => Err(wrong("fails")),
            Said::Conversation(id) => match &self.conversation {
                Some(known) if **known != *id => Err(wrong("is another conversation's")),
                _ => {
                    self.conversation = Some(id.into_owned());
                    Ok(())
                }
            },
            Said::Text(text) if text.is_empty() => Ok(()),
            Said::Text(text) => {
                if self.over || !self.text[self.length..].starts_with(&*text) {
                    return Err(wrong("goes on with something else"));
                }
                self.length += text.len();
                self.first.get_or_insert_with(Instant::now);
                Ok(())
            }
            Said::Completed(whole) => {
                if self.over || self.length != self.text.len() {
                    return Err(wrong("ends too early, or twice"));
                }
                if whole.is_some_and(|whole| *whole != self.text) {
                    return Err(wrong("ends as another one"));
                }
                self.over = true;
                Ok(())
            }
        }
    }

    pub fn conversation(&self) -> Option<&str> {
        self.conversation.as_deref()
    }

    pub fn over(&self) -> bool {
        self.over
    }

    /// The conversation's id, and when the first text arrived; an error unless everything arrived.
    pub fn end(self) -> Result<(String, Instant)> {
        match (self.conversation, self.first, self.over) {
            (Some(conversation), Some(first), true) => Ok((conversation, first)),
            _ => {
                let got = &self.text[..self.length];
                Err(format!("a reply has no end after {got:?}").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A reply of these texts, and its end, in a wire's format.
    fn events(wire: Wire, texts: &[&str]) -> Vec<String> {
        let next = |reply: Value| json!({ "type": "next", "id": "r", "payload": { "data": { "reply": reply } } });
        let event = |text: &&str| match wire {
            Wire::Graphql => {
                next(json!({ "__typename": "ReplyDelta", "text": text, "cursor": "1" }))
            }
            Wire::Legacy => {
                json!({ "kind": "raw_response_event", "conversation_id": "c", "text_delta": text })
            }
            Wire::Ui | Wire::AiSdk => json!({ "type": "text-delta", "id": "t", "delta": text }),
            Wire::AgUi => json!({ "type": "TEXT_MESSAGE_CONTENT", "delta": text }),
            Wire::Floor => json!({ "delta": text }),
        };
        let end = match wire {
            Wire::Graphql => next(
                json!({ "__typename": "ReplyEnded", "outcome": "COMPLETED", "text": "one two" }),
            ),
            Wire::Legacy => json!({ "kind": "raw_response_event", "conversation_id": "c",
                "raw_type": "response.completed", "response_text": "one two" }),
            Wire::Ui | Wire::AiSdk => json!({ "type": "finish" }),
            Wire::AgUi => json!({ "type": "RUN_FINISHED" }),
            Wire::Floor => json!({ "done": "one two" }),
        };
        let all = texts.iter().map(event).chain([end]);
        all.map(|event| event.to_string()).collect()
    }

    fn read(wire: Wire, events: &[String]) -> Result<String> {
        let mut reply = Reply::new(wire, "one two".to_owned(), None);
        reply.conversation = Some("c".to_owned());
        for event in events {
            reply.take(event.as_bytes())?;
        }
        Ok(reply.end()?.0)
    }

    #[test]
    fn a_whole_reply_is_taken_on_every_wire() {
        for wire in Wire::ALL {
            let events = events(wire, &["one", "", " two"]);
            assert_eq!(read(wire, &events).unwrap(), "c", "{wire:?}");
        }
    }

    #[test]
    fn text_that_is_lost_or_doubled_and_an_end_that_is_missing_show() {
        for wire in Wire::ALL {
            for texts in [
                &["one"][..],
                &[" two"],
                &["one", "one", " two"],
                &[" two", "one"],
                &[],
            ] {
                assert!(
                    read(wire, &events(wire, texts)).is_err(),
                    "{wire:?} {texts:?}"
                );
            }
            let whole = events(wire, &["one", " two"]);
            assert!(read(wire, &whole[..2]).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn a_failure_shows() {
        for (wire, event) in [
            (Wire::Graphql, r#"{"type":"error","id":"m","payload":[]}"#),
            (Wire::Legacy, r#"{"kind":"error","conversation_id":"c"}"#),
            (Wire::Ui, r#"{"type":"error","errorText":"no"}"#),
            (
                Wire::Ui,
                r#"{"type":"finish","messageMetadata":{"outcome":"incomplete"}}"#,
            ),
            (Wire::AgUi, r#"{"type":"RUN_ERROR","code":"no"}"#),
        ] {
            let mut events = events(wire, &["one", " two"]);
            events.insert(2, event.to_owned());
            assert!(read(wire, &events).is_err(), "{event}");
        }
    }
}
