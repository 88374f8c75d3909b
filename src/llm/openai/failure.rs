//! What a provider's refusal means, reduced to what may be kept: the kind, the status, a machine-readable code, and
//! which parameter it names. The provider's message is read here and dropped here; it repeats keys and user text.
//!
//! Source of the mapping: OpenAI's guide "Error codes". Shapes that others use are read as well: an integer `code`
//! (llama.cpp), an `error` that is only a string (Ollama), no `error` around it (vLLM), `detail` (FastAPI), and a list
//! around it all (Gemini).

use std::time::Duration;

use async_openai::error::OpenAIError;
use reqwest::{StatusCode, header::HeaderMap};
use serde_json::Value;

use super::wire::{PARAMS, Param};
use crate::llm::{ModelError, ModelErrorKind};

/// A failed exchange and what could be done about it at once.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct Failure {
    /// What the caller gets to know.
    pub(super) error: ModelError,
    /// The parameter that the provider does not take.
    pub(super) unsupported: Option<Param>,
    /// All tokens went into reasoning. OpenAI reports that either as an empty answer or as this failure.
    pub(super) out_of_tokens: bool,
}

impl Failure {
    pub(super) fn new(kind: ModelErrorKind) -> Self {
        Self {
            error: ModelError::new(kind),
            unsupported: None,
            out_of_tokens: false,
        }
    }

    /// Reads a response that is no success.
    pub(super) fn from_response(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let detail = Detail::read(&value);
        let mut failure = detail.failure(Some(status.as_u16()));
        failure.error.status = Some(status.as_u16());
        failure.error.retry_after = retry_after(headers);
        failure
    }

    /// Finds an error object where an answer was due, in a body or an event that came with a 200.
    pub(super) fn in_answer(value: &Value) -> Option<Self> {
        let is_error = match value.get("error") {
            Some(Value::Object(error)) => !error.is_empty(),
            Some(Value::String(error)) => !error.is_empty(),
            _ => value.get("object").and_then(Value::as_str) == Some("error"),
        };
        if !is_error {
            return None;
        }
        let detail = Detail::read(value);
        let status = detail.code.and_then(as_status);
        Some(detail.failure(status))
    }

    /// Takes our own failure back out of the client's error. Its other errors quote bodies, so they are not kept.
    pub(super) fn from_client(error: OpenAIError) -> Self {
        match error {
            OpenAIError::Boxed(error) => match error.downcast::<Self>() {
                Ok(failure) => *failure,
                Err(_) => Self::new(ModelErrorKind::Connection),
            },
            OpenAIError::JSONDeserialize(..) => Self::new(ModelErrorKind::Malformed),
            OpenAIError::InvalidArgument(_) => Self::new(ModelErrorKind::InvalidRequest),
            _ => Self::new(ModelErrorKind::Connection),
        }
    }
}

impl From<Failure> for OpenAIError {
    fn from(failure: Failure) -> Self {
        Self::Boxed(Box::new(failure))
    }
}

/// The parts of an error object, wherever they stand.
struct Detail<'a> {
    code: Option<&'a Value>,
    class: Option<&'a str>,
    param: Option<&'a str>,
    message: String,
}

impl<'a> Detail<'a> {
    fn read(value: &'a Value) -> Self {
        let value = value.get(0).unwrap_or(value);
        let error = match value.get("error") {
            Some(error) if !error.is_null() => error,
            _ => value,
        };
        let message = ["message", "detail", "error"]
            .iter()
            .find_map(|name| error.get(name));
        Self {
            code: error.get("code"),
            class: error.get("type").and_then(Value::as_str),
            param: error.get("param").and_then(Value::as_str),
            message: match message.unwrap_or(error) {
                Value::String(message) => message.to_ascii_lowercase(),
                Value::Array(messages) => Value::from(messages.clone())
                    .to_string()
                    .to_ascii_lowercase(),
                _ => String::new(),
            },
        }
    }

    fn failure(&self, status: Option<u16>) -> Failure {
        let mut failure = Failure::new(self.kind(status));
        failure.error.code = self
            .code
            .and_then(safe_code)
            .or_else(|| self.class.and_then(safe_text));
        if matches!(status, Some(400 | 422)) {
            failure.unsupported = self.unsupported();
            failure.out_of_tokens = self.message.contains("output limit was reached");
        }
        failure
    }

