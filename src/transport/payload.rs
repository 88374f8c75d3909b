//! A response as bytes: what every encoder puts on its wire.

use async_graphql::{Response, ServerError, Value};
use axum::body::Bytes;

use super::one_line;
use crate::error::ErrorCode;

/// The most errors of a request that was not executed.
const MOST_REFUSALS: usize = 20;

/// The longest message of such an error, in bytes.
const MESSAGE_BYTES: usize = 256;

/// How the engine refuses a document over its limit on complexity: the text is all that tells it apart.
const TOO_COMPLEX: &str = "Query is too complex.";

/// One serialised response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    /// The JSON, on one line.
    pub(super) json: Bytes,
    /// The errors alone, as JSON, when the request was not executed: it did not parse or validate.
    pub(super) refused: Option<Bytes>,
}

impl Payload {
    /// A response of the engine.
    pub(super) fn of(mut response: Response, most_errors: usize) -> Self {
        response.errors.truncate(most_errors);
        // What went wrong inside of execution has a path; what never got there has none.
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

    /// Errors instead of an execution: there is no `data` entry, not even null.
    ///
    /// The engine's messages repeat the names of the document, however long: they are cut.
    pub(super) fn refusal(errors: Vec<ServerError>) -> Self {
        let errors = errors.into_iter().take(MOST_REFUSALS).map(with_code);
        let errors: Vec<ServerError> = errors.map(short).collect();
        let list = json(&errors);
        Self {
            json: [b"{\"errors\":".as_slice(), &list, b"}"].concat().into(),
            refused: Some(list),
        }
    }
}

/// The engine's own errors, which have no code, come from validating the document.
fn with_code(mut error: ServerError) -> ServerError {
    let code = code_of(&error);
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        extensions.set("code", code.as_str());
    }
    error
}

/// The code of an error, as clients read it or will read it.
pub fn code_of(error: &ServerError) -> ErrorCode {
    let extensions = error.extensions.as_ref();
    match extensions.and_then(|extensions| extensions.get("code")) {
        Some(Value::String(code)) => code.parse().unwrap_or(ErrorCode::Internal),
        _ if error.message == TOO_COMPLEX => ErrorCode::QueryTooComplex,
        _ => ErrorCode::GraphqlValidationFailed,
    }
}

fn short(mut error: ServerError) -> ServerError {
    let end = error.message.floor_char_boundary(MESSAGE_BYTES);
    error.message.truncate(end);
    error
}

fn json(value: &impl serde::Serialize) -> Bytes {
    // Responses are plain data with string keys: serialising them into memory cannot fail.
    one_line(serde_json::to_string(value).unwrap_or_default()).into()
}
