//! Serialised responses, shared by every encoder.

use async_graphql::{Response, ServerError, Value};
use axum::body::Bytes;

use super::{Code, one_line};

/// The most errors in a response to a request that was not executed.
const MAX_REFUSAL_ERRORS: usize = 20;

/// The longest error message in such a response, in bytes; longer ones are truncated.
const MAX_MESSAGE_BYTES: usize = 256;

/// The engine's message for a document over its complexity limit, which has no code.
const TOO_COMPLEX: &str = "Query is too complex.";

/// One serialised response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    /// The response as JSON, on one line.
    pub(super) json: Bytes,
    /// The errors alone, as JSON, if the request was refused before execution.
    pub(super) refused: Option<Bytes>,
}

impl Payload {
    /// Serialises a response of the engine.
    pub(super) fn of(mut response: Response, max_errors: usize) -> Self {
        response.errors.truncate(max_errors);
        // Errors during execution have a path; errors before it have none.
        let is_refused = response.data == Value::Null
            && !response.errors.is_empty()
            && response.errors.iter().all(|error| error.path.is_empty());
        if is_refused {
            return Self::refusal(response.errors);
        }
        Self {
            json: json(&response),
            refused: None,
        }
    }

    /// An execution that started but has no result. `data` is null; a request that was not executed has no `data` at
    /// all.
    pub(super) fn failed_execution(error: ServerError) -> Self {
        Self {
            json: json(&Response::from_errors(vec![error])),
            refused: None,
        }
    }

    /// A response to a request that was not executed: it has no `data` entry, not even null.
    ///
    /// Messages are truncated, because the engine repeats names from the document, of any length.
    pub(super) fn refusal(errors: Vec<ServerError>) -> Self {
        let errors = errors.into_iter().take(MAX_REFUSAL_ERRORS).map(with_code);
        let errors: Vec<ServerError> = errors.map(short).collect();
        let list = json(&errors);
        Self {
            json: [b"{\"errors\":".as_slice(), &list, b"}"].concat().into(),
            refused: Some(list),
        }
    }
}

/// Adds a code to an engine error, which has none.
fn with_code(mut error: ServerError) -> ServerError {
    let code = code_of(&error).to_owned();
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        extensions.set("code", code);
        if let Some(argument) = argument(&error.message) {
            extensions.set("argument", argument);
        }
    }
    error
}

/// The code of an error, for metrics. An error without one counts as [`Code::GraphqlValidationFailed`], which is right
/// for the engine's own. Resolvers' errors need a code: without one they count the same, and clients receive none.
pub fn code_of(error: &ServerError) -> &str {
    let extensions = error.extensions.as_ref();
    match extensions.and_then(|extensions| extensions.get("code")) {
        Some(Value::String(code)) => code,
        _ if error.message == TOO_COMPLEX => Code::QueryTooComplex.as_str(),
        _ => Code::GraphqlValidationFailed.as_str(),
    }
}

/// The path of the argument that an engine message (`argument "input.text"`) reports as missing, unknown or of the
/// wrong type. The message names a missing or unknown field separately, after the object it belongs to.
fn argument(message: &str) -> Option<String> {
    let (_, behind) = message.split_once("rgument \"")?;
    let (mut path, reason) = behind
        .split_once('"')
        .map(|(name, reason)| (name.to_owned(), reason))?;
    let mut field = [", field \"", ", unknown field \""].into_iter();
    let field = field.find_map(|before| reason.strip_prefix(before)?.split_once('"'));
    if let Some((field, _)) = field {
        path = format!("{path}.{field}");
    }
    (path.len() <= MAX_MESSAGE_BYTES).then_some(path)
}

fn short(mut error: ServerError) -> ServerError {
    let end = error.message.floor_char_boundary(MAX_MESSAGE_BYTES);
    error.message.truncate(end);
    error
}

fn json(value: &impl serde::Serialize) -> Bytes {
    // Responses are plain data with string keys, so serialising them to memory cannot fail.
    one_line(serde_json::to_string(value).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[test]
    fn an_execution_that_broke_off_has_data_and_a_request_that_was_not_executed_has_none() {
        let error = || Code::Timeout.error("the execution took too long");
        let text = |payload: Payload| String::from_utf8(payload.json.to_vec()).unwrap();
        let failed_execution = Payload::failed_execution(error());
        assert_eq!(failed_execution.refused, None);
        let json: serde_json::Value = serde_json::from_str(&text(failed_execution)).unwrap();
        assert_eq!(json["data"], serde_json::Value::Null);
        assert!(json.as_object().unwrap().contains_key("data"));
        assert_eq!(json["errors"][0]["extensions"]["code"], "TIMEOUT");
        let refused = Payload::refusal(vec![error()]);
        assert!(refused.refused.is_some() && !text(refused).contains("data"));
    }

    #[test]
    fn an_argument_is_found_in_a_message_of_the_engine() {
        for (message, found) in [
            (
                "Invalid value for argument \"input.text\", expected type \"String\"",
                Some("input.text"),
            ),
            (
                "Field \"conversation\" argument \"id\" of type \"Query\" is required but not provided",
                Some("id"),
            ),
            (
                "Unknown argument \"last\" on field \"conversations\" of type \"Query\"",
                Some("last"),
            ),
            (
                "Invalid value for argument \"input\", field \"text\" of type \"String!\" is required but not provided",
                Some("input.text"),
            ),
            (
                "Invalid value for argument \"input\", unknown field \"texts\" of type \"SendMessageInput\"",
                Some("input.texts"),
            ),
            ("Unknown field \"a\" on type \"Query\"", None),
        ] {
            assert_eq!(argument(message).as_deref(), found, "{message}");
        }
    }
}
