//! Errors of the HTTP routes: the status, and the body that existing clients read.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use graphql_transport::EXPIRED_CHALLENGE;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Error, ErrorCode};

/// Turns an error into a response and logs it.
#[derive(Debug)]
pub(in crate::api) struct RestError(pub(in crate::api) Error);

impl From<Error> for RestError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        self.0.log();
        response(&self.0)
    }
}

/// An error. The text is repeated under three names, because existing clients read different ones; programs read `code`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorBody<'e> {
    /// The stable code (docs/errors.md).
    code: &'static str,
    /// The text.
    detail: &'e str,
    /// The text.
    error: &'e str,
    /// The text.
    message: &'e str,
    /// The offset at which the reply continues; of `OFFSET_MISMATCH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expected_offset: Option<usize>,
}

/// The response to an error that has already been logged.
pub(super) fn response(error: &Error) -> Response {
    let text = error.to_string();
    let body = ErrorBody {
        code: error.code().as_str(),
        detail: &text,
        error: &text,
        message: &text,
        expected_offset: error.expected_offset(),
    };
    let mut response = (status(error.code()), Json(body)).into_response();
    // Read by the error counter in `observe`.
    response.extensions_mut().insert(error.code());
    if let Some(challenge) = challenge(error) {
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = error.retry_after() {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The `WWW-Authenticate` challenge (RFC 6750, section 3).
fn challenge(error: &Error) -> Option<HeaderValue> {
    match error {
        Error::Unauthenticated => Some(HeaderValue::from_static("Bearer")),
        Error::AuthExpired => Some(HeaderValue::from_static(EXPIRED_CHALLENGE)),
        Error::Forbidden { scope } => {
            let text = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
            HeaderValue::from_str(&text).ok()
        }
        _ => None,
    }
}

/// The HTTP status of an error code.
pub fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidInput | ErrorCode::ContextTooLong => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::InvalidJson
        | ErrorCode::UnknownFormat
        | ErrorCode::InvalidCursor
        | ErrorCode::BlankSearch
        | ErrorCode::InvalidHost
        | ErrorCode::GraphqlParseFailed
        | ErrorCode::GraphqlValidationFailed
        | ErrorCode::QueryTooComplex
        | ErrorCode::PersistedQueryNotFound
        | ErrorCode::PersistedQueryRequired => StatusCode::BAD_REQUEST,
        ErrorCode::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Unauthenticated | ErrorCode::AuthExpired => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::ForbiddenOrigin => StatusCode::FORBIDDEN,
        ErrorCode::ForbiddenHost => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::RateLimited | ErrorCode::BudgetExceeded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::IdempotencyKeyReused
        | ErrorCode::NotNewest
        | ErrorCode::ReplyRunning
        | ErrorCode::IdTaken
        | ErrorCode::OffsetMismatch
        | ErrorCode::ReplyBusy
        | ErrorCode::ReplyStopped
        | ErrorCode::ReplyEnded
        | ErrorCode::NoText
        | ErrorCode::ManualTitle => StatusCode::CONFLICT,
        ErrorCode::ModelUnavailable | ErrorCode::ModelMisconfigured => StatusCode::BAD_GATEWAY,
        ErrorCode::ModelRateLimited
        | ErrorCode::Lagged
        | ErrorCode::Overloaded
        | ErrorCode::Timeout
        | ErrorCode::DatabaseUnavailable
        | ErrorCode::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
