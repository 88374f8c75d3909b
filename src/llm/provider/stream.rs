//! Decodes a streamed reply into [`ReplyChunk`]s.
//!
//! Token counts come in an event after the finish reason, so the end is yielded only when the stream ends. Content
//! after a finish reason continues the reply; if the stream then breaks off, the reply is incomplete. A stream without
//! a finish reason was interrupted. A reply with an unparsable event is incomplete, whatever its finish reason.

use std::{collections::VecDeque, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::{
    body::TextStream,
    event::{self, Parsed},
    event_parser::{EventParser, Item},
    finish::Ending,
    state::{Added, AnswerState},
    think::ThinkSplitter,
    wire::WireFormat,
};
use crate::llm::{Finish, ModelError, ModelErrorKind, ReplyChunk, ReplyStream, Usage};

/// The longest reply. The rest is dropped, and the reply ends with [`Finish::Length`].
pub(super) const MAX_TEXT_BYTES: usize = 512 * 1024;

/// The longest wait for token counts after the finish reason; some servers neither send them nor close the stream.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum length of a response's id, in characters; longer ids are truncated.
const MAX_RESPONSE_ID_CHARS: usize = 128;

/// The longest waits for events.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamTimeouts {
    /// The deadline of the first event.
    pub(super) first_event_by: Instant,
    /// The longest wait between two events; comments and reasoning count.
    pub(super) idle: Duration,
    /// From this time on, a stream that breaks off before it has content is a timeout: a provider that kept the request
    /// for that long may have worked on it, and bills that.
    pub(super) worked_from: Instant,
}

/// Decodes a stream.
pub(super) fn decode(
    wire: &'static dyn WireFormat,
    body: TextStream,
    timeouts: StreamTimeouts,
) -> ReplyStream {
    let decoder = Decoder {
        body: Some(body),
        parser: EventParser::default(),
        event_by: timeouts.first_event_by,
        idle: timeouts.idle,
        worked_from: timeouts.worked_from,
        ready: VecDeque::new(),
        answer: AnswerState::new(wire, Some(ThinkSplitter::default())),
        started: false,
        has_content: false,
        has_oversized: false,
        usage: None,
    };
    stream::unfold(decoder, |mut decoder| async {
        let chunk = decoder.next().await?;
        Some((chunk, decoder))
    })
    .boxed()
}

struct Decoder {
    /// `None` once the reply is over: dropping it closes the connection.
    body: Option<TextStream>,
    parser: EventParser,
    /// The deadline of the next event.
    event_by: Instant,
    idle: Duration,
    worked_from: Instant,
    /// Decoded chunks, not yet yielded.
    ready: VecDeque<Result<ReplyChunk, ModelError>>,
    answer: AnswerState,
    /// Whether an id or content was yielded. An id after text would be too late.
    started: bool,
    /// Whether content was yielded.
    has_content: bool,
    /// Whether an event was too large and dropped.
    has_oversized: bool,
    /// The token counts that were yielded last.
    usage: Option<Usage>,
}

