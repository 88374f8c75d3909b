//! Parses the parts and the end of a reply from JSON, for appends and NDJSON.

use serde_json::{Map, Value};

use crate::{
    conversation::{PartContent, ReplyOutcome, ToolState, Usage, text::without_nul},
    error::{Error, Result},
};

/// The longest id or name of a part, in characters.
const MAX_NAME_CHARS: usize = 255;

/// The maximum number of parts in one append.
const MAX_APPENDED_PARTS: usize = 256;

/// The fields of one part.
pub type Fields = Map<String, Value>;

/// Parses a part by its `type`: `reasoning`, `tool` or `data`.
///
/// # Errors
/// [`Error::InvalidInput`] if a field is missing or invalid; the error names it.
pub fn part(fields: &Fields) -> Result<PartContent> {
    match required(fields, "type")? {
        "reasoning" => Ok(PartContent::Reasoning {
            text: text(fields)?,
        }),
        "tool" => tool(fields),
        "data" => Ok(PartContent::Data {
            id: Some(name(fields, "id", false)?).filter(|id| !id.is_empty()),
            name: name(fields, "name", true)?,
            json: fields.get("data").unwrap_or(&Value::Null).to_string(),
        }),
        _ => Err(Error::invalid(
            "the type of a part must be reasoning, tool or data",
        )),
    }
}

fn tool(fields: &Fields) -> Result<PartContent> {
    let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let result = given("result").map(Value::to_string);
    let state = match string(fields, "state")? {
        None if result.is_some() => ToolState::Completed,
        None | Some("called") => ToolState::Called,
        Some("completed") => ToolState::Completed,
        Some("failed") => ToolState::Failed,
        Some(_) => {
            return Err(Error::invalid("state must be called, completed or failed"));
        }
    };
    Ok(PartContent::Tool {
        id: name(fields, "id", true)?,
        name: name(fields, "name", false)?,
        arguments: match given("arguments") {
            None => String::new(),
            // JSON as the model wrote it.
            Some(Value::String(json)) => json.clone(),
            Some(json) => json.to_string(),
        },
        result,
        state,
    })
}

/// The `text` field without NUL characters: databases reject them, and recorded messages lose them too.
///
/// # Errors
/// [`Error::InvalidInput`] if it is missing or not a string.
pub fn text(fields: &Fields) -> Result<String> {
    Ok(without_nul(required(fields, "text")?.to_owned()))
}

/// The outcome of a reply; `completed` if the field is missing.
///
/// # Errors
/// [`Error::InvalidInput`] if the outcome is unknown.
pub fn outcome(fields: &Fields) -> Result<ReplyOutcome> {
    match string(fields, "outcome")? {
        None | Some("completed") => Ok(ReplyOutcome::Completed),
        Some("incomplete") => Ok(ReplyOutcome::Incomplete),
        Some("failed") => Ok(ReplyOutcome::Failed),
        Some("stopped") => Ok(ReplyOutcome::Stopped),
        Some(_) => Err(Error::invalid(
            "outcome must be completed, incomplete, failed or stopped",
        )),
    }
}

/// The token usage of a reply, if there is any.
///
/// # Errors
/// [`Error::InvalidInput`] if it is not an object, or a count is not a whole number.
pub fn usage(fields: &Fields) -> Result<Option<Usage>> {
    let usage = match fields.get("usage") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(usage)) => usage,
        Some(_) => return Err(Error::invalid("usage must be an object")),
    };
    let count = |names: [&str; 2]| {
        let given = names.iter().find_map(|name| usage.get(*name));
        match given {
            None | Some(Value::Null) => Ok(0),
            Some(count) => match count.as_u64() {
                Some(count) => Ok(count.min(Usage::MAX_TOKENS)),
                None => Err(Error::invalid("the counts of usage must be whole numbers")),
            },
        }
    };
    Ok(Some(Usage {
        prompt_tokens: count(["prompt_tokens", "input_tokens"])?,
        completion_tokens: count(["completion_tokens", "output_tokens"])?,
        reasoning_tokens: count(["reasoning_tokens", "reasoning_tokens"])?,
    }))
}

/// The model that wrote a reply, if the program names it.
///
/// # Errors
/// [`Error::InvalidInput`] if the name is too long or has control characters.
pub fn model(fields: &Fields) -> Result<Option<String>> {
    match fields.contains_key("model") {
        true => name(fields, "model", false).map(|name| Some(name).filter(|name| !name.is_empty())),
        false => Ok(None),
    }
}

fn name(fields: &Fields, field: &str, is_required: bool) -> Result<String> {
    let text = string(fields, field)?.unwrap_or_default();
    checked_name(field, text, is_required)
}

/// Validates the number of parts of one append.
///
/// # Errors
/// [`Error::InvalidInput`] if there are too many.
pub fn check_count(parts: usize) -> Result<()> {
    match parts > MAX_APPENDED_PARTS {
        true => Err(Error::invalid(format!(
            "an append may have at most {MAX_APPENDED_PARTS} parts"
        ))),
        false => Ok(()),
    }
}

/// Validates an id or a name.
///
/// # Errors
/// [`Error::InvalidInput`] if it is too long, has control characters, or is empty but required.
pub fn checked_name(field: &str, text: &str, is_required: bool) -> Result<String> {
    let is_long = text.chars().count() > MAX_NAME_CHARS;
    if is_long || text.chars().any(char::is_control) || is_required && text.is_empty() {
        return Err(Error::invalid(format!(
            "{field} must be 1 to {MAX_NAME_CHARS} characters without control characters"
        )));
    }
    Ok(text.to_owned())
}

/// A required string field.
///
/// # Errors
/// [`Error::InvalidInput`] if it is missing or not a string.
pub fn required<'a>(fields: &'a Fields, field: &str) -> Result<&'a str> {
    string(fields, field)?.ok_or_else(|| Error::invalid(format!("{field} is missing")))
}

fn string<'a>(fields: &'a Fields, field: &str) -> Result<Option<&'a str>> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid(format!("{field} must be a string"))),
    }
}
