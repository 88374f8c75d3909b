//! The state of an answer, accumulated from its events or read from a whole document.

use serde_json::Value;

use super::{
    done_parts::DoneParts,
    event::{self, Event, Parsed},
    event_parser::{EventParser, Item},
    failure::Failure,
    finish::{Ending, Progress},
    items::{DeliveredItems, List},
    surrogates::SurrogateJoiner,
    think::{Pieces, ThinkSplitter},
    tools::ToolCalls,
    wire::{Counts, Reading, WireFormat},
};
use crate::llm::{Finish, ModelErrorKind, TitleOutput, ToolCall};

/// The maximum size of reasoning that is passed on. The rest is dropped.
const MAX_REASONING_BYTES: usize = 512 * 1024;

/// The state of one answer, without its text.
pub(super) struct AnswerState {
    wire: &'static dyn WireFormat,
    /// Surrogate halves at the end of the last delta of the text, and of the reasoning.
    text_half: SurrogateJoiner,
    reasoning_half: SurrogateJoiner,
    /// Only for replies; titles are cleaned as a whole.
    thinking: Option<ThinkSplitter>,
    tools: ToolCalls,
    delivered: DeliveredItems,
    /// The text of `*.done` events, used if no other text arrives.
    done: DoneParts,
    /// Whether text was received; it may still be buffered.
    has_text: bool,
    /// The position of the last output item with text.
    text_place: Option<u64>,
    /// The id of the last item with text, if the server sends ids.
    text_item: Option<String>,
    /// The id of a message that has begun and has no text yet.
    begun: Option<String>,
    /// Whether a part of the answer came as a delta.
    has_deltas: bool,
    /// The number of unparsable events.
    pub(super) unreadable: u32,
    pub(super) text_bytes: usize,
    reasoning_bytes: usize,
    reasons: bool,
    has_others: bool,
    pub(super) is_refusal: bool,
    is_answer: bool,
    pub(super) usage: Counts,
    pub(super) ending: Option<Ending>,
    progress: Progress,
    /// Whether the stream broke off although the finish reason was not final.
    is_cut: bool,
    model: Option<String>,
}

/// What an event adds to the answer.
#[derive(Debug, Default)]
pub(super) struct Added {
    /// The tool calls before the text. They are complete once the text begins or the finish reason arrives.
    pub(super) tools_before: Vec<ToolCall>,
    pub(super) text: String,
    /// Whether the text replaces that of earlier events: a title is the text of the last item.
    pub(super) replaces: bool,
    pub(super) reasoning: String,
    pub(super) tools: Vec<ToolCall>,
    /// The provider's id for the answer, and its name for the model.
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) is_acknowledgement: bool,
    pub(super) is_last: bool,
}

impl AnswerState {
    pub(super) fn new(wire: &'static dyn WireFormat, thinking: Option<ThinkSplitter>) -> Self {
        Self {
            wire,
            thinking,
            text_half: SurrogateJoiner::default(),
            reasoning_half: SurrogateJoiner::default(),
            tools: ToolCalls::default(),
            delivered: DeliveredItems::default(),
            done: DoneParts::default(),
            has_text: false,
            text_place: None,
            text_item: None,
            begun: None,
            has_deltas: false,
            unreadable: 0,
            text_bytes: 0,
            reasoning_bytes: 0,
            reasons: false,
            has_others: false,
            is_refusal: false,
            is_answer: false,
            usage: Counts::default(),
            ending: None,
            progress: Progress::default(),
            is_cut: false,
            model: None,
        }
    }

    /// Reads an event; returns what it adds.
    ///
    /// # Errors
    /// The failure that the event reports.
    pub(super) fn read(&mut self, name: &str, event: &Event) -> Result<Added, Failure> {
        let mut reading = match self.wire.read(name, &event.value) {
            Ok(reading) => reading,
            Err(failure) => {
                // A failed answer used tokens too.
                self.usage.update(Counts::read(&event.value));
                return Err(failure);
            }
        };
        self.join_halves(&mut reading, event.marked(self.wire, name));
        Ok(self.add(reading))
    }

