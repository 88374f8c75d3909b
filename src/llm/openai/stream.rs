//! Decodes a streamed reply into [`ReplyChunk`]s.
//!
//! Token counts come in an event after the finish reason, so the end is held back until the stream ends. A stream
//! without a finish reason was interrupted. A reply with an unparsable event is incomplete, whatever its finish reason.

use std::{collections::VecDeque, io, time::Duration};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{
    body::TextStream,
    event_parser::{EventParser, Item},
    failure::Failure,
    finish::{self, Ending},
    surrogates::{self, SurrogateJoiner},
    wire::{self, ChoiceContent},
};
use crate::llm::{Finish, ModelError, ModelErrorKind, ReplyChunk, ReplyStream, Usage};

/// The longest reply. The rest is dropped, and the reply ends with [`Finish::Length`].
pub(super) const MAX_TEXT_BYTES: usize = 512 * 1024;

/// The longest wait for token counts after the finish reason; some servers neither send them nor close the stream.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The most characters kept of a response's id.
const MAX_RESPONSE_ID_CHARS: usize = 128;

/// The longest waits for events.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamTimeouts {
    /// The deadline of the first event.
    pub(super) first_event_by: Instant,
    /// The longest wait between two events; comments and reasoning count.
    pub(super) idle: Duration,
}

