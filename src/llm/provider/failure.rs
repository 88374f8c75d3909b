//! Classifies provider errors: the kind, the status, a machine-readable code, and the parameters that it names.
//!
//! The provider's message is read and dropped here, since it repeats keys and user text. The mapping follows OpenAI's
//! guide "Error codes". Other shapes are read as well: an integer `code` (llama.cpp), an `error` string (Ollama), no
//! `error` wrapper (vLLM), `detail` (FastAPI), a list around it (Gemini), a list `errors` (Cloudflare), and the
//! provider's error quoted in `metadata.raw` (OpenRouter).

use std::time::Duration;

use async_openai::error::OpenAIError;
use reqwest::{StatusCode, header::HeaderMap};
use serde_json::Value;

use super::{
    retry_after::{retry_after, retry_delay},
    too_long,
    wire::{PARAMS, Param},
};
use crate::llm::{ModelError, ModelErrorKind};

/// A failed exchange, and how the request can be adapted.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct Failure {
    /// The error for the caller.
    pub(super) error: ModelError,
    /// The parameters that the provider names, in that order; it may not support them.
    pub(super) named: Vec<Param>,
    /// Whether all tokens went into reasoning. OpenAI reports that as an empty answer or as this error.
    pub(super) out_of_tokens: bool,
}

impl Failure {
    pub(super) fn new(kind: ModelErrorKind) -> Self {
        Self {
            error: ModelError::new(kind),
            named: Vec::new(),
            out_of_tokens: false,
        }
    }

    /// Adds the response's status to a malformed answer. An error in the body has a status of its own.
    pub(super) fn with_status(mut self, status: u16) -> Self {
        if self.error.kind == ModelErrorKind::Malformed {
            self.error.status = Some(status);
        }
        self
    }

    /// Reads a response with an error status.
    pub(super) fn from_response(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}');
        let value =
            lenient_json::from_provider(text.as_bytes()).unwrap_or_else(|_| Value::from(text));
        let error = ErrorBody::read(&value);
        let mut failure = error.failure(Some(status.as_u16()));
        failure.error.status = Some(status.as_u16());
        failure.error.retry_after = retry_after(headers).or(error.retry_delay);
        failure
    }

    /// Finds an error object in a body or an event that came with status 200.
    pub(super) fn in_answer(value: &Value) -> Option<Self> {
        let is_error = match value.get("error") {
            Some(Value::Object(error)) => !error.is_empty(),
            Some(Value::String(error)) => !error.is_empty(),
            Some(Value::Array(errors)) => !errors.is_empty(),
            Some(Value::Bool(true) | Value::Number(_)) => true,
            _ => value.get("object").and_then(Value::as_str) == Some("error"),
        };
        if !is_error {
            return None;
        }
        Some(Self::of_error(value))
    }

    /// Extracts our own failure from the client's error. Other client errors quote bodies, so only their kind is kept.
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

    /// Reads an error object, or an object around one.
    pub(super) fn of_error(value: &Value) -> Self {
        let error = ErrorBody::read(value);
        let status = error.code.and_then(as_status);
        let mut failure = error.failure(status);
        failure.error.retry_after = error.retry_delay;
        failure
    }
}

impl From<Failure> for OpenAIError {
    fn from(failure: Failure) -> Self {
        Self::Boxed(Box::new(failure))
    }
}

/// Codes of a model that is gone, that does not exist, or that the key may not use.
const NO_MODEL: [&str; 7] = [
    "model_not_found",
    "not_found_error",
    "model_decommissioned",
    "model_not_available",
    "unknown_model",
    "DeploymentNotFound",
    "ModelDeprecated",
];

/// Codes of an account that has used up its money or its quota.
const NO_QUOTA: [&str; 6] = [
    "insufficient_quota",
    "insufficient_user_quota",
    "insufficient_balance",
    "insufficient_balance_error",
    "billing_hard_limit_reached",
    "billing_not_active",
];

/// Codes of rate limits, in an event without a status.
const LIMITED: [&str; 3] = [
    "rate_limit_exceeded",
    "rate_limit_error",
    "too_many_requests",
];

/// Beginnings of quota messages without such a code. Only the beginning counts: after it, some servers repeat the
/// request.
const NO_QUOTA_MESSAGES: [&str; 2] = ["your credit balance is too low", "insufficient balance"];