    /// Joins surrogate halves with those of the previous event. `marked` has marks instead of lone surrogates.
    fn join_halves(&mut self, reading: &mut Reading, marked: Option<Reading>) {
        let marked = marked.as_ref();
        let text = std::mem::take(&mut reading.text);
        let reasoning = std::mem::take(&mut reading.reasoning);
        // The text has begun, so a surrogate half at the end of the reasoning stays alone.
        let is_over = !text.is_empty() && reasoning.is_empty();
        reading.text = self.text_half.add(text, marked.map(|marked| &*marked.text));
        reading.reasoning = match is_over {
            true => self.reasoning_half.finish(),
            false => self
                .reasoning_half
                .add(reasoning, marked.map(|marked| &*marked.reasoning)),
        };
        let marked = marked.map_or(&[][..], |marked| &marked.tools);
        for (tool, marked) in reading.tools.iter_mut().zip(marked) {
            tool.marked = Some(marked.arguments.clone());
        }
    }

    /// Whether the model has begun to answer: with text, reasoning or a tool call.
    pub(super) fn has_begun(&self) -> bool {
        self.text_bytes > 0 || self.reasons || self.has_others || !self.done.is_empty()
    }

    /// Whether the answer ended by itself without any content.
    pub(super) fn is_empty(&self) -> bool {
        self.finish() == Some(Finish::NoText) && !self.reasons && !self.has_others
    }

    /// Whether the finish reason is final: only token counts may follow.
    pub(super) fn is_over(&self) -> bool {
        self.progress == Progress::Over
    }

    /// Records that the stream broke off: by its end, by an error or by silence. A reply whose text continued after a
    /// finish reason is then incomplete. If the server runs tools, the reply is complete only if the server ended it.
    pub(super) fn break_off(&mut self, is_closed: bool) {
        self.is_cut = match self.progress {
            Progress::Open | Progress::Doubtful => true,
            Progress::Tools => !is_closed,
            Progress::Over => false,
        };
    }

    /// Records that the server reported a failure. An earlier finish reason takes precedence only if it is final.
    pub(super) fn fail(&mut self) {
        if !self.is_over() {
            self.ending = None;
        }
    }

    /// Ends the answer; returns the buffered rest, and the tool calls that no event completed.
    pub(super) fn end(&mut self) -> Added {
        let rest = self.text_half.finish();
        let mut pieces = self.split(&rest);
        // A stream that broke off may be requested again, so its parts are not delivered.
        if self.ending.is_some() && !self.has_text {
            for piece in self.done.take() {
                self.extend(&mut pieces, &piece.text, piece.is_beginning);
            }
        }
        pieces.reasoning += &self.reasoning_half.finish();
        if let Some(thinking) = &mut self.thinking {
            let held = thinking.finish();
            pieces.text += &held.text;
            pieces.reasoning += &held.reasoning;
        }
        self.text_bytes += pieces.text.len();
        Added {
            text: pieces.text,
            reasoning: self.bounded(pieces.reasoning),
            tools: match self.finish() {
                Some(Finish::Stop | Finish::NoText | Finish::Unreadable) => self.tools.finish(),
                Some(_) => self.tools.finish_cut(),
                None => Vec::new(),
            },
            ..Added::default()
        }
    }

    /// The finish reason; `None` if the answer was interrupted.
    pub(super) fn finish(&self) -> Option<Finish> {
        let finish = self.ending.as_ref()?.finish();
        Some(match finish {
            Finish::Stop if self.is_cut => Finish::Unknown,
            Finish::Stop if self.unreadable > 0 => Finish::Unreadable,
            Finish::Stop if self.text_bytes == 0 => Finish::NoText,
            finish => finish,
        })
    }

