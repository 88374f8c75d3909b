//! Joins characters that were split over two consecutive texts, as by programs that split text between UTF-16 units.

use super::UploadEvent;
use crate::{
    conversation::PartContent,
    error::Result,
    llm::{SurrogateJoiner, marked_surrogates},
};

/// Joins halves across the events of an upload.
#[derive(Default)]
pub(super) struct Halves {
    text: SurrogateJoiner,
    reasoning: SurrogateJoiner,
}

impl Halves {
    /// The events that `read` returns for a line or an event's data, with split characters joined.
    ///
    /// # Errors
    /// The errors of `read`.
    pub(super) fn events(
        &mut self,
        data: &str,
        read: fn(&str) -> Result<Vec<UploadEvent>>,
    ) -> Result<Vec<UploadEvent>> {
        let events = read(data)?;
        // Most texts have no escape.
        let marked = data.contains("\\u").then(|| marked_surrogates(data));
        let marked = marked
            .flatten()
            .map(|data| read(&data))
            .transpose()?
            .unwrap_or_default();
        let mut marked = marked.iter();
        let mut joined = Vec::new();
        for event in events {
            match (event, marked.next()) {
                (UploadEvent::Text(text), marked) => {
                    let marked = marked.and_then(|event| match event {
                        UploadEvent::Text(text) => Some(text.as_str()),
                        _ => None,
                    });
                    joined.push(UploadEvent::Text(self.text.add(text, marked)));
                }
                (UploadEvent::Part(PartContent::Reasoning { text }), marked) => {
                    let marked = marked.and_then(|event| match event {
                        UploadEvent::Part(PartContent::Reasoning { text }) => Some(text.as_str()),
                        _ => None,
                    });
                    let text = self.reasoning.add(text, marked);
                    joined.push(UploadEvent::Part(PartContent::Reasoning { text }));
                }
                (event @ UploadEvent::Finish { .. }, _) => {
                    let text = self.text.finish();
                    if !text.is_empty() {
                        joined.push(UploadEvent::Text(text));
                    }
                    joined.push(event);
                }
                (event, _) => joined.push(event),
            }
        }
        Ok(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ndjson, *};

    #[test]
    fn halves_in_two_lines_are_one_character() {
        let mut halves = Halves::default();
        let mut texts = String::new();
        for line in [
            r#"{"type":"text","text":"a\ud83d"}"#,
            r#"{"type":"data","name":"n","data":1}"#,
            r#"{"type":"text","text":"\ude00b\ud83d\ude00"}"#,
            r#"{"type":"text","text":"c\ud83d"}"#,
            r#"{"type":"finish"}"#,
        ] {
            for event in halves.events(line, ndjson::events).unwrap() {
                if let UploadEvent::Text(text) = event {
                    texts.push_str(&text);
                }
            }
        }
        assert_eq!(texts, "a😀b😀c\u{fffd}");
    }
}
