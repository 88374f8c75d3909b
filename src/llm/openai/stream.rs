//! A streamed reply: from what a server sends to [`ReplyChunk`]s.
//!
//! The token counts come in an event of their own after the one that says why the model stopped, so the end is held
//! back until the stream ends. An end without a reason is no end: the reply was cut. A reply of which an event could
//! not be read is not whole, whatever its end says.

use std::{collections::VecDeque, io, time::Duration};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{
    body::Pieces,
    failure::Failure,
    finish::{self, Ending},
    halves::{self, Halves},
    reader::{Item, Reader},
    wire::{self, Part},
};
use crate::{
    json,
    llm::{Finish, ModelError, ModelErrorKind, ReplyChunk, ReplyStream, Usage},
};

/// The longest reply; what comes after is dropped, and the reply ends with [`Finish::Length`].
pub(super) const MAX_TEXT_BYTES: usize = 512 * 1024;

/// How long an answered reply may wait for its token counts; some servers neither send them nor close the stream.
const USAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// More of a response's id than this is not kept.
const MAX_ID_CHARS: usize = 128;

/// How long a stream may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// The first event has to be there by then.
    pub(super) first_event_by: Instant,
    /// The longest wait between two events; comments and reasoning count.
    pub(super) idle: Duration,
}

/// Decodes a stream.
pub(super) fn decode(pieces: Pieces, silence: Silence) -> ReplyStream {
    let decoder = Decoder {
        pieces: Some(pieces),
        reader: Reader::default(),
        event_by: silence.first_event_by,
        idle: silence.idle,
        ready: VecDeque::new(),
        answer: Answer::default(),
        started: false,
    };
    stream::unfold(decoder, |mut decoder| async {
        let chunk = decoder.next().await?;
        Some((chunk, decoder))
    })
    .boxed()
}

struct Decoder {
    /// Gone once the reply is over: dropping it closes the connection.
    pieces: Option<Pieces>,
    reader: Reader,
    /// When the wait for the next event is over.
    event_by: Instant,
    idle: Duration,
    /// Decoded, not yet handed out.
    ready: VecDeque<Result<ReplyChunk, ModelError>>,
    answer: Answer,
    /// Whether an id was handed out, or text, after which an id would come too late.
    started: bool,
}

/// What the events of one answer come to, without its text.
#[derive(Debug, Default)]
pub(super) struct Answer {
    halves: Halves,
    /// How many events could not be read.
    unreadable: u32,
    text_bytes: usize,
    reasons: bool,
    has_others: bool,
    is_refusal: bool,
    usage: Option<Usage>,
    ending: Option<Ending>,
}

impl Answer {
    /// Reads an event; gives its text.
    ///
    /// # Errors
    /// The failure that it tells of.
    pub(super) fn read(&mut self, event: &Event) -> Result<String, Failure> {
        if let Some(failure) = Failure::in_answer(&event.value) {
            return Err(failure);
        }
        self.usage = wire::usage(&event.value).or(self.usage);
        let choice = wire::first_choice(&event.value).unwrap_or_else(|()| {
            self.unreadable += 1;
            None
        });
        // A worse end that comes later counts, a better one does not.
        let may_change = matches!(self.ending, None | Some(Ending::Known(Finish::Stop)));
        if let Some(ending) = finish::read(choice, &event.value).filter(|_| may_change) {
            self.ending = Some(ending);
        }
        let Some(choice) = choice else {
            return Ok(String::new());
        };
        let part = Part::read(choice);
        self.unreadable += u32::from(part.is_unreadable);
        self.reasons |= part.reasons;
        self.has_others |= part.has_others;
        self.is_refusal |= part.is_refusal;
        let text = match event.marked_text(&part.text) {
            Some(text) => self.halves.marked(&text),
            None => self.halves.plain(part.text),
        };
        self.text_bytes += text.len();
        Ok(text)
    }

    /// How the answer ended; `None` when it was cut.
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
    /// The same with marks in place of lone halves of characters, where it has any.
    marked: Option<Value>,
}

impl Event {
    /// # Errors
    /// When it is no JSON, however lenient one is.
    pub(super) fn parse(data: &str) -> Result<Self, serde_json::Error> {
        if let Ok(value) = serde_json::from_str(data) {
            return Ok(Self {
                value,
                marked: None,
            });
        }
        let marked = halves::marked(data);
        Ok(Self {
            value: json::from_provider(data.as_bytes())?,
            marked: marked.and_then(|marked| json::from_provider(marked.as_bytes()).ok()),
        })
    }

