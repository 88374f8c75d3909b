//! Checks that a reply arrived: its whole text once and in order, and an end that follows the protocol.

use std::borrow::Cow;

use serde::Deserialize;

use crate::Result;

/// The event format that a client reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wire {
    /// Chat Completions, from the model or through a proxy.
    Model,
    /// Titlecast's `POST /api/v1/chat/stream`. If a title is generated, the last event contains it.
    Titlecast { titles: bool },
}

/// A reply, as far as it has arrived.
pub struct Reply {
    wire: Wire,
    text: String,
    /// How much of the text has arrived, in bytes.
    length: usize,
    /// The number of pieces in which it arrived.
    pub deltas: usize,
    /// Whether the model has sent its finish reason.
    finished: bool,
    /// Whether the required last event has arrived.
    over: bool,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
    finish_reason: Option<&'a str>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    content: Option<&'a str>,
}

#[derive(Deserialize)]
struct Event<'a> {
    kind: &'a str,
    is_terminal: bool,
    raw_type: Option<&'a str>,
    text_delta: Option<Cow<'a, str>>,
    response_text: Option<Cow<'a, str>>,
    display_name: Option<Cow<'a, str>>,
}

impl Reply {
    /// A reply of which nothing has arrived yet.
    pub fn new(wire: Wire, text: String) -> Self {
        Self {
            wire,
            text,
            length: 0,
            deltas: 0,
            finished: false,
            over: false,
        }
    }

    /// Processes an event.
    pub fn take(&mut self, payload: &[u8]) -> Result<()> {
        if self.over {
            return Err(self.wrong("continues after its end", payload));
        }
        match self.wire {
            Wire::Model if payload == b"[DONE]" => {
                self.over = true;
                match self.finished {
                    true => Ok(()),
                    false => Err(self.wrong("is done before it is finished", payload)),
                }
            }
            Wire::Model => {
                let chunk: Chunk = serde_json::from_slice(payload)?;
                for choice in chunk.choices {
                    self.write(choice.delta.content, payload)?;
                    match choice.finish_reason {
                        None => {}
                        Some("stop") => self.finish(payload)?,
                        Some(_) => return Err(self.wrong("is cut", payload)),
                    }
                }
                Ok(())
            }
            Wire::Titlecast { titles } => {
                let event: Event = serde_json::from_slice(payload)?;
                if event.kind == "error" {
                    return Err(self.wrong("fails", payload));
                }
                self.write(event.text_delta.as_deref(), payload)?;
                if event.is_terminal {
                    let completed = event.raw_type == Some("response.completed");
                    if !completed || event.response_text.as_deref() != Some(&self.text) {
                        return Err(self.wrong("ends with something else", payload));
                    }
                    if event.display_name.is_some() != titles {
                        return Err(self.wrong("ends without its title, or with one", payload));
                    }
                    self.finish(payload)?;
                    self.over = true;
                }
                Ok(())
            }
        }
    }

    /// Whether any text has arrived.
    pub fn begun(&self) -> bool {
        self.deltas > 0
    }

    /// Called when the response is complete according to HTTP. Fails if the last event is missing.
    pub fn end(&self) -> Result<()> {
        match self.over {
            true => Ok(()),
            false => Err(self.wrong("has no end", b"")),
        }
    }

    fn write(&mut self, delta: Option<&str>, payload: &[u8]) -> Result<()> {
        let Some(delta) = delta.filter(|delta| !delta.is_empty()) else {
            return Ok(());
        };
        if !self.text[self.length..].starts_with(delta) {
            return Err(self.wrong("continues with other text", payload));
        }
        self.length += delta.len();
        self.deltas += 1;
        Ok(())
    }

    fn finish(&mut self, payload: &[u8]) -> Result<()> {
        if self.length != self.text.len() || self.finished {
            return Err(self.wrong("is finished too early", payload));
        }
        self.finished = true;
        Ok(())
    }

    fn wrong(&self, what: &str, payload: &[u8]) -> crate::Error {
        let (written, payload) = (&self.text[..self.length], String::from_utf8_lossy(payload));
        format!("a reply {what}: {payload:?} after {written:?}").into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::script::Script, *};

