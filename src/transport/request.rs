//! A GraphQL request as it arrives, whatever carried it, and the errors that end it before execution.

use async_graphql::{ErrorExtensionValues, Request, ServerError, Variables};
use serde_json::{Map, Value};

use super::gate::{Refusal, RefusalKind};
use crate::json;

/// Why a request was not executed, as `extensions.code` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The request is none of the protocol's.
    #[strum(serialize = "INVALID_INPUT")]
    InvalidRequest,
    /// The body is not JSON.
    InvalidJson,
    /// The document does not parse.
    GraphqlParseFailed,
    /// The document is not one of this schema's, or its variables are not.
    GraphqlValidationFailed,
    /// The document is over a limit.
    QueryTooComplex,
    /// The body or the message is too large.
    PayloadTooLarge,
    /// The body is not announced as JSON.
    UnsupportedMediaType,
    /// None of the media types asked for can be given.
    NotAcceptable,
    /// A method that cannot do this.
    MethodNotAllowed,
    /// The hash is not known; send the document along once.
    PersistedQueryNotFound,
    /// Only documents that were registered are executed.
    PersistedQueryRequired,
    /// The execution took too long.
    Timeout,
    /// There are no credentials, or no valid ones.
    Unauthenticated,
    /// The credentials were valid once.
    AuthExpired,
    /// Another page may have sent the credentials.
    ForbiddenOrigin,
    /// The caller has or does too much; `extensions.retryAfter` says for how many seconds.
    RateLimited,
    /// The subscriber fell behind.
    Lagged,
    /// A bug of ours.
    Internal,
}

impl Code {
    /// The code as clients read it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether an error has this code.
    pub(super) fn is_of(self, error: &ServerError) -> bool {
        let code = error.extensions.as_ref();
        let code = code.and_then(|extensions| extensions.get("code"));
        matches!(code, Some(async_graphql::Value::String(code)) if code == self.as_str())
    }

    /// An error with this code.
    pub(super) fn error(self, message: impl Into<String>) -> ServerError {
        let mut error = ServerError::new(message, None);
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", self.as_str());
        error.extensions = Some(extensions);
        error
    }
}

/// A request before its document was looked at.
#[derive(Clone, Debug)]
pub(super) struct RawRequest {
    /// The document; empty when only its hash was sent.
    pub(super) query: String,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Map<String, Value>,
    /// The hash of Apollo's automatic persisted queries.
    pub(super) hash: Option<String>,
    /// The id of a trusted document.
    pub(super) document_id: Option<String>,
}

impl RawRequest {
    /// Takes the JSON of a body, or of a WebSocket's payload, apart.
    ///
    /// # Errors
    /// When a field is missing or of another type. `null` is the same as absent.
    pub(super) fn from_json(body: Value) -> Result<Self, ServerError> {
        let invalid = |text: &str| Code::InvalidRequest.error(text);
        let Value::Object(mut body) = body else {
            return Err(invalid(
                "the request must be a JSON object; batches are not taken",
            ));
        };
        let mut take = |name: &str| body.remove(name).filter(|value| !value.is_null());
        let query = match take("query") {
            Some(Value::String(query)) => query,
            None => String::new(),
            Some(_) => return Err(invalid("query must be a string")),
        };
        let operation_name = match take("operationName") {
            Some(Value::String(name)) => Some(name).filter(|name| !name.is_empty()),
            None => None,
            Some(_) => return Err(invalid("operationName must be a string")),
        };
        let variables = match take("variables") {
            Some(Value::Object(variables)) => variables,
            None => Map::new(),
            Some(_) => return Err(invalid("variables must be an object")),
        };
        let document_id = match take("documentId") {
            Some(Value::String(id)) => Some(id),
            None => None,
            Some(_) => return Err(invalid("documentId must be a string")),
        };
        let hash = match take("extensions") {
            Some(Value::Object(extensions)) => extensions
                .get("persistedQuery")
                .and_then(|persisted| persisted.get("sha256Hash"))
                .and_then(Value::as_str)
                .map(str::to_owned),
            None => None,
            Some(_) => return Err(invalid("extensions must be an object")),
        };
        if query.is_empty() && hash.is_none() && document_id.is_none() {
            return Err(invalid("query is missing"));
        }
        Ok(Self {
            query,
            operation_name,
            variables,
            hash,
            document_id,
        })
    }

    /// Takes a query string apart.
    ///
    /// # Errors
    /// As [`Self::from_json`]; also when a parameter that holds JSON does not.
    pub(super) fn from_query_string(query: &str) -> Result<Self, ServerError> {
        let mut body = Map::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = match name.as_ref() {
                "variables" | "extensions" if value.is_empty() => Value::Null,
                "variables" | "extensions" => json::from_client(value.as_bytes())
                    .map_err(|_| Code::InvalidRequest.error(format!("{name} must be JSON")))?,
                _ => Value::String(value.into_owned()),
            };
            body.insert(name.into_owned(), value);
        }
        Self::from_json(Value::Object(body))
    }

    /// The request as the engine takes it.
    pub(super) fn into_request(self, document: String) -> Request {
        let mut request =
            Request::new(document).variables(Variables::from_json(Value::Object(self.variables)));
        request.operation_name = self.operation_name;
        request
    }
}

/// What the gate's refusal is to a client.
pub(super) fn refused(refusal: &Refusal) -> ServerError {
    let code = match (refusal.kind(), refusal) {
        (_, Refusal::DocumentTooLarge { .. } | Refusal::VariablesTooLarge { .. }) => {
            Code::PayloadTooLarge
        }
        (RefusalKind::Syntax, _) => Code::GraphqlParseFailed,
        (RefusalKind::Limit, _) => Code::QueryTooComplex,
        (RefusalKind::Invalid, _) => Code::GraphqlValidationFailed,
    };
    let mut error = code.error(refusal.to_string());
    error.locations = refusal.locations().to_vec();
    let extensions = error.extensions.get_or_insert_default();
    if let (RefusalKind::Limit, Some(limit)) = (refusal.kind(), refusal.limit()) {
        // Counting stops at the first that is too many.
        extensions.set("cost", limit.saturating_add(1));
        extensions.set("limit", limit);
    }
    if let Some(variable) = refusal.variable() {
        extensions.set("argument", variable);
    }
    error
}
