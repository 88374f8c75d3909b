//! Our format: one JSON object a line. A blank line is a heartbeat.

use serde_json::Value;

use super::{
    UploadEvent,
    parts::{self, Fields},
};
use crate::error::{Error, Result};

/// The events of a line.
///
/// # Errors
/// [`Error::InvalidJson`]; [`Error::InvalidInput`].
pub(super) fn events(line: &str) -> Result<Vec<UploadEvent>> {
    if line.is_empty() {
        return Ok(Vec::new());
    }
    let line = lenient_json::from_client(line.as_bytes()).map_err(|_| Error::InvalidJson)?;
    let Value::Object(fields) = line else {
        return Err(Error::invalid("each line must be a JSON object"));
    };
    match parts::required(&fields, "type")? {
        "text" => Ok(vec![UploadEvent::Text(parts::text(&fields)?)]),
        "finish" => finish(&fields),
        "reasoning" | "tool" | "data" => Ok(vec![UploadEvent::Part(parts::part(&fields)?)]),
        _ => Err(Error::invalid(
            "the type of a line must be text, reasoning, tool, data or finish",
        )),
    }
}

fn finish(fields: &Fields) -> Result<Vec<UploadEvent>> {
    let finish = UploadEvent::Finish {
        outcome: parts::outcome(fields)?,
        reason: None,
    };
    let usage = parts::usage(fields)?.map(UploadEvent::Usage);
    let model = parts::model(fields)?.map(UploadEvent::Model);
    Ok(usage.into_iter().chain(model).chain([finish]).collect())
}
