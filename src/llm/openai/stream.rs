//! A streamed reply: from the provider's events to [`ReplyChunk`]s.
//!
//! The token counts come in an event of their own after the one that says why the model stopped, so the end is held
//! back until the stream ends. An end without a reason is no end: the reply was cut.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use eventsource_stream::{Event, EventStream};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::time::timeout;

use super::{failure::Failure, transport::Pieces, wire};
use crate::llm::{Finish, ModelError, ModelErrorKind, ReplyChunk, ReplyStream, Usage};

/// The longest reply; what comes after is dropped, and the reply ends with [`Finish::Length`].
pub(super) const MAX_TEXT_BYTES: usize = 512 * 1024;

/// How long an answered reply may wait for its token counts; some servers neither send them nor close the stream.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// More of a response's id than this is not kept.
const MAX_ID_CHARS: usize = 128;

/// Decodes a stream. `idle_timeout` bounds each wait for an event.
pub(super) fn decode(pieces: Pieces, idle_timeout: Duration) -> ReplyStream {
    let decoder = Decoder {
        events: Some(Box::pin(EventStream::new(pieces))),
        idle_timeout,
        ready: VecDeque::new(),
        started: false,
        broken: false,
        text_bytes: 0,
        usage: None,
        finish: None,
    };
    stream::unfold(decoder, |mut decoder| async {
        let chunk = decoder.next().await?;
        Some((chunk, decoder))
    })
    .boxed()
}

struct Decoder {
    /// Gone once the reply is over: dropping it closes the connection.
    events: Option<Pin<Box<EventStream<Pieces>>>>,
    idle_timeout: Duration,
    /// Decoded, not yet handed out.
    ready: VecDeque<Result<ReplyChunk, ModelError>>,
    /// Whether an id was handed out, or text, after which an id would come too late.
    started: bool,
    /// Whether an event was not JSON; one is forgiven.
    broken: bool,
    text_bytes: usize,
    usage: Option<Usage>,
    finish: Option<Finish>,
}

impl Decoder {
    async fn next(&mut self) -> Option<Result<ReplyChunk, ModelError>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(chunk);
            }
            let events = self.events.as_mut()?;
            let patience = match self.finish {
                Some(_) => self.idle_timeout.min(USAGE_TIMEOUT),
                None => self.idle_timeout,
            };
            match timeout(patience, events.next()).await {
                Ok(Some(Ok(event))) => self.receive(&event),
                Ok(Some(Err(_)) | None) => self.end(ModelErrorKind::Interrupted),
                Err(_) => self.end(ModelErrorKind::Timeout),
            }
        }
    }

    fn receive(&mut self, event: &Event) {
        match (event.event.as_str(), event.data.as_str()) {
            ("keepalive", _) => {}
            (_, "[DONE]") => self.end(ModelErrorKind::Interrupted),
            (_, data) => match serde_json::from_str(data) {
                Ok(event) => self.read(&event),
                Err(_) if !self.broken => self.broken = true,
                Err(_) => self.end(ModelErrorKind::Malformed),
            },
        }
    }

    fn read(&mut self, event: &Value) {
        if let Some(failure) = Failure::in_answer(event) {
            return self.end_with(failure.error);
        }
        if !self.started {
            self.start(event);
        }
        self.usage = wire::usage(event).or(self.usage);
        let Some(choice) = wire::first_choice(event) else {
            return;
        };
        // A server that does not stream sends the whole message at once.
        if let Some(delta) = choice.get("delta").or_else(|| choice.get("message")) {
            self.write(wire::text(delta.get("content")));
            // A refusal is what the model has to say; a person should read it.
            self.write(wire::text(delta.get("refusal")));
        }
        match wire::finish(choice) {
            Ok(finish) => self.finish = self.finish.or(finish),
            Err(()) => self.end(ModelErrorKind::Interrupted),
        }
    }

    fn start(&mut self, event: &Value) {
        let id = event.get("id").and_then(Value::as_str).unwrap_or_default();
        let plain = id.chars().filter(|c| !c.is_control());
        let response_id: String = plain.take(MAX_ID_CHARS).collect();
        if !response_id.is_empty() {
            self.started = true;
            let model = wire::model(event);
            self.ready
                .push_back(Ok(ReplyChunk::Started { response_id, model }));
        }
    }

    fn write(&mut self, mut text: String) {
        let room_bytes = MAX_TEXT_BYTES - self.text_bytes;
        let full = text.len() > room_bytes;
        text.truncate(text.floor_char_boundary(room_bytes));
        if !text.is_empty() {
            self.started = true;
            self.text_bytes += text.len();
            self.ready.push_back(Ok(ReplyChunk::Delta(text)));
        }
        if full {
            self.finish = Some(Finish::Length);
            self.end(ModelErrorKind::Interrupted);
        }
    }

    /// Ends the reply: well, if the model has said why it stopped, whatever became of the connection since.
    fn end(&mut self, otherwise: ModelErrorKind) {
        self.end_with(ModelError::new(otherwise));
    }

    fn end_with(&mut self, otherwise: ModelError) {
        if self.events.take().is_none() {
            return;
        }
        let Some(finish) = self.finish else {
            return self.ready.push_back(Err(otherwise));
        };
        self.ready
            .extend(self.usage.map(|usage| Ok(ReplyChunk::Usage(usage))));
        self.ready.push_back(Ok(ReplyChunk::Finished(finish)));
    }
}