    fn says(&self, words: &[&str]) -> bool {
        let code = self.code.and_then(Value::as_str);
        words
            .iter()
            .any(|word| code == Some(word) || self.class == Some(word))
    }

    fn kind(&self, status: Option<u16>) -> ModelErrorKind {
        use ModelErrorKind::*;
        let quota = self.says(&["insufficient_quota"]);
        match status {
            Some(401 | 403) => Unauthorized,
            Some(404) => NotFound,
            Some(408) => Timeout,
            Some(429) if quota => QuotaExceeded,
            Some(429) => RateLimited,
            Some(400..=499) => InvalidRequest,
            Some(500..) => Unavailable,
            // Redirects are not followed: a key must not go where the settings did not say.
            Some(_) => Malformed,
            None if quota => QuotaExceeded,
            None if self.says(&["rate_limit_exceeded", "rate_limit_error"]) => RateLimited,
            None if self.says(&["invalid_api_key", "authentication_error"]) => Unauthorized,
            None if self.says(&["model_not_found", "not_found_error"]) => NotFound,
            None if self.says(&["invalid_request_error", "context_length_exceeded"]) => {
                InvalidRequest
            }
            None => Unavailable,
        }
    }

    /// The parameter that the provider rejects: the one in `param`, else the first one that the message names, if the
    /// message is about something unsupported at all.
    fn unsupported(&self) -> Option<Param> {
        let about_support = self.says(&[
            "unsupported_parameter",
            "unsupported_value",
            "unknown_parameter",
        ]) || SIGNS.iter().any(|sign| self.message.contains(sign));
        let by_path = self.param.and_then(|path| {
            let mut parts = path.split(['.', '[', ']']);
            parts.find_map(|part| PARAMS.iter().find(|names| names.field == part))
        });
        let found = match by_path {
            Some(names) => names.param,
            None => first_named(&self.message)?,
        };
        // The values of the others never change, so any complaint about one is about support. The cap does change, and
        // a complaint about its value must not make it lose its name for good.
        let certain = match found {
            Param::MaxCompletionTokens => about_support,
            Param::ResponseFormat => true,
            _ => about_support || by_path.is_some(),
        };
        certain.then_some(found)
    }
}

/// What messages about unsupported parameters say, in lower case.
const SIGNS: [&str; 12] = [
    "unsupported",
    "not support",
    "n't support",
    "unrecognized",
    "unknown",
    "unexpected",
    "not permitted",
    "not allowed",
    "extra_forbidden",
    "unavailable",
    "must be one of",
    "instead",
];

fn first_named(message: &str) -> Option<Param> {
    let first = |names: &'static [&'static str]| {
        names.iter().filter_map(|name| word_at(message, name)).min()
    };
    let places = PARAMS
        .iter()
        .filter_map(|names| Some((first(names.prose)?, names.param)));
    places.min().map(|(_, param)| param)
}

/// Where a name stands as a word of its own, not as a part of a longer name.
fn word_at(message: &str, name: &str) -> Option<usize> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    message.match_indices(name).map(|(at, _)| at).find(|at| {
        !message[..*at].ends_with(inside) && !message[at + name.len()..].starts_with(inside)
    })
}

fn as_status(code: &Value) -> Option<u16> {
    let status = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    u16::try_from(status)
        .ok()
        .filter(|status| (400..600).contains(status))
}

fn safe_code(code: &Value) -> Option<String> {
    match code {
        Value::String(code) => safe_text(code),
        Value::Number(code) => safe_text(&code.to_string()),
        _ => None,
    }
}

/// A code that is no code (prose, or a key) is dropped as a whole, since a part of it could still tell something.
fn safe_text(code: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let fits =
        (1..=64).contains(&code.len()) && code.chars().all(plain) && !code.starts_with("sk-");
    fits.then(|| code.to_owned())
}

