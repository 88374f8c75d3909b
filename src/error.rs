//! The error type of the crate.
//!
//! A variant's `Display` text is for clients and reveals no internals. The internal cause is the variant's source; it
//! is logged once, where the response is encoded. This module does not depend on HTTP, GraphQL or SSE: each surface
//! maps [`ErrorCode`] with its own table.

use std::{error::Error as StdError, time::Duration};

use uuid::Uuid;

/// An internal cause, for the log only.
pub type Source = Box<dyn StdError + Send + Sync + 'static>;

/// The result of an operation whose error may be shown to a client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The innermost cause of an error, or the error itself if it has no source.
pub fn innermost<'a>(mut error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// An error that may be shown to a client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value in the request is invalid; the text names the field.
    #[error("{0}")]
    InvalidInput(String),
    /// A value in the request is invalid, and the field's name is known.
    #[error("{message}")]
    InvalidField {
        /// The field's name in snake case.
        field: &'static str,
        /// The text for the client.
        message: String,
    },
    /// The request body is not valid JSON.
    #[error("the request body is not valid JSON")]
    InvalidJson,
    /// The cursor is malformed or was issued by another list.
    #[error("the cursor is malformed or belongs to another list")]
    InvalidCursor,
    /// The request's `Content-Type` is not JSON.
    #[error("the Content-Type must be application/json")]
    UnsupportedMediaType,
    /// The request body is too large.
    #[error("the request body is larger than {limit_bytes} bytes")]
    PayloadTooLarge {
        /// The maximum size.
        limit_bytes: usize,
    },
    /// The request body did not arrive before its deadline.
    #[error("the request body did not arrive in time; retry on a new connection")]
    SlowBody,
    /// The path does not support the method.
    #[error("this path does not support this method")]
    MethodNotAllowed,
    /// The token is missing or invalid. The reason is not disclosed.
    #[error("a valid bearer token is required")]
    Unauthenticated,
    /// The token has expired.
    #[error("the token has expired; retry with a new one")]
    AuthExpired,
    /// The token lacks the required scope.
    #[error("the token lacks the scope {scope}")]
    Forbidden {
        /// The required scope.
        scope: &'static str,
    },
    /// The `Origin` header names an origin that is not allowed.
    #[error("this origin is not allowed; the operator can add it to --allowed-origins")]
    ForbiddenOrigin,
    /// The request has no host, several hosts, or a malformed one.
    #[error("the request must have exactly one valid Host header")]
    InvalidHost,
    /// The request's host is not in `--allowed-hosts`.
    #[error("this host is not allowed; the operator can add it to --allowed-hosts")]
    ForbiddenHost,
    /// The caller or its address exceeds a limit.
    #[error("too many {what}; try again in {} s", seconds(*retry_after))]
    RateLimited {
        /// The limited thing, in the plural: `messages`.
        what: &'static str,
        /// The time until the next one is admitted.
        retry_after: Duration,
    },
    /// The server has reached its connection limit.
    #[error("the server has too many connections; try again in {} s", seconds(*retry_after))]
    Overloaded {
        /// The time to wait before a retry.
        retry_after: Duration,
    },
    /// The concurrency limit for this kind of work is reached.
    #[error("the server is busy with other {what}; try again in {} s", seconds(*retry_after))]
    Busy {
        /// The kind of work, in the plural: `searches`.
        what: &'static str,
        /// The time to wait before a retry.
        retry_after: Duration,
    },
    /// The work exceeded its time limit.
    #[error("the {what} took too long; try again, or request less")]
    TimedOut {
        /// The kind of work: `search`.
        what: &'static str,
    },
    /// The answer exceeds the text limit of one query.
    #[error("the messages hold more than 4 MiB of text; request fewer messages or conversations")]
    QueryTooLarge,
    /// The resource does not exist or belongs to another owner. The response does not disclose which.
    #[error("{what} not found")]
    NotFound {
        /// The kind of resource: `conversation`, `path`.
        what: &'static str,
    },
    /// The idempotency key was used with a different request.
    #[error("this idempotency key was used with another request")]
    IdempotencyKeyReused,
    /// The title is manual, and the request does not permit replacing it.
    #[error("the title was set by the user; pass replaceManual: true to replace it")]
    ManualTitle,
    /// The subscriber fell behind and lost events.
    #[error("the subscription fell behind and lost events; subscribe again, then reload")]
    Lagged,
    /// The model was unreachable, closed the stream early, or sent an invalid response.
    #[error("the model is unavailable; the message is stored, try again later")]
    ModelUnavailable(#[source] Source),
    /// The model's provider rate-limits this service.
    #[error("the model is overloaded; the message is stored, try again later")]
    ModelRateLimited(#[source] Source),
    /// The provider rejects the key, the model or the request. The operator must change the configuration.
    #[error("the model is misconfigured; the operator must check the model's URL, name and key")]
    ModelMisconfigured(#[source] Source),
    /// A database operation failed.
    #[error("the database is unavailable; try again later")]
    Database(#[source] Source),
    /// The server is shutting down.
    #[error("the server is shutting down; try again")]
    ShuttingDown,
    /// An internal error: a bug in this service.
    #[error("internal error")]
    Internal(#[source] Source),
    /// A panic: a bug in this service. The log has its location under the same id.
    #[error("internal error {id}")]
    Panicked {
        /// The id in the log.
        id: Uuid,
    },
}

/// The closed set of stable error codes.
///
/// Every surface carries the code: REST as `code`, GraphQL as `extensions.code`, SSE as `code` of the error event. The
/// codes from [`Self::GraphqlParseFailed`] to [`Self::PersistedQueryRequired`] are specific to GraphQL: its transports
/// reject requests with them before execution.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[expect(
    missing_docs,
    reason = "documented at the error, or the transport's code, of the same name"
)]
pub enum ErrorCode {
    InvalidInput,
    InvalidJson,
    InvalidCursor,
    UnsupportedMediaType,
    PayloadTooLarge,
    RequestTimeout,
    MethodNotAllowed,
    Unauthenticated,
    AuthExpired,
    Forbidden,
    ForbiddenOrigin,
    InvalidHost,
    ForbiddenHost,
    RateLimited,
    Overloaded,
    NotFound,
    IdempotencyKeyReused,
    ManualTitle,
    Lagged,
    ModelUnavailable,
    ModelRateLimited,
    ModelMisconfigured,
    DatabaseUnavailable,
    ShuttingDown,
    Internal,
    GraphqlParseFailed,
    GraphqlValidationFailed,
    QueryTooComplex,
    NotAcceptable,
    PersistedQueryNotFound,
    PersistedQueryRequired,
    Timeout,
}

impl ErrorCode {
    /// The code as sent to clients.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The code with this name; [`Self::Internal`] for an unknown one.
    pub fn named(name: &str) -> Self {
        name.parse().unwrap_or(Self::Internal)
    }
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidInput(_) | Self::InvalidField { .. } => ErrorCode::InvalidInput,
            Self::InvalidJson => ErrorCode::InvalidJson,
            Self::InvalidCursor => ErrorCode::InvalidCursor,
            Self::UnsupportedMediaType => ErrorCode::UnsupportedMediaType,
            Self::PayloadTooLarge { .. } => ErrorCode::PayloadTooLarge,
            Self::SlowBody => ErrorCode::RequestTimeout,
            Self::MethodNotAllowed => ErrorCode::MethodNotAllowed,
            Self::Unauthenticated => ErrorCode::Unauthenticated,
            Self::AuthExpired => ErrorCode::AuthExpired,
            Self::Forbidden { .. } => ErrorCode::Forbidden,
            Self::ForbiddenOrigin => ErrorCode::ForbiddenOrigin,
            Self::InvalidHost => ErrorCode::InvalidHost,
            Self::ForbiddenHost => ErrorCode::ForbiddenHost,
            Self::RateLimited { .. } => ErrorCode::RateLimited,
            Self::Overloaded { .. } | Self::Busy { .. } => ErrorCode::Overloaded,
            Self::TimedOut { .. } => ErrorCode::Timeout,
            Self::QueryTooLarge => ErrorCode::QueryTooComplex,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::IdempotencyKeyReused => ErrorCode::IdempotencyKeyReused,
            Self::ManualTitle => ErrorCode::ManualTitle,
            Self::Lagged => ErrorCode::Lagged,
            Self::ModelUnavailable(_) => ErrorCode::ModelUnavailable,
            Self::ModelRateLimited(_) => ErrorCode::ModelRateLimited,
            Self::ModelMisconfigured(_) => ErrorCode::ModelMisconfigured,
            Self::Database(_) => ErrorCode::DatabaseUnavailable,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
            Self::Internal(_) | Self::Panicked { .. } => ErrorCode::Internal,
        }
    }

    /// The seconds after which a client may retry, if known.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::Overloaded { retry_after }
            | Self::Busy { retry_after, .. } => Some(seconds(*retry_after)),
            _ => None,
        }
    }

    /// The conversation does not exist or belongs to another owner.
    pub fn no_conversation() -> Self {
        Self::NotFound {
            what: "conversation",
        }
    }

    /// An [`Self::InvalidInput`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidInput(message.into())
    }

    /// An [`Self::InvalidField`].
    pub fn invalid_field(field: &'static str, message: impl Into<String>) -> Self {
        Self::InvalidField {
            field,
            message: message.into(),
        }
    }

    /// The cause of a database or internal error, if it has this type.
    pub fn cause<T: StdError + 'static>(&self) -> Option<&T> {
        match self {
            Self::Database(source) | Self::Internal(source) => source.downcast_ref(),
            _ => None,
        }
    }

    /// Logs the cause, if there is one. Called once per error, where the response is encoded.
    pub fn log(&self) {
        let Some(source) = self.source() else { return };
        let code = self.code().as_str();
        tracing::error!(error.code = code, error.cause = source, "request failed");
    }
}

/// Whole seconds, rounded up, so that a client that waits this long does not retry too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