    /// The text of the same choice with marks, unless it has marks of its own.
    fn marked_text(&self, text: &str) -> Option<String> {
        let choice = wire::first_choice(self.marked.as_ref()?).ok()??;
        (!halves::looks_marked(text)).then(|| Part::read(choice).text)
    }
}

/// The events in what a server sent as one: some put a line break between two of them and no blank line.
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
            let pieces = self.pieces.as_mut()?;
            if let Some(item) = self.reader.next() {
                self.receive(item);
                continue;
            }
            if self.reader.is_foreign() {
                self.end(ModelErrorKind::Malformed);
                continue;
            }
            match timeout_at(self.event_by, pieces.next()).await {
                Ok(Some(Ok(text))) => {
                    if self.reader.push(&text).is_err() {
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
        self.reader.finish();
        while let Some(item) = self.reader.next() {
            self.receive(item);
        }
        self.end(match self.reader.is_foreign() {
            true => ModelErrorKind::Malformed,
            false => ModelErrorKind::Interrupted,
        });
    }

    fn receive(&mut self, item: Item) {
        // After the end there is one wait for the counts, however many events come.
        if self.answer.ending.is_none() {
            self.event_by = Instant::now() + self.idle;
        }
        if self.pieces.is_none() {
            return;
        }
        let Item::Event { name, data, is_cut } = item else {
            return;
        };
        match (name.as_str(), parsed(&data)) {
            (name, _) if is_ping(name) => {}
            ("error", events) => self.end_with(failure_event(events.as_deref())),
            (_, Some(events)) => events.into_iter().for_each(|event| self.read(event)),
            // The cut shows by itself.
            (_, None) if is_cut => {}
            (_, None) => {
                self.answer.unreadable += 1;
                // One is forgiven, so that what follows it is read.
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
        if self.pieces.is_none() {
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
                    "unknown finish reason: the reply is incomplete"
                );
            }
            // Nothing to lose by asking again.
            if *ending == Ending::Failure && self.answer.text_bytes == 0 {
                self.answer.ending = None;
                self.end(ModelErrorKind::Interrupted);
            }
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

    /// Ends the reply: well, if the model has said why it stopped, whatever became of the connection since.
    fn end(&mut self, otherwise: ModelErrorKind) {
        self.end_with(ModelError::new(otherwise));
    }

    fn end_with(&mut self, otherwise: ModelError) {
        if self.pieces.take().is_none() {
            return;
        }
        let rest = self.answer.halves.finish();
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

/// Whether an event of this name only keeps the connection alive, whatever it holds.
fn is_ping(name: &str) -> bool {
    matches!(name, "ping" | "keepalive" | "keep-alive" | "heartbeat")
}

/// What an event says whose name is `error`, in whatever form.
fn failure_event(events: Option<&[Parsed]>) -> ModelError {
    let told = events
        .unwrap_or_default()
        .iter()
        .find_map(|event| match event {
            Parsed::Event(event) => Failure::in_answer(&event.value),
            Parsed::Done => None,
        });
    match told {
        Some(failure) => failure.error,
        None => ModelError::new(ModelErrorKind::Unavailable),
    }
}

/// An answer in one piece that came as events or lines, put together as the document that was asked for.
///
/// # Errors
/// The failure that one of them tells of; [`ModelErrorKind::Malformed`] when there is no answer in them.
pub(super) fn document(text: &str) -> Result<Value, Failure> {
    let malformed = |_: io::Error| Failure::new(ModelErrorKind::Malformed);
    let mut reader = Reader::default();
    reader.push(text).map_err(malformed)?;
    reader.finish();
    let (mut answer, mut content, mut model) = (Answer::default(), String::new(), None);
    let mut is_any = false;
    let mut is_done = false;
    while let Some(item) = reader.next().filter(|_| !is_done) {
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
                // What comes behind the end cannot undo it.
                Err(_) if answer.ending.is_some() => {}
                Err(failure) => return Err(failure),
            }
            model = model.or_else(|| wire::model(&event.value));
        }
    }
    if !is_any {
        return Err(Failure::new(ModelErrorKind::Malformed));
    }
    content += &answer.halves.finish();
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