    const SCRIPT: Script = Script {
        reply: 7,
        tokens: 4,
    };

    const UNTITLED: Wire = Wire::Titlecast { titles: false };

    const WIRES: [Wire; 2] = [Wire::Model, UNTITLED];

    /// The events of a reply with these deltas, on either wire.
    fn payloads(wire: Wire, deltas: &[&str]) -> Vec<String> {
        let event = |delta: &&str| match wire {
            Wire::Model => json!({ "choices": [{
                "index": 0, "delta": { "content": delta }, "finish_reason": null
            }] }),
            Wire::Titlecast { .. } => json!({
                "kind": "raw_response_event", "is_terminal": false,
                "raw_type": "response.output_text.delta", "text_delta": delta
            }),
        };
        let end: &[Value] = match wire {
            Wire::Model => &[
                json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }),
                json!({ "choices": [], "usage": { "total_tokens": 9 } }),
            ],
            Wire::Titlecast { .. } => &[json!({
                "kind": "raw_response_event", "is_terminal": true,
                "raw_type": "response.completed", "response_text": SCRIPT.text()
            })],
        };
        let done = (wire == Wire::Model).then(|| "[DONE]".to_owned());
        let events = deltas.iter().map(event).chain(end.iter().cloned());
        events.map(|event| event.to_string()).chain(done).collect()
    }

    fn read(wire: Wire, payloads: &[String]) -> Result<usize> {
        let mut reply = Reply::new(wire, SCRIPT.text());
        for payload in payloads {
            reply.take(payload.as_bytes())?;
        }
        reply.end()?;
        Ok(reply.deltas)
    }

    #[test]
    fn the_whole_text_is_taken_in_any_pieces() {
        for wire in WIRES {
            for (deltas, count) in [
                (&[" 7.0", " 7.1", " 7.2", " 7.3"][..], 4),
                (&["", " 7.0 7", ".1 7.2", " 7.3"], 3),
            ] {
                let read = read(wire, &payloads(wire, deltas));
                assert_eq!(read.unwrap(), count, "{wire:?} {deltas:?}");
            }
        }
    }

    #[test]
    fn a_token_that_is_missing_doubled_or_elsewhere_shows() {
        for wire in WIRES {
            for deltas in [
                &[" 7.0", " 7.1", " 7.3"][..],
                &[" 7.1", " 7.2", " 7.3"],
                &[" 7.0", " 7.1", " 7.2"],
                &[" 7.0", " 7.1", " 7.1", " 7.2", " 7.3"],
                &[" 7.0", " 7.1", " 7.2", " 7.3", " 7.3"],
                &[" 7.0", " 7.2", " 7.1", " 7.3"],
                &[" 8.0", " 8.1", " 8.2", " 8.3"],
                &[],
            ] {
                let read = read(wire, &payloads(wire, deltas));
                assert!(read.is_err(), "{wire:?} {deltas:?}");
            }
        }
    }

    #[test]
    fn an_end_that_is_missing_doubled_or_a_failure_shows() {
        for wire in WIRES {
            let right = payloads(wire, &[" 7.0", " 7.1", " 7.2", " 7.3"]);
            for kept in 0..right.len() {
                assert!(read(wire, &right[..kept]).is_err(), "{wire:?} {kept}");
            }
            let last = &right[right.len() - 1..];
            assert!(read(wire, &[&right, last].concat()).is_err(), "{wire:?}");
            let failed: Vec<_> = right
                .iter()
                .map(|one| {
                    let one = one.replace(r#""stop""#, r#""length""#);
                    one.replace("response.completed", "response.incomplete")
                })
                .collect();
            assert!(read(wire, &failed).is_err(), "{wire:?}");
        }
        let failure = r#"{"kind":"error","is_terminal":true,"payload":{"error":"no"}}"#;
        assert!(read(UNTITLED, &[failure.to_owned()]).is_err());
        let titles = Wire::Titlecast { titles: true };
        let untitled = payloads(titles, &[&SCRIPT.text()]);
        assert!(read(titles, &untitled).is_err());
    }
}