    fn add(&mut self, mut reading: Reading) -> Added {
        if reading.is_message && self.has_deltas {
            reading.repeat();
        }
        let is_beginning = self.begins_item(&reading);
        self.has_deltas |= !reading.is_message && reading.has_content();
        self.usage.update(reading.usage);
        self.unreadable += u32::from(reading.is_unreadable);
        self.reasons |= reading.reasons;
        self.has_others |= reading.has_others;
        self.is_refusal |= reading.is_refusal;
        self.is_answer |= reading.is_answer;
        if self.model.is_none() {
            self.model.clone_from(&reading.model);
        }
        let ending = reading.ending.as_ref();
        self.progress = self.progress.after(ending, reading.has_content());
        // A later finish reason may replace `stop`, but not a failure.
        let is_stop = |ending: &Ending| ending.finish() == Finish::Stop;
        let may_change = self.ending.as_ref().is_none_or(is_stop);
        if let Some(ending) = reading.ending.filter(|_| may_change) {
            self.ending = Some(ending);
        }
        let mut pieces = Pieces::default();
        let mut replaces = self.extend(&mut pieces, &reading.text, is_beginning);
        pieces.reasoning += &reading.reasoning;
        if let Some(id) = &reading.item {
            self.delivered.record(id, &reading.text, &reading.reasoning);
        }
        let list = match reading.is_last {
            true => List::Answer,
            false => List::Events,
        };
        let missing = self.delivered.missing(&reading.whole, list);
        for piece in &missing.text {
            replaces |= self.extend(&mut pieces, &piece.text, piece.is_beginning);
            self.text_place = self.text_place.max(reading.place);
        }
        pieces.reasoning += &missing.reasoning;
        if let Some(part) = reading.done.filter(|_| !self.has_text) {
            self.done.keep(part);
        }
        self.text_bytes += pieces.text.len();
        let is_behind = !pieces.text.trim().is_empty();
        // No arguments follow a finish reason, except from servers that send one with each fragment.
        let is_over = self.ending.is_some() && reading.tools.is_empty();
        let tools_before = match is_behind || is_over {
            true => self.tools.take_complete(),
            false => Vec::new(),
        };
        let tools = reading.tools.into_iter();
        Added {
            tools_before,
            text: pieces.text,
            replaces,
            reasoning: self.bounded(pieces.reasoning),
            tools: tools.filter_map(|delta| self.tools.add(delta)).collect(),
            id: reading.id,
            model: reading.model,
            is_acknowledgement: reading.is_acknowledgement,
            is_last: reading.is_last,
        }
    }

    /// Whether the text of an event begins another output item: an item at a later position, or one that was announced.
    /// A different id alone does not prove another item, since some servers send a new id with each delta. The same id
    /// again proves that it is none.
    fn begins_item(&mut self, reading: &Reading) -> bool {
        if reading.begun.is_some() {
            self.begun.clone_from(&reading.begun);
        }
        if reading.text.is_empty() {
            return false;
        }
        let item = reading.item.as_deref().filter(|id| !id.is_empty());
        let is_begun = item.is_some() && self.begun.as_deref() == item;
        if is_begun {
            self.begun = None;
        }
        let is_later = self.text_place.is_some() && reading.place > self.text_place;
        let is_same = item.is_some() && self.text_item.as_deref() == item;
        self.text_place = self.text_place.max(reading.place);
        if !is_same {
            self.text_item = item.map(str::to_owned);
        }
        (is_begun || is_later) && !is_same
    }

    /// Adds text to what an event adds. Text of another item follows a blank line in a reply, and replaces the text
    /// before it in a title. Returns whether it replaces text.
    fn extend(&mut self, pieces: &mut Pieces, text: &str, is_beginning: bool) -> bool {
        if text.is_empty() {
            return false;
        }
        let is_another = is_beginning && (self.text_bytes > 0 || !pieces.text.is_empty());
        let replaces = is_another && self.thinking.is_none();
        match is_another {
            true if replaces => pieces.text.clear(),
            true => pieces.text.push_str("\n\n"),
            false => {}
        }
        self.has_text = true;
        let more = self.split(text);
        pieces.text += &more.text;
        pieces.reasoning += &more.reasoning;
        replaces
    }

    fn split(&mut self, text: &str) -> Pieces {
        match &mut self.thinking {
            Some(_) if text.is_empty() => Pieces::default(),
            Some(thinking) => {
                let pieces = thinking.push(text);
                self.reasons |= !pieces.reasoning.is_empty();
                pieces
            }
            None => Pieces {
                text: text.to_owned(),
                ..Pieces::default()
            },
        }
    }