/// Phrases in 403 messages about a message that a filter refused.
const FLAGGED: [&str; 2] = ["requires moderation", "input was flagged"];

/// The fields of an error object, in any of the known shapes.
struct ErrorBody<'a> {
    code: Option<&'a Value>,
    class: Option<&'a str>,
    param: Option<&'a str>,
    message: String,
    /// The wait that the provider asks for.
    retry_delay: Option<Duration>,
}

impl<'a> ErrorBody<'a> {
    fn read(value: &'a Value) -> Self {
        let value = value.get(0).unwrap_or(value);
        let error = match (value.get("error"), value.pointer("/errors/0")) {
            (Some(error), _) if error.is_object() || error.is_string() => error,
            (Some(error), _) if error.is_array() => error.get(0).unwrap_or(error),
            (_, Some(error)) => error,
            _ => value,
        };
        let message = ["message", "detail", "error"]
            .iter()
            .find_map(|name| error.get(name));
        let mut message = match message {
            Some(message) => text_in(message),
            None if error.is_object() => String::new(),
            None => text_in(error),
        };
        // A router's own message says nothing; the provider's message is quoted beside it.
        if let Some(quoted) = error.pointer("/metadata/raw") {
            message.push(' ');
            message.push_str(&text_in(quoted));
        }
        Self {
            code: error.get("code"),
            class: error.get("type").and_then(Value::as_str),
            param: error.get("param").and_then(Value::as_str),
            message: message.to_ascii_lowercase(),
            retry_delay: retry_delay(error),
        }
    }

    fn failure(&self, status: Option<u16>) -> Failure {
        let mut failure = Failure::new(self.kind(status));
        failure.error.code = self
            .code
            .and_then(safe_code)
            .or_else(|| self.class.and_then(safe_text));
        // Errors about keys and rates are not about parameters.
        if !matches!(status, Some(401 | 403 | 429)) {
            failure.named = self.named();
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
        if too_long::says_so(
            status,
            self.code.and_then(Value::as_str),
            self.class,
            &self.message,
        ) {
            return TooLong;
        }
        let quota = self.says(&NO_QUOTA) || self.starts_with(&NO_QUOTA_MESSAGES);
        match status {
            // A key may be valid, but not for this model or this message. Gateways report a model without a server as
            // 503, Azure a deprecated model as 500.
            Some(400 | 403 | 500 | 503) if self.says(&NO_MODEL) => NotFound,
            Some(403) if self.is_flagged() => InvalidRequest,
            Some(400 | 403 | 429 | 500) if quota => QuotaExceeded,
            Some(401 | 403) => Unauthorized,
            Some(402) => QuotaExceeded,
            Some(404) if self.names_model() => NotFound,
            Some(404) => NoEndpoint,
            Some(410) => NotFound,
            Some(408) => Timeout,
            Some(429) => RateLimited,
            Some(400..=499) => InvalidRequest,
            Some(500..) => Unavailable,
            // Redirects are not followed: the key must go only to the configured host.
            Some(_) => Malformed,
            None if quota => QuotaExceeded,
            None if self.says(&LIMITED) => RateLimited,
            None if self.says(&["invalid_api_key", "authentication_error"]) => Unauthorized,
            None if self.says(&NO_MODEL) => NotFound,
            None if self.says(&["invalid_request_error"]) || self.is_of_a_filter() => {
                InvalidRequest
            }
            None => Unavailable,
        }
    }

    fn starts_with(&self, beginnings: &[&str]) -> bool {
        let message = self.message.trim_start();
        beginnings.iter().any(|words| message.starts_with(words))
    }

    /// Whether a filter refused the message, by the code.
    fn is_of_a_filter(&self) -> bool {
        let code = self.code.and_then(Value::as_str).or(self.class);
        code.is_some_and(ModelError::is_filter_code)
    }

    /// Whether a 403 is about the message and not about the key.
    fn is_flagged(&self) -> bool {
        self.is_of_a_filter() || FLAGGED.iter().any(|words| self.message.contains(words))
    }

    /// Whether a 404 is about the model; otherwise the URL is wrong.
    fn names_model(&self) -> bool {
        let code = self.code.and_then(Value::as_str).unwrap_or_default();
        let words = [
            code,
            self.class.unwrap_or_default(),
            self.param.unwrap_or_default(),
            &self.message,
        ];
        let is_about = |words: &str| {
            ["model", "not_found_error", "endpoints found", "deployment"]
                .iter()
                .any(|word| words.contains(word))
        };
        words.into_iter().any(is_about)
    }

    /// The named parameters: the one in `param` first, then those in the message, in their order. Only a request
    /// without a parameter shows whether it was the cause.
    fn named(&self) -> Vec<Param> {
        let path = self.param.unwrap_or_default();
        let is_in_path = |field| path.split(['.', '[', ']']).any(|part| part == field);
        let mut named: Vec<(usize, Param)> = PARAMS
            .iter()
            .filter_map(|names| {
                let in_message = names
                    .prose
                    .iter()
                    .filter_map(|name| word_at(&self.message, name))
                    .filter(|at| names.param != Param::Store || !is_place(&self.message, *at));
                match is_in_path(names.field) {
                    true => Some((0, names.param)),
                    false => Some((1 + in_message.min()?, names.param)),
                }
            })
            .collect();
        named.sort();
        named.dedup_by_key(|(_, param)| *param);
        named.into_iter().map(|(_, param)| param).collect()
    }
}

/// A message as text: itself, or the JSON of a list or an object.
fn text_in(message: &Value) -> String {
    match message {
        Value::String(message) => message.clone(),
        Value::Array(_) | Value::Object(_) => message.to_string(),
        _ => String::new(),
    }
}

/// The position of a name as a whole word, not as part of a longer name.
fn word_at(message: &str, name: &str) -> Option<usize> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    message.match_indices(name).map(|(at, _)| at).find(|at| {
        !message[..*at].ends_with(inside) && !message[at + name.len()..].starts_with(inside)
    })
}

