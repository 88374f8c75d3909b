//! Parsed events of an answer.

use serde_json::Value;

use super::{
    event_parser::is_keep_alive,
    failure::Failure,
    surrogates,
    wire::{Reading, WireFormat},
};
use crate::llm::{ModelError, ModelErrorKind};

/// A JSON event.
pub(super) struct Event {
    pub(super) value: Value,
    /// The event with marks instead of lone surrogates, if it has any.
    marked: Option<Value>,
}

impl Event {
    /// Parses an event.
    ///
    /// # Errors
    /// If it is not JSON, not even by the lenient rules.
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

    /// The same event read with marks instead of lone surrogates, if it has any.
    pub(super) fn marked(&self, wire: &dyn WireFormat, name: &str) -> Option<Reading> {
        wire.read(name, self.marked.as_ref()?).ok()
    }
}

/// The events in one data field. Some servers separate events by a single line break instead of a blank line.
pub(super) fn parsed(data: &str) -> Option<Vec<Parsed>> {
    if let Some(parsed) = parse(data) {
        return Some(vec![parsed]);
    }
    let lines = data.lines().filter(|line| !is_keep_alive(line));
    match data.trim().contains('\n') {
        true => lines.map(parse).collect(),
        false => None,
    }
}

/// A parsed event, or the end marker.
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

/// Whether an event of this name is a keep-alive.
pub(super) fn is_ping(name: &str) -> bool {
    matches!(name, "ping" | "keepalive" | "keep-alive" | "heartbeat")
}

/// The error in an event named `error`.
pub(super) fn failure_event(events: Option<&[Parsed]>) -> ModelError {
    let failure = events
        .unwrap_or_default()
        .iter()
        .find_map(|event| match event {
            Parsed::Event(event) if event.value.is_object() => {
                Some(Failure::of_error(&event.value))
            }
            Parsed::Event(_) | Parsed::Done => None,
        });
    match failure {
        Some(failure) => failure.error,
        None => ModelError::new(ModelErrorKind::Unavailable),
    }
}