    fn bounded(&mut self, mut reasoning: String) -> String {
        let room = MAX_REASONING_BYTES - self.reasoning_bytes;
        self.reasoning_bytes += reasoning.len().min(room);
        reasoning.truncate(reasoning.floor_char_boundary(room));
        reasoning
    }
}

/// The answer to a title request, and whether its model reasoned.
pub(super) struct TitleAnswer {
    pub(super) title: TitleOutput,
    pub(super) reasons: bool,
}

/// Reads the body of an answer that was not streamed: one JSON document, or, from some servers, events or JSON lines.
///
/// # Errors
/// The failure that it reports; [`ModelErrorKind::Malformed`] if there is no answer.
pub(super) fn title(wire: &'static dyn WireFormat, body: &str) -> Result<TitleAnswer, Failure> {
    let malformed = || Failure::new(ModelErrorKind::Malformed);
    let mut state = AnswerState::new(wire, None);
    let text = match lenient_json::from_provider::<Value>(body.as_bytes()) {
        Ok(document) if document.is_object() => {
            let mut reading = wire.read("", &document)?;
            reading.keep_final_answer();
            if !reading.has_message || reading.is_unreadable {
                return Err(malformed());
            }
            let text = state.add(reading).text;
            // A complete JSON document is a complete answer.
            state.ending.get_or_insert(Ending::Known(Finish::Stop));
            text
        }
        _ => read_events(&mut state, body)?,
    };
    let finish = match (&state.ending, state.unreadable) {
        (Some(Ending::Failure), _) => return Err(Failure::new(ModelErrorKind::Interrupted)),
        (Some(ending), 1..) if ending.finish() == Finish::Stop => Finish::Unreadable,
        (Some(ending), _) => ending.finish(),
        (None, _) => Finish::Unknown,
    };
    let usage = state.usage.usage();
    // Hidden reasoning shows only as an empty answer at the token limit.
    let reasons = state.reasons
        || text.contains("<think")
        || usage.is_some_and(|usage| usage.reasoning_tokens > 0)
        || finish == Finish::Length && text.trim().is_empty();
    let title = TitleOutput {
        // A refusal is never a title, so its text is dropped.
        text: match state.is_refusal {
            true => String::new(),
            false => text,
        },
        finish: match state.is_refusal {
            true => Finish::ContentFilter,
            false => finish,
        },
        usage,
        model: state.model,
    };
    Ok(TitleAnswer { title, reasons })
}

/// The text of an answer that came as events.
fn read_events(state: &mut AnswerState, body: &str) -> Result<String, Failure> {
    let mut parser = EventParser::default();
    parser.push(body);
    parser.finish();
    let mut text = String::new();
    let mut is_done = false;
    while let Some(item) = parser.next().filter(|_| !is_done) {
        let (name, data) = match item {
            Item::Event { name, data, .. } => (name, data),
            Item::Ping => continue,
            Item::Oversized => {
                state.unreadable += 1;
                continue;
            }
        };
        if event::is_ping(&name) {
            continue;
        }
        let events = event::parsed(&data);
        if name == "error" && state.ending.is_none() {
            let mut failure = Failure::new(ModelErrorKind::Unavailable);
            failure.error = event::failure_event(events.as_deref());
            return Err(failure);
        }
        if events.is_none() {
            state.unreadable += 1;
        }
        for event in events.unwrap_or_default() {
            let Parsed::Event(event) = event else {
                is_done = true;
                break;
            };
            match state.read(&name, &event) {
                Ok(added) => {
                    if added.replaces {
                        text.clear();
                    }
                    text += &added.text;
                }
                // Errors after the finish reason are ignored.
                Err(_) if state.ending.is_some() => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    match state.is_answer {
        true => Ok(text + &state.end().text),
        false => Err(Failure::new(ModelErrorKind::Malformed)),
    }
}

/// The output of a title when all tokens went into reasoning.
pub(super) fn truncated_title() -> TitleOutput {
    TitleOutput {
        text: String::new(),
        finish: Finish::Length,
        usage: None,
        model: None,
    }
}