/// `Retry-After` in seconds, or `retry-after-ms`, which OpenAI sends besides. A date is not understood and is as good
/// as no header: callers back off by themselves.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms")
        .map(|ms: f64| ms / 1000.0)
        .or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(status: u16, error: Value) -> Option<Param> {
        let body = json!({ "error": error }).to_string();
        let status = StatusCode::from_u16(status).unwrap();
        Failure::from_response(status, &HeaderMap::new(), body.as_bytes()).unsupported
    }

    #[test]
    fn the_parameter_that_a_message_names() {
        use Param::*;
        #[rustfmt::skip]
        let table = [
            ("Unsupported parameter: 'reasoning_effort' is not supported with this model.", Some(ReasoningEffort)),
            ("Unrecognized request argument supplied: verbosity", Some(Verbosity)),
            ("Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens' instead.", Some(MaxCompletionTokens)),
            ("Unsupported parameter: 'max_tokens'. Use 'max_output_tokens' instead.", None),
            ("This response_format type is unavailable now", Some(ResponseFormat)),
            ("'type' of response_format must be one of 'text', 'json_object'", Some(ResponseFormat)),
            ("openai does not support parameters: ['reasoning_effort'], for model=gpt-4", Some(ReasoningEffort)),
            ("[{'type': 'extra_forbidden', 'loc': ('body', 'verbosity')}]", Some(Verbosity)),
            ("Unsupported value: 'messages[0].role' does not support 'developer'.", Some(DeveloperRole)),
            ("property 'store' is unsupported", Some(Store)),
            ("please store this unsupported thing", None),
            ("unknown field my_temperature_2", None),
            ("temperature must be a number", None),
            ("This model's maximum context length is 8192 tokens", None),
            ("", None),
        ];
        for (message, param) in table {
            assert_eq!(
                named(400, json!({ "message": message })),
                param,
                "{message}"
            );
            assert_eq!(
                named(
                    422,
                    json!({ "message": message, "param": null, "code": 422 })
                ),
                param,
                "{message}"
            );
            assert_eq!(
                named(500, json!({ "message": message })),
                None,
                "only a refusal drops anything"
            );
        }
        assert_eq!(
            named(400, json!("unknown field `verbosity`")),
            Some(Verbosity)
        );
    }

    #[test]
    fn the_parameter_in_its_own_field() {
        use Param::*;
        #[rustfmt::skip]
        let table = [
            ("temperature", json!("unsupported_value"), Some(Temperature)),
            ("response_format.json_schema.strict", json!(null), Some(ResponseFormat)),
            ("messages[0].role", json!("unsupported_value"), Some(DeveloperRole)),
            ("stream_options", json!("unknown_parameter"), Some(StreamOptions)),
            ("max_completion_tokens", json!("unsupported_parameter"), Some(MaxCompletionTokens)),
            // Too large a value is no reason to use another name for ever.
            ("max_completion_tokens", json!("integer_above_max_value"), None),
            ("messages", json!("context_length_exceeded"), None),
        ];
        for (param, code, expected) in table {
            assert_eq!(
                named(400, json!({ "message": "m", "param": param, "code": code })),
                expected,
                "{param}"
            );
        }
    }

    #[test]
    fn the_shapes_of_error_bodies() {
        let code = |body: &str| {
            let failure =
                Failure::from_response(StatusCode::BAD_REQUEST, &HeaderMap::new(), body.as_bytes());
            (failure.error.code, failure.unsupported)
        };
        let some = |code: &str| Some(code.to_owned());
        assert_eq!(
            code(r#"[{"error":{"code":400,"message":"m"}}]"#),
            (some("400"), None)
        );
        assert_eq!(
            code(r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#),
            (some("400"), None)
        );
        assert_eq!(
            code(
                r#"{"detail":[{"loc":["body","verbosity"],"msg":"Extra inputs are not permitted"}]}"#
            ),
            (None, Some(Param::Verbosity))
        );
        assert_eq!(
            code(r#"{"error":{"code":"sk-abc","type":"some prose"}}"#),
            (None, None)
        );
        for nothing in [
            "",
            "null",
            "[]",
            "{}",
            "<html>",
            r#"{"error":null}"#,
            r#"{"error":[]}"#,
        ] {
            assert_eq!(code(nothing), (None, None), "{nothing}");
        }
    }
}
