//! The one error of the crate.
//!
//! A variant's `Display` is written for the client: it says what was wrong and never what we are made of. What really
//! happened stands in its source, and goes to the log once, where the answer is encoded. This room knows no HTTP, no
//! GraphQL and no SSE: each of these maps [`ErrorCode`] by a table of its own.

use std::{error::Error as StdError, time::Duration};

use uuid::Uuid;

/// A cause, for the log only.
pub type Source = Box<dyn StdError + Send + Sync + 'static>;

/// The result of everything that can fail towards a client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The innermost cause of an error: the error itself where nothing caused it.
pub fn innermost<'a>(mut error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that the client sent cannot be used; the text names the field.
    #[error("{0}")]
    InvalidInput(String),
    /// The same, of a field whose name is known: its own, in snake case.
    #[error("{message}")]
    InvalidField {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The body is not JSON.
    #[error("the request body is not valid JSON")]
    InvalidJson,
    /// A cursor that no list of ours gave out.
    #[error("the cursor is malformed or belongs to another list")]
    InvalidCursor,
    /// The body is not announced as JSON.
    #[error("the Content-Type must be application/json")]
    UnsupportedMediaType,
    /// The body is too large.
    #[error("the request body is larger than {limit_bytes} bytes")]
    PayloadTooLarge {
        /// The most that is accepted.
        limit_bytes: usize,
    },
    /// The body took too long to come.
    #[error("the request body came too slowly")]
    SlowBody,
    /// The path exists, the method does not.
    #[error("this path does not take this method")]
    MethodNotAllowed,
    /// There is no token, or it is not valid: nobody learns why.
    #[error("a valid bearer token is needed")]
    Unauthenticated,
    /// The token was valid once.
    #[error("the token has expired; come back with a new one")]
    AuthExpired,
    /// The token does not allow this.
    #[error("the token lacks the scope {scope}")]
    Forbidden {
        /// What it would have to allow.
        scope: &'static str,
    },
    /// A browser page of a foreign origin.
    #[error("this origin may not use the service")]
    ForbiddenOrigin,
    /// The request names no host, several, or a malformed one.
    #[error("the request has to name one host, in one Host header")]
    InvalidHost,
    /// The service is not known by this name.
    #[error("this host is not served here; the operator can list it in --allowed-hosts")]
    ForbiddenHost,
    /// The caller, or its address, has or does too much.
    #[error("too many {what}; try again in {} s", seconds(*retry_after))]
    RateLimited {
        /// Of what: `messages`.
        what: &'static str,
        /// When there may be one more.
        retry_after: Duration,
    },
    /// The server has all the connections that it may have.
    #[error("the server has too many connections; try again in {} s", seconds(*retry_after))]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// All places for this kind of work are taken.
    #[error("the server is busy with other {what}; try again in {} s", seconds(*retry_after))]
    Busy {
        /// With what: `searches`.
        what: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// The work took longer than its limit.
    #[error("the {what} took too long; try again, or ask for less")]
    TimedOut {
        /// What did: `search`.
        what: &'static str,
    },
    /// The answer would hold more text than one query may read.
    #[error("the messages hold more than 8 MiB of text; ask for fewer, or for fewer conversations")]
    QueryTooLarge,
    /// It does not exist, or it is not the caller's: nobody learns which.
    #[error("no such {what}")]
    NotFound {
        /// What was looked for: `conversation`, `path`.
        what: &'static str,
    },
    /// The idempotency key belongs to another request.
    #[error("this idempotency key was used with another request")]
    IdempotencyKeyReused,
    /// A person gave the title, and was not asked about losing it.
    #[error("the title was given by a person; replace it only when asked to, with replaceManual")]
    ManualTitle,
    /// The subscriber was too slow and lost events.
    #[error("the subscription fell behind and lost events; read again and subscribe again")]
    Lagged,
    /// The model could not be reached, broke off, or answered nonsense.
    #[error("the model is unavailable; the message is stored, try again later")]
    ModelUnavailable(#[source] Source),
    /// The model's provider limits our rate.
    #[error("the model is overloaded; the message is stored, try again later")]
    ModelRateLimited(#[source] Source),
    /// The provider refuses the key, the model or the request: an operator must act.
    #[error("the model is not set up correctly; the operator has to mend it")]
    ModelMisconfigured(#[source] Source),
    /// The database failed.
    #[error("the database is unavailable; try again later")]
    Database(#[source] Source),
    /// The server is going away.
    #[error("the server is shutting down; try again")]
    ShuttingDown,
    /// A bug of ours.
    #[error("internal error")]
    Internal(#[source] Source),
    /// A bug of ours, found in the log by this id.
    #[error("internal error {id}")]
    Panicked {
        /// The id.
        id: Uuid,
    },
}

/// The closed set of codes that clients can rely on. Every surface carries it: REST as `code`, GraphQL as
/// `extensions.code`, SSE as `code` of the error event. The last ones are GraphQL's alone: its transports
/// refuse requests with them before anything is executed.
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
    reason = "each is documented at the error, or the transports' code, of the same name"
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
    /// The code as clients read it.
    pub fn as_str(self) -> &'static str {
        self.into()
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

    /// In how many seconds a client may try again, if it is known.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::Overloaded { retry_after }
            | Self::Busy { retry_after, .. } => Some(seconds(*retry_after)),
            _ => None,
        }
    }

    /// No such conversation, or not the caller's.
    pub fn no_conversation() -> Self {
        Self::NotFound {
            what: "conversation",
        }
    }

    /// A value that cannot be used.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidInput(message.into())
    }

    /// A field that cannot be used.
    pub fn invalid_field(field: &'static str, message: impl Into<String>) -> Self {
        Self::InvalidField {
            field,
            message: message.into(),
        }
    }

    /// The cause, if it is of this type.
    pub fn cause<T: StdError + 'static>(&self) -> Option<&T> {
        match self {
            Self::Database(source) | Self::Internal(source) => source.downcast_ref(),
            _ => None,
        }
    }

    /// Writes the cause to the log, if there is one: called once, where the answer is encoded.
    pub fn log(&self) {
        let Some(source) = self.source() else { return };
        let code = self.code().as_str();
        tracing::error!(error.code = code, error.cause = source, "request failed");
    }
}

/// Whole seconds, rounded up: who comes back after them does not come too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