/// Decodes a stream.
pub(super) fn decode(body: TextStream, timeouts: StreamTimeouts) -> ReplyStream {
    let decoder = Decoder {
        body: Some(body),
        parser: EventParser::default(),
        event_by: timeouts.first_event_by,
        idle: timeouts.idle,
        ready: VecDeque::new(),
        answer: AnswerState::default(),
        started: false,
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
    /// Decoded chunks, not yet yielded.
    ready: VecDeque<Result<ReplyChunk, ModelError>>,
    answer: AnswerState,
    /// Whether an id or text was yielded. An id after text would be too late.
    started: bool,
}

/// The state of one answer, accumulated from its events, without its text.
#[derive(Debug, Default)]
pub(super) struct AnswerState {
    joiner: SurrogateJoiner,
    /// The number of unparsable events.
    unreadable: u32,
    text_bytes: usize,
    reasons: bool,
    has_others: bool,
    is_refusal: bool,
    usage: Option<Usage>,
    ending: Option<Ending>,
}

impl AnswerState {
    /// Reads an event; returns its text.
    ///
    /// # Errors
    /// The failure that the event reports.
    pub(super) fn read(&mut self, event: &Event) -> Result<String, Failure> {
        if let Some(failure) = Failure::in_answer(&event.value) {
            return Err(failure);
        }
        self.usage = wire::usage(&event.value).or(self.usage);
        let choice = wire::first_choice(&event.value).unwrap_or_else(|()| {
            self.unreadable += 1;
            None
        });
        // A later finish reason may replace `stop`, but not a failure.
        let may_change = matches!(self.ending, None | Some(Ending::Known(Finish::Stop)));
        if let Some(ending) = finish::read(choice, &event.value).filter(|_| may_change) {
            self.ending = Some(ending);
        }
        let Some(choice) = choice else {
            return Ok(String::new());
        };
        let part = ChoiceContent::read(choice);
        self.unreadable += u32::from(part.is_unreadable);
        self.reasons |= part.reasons;
        self.has_others |= part.has_others;
        self.is_refusal |= part.is_refusal;
        let text = match event.marked_text(&part.text) {
            Some(text) => self.joiner.marked(&text),
            None => self.joiner.plain(part.text),
        };
        self.text_bytes += text.len();
        Ok(text)
    }

    /// The finish reason; `None` if the answer was interrupted.
    pub(super) fn finish(&self) -> Option<Finish> {
        let finish = self.ending.as_ref()?.finish();
        let has_nothing = self.text_bytes == 0 && (self.reasons || self.has_others);
        Some(match finish {
            Finish::Stop if self.unreadable > 0 => Finish::Unreadable,
            Finish::Stop if has_nothing => Finish::NoText,
            finish => finish,
        })
    }
}

/// An event that is JSON.
pub(super) struct Event {
    value: Value,
    /// The same with marks in place of lone surrogates, if it has any.
    marked: Option<Value>,
}

impl Event {
    /// Parses an event.
    ///
    /// # Errors
    /// When it is not JSON, not even by the lenient rules.
    pub(super) fn parse(data: &str) -> Result<Self, serde_json::Error> {
        if let Ok(value) = serde_json::from_str(data) {
            return Ok(Self {
                value,
                marked: None,
            });
        }
        let marked = surrogates::marked(data);
        Ok(Self {
            value: lenient_json::from_provider(data.as_bytes())?,
            marked: marked.and_then(|marked| lenient_json::from_provider(marked.as_bytes()).ok()),
        })
    }

    /// The text of the same choice with marks, unless the text itself contains such characters.
    fn marked_text(&self, text: &str) -> Option<String> {
        let choice = wire::first_choice(self.marked.as_ref()?).ok()??;
        (!surrogates::looks_marked(text)).then(|| ChoiceContent::read(choice).text)
    }
}

/// The events in one data field. Some servers separate events by a single line break instead of a blank line.
pub(super) fn parsed(data: &str) -> Option<Vec<Parsed>> {
    if let Some(parsed) = parse(data) {
        return Some(vec![parsed]);
    }
    let lines = data.lines().filter(|line| !line.trim().is_empty());
    match data.trim().contains('\n') {
        true => lines.map(parse).collect(),
        false => None,
    }
}

/// One event.
pub(super) enum Parsed {
    Done,
    Event(Event),
}

fn parse(data: &str) -> Option<Parsed> {
    let data = data.trim();
    match data {
        "[DONE]" | "DONE" => Some(Parsed::Done),
        _ => Event::parse(data).ok().map(Parsed::Event),
    }
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
                self.end(ModelErrorKind::Malformed);
                continue;
            }
            match timeout_at(self.event_by, body.next()).await {
                Ok(Some(Ok(text))) => {
                    if self.parser.push(&text).is_err() {
                        self.end(ModelErrorKind::Interrupted);
                    }
                }
                Ok(Some(Err(_))) => self.end(ModelErrorKind::Interrupted),
                Ok(None) => self.end_of_body(),
                Err(_) => self.end(ModelErrorKind::Timeout),
            }
        }
    }

    fn end_of_body(&mut self) {
        self.parser.finish();
        while let Some(item) = self.parser.next() {
            self.receive(item);
        }
        self.end(match self.parser.is_foreign() {
            true => ModelErrorKind::Malformed,
            false => ModelErrorKind::Interrupted,
        });
    }

    fn receive(&mut self, item: Item) {
        // After the finish reason, further events do not extend the wait for token counts.
        if self.answer.ending.is_none() {
            self.event_by = Instant::now() + self.idle;
        }
        if self.body.is_none() {
            return;
        }
        let Item::Event { name, data, is_cut } = item else {
            return;
        };
        match (name.as_str(), parsed(&data)) {
            (name, _) if is_ping(name) => {}
            ("error", events) => self.end_with(failure_event(events.as_deref())),
            (_, Some(events)) => events.into_iter().for_each(|event| self.read(event)),
            // The missing finish reason already marks the interruption.
            (_, None) if is_cut => {}
            (_, None) => {
                self.answer.unreadable += 1;
                // Tolerate one, so that later events are still read.
                if self.answer.unreadable > 1 {
                    self.end(ModelErrorKind::Malformed);
                }
            }
        }
    }

    fn read(&mut self, event: Parsed) {
        let event = match event {
            Parsed::Event(event) => event,
            Parsed::Done => return self.end(ModelErrorKind::Interrupted),
        };
        if self.body.is_none() {
            return;
        }
        if !self.started {
            self.start(&event.value);
        }
        let had_ended = self.answer.ending.is_some();
        let room_bytes = MAX_TEXT_BYTES - self.answer.text_bytes;
        match self.answer.read(&event) {
            Ok(text) => self.write(text, room_bytes),
            Err(failure) => return self.end_with(failure.error),
        }
        if let Some(ending) = self.answer.ending.as_ref().filter(|_| !had_ended) {
            self.event_by = Instant::now() + self.idle.min(USAGE_TIMEOUT);
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
    }

    fn start(&mut self, event: &Value) {
        let id = event.get("id").and_then(Value::as_str).unwrap_or_default();
        let plain = id.chars().filter(|c| !c.is_control());
        let response_id: String = plain.take(MAX_RESPONSE_ID_CHARS).collect();
        if !response_id.is_empty() {
            self.started = true;
            let model = wire::model(event);
            self.ready
                .push_back(Ok(ReplyChunk::Started { response_id, model }));
        }
    }

    fn write(&mut self, mut text: String, room_bytes: usize) {
        let full = text.len() > room_bytes;
        text.truncate(text.floor_char_boundary(room_bytes));
        if !text.is_empty() {
            self.started = true;
            self.ready.push_back(Ok(ReplyChunk::Delta(text)));
        }
        if full {
            self.answer.text_bytes = MAX_TEXT_BYTES;
            self.answer.ending = Some(Ending::Known(Finish::Length));
            self.end(ModelErrorKind::Interrupted);
        }
    }

    /// Ends the reply: with its finish reason if there was one, else with an error of this kind.
    fn end(&mut self, otherwise: ModelErrorKind) {
        self.end_with(ModelError::new(otherwise));
    }

    fn end_with(&mut self, otherwise: ModelError) {
        if self.body.take().is_none() {
            return;
        }
        let rest = self.answer.joiner.finish();
        if !rest.is_empty() {
            self.answer.text_bytes += rest.len();
            self.ready.push_back(Ok(ReplyChunk::Delta(rest)));
        }
        let Some(finish) = self.answer.finish() else {
            return self.ready.push_back(Err(otherwise));
        };
        self.ready
            .extend(self.answer.usage.map(|usage| Ok(ReplyChunk::Usage(usage))));
        self.ready.push_back(Ok(ReplyChunk::Finished(finish)));
    }
}

