//! The data of server-sent events.

use serde::de::IgnoredAny;

use super::lines::MAX_LINE_BYTES;
use crate::error::{Error, Result};

/// The data of the event that is being read: its `data:` lines, joined by line breaks.
#[derive(Default)]
pub(super) struct Data(Option<String>);

impl Data {
    /// Adds a line. Returns the data of the event that it ends.
    ///
    /// Some programs write no blank line between events. So a new data line also ends an event whose data is complete
    /// JSON, which no line could continue.
    ///
    /// # Errors
    /// [`Error::PayloadTooLarge`].
    pub(super) fn push(&mut self, line: &str) -> Result<Option<String>> {
        if line.is_empty() {
            return Ok(self.end());
        }
        let Some(more) = line.strip_prefix("data:") else {
            return Ok(None);
        };
        let more = more.strip_prefix(' ').unwrap_or(more);
        match &mut self.0 {
            Some(data) if !is_whole(data) => {
                if data.len() + more.len() > MAX_LINE_BYTES {
                    return Err(Error::PayloadTooLarge {
                        limit_bytes: MAX_LINE_BYTES,
                    });
                }
                data.push('\n');
                data.push_str(more);
                Ok(None)
            }
            data => Ok(data.replace(more.to_owned())),
        }
    }

    /// The data of the last event, if no blank line follows it.
    pub(super) fn end(&mut self) -> Option<String> {
        self.0.take()
    }
}

fn is_whole(data: &str) -> bool {
    data == "[DONE]" || serde_json::from_str::<IgnoredAny>(data).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_event_are_joined_and_whole_events_are_not() {
        let lines = [
            "event: x",
            "data: {\"a\":",
            "data:1}",
            "",
            ": ping",
            "data: {}",
            "data: [DONE]",
            "",
            "",
            "data: rest",
        ];
        let mut data = Data::default();
        let mut events: Vec<String> = Vec::new();
        for line in lines {
            events.extend(data.push(line).unwrap());
        }
        events.extend(data.end());
        assert_eq!(events, ["{\"a\":\n1}", "{}", "[DONE]", "rest"]);
    }
}
