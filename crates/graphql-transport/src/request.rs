//! GraphQL requests of any transport, and the errors that refuse them before execution.

use async_graphql::{ErrorExtensionValues, Request, ServerError, Variables};
use serde_json::{Map, Value};

/// Error codes of requests that were not executed, for `extensions.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The request does not follow the protocol.
    #[strum(serialize = "INVALID_INPUT")]
    InvalidRequest,
    /// The body is not JSON.
    InvalidJson,
    /// The document does not parse.
    GraphqlParseFailed,
    /// The document or its variables do not match the schema.
    GraphqlValidationFailed,
    /// The document exceeds a limit.
    QueryTooComplex,
    /// The body or the message is too large.
    PayloadTooLarge,
    /// The Content-Type is not JSON, or the body is compressed.
    UnsupportedMediaType,
    /// The client accepts no media type that the server offers.
    NotAcceptable,
    /// The HTTP method does not support the operation.
    MethodNotAllowed,
    /// The hash is unknown; the client must send the document once.
    PersistedQueryNotFound,
    /// The document is not a trusted document.
    PersistedQueryRequired,
    /// The execution timed out.
    Timeout,
    /// The credentials are missing or invalid.
    Unauthenticated,
    /// The credentials have expired.
    AuthExpired,
    /// The caller may not execute this document.
    Forbidden,
    /// A page of another origin may have sent the credentials.
    ForbiddenOrigin,
    /// The caller exceeds a limit; `extensions.retryAfter` is in seconds.
    RateLimited,
    /// The subscriber lagged and lost events.
    Lagged,
    /// A bug of the server.
    Internal,
}

impl Code {
    /// The code as clients see it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the error has this code.
    pub(super) fn is_of(self, error: &ServerError) -> bool {
        let code = error.extensions.as_ref();
        let code = code.and_then(|extensions| extensions.get("code"));
        matches!(code, Some(async_graphql::Value::String(code)) if code == self.as_str())
    }

    /// Creates an error with this code.
    pub fn error(self, message: impl Into<String>) -> ServerError {
        let mut error = ServerError::new(message, None);
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", self.as_str());
        error.extensions = Some(extensions);
        error
    }
}

/// A request whose document is not parsed yet.
#[derive(Clone, Debug)]
pub(super) struct RawRequest {
    /// The document; empty if the client sent only a hash or an id.
    pub(super) query: String,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Map<String, Value>,
    /// The hash of an automatic persisted query (Apollo).
    pub(super) hash: Option<String>,
    /// The id of a trusted document.
    pub(super) document_id: Option<String>,
}

impl RawRequest {
    /// Parses the JSON of a body or of a WebSocket message's payload.
    ///
    /// # Errors
    /// If a field is missing or has the wrong type. `null` and an empty text count as absent.
    pub(super) fn from_json(body: Value) -> Result<Self, ServerError> {
        let invalid = |text: &str| Code::InvalidRequest.error(text);
        let Value::Object(mut body) = body else {
            return Err(invalid(
                "the request must be a JSON object; batches are not supported",
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
            Some(Value::String(id)) => Some(id).filter(|id| !id.is_empty()),
            None => None,
            Some(_) => return Err(invalid("documentId must be a string")),
        };
        let hash = match take("extensions") {
            Some(Value::Object(extensions)) => extensions
                .get("persistedQuery")
                .and_then(|persisted| persisted.get("sha256Hash"))
                .and_then(Value::as_str)
                .filter(|hash| !hash.is_empty())
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

    /// Parses a query string.
    ///
    /// # Errors
    /// As [`Self::from_json`]; also when a JSON parameter is malformed.
    pub(super) fn from_query_string(query: &str) -> Result<Self, ServerError> {
        let mut body = Map::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = match name.as_ref() {
                "variables" | "extensions" if value.is_empty() => Value::Null,
                "variables" | "extensions" => lenient_json::from_client(value.as_bytes())
                    .map_err(|_| Code::InvalidRequest.error(format!("{name} must be JSON")))?,
                _ => Value::String(value.into_owned()),
            };
            body.insert(name.into_owned(), value);
        }
        Self::from_json(Value::Object(body))
    }

    /// Converts the request for the engine.
    pub(super) fn into_request(self, document: String) -> Request {
        let mut request =
            Request::new(document).variables(Variables::from_json(Value::Object(self.variables)));
        request.operation_name = self.operation_name;
        request
    }
}