/// Whether the word `store` at this position of a message means a storage place, not the parameter.
fn is_place(message: &str, at: usize) -> bool {
    const PARAMETERS: [&str; 5] = ["argument", "field", "option", "parameter", "property"];
    const KINDS: [&str; 14] = [
        "backing", "blob", "cache", "data", "document", "feature", "file", "key", "memory",
        "object", "session", "the", "value", "vector",
    ];
    let (before, store) = message.split_at(at);
    let last = before.trim_end().rsplit([' ', '-']).next();
    let mut words = store.split(|c: char| !c.is_ascii_alphanumeric());
    let is_parameter = |word| PARAMETERS.contains(&word);
    let is_named = last == Some("the") && words.nth(1).is_some_and(is_parameter);
    before.ends_with([' ', '-']) && last.is_some_and(|word| KINDS.contains(&word)) && !is_named
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

/// The code, unless it is prose or a key, which are dropped as a whole, since a part could still leak something.
fn safe_text(code: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let fits =
        (1..=64).contains(&code.len()) && code.chars().all(plain) && !code.starts_with("sk-");
    fits.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(status: u16, error: Value) -> Vec<Param> {
        let body = json!({ "error": error }).to_string();
        let status = StatusCode::from_u16(status).unwrap();
        Failure::from_response(status, &HeaderMap::new(), body.as_bytes()).named
    }

    #[test]
    fn the_parameters_that_a_message_names() {
        use Param::*;
        const FORMAT: &[Param] = &[JsonSchema, ResponseFormat];
        #[rustfmt::skip]
        let table: [(&str, &[Param]); 24] = [
            ("Your organization must be verified to stream this model.", &[Stream]),
            ("Unsupported value: 'stream' does not support true with this model.", &[Stream]),
            ("The 'stream_options' parameter is only allowed when 'stream' is enabled.", &[StreamOptions, Stream]),
            ("Unsupported parameter: 'reasoning_effort' is not supported with this model.", &[ReasoningEffort]),
            ("Unrecognized request argument supplied: verbosity", &[Verbosity]),
            ("Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens' instead.", &[MaxCompletionTokens]),
            ("Unsupported parameter: 'max_tokens'. Use 'max_output_tokens' instead.", &[MaxOutputTokens]),
            ("This response_format type is unavailable now", FORMAT),
            ("[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'input': 'json_schema'}]", FORMAT),
            ("\"json_schema\" ist unbekannt", &[JsonSchema]),
            ("openai does not support parameters: ['verbosity', 'reasoning_effort'], for model=gpt-4", &[Verbosity, ReasoningEffort]),
            ("Unsupported value: 'messages[0].role' does not support 'developer'.", &[DeveloperRole]),
            ("System role not supported", &[SystemRole]),
            ("Conversation roles must alternate user/assistant/user/assistant/...", &[SystemRole]),
            ("Unsupported role: 'system'. Only 'user' and 'assistant' are known.", &[SystemRole]),
            ("property 'store' is unsupported", &[Store]),
            ("unsupported parameter: store", &[Store]),
            ("the store parameter is not supported by this model", &[Store]),
            ("the vector store is temporarily unavailable", &[]),
            ("key-value store timeout; the store is down", &[]),
            ("temperature must be a number", &[Temperature]),
            ("unknown field my_temperature_2", &[]),
            ("This model's maximum context length is 8192 tokens", &[]),
            ("", &[]),
        ];
        for (message, params) in table {
            for status in [400, 404, 405, 413, 422, 500, 501, 503] {
                let error = json!({ "message": message, "param": null });
                assert_eq!(named(status, error), params, "{status} {message}");
            }
            for status in [401, 403, 429] {
                assert_eq!(
                    named(status, json!({ "message": message })),
                    [],
                    "{status} {message}"
                );
            }
        }
        assert_eq!(named(400, json!("unknown field `verbosity`")), [Verbosity]);
        let bare = b"Traceback: TypeError: got an unexpected keyword argument 'response_format'";
        let failure =
            Failure::from_response(StatusCode::INTERNAL_SERVER_ERROR, &HeaderMap::new(), bare);
        assert_eq!(failure.named, FORMAT);
    }

    #[test]
    fn the_parameter_in_its_own_field() {
        use Param::*;
        #[rustfmt::skip]
        let table: [(&str, &[Param]); 5] = [
            ("temperature", &[Temperature]),
            ("response_format.json_schema.strict", &[JsonSchema, ResponseFormat]),
            ("messages[0].role", &[DeveloperRole, SystemRole]),
            ("stream_options", &[StreamOptions]),
            ("messages", &[]),
        ];
        for (param, expected) in table {
            let error = json!({ "message": "m", "param": param, "code": "unsupported_value" });
            assert_eq!(named(400, error), expected, "{param}");
        }
        let error = json!({ "message": "set temperature or verbosity", "param": "verbosity" });
        assert_eq!(named(400, error), [Verbosity, Temperature]);
    }

    #[test]
    fn a_bare_404_is_not_about_the_model() {
        use ModelErrorKind::*;
        #[rustfmt::skip]
        let table = [
            (r#"{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","code":"model_not_found"}}"#, NotFound),
            (r#"{"error":{"message":"model \"x\" not found, try pulling it first","type":"api_error","code":null}}"#, NotFound),
            (r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","code":404}"#, NotFound),
            (r#"{"error":{"message":"No endpoints found for x.","code":404}}"#, NotFound),
            (r#"{"type":"error","error":{"type":"not_found_error","message":"x"}}"#, NotFound),
            (r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment does not exist"}}"#, NotFound),
            (r#"{"error":{"message":"Invalid URL (POST /chat/completions)","type":"invalid_request_error","code":null}}"#, NoEndpoint),
            (r#"{"error":"Unexpected endpoint or method. (POST /chat/completions)"}"#, NoEndpoint),
            (r#"{"detail":"Not Found"}"#, NoEndpoint),
            ("404 page not found", NoEndpoint),
            ("<html>Not Found</html>", NoEndpoint),
            ("", NoEndpoint),
        ];
        for (body, kind) in table {
            let failure =
                Failure::from_response(StatusCode::NOT_FOUND, &HeaderMap::new(), body.as_bytes());
            assert_eq!(failure.error.kind, kind, "{body}");
        }
    }

    #[test]
    fn a_key_that_is_valid_is_not_refused_for_all_models() {
        use ModelErrorKind::*;
        #[rustfmt::skip]
        let table = [
            (403, r#"{"error":{"message":"Project `p` does not have access to model `x`","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#, NotFound),
            (400, r#"{"error":{"message":"The model `x` has been decommissioned","type":"invalid_request_error","code":"model_decommissioned"}}"#, NotFound),
            (400, r#"{"error":{"code":"unknown_model","message":"Unknown model: x"}}"#, NotFound),
            (403, r#"{"error":{"message":"x requires moderation on y. Your input was flagged for \"violence\".","code":403,"metadata":{"reasons":["violence"]}}}"#, InvalidRequest),
            (403, r#"{"error":{"message":"m","code":"content_filter"}}"#, InvalidRequest),
            (403, r#"{"error":{"message":"Key limit exceeded","code":403}}"#, Unauthorized),
            (403, "", Unauthorized),
            (401, r#"{"error":{"message":"m","code":"model_not_found"}}"#, Unauthorized),
            // Not an outage, which would be retried.
            (503, r#"{"error":{"code":"model_not_found","message":"No available channel for model x under group default","type":"new_api_error"}}"#, NotFound),
            (500, r#"{"error":{"code":"ModelDeprecated","message":"The model associated with the deployment is deprecated."}}"#, NotFound),
            (503, r#"{"error":{"code":"server_error","message":"The model is overloaded"}}"#, Unavailable),
            // Quota in other words.
            (403, r#"{"error":{"message":"user quota is not enough","type":"v_api_error","code":"insufficient_user_quota"}}"#, QuotaExceeded),
            (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}"#, QuotaExceeded),
            (500, r#"{"type":"error","error":{"type":"api_error","message":"insufficient balance (1008)"}}"#, QuotaExceeded),
            (429, r#"{"error":{"message":"m","type":"insufficient_quota"}}"#, QuotaExceeded),
            (429, r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#, RateLimited),
            // A message that repeats the request.
            (400, r#"{"detail":[{"loc":["body"],"input":"Your credit balance is too low"}]}"#, InvalidRequest),
        ];
        for (status, body, kind) in table {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = Failure::from_response(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!(failure.error.kind, kind, "{status} {body}");
        }
        // Within a stream there may be no status.
        let event =
            json!({ "error": { "code": "content_filter", "message": "m", "param": "prompt" } });
        let error = Failure::in_answer(&event).unwrap().error;
        assert!(error.is_of_a_filter(), "{error}");
        let event =
            json!({ "type": "error", "error": { "code": "too_many_requests", "message": "m" } });
        assert_eq!(Failure::of_error(&event).error.kind, RateLimited);
    }

    #[test]
    fn the_shapes_of_error_bodies() {
        let code = |body: &str| {
            let failure =
                Failure::from_response(StatusCode::BAD_REQUEST, &HeaderMap::new(), body.as_bytes());
            (failure.error.code, failure.named)
        };
        let some = |code: &str| Some(code.to_owned());
        assert_eq!(
            code(r#"[{"error":{"code":400,"message":"m"}}]"#),
            (some("400"), vec![])
        );
        assert_eq!(
            code(r#"{"object":"error","message":"m","type":"BadRequestError","code":400}"#),
            (some("400"), vec![])
        );
        assert_eq!(
            code(
                r#"{"detail":[{"loc":["body","verbosity"],"msg":"Extra inputs are not permitted"}]}"#
            ),
            (None, vec![Param::Verbosity])
        );
        assert_eq!(
            code(r#"{"error":{"code":"sk-abc","type":"some prose"}}"#),
            (None, vec![])
        );
        let upstream =
            r#"{"error":{"message":"'temperature' is unsupported","param":"temperature"}}"#;
        for body in [
            // A router that quotes the provider, a list of errors, and messages of more than text.
            json!({ "error": { "message": "Provider returned error", "code": 400, "metadata": { "raw": upstream } } }),
            json!({ "error": { "message": "m", "code": 400, "metadata": { "raw": { "detail": "temperature" } } } }),
            json!({ "success": false, "errors": [{ "message": "unknown field temperature", "code": 400 }] }),
            json!({ "error": { "message": { "detail": "unknown field temperature" }, "code": 400 } }),
            json!({ "detail": { "msg": "unknown field", "loc": ["temperature"] }, "code": 400 }),
        ] {
            let expected = (some("400"), vec![Param::Temperature]);
            assert_eq!(code(&body.to_string()), expected, "{body}");
        }
        for nothing in [
            "",
            "null",
            "[]",
            "{}",
            "<html>",
            r#"{"error":null}"#,
            r#"{"error":[]}"#,
        ] {
            assert_eq!(code(nothing), (None, vec![]), "{nothing}");
        }
    }
}
