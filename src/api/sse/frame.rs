//! Encodes one event as an SSE frame.

use std::fmt::{Display, Write};

use axum::body::Bytes;
use serde::Serialize;

use graphql_transport::one_line;

/// The frame of an event, with an `id:` line after the data if there is an id.
pub(super) fn frame(event: &impl Serialize, id: Option<&dyn Display>) -> Bytes {
    // Serialising structs of strings and numbers to memory cannot fail.
    let json = one_line(serde_json::to_string(event).unwrap_or_else(|_| "{}".into()));
    let mut frame = String::with_capacity(json.len() + 16);
    frame.push_str("data: ");
    frame.push_str(&json);
    if let Some(id) = id {
        // Writing to a string cannot fail.
        let _ = write!(frame, "\nid: {id}");
    }
    frame.push_str("\n\n");
    frame.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::frame;

    #[test]
    fn a_frame_is_one_line_whatever_the_text() {
        let text = "a\nb\r\nc\u{85}d\u{2028}e\u{2029}f \u{0}\u{1f5fe} \"quoted\"";
        let frame = frame(&json!({ "text": text }), None);
        let frame = std::str::from_utf8(&frame).unwrap();
        let data = frame
            .strip_prefix("data: ")
            .unwrap()
            .strip_suffix("\n\n")
            .unwrap();
        assert!(!data.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']));
        let back: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(back["text"], text);
    }

    #[test]
    fn the_id_follows_the_data() {
        assert_eq!(frame(&json!({}), Some(&3)), "data: {}\nid: 3\n\n");
    }
}