impl Decoder {
    async fn next(&mut self) -> Option<Result<ReplyChunk, ModelError>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(chunk);
            }
            let body = self.body.as_mut()?;
            if let Some(item) = self.parser.next() {
                self.receive(item);
                continue;
            }
            if self.parser.is_foreign() {
                self.break_off(ModelErrorKind::Malformed);
                continue;
            }
            match timeout_at(self.event_by, body.next()).await {
                Ok(Some(Ok(text))) => self.parser.push(&text),
                Ok(Some(Err(_))) => self.break_off(self.interruption()),
                Ok(None) => self.end_of_body(),
                Err(_) => self.break_off(ModelErrorKind::Timeout),
            }
        }
    }

    fn end_of_body(&mut self) {
        self.parser.finish();
        while let Some(item) = self.parser.next() {
            self.receive(item);
        }
        if self.body.is_none() {
            return;
        }
        self.answer.break_off(true);
        self.end(match self.parser.is_foreign() {
            true => ModelErrorKind::Malformed,
            false => self.interruption(),
        });
    }

    /// The failure of a stream that ends without a finish reason.
    fn interruption(&self) -> ModelErrorKind {
        match self.has_content || Instant::now() < self.worked_from {
            true => ModelErrorKind::Interrupted,
            false => ModelErrorKind::Timeout,
        }
    }

    fn receive(&mut self, item: Item) {
        if self.body.is_none() {
            return;
        }
        let (name, data, is_cut) = match item {
            Item::Event { name, data, is_cut } => (name, data, is_cut),
            Item::Ping => return self.extend(!self.answer.has_begun()),
            // An image, perhaps; later text is read.
            Item::Oversized => {
                self.has_oversized = true;
                self.answer.unreadable += 1;
                return self.extend(false);
            }
        };
        let events = event::parsed(&data);
        if events.is_none() || event::is_ping(&name) {
            self.extend(!self.answer.has_begun());
        }
        match (name.as_str(), events) {
            (name, _) if event::is_ping(name) => {}
            ("error", events) => self.fail(event::failure_event(events.as_deref())),
            (_, Some(events)) => events.into_iter().for_each(|event| self.read(&name, event)),
            // The missing finish reason already marks the interruption.
            (_, None) if is_cut => {}
            (_, None) => {
                self.answer.unreadable += 1;
                // Tolerate one, so that later events are still read.
                if self.answer.unreadable > 1 {
                    self.break_off(ModelErrorKind::Malformed);
                }
            }
        }
    }

    /// Starts the wait for the next event. An event that only acknowledges the request neither ends nor extends the
    /// wait for the first event of the answer, since the model may then reason in silence. The same holds for a comment
    /// or a ping before the first event.
    fn extend(&mut self, is_acknowledgement: bool) {
        // After the finish reason, further events do not extend the wait for token counts.
        if !self.answer.is_over() && !is_acknowledgement {
            self.event_by = Instant::now() + self.idle;
        }
    }

    fn read(&mut self, name: &str, event: Parsed) {
        let event = match event {
            Parsed::Event(event) => event,
            Parsed::Done => return self.end(self.interruption()),
        };
        if self.body.is_none() {
            return;
        }
        let (had_ended, was_over) = (self.answer.ending.is_some(), self.answer.is_over());
        let room_bytes = self.room_bytes();
        let is_last = match self.answer.read(name, &event) {
            Ok(added) => {
                match self.answer.is_over() {
                    true if was_over => {}
                    true => self.event_by = Instant::now() + self.idle.min(USAGE_TIMEOUT),
                    false => self.extend(added.is_acknowledgement || !self.answer.has_begun()),
                }
                let is_last = added.is_last;
                self.write(added, room_bytes);
                is_last
            }
            Err(failure) => return self.fail(failure.error),
        };
        if let Some(ending) = self.answer.ending.as_ref().filter(|_| !had_ended) {
            if let Ending::Unknown(word) = ending {
                tracing::warn!(
                    finish_reason = word,
                    "unknown finish reason; the reply is stored as incomplete"
                );
            }
            // Without text, report a retryable error.
            if *ending == Ending::Failure && self.answer.text_bytes == 0 {
                self.answer.ending = None;
                self.end(ModelErrorKind::Interrupted);
            }
        }
        if is_last {
            self.end(ModelErrorKind::Interrupted);
        }
    }

    fn start(&mut self, id: Option<String>, model: Option<String>) {
        let id = id.unwrap_or_default();
        let plain = id.chars().filter(|c| !c.is_control());
        let response_id: String = plain.take(MAX_RESPONSE_ID_CHARS).collect();
        if !response_id.is_empty() {
            self.started = true;
            self.ready
                .push_back(Ok(ReplyChunk::Started { response_id, model }));
        }
    }

    fn write(&mut self, added: Added, room_bytes: usize) {
        if !self.started {
            self.start(added.id, added.model);
        }
        let mut text = added.text;
        let full = text.len() > room_bytes;
        text.truncate(text.floor_char_boundary(room_bytes));
        let reasoning = Some(added.reasoning).filter(|text| !text.is_empty());
        let text = Some(text).filter(|text| !text.is_empty());
        let chunks = reasoning
            .map(ReplyChunk::Reasoning)
            .into_iter()
            .chain(added.tools_before.into_iter().map(ReplyChunk::Tool))
            .chain(text.map(ReplyChunk::Delta))
            .chain(added.tools.into_iter().map(ReplyChunk::Tool));
        let before = self.ready.len();
        self.ready.extend(chunks.map(Ok));
        self.has_content |= self.ready.len() > before;
        self.started |= self.has_content;
        // Yield counts as they arrive, so that a stopped reply is counted too, but not before an id that may follow.
        let usage = self.answer.usage.usage();
        if usage != self.usage && (self.started || self.body.is_none()) {
            self.usage = usage;
            self.ready.extend(usage.map(ReplyChunk::Usage).map(Ok));
        }
        if full {
            self.answer.text_bytes = MAX_TEXT_BYTES;
            self.answer.ending = Some(Ending::Known(Finish::Length));
            self.end(ModelErrorKind::Interrupted);
        }
    }

    /// The room that is left for text.
    fn room_bytes(&self) -> usize {
        MAX_TEXT_BYTES.saturating_sub(self.answer.text_bytes)
    }

    /// Ends a reply whose stream breaks off.
    fn break_off(&mut self, otherwise: ModelErrorKind) {
        self.answer.break_off(false);
        self.end(otherwise);
    }

    /// Ends the reply with a failure that the server reports.
    fn fail(&mut self, error: ModelError) {
        self.answer.fail();
        self.end_with(error);
    }

    /// Ends the reply: with its finish reason if there was one, else with an error of this kind.
    fn end(&mut self, otherwise: ModelErrorKind) {
        self.end_with(ModelError::new(otherwise));
    }

    fn end_with(&mut self, otherwise: ModelError) {
        if self.body.take().is_none() {
            return;
        }
        // Yield the buffered rest, and tool calls.
        let room_bytes = self.room_bytes();
        let rest = self.answer.end();
        self.write(rest, room_bytes);
        self.ready.push_back(match self.answer.finish() {
            // An event that was too large, and nothing else, is no answer.
            Some(_) if self.has_oversized && !self.has_content => {
                Err(ModelError::new(ModelErrorKind::Interrupted))
            }
            Some(_) if !self.has_content && self.answer.is_empty() => {
                Err(ModelError::new(ModelErrorKind::Empty))
            }
            Some(finish) => Ok(ReplyChunk::Finished(finish)),
            None => Err(otherwise),
        });
    }
}
