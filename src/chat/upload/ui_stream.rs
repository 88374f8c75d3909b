//! A UI message stream of the AI SDK: server-sent events with one JSON object each.
//!
//! Steps, sources, files and metadata are skipped.

use serde_json::Value;

use super::UploadEvent;
use crate::{
    conversation::{PartContent, ReplyOutcome, ToolState},
    error::{Error, Result},
};

/// Whether parts of the stream have this type.
pub(super) fn is_known(kind: &str) -> bool {
    const NAMES: [&str; 7] = [
        "start",
        "start-step",
        "finish-step",
        "message-metadata",
        "finish",
        "abort",
        "error",
    ];
    const FAMILIES: [&str; 6] = ["text-", "reasoning-", "tool-", "data-", "source-", "file"];
    NAMES.contains(&kind) || FAMILIES.iter().any(|family| kind.starts_with(family))
}

/// Whether this is the end of the stream.
pub(super) fn is_done(data: &str) -> bool {
    data.trim() == "[DONE]"
}

/// Whether this is the end of a stream without an error, which may be one of several merged streams.
pub(super) fn is_finish(event: &UploadEvent) -> bool {
    matches!(
        event,
        UploadEvent::Finish {
            outcome: ReplyOutcome::Completed | ReplyOutcome::Incomplete,
            ..
        }
    )
}

/// The events of one event's data.
///
/// # Errors
/// [`Error::InvalidJson`].
pub(super) fn events(data: &str) -> Result<Vec<UploadEvent>> {
    let data = data.trim();
    if is_done(data) || data.is_empty() {
        return Ok(Vec::new());
    }
    let event = lenient_json::from_client(data.as_bytes()).map_err(|_| Error::InvalidJson)?;
    Ok(read(&event).into_iter().collect())
}

fn read(event: &Value) -> Option<UploadEvent> {
    let text = |name: &str| {
        let text = event.get(name).and_then(Value::as_str).unwrap_or_default();
        // Databases reject NUL.
        text.replace('\0', "")
    };
    let finish = |outcome, reason| Some(UploadEvent::Finish { outcome, reason });
    match event.get("type")?.as_str()? {
        "text-delta" => Some(UploadEvent::Text(text("delta"))),
        "reasoning-delta" => {
            let text = text("delta");
            Some(UploadEvent::Part(PartContent::Reasoning { text }))
        }
        kind @ ("tool-input-available"
        | "tool-input-error"
        | "tool-output-available"
        | "tool-output-error"
        | "tool-output-denied") => {
            let json = |name: &str| event.get(name).map(Value::to_string);
            let (result, state) = match kind {
                "tool-input-available" => (None, ToolState::Called),
                "tool-output-available" => (json("output"), ToolState::Completed),
                // The event has no text.
                "tool-output-denied" => (Some("\"denied\"".into()), ToolState::Failed),
                _ => (json("errorText"), ToolState::Failed),
            };
            Some(UploadEvent::Part(PartContent::Tool {
                id: text("toolCallId"),
                name: text("toolName"),
                arguments: json("input").unwrap_or_default(),
                result,
                state,
            }))
        }
        "finish" => match event.get("finishReason").and_then(Value::as_str) {
            Some("length") => finish(ReplyOutcome::Incomplete, Some("length")),
            Some("content-filter") => finish(ReplyOutcome::Incomplete, Some("content_filter")),
            Some("error") => finish(ReplyOutcome::Failed, None),
            // The AI SDK's names for a provider that broke off, or gave no reason.
            Some("other" | "unknown") => finish(ReplyOutcome::Incomplete, Some("unknown")),
            _ => finish(ReplyOutcome::Completed, None),
        },
        "abort" => finish(ReplyOutcome::Stopped, None),
        "error" => finish(ReplyOutcome::Failed, None),
        // Transient data is not kept by the AI SDK either.
        kind if event.get("transient") != Some(&Value::Bool(true)) => {
            Some(UploadEvent::Part(PartContent::Data {
                id: Some(text("id")).filter(|id| !id.is_empty()),
                name: kind.strip_prefix("data-")?.to_owned(),
                json: event.get("data").unwrap_or(&Value::Null).to_string(),
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_denied_has_failed() {
        let denied = events(r#"{"type":"tool-output-denied","toolCallId":"c1"}"#).unwrap();
        let [
            UploadEvent::Part(PartContent::Tool {
                id, result, state, ..
            }),
        ] = &denied[..]
        else {
            panic!("{denied:?}");
        };
        assert_eq!((id.as_str(), *state), ("c1", ToolState::Failed));
        assert_eq!(result.as_deref(), Some(r#""denied""#));
    }
}