/// Whether an event of this name is a keep-alive.
fn is_ping(name: &str) -> bool {
    matches!(name, "ping" | "keepalive" | "keep-alive" | "heartbeat")
}

/// The error in an event named `error`.
fn failure_event(events: Option<&[Parsed]>) -> ModelError {
    let failure = events
        .unwrap_or_default()
        .iter()
        .find_map(|event| match event {
            Parsed::Event(event) => Failure::in_answer(&event.value),
            Parsed::Done => None,
        });
    match failure {
        Some(failure) => failure.error,
        None => ModelError::new(ModelErrorKind::Unavailable),
    }
}

/// Assembles a non-streamed answer that came as events or JSON lines into one document.
///
/// # Errors
/// The failure that an event reports; [`ModelErrorKind::Malformed`] if there is no answer.
pub(super) fn document(text: &str) -> Result<Value, Failure> {
    let malformed = |_: io::Error| Failure::new(ModelErrorKind::Malformed);
    let mut parser = EventParser::default();
    parser.push(text).map_err(malformed)?;
    parser.finish();
    let (mut answer, mut content, mut model) = (AnswerState::default(), String::new(), None);
    let mut is_any = false;
    let mut is_done = false;
    while let Some(item) = parser.next().filter(|_| !is_done) {
        let Item::Event { name, data, .. } = item else {
            continue;
        };
        if is_ping(&name) {
            continue;
        }
        let events = parsed(&data);
        if name == "error" && answer.ending.is_none() {
            let mut failure = Failure::new(ModelErrorKind::Unavailable);
            failure.error = failure_event(events.as_deref());
            return Err(failure);
        }
        if events.is_none() {
            answer.unreadable += 1;
        }
        for event in events.unwrap_or_default() {
            let Parsed::Event(event) = event else {
                is_done = true;
                break;
            };
            is_any |= event.value.get("choices").is_some();
            match answer.read(&event) {
                Ok(text) => content += &text,
                // Errors after the finish reason are ignored.
                Err(_) if answer.ending.is_some() => {}
                Err(failure) => return Err(failure),
            }
            model = model.or_else(|| wire::model(&event.value));
        }
    }
    if !is_any {
        return Err(Failure::new(ModelErrorKind::Malformed));
    }
    content += &answer.joiner.finish();
    let finish: &str = match (&answer.ending, answer.finish()) {
        (Some(Ending::Failure), _) => "error",
        (_, Some(finish)) => finish.into(),
        (_, None) => "interrupted",
    };
    let (content, refusal) = match answer.is_refusal {
        true => (String::new(), content),
        false => (content, String::new()),
    };
    let usage = answer.usage.map(|usage| {
        serde_json::json!({
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "completion_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
        })
    });
    Ok(serde_json::json!({
        "model": model,
        "choices": [{
            "message": { "content": content, "refusal": refusal },
            "finish_reason": finish,
        }],
        "usage": usage,
    }))
}
