//! The error type of the crate.
//!
//! A variant's `Display` text is for clients and reveals no internals. The internal cause is the variant's source; it
//! is logged once, where the response is encoded. This module does not depend on HTTP, GraphQL or SSE: each surface
//! maps [`ErrorCode`] with its own table.

use std::{borrow::Cow, error::Error as StdError, time::Duration};

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
    /// One line of the request body is not valid JSON.
    #[error("line {line} of the request body is not valid JSON")]
    InvalidJsonLine {
        /// The 1-based line number.
        line: usize,
    },
    /// An upload's format is unknown, or differs from the format that it declares.
    #[error("{0}")]
    UnknownFormat(&'static str),
    /// The cursor is malformed or was issued by another list.
    #[error("the cursor is malformed or belongs to another list")]
    InvalidCursor,
    /// The search has no words.
    #[error("q is missing or blank; pass the words to find")]
    BlankSearch,
    /// The request's `Content-Type` is not JSON.
    #[error("the Content-Type must be application/json")]
    UnsupportedMediaType,
    /// The request body is too large.
    #[error("the request body is larger than {limit_bytes} bytes")]
    PayloadTooLarge {
        /// The maximum size in bytes.
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
    /// The request names another user, and the token or this operation does not allow that.
    #[error("{reason}")]
    ForbiddenOnBehalf {
        /// What is not allowed.
        reason: &'static str,
    },
    /// Another user of the tenant owns the conversation, and the tenant's policy lets others only read.
    #[error("only the owner of this conversation may change it")]
    ForbiddenToGuests,
    /// The GraphQL document queries the schema, but the operator has switched introspection off.
    #[error("introspection is switched off (--introspection)")]
    IntrospectionOff,
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
        /// What is limited, in the plural: `messages`.
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
    /// The message is neither the user's newest message nor the reply to it.
    #[error("only the newest message can be edited, and only its reply can be regenerated")]
    NotNewest,
    /// The reply to the message is still running, or its node died and its lease has not expired.
    #[error(
        "the reply is still running; stop it first, or wait for its end (if its server is gone, it ends within {} s)",
        seconds(*retry_after)
    )]
    ReplyRunning {
        /// The time until the reply's lease expires and the reply is closed, if its node does not renew it.
        retry_after: Duration,
    },
    /// The id that the request chose belongs to something else.
    #[error("{what} belongs to something else; choose another id")]
    IdTaken {
        /// The field that holds the id, or a description: `the id of the message`.
        what: Cow<'static, str>,
    },
    /// The bytes of an append do not continue the reply.
    #[error("the reply continues at offset {expected}; send the bytes from there")]
    OffsetMismatch {
        /// The offset at which the reply continues.
        expected: usize,
    },
    /// Another request writes the reply.
    #[error("another request is writing this reply; try again when it has ended")]
    ReplyBusy,
    /// A client stopped the reply.
    #[error("the reply was stopped; do not continue it")]
    ReplyStopped,
    /// The reply has ended, so nothing can be added to it.
    #[error("the reply has ended; open another one")]
    ReplyEnded,
    /// The title is manual, and the request does not permit replacing it.
    #[error("the title was set by the user; pass replaceManual: true to replace it")]
    ManualTitle,
    /// The conversation's texts were dropped when its title was settled.
    #[error(
        "the texts of this conversation are not stored; rename it, or use another conversation"
    )]
    NoText,
    /// The subscriber fell behind and lost events, or its tenant's policy changed.
    #[error(
        "the subscription lost events, or its access has changed; subscribe again, then reload"
    )]
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
    /// The conversation is longer than the context of every model that was tried. The message is stored.
    #[error(
        "the conversation is too long for the model; start a new one, or send less (the operator can lower the agent's \
         history_budget)"
    )]
    ContextTooLong(#[source] Source),
    /// The tenant has used up its daily token budget, in total or for the agent. The message is stored.
    #[error(
        "the token budget of the day is used up; the message is stored, try again in {} s",
        seconds(*retry_after)
    )]
    BudgetExceeded {
        /// The time until the next day's budget starts.
        retry_after: Duration,
    },
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
    UnknownFormat,
    InvalidCursor,
    BlankSearch,
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
    NotNewest,
    ReplyRunning,
    IdTaken,
    OffsetMismatch,
    ReplyBusy,
    ReplyStopped,
    ReplyEnded,
    ManualTitle,
    NoText,
    Lagged,
    ModelUnavailable,
    ModelRateLimited,
    ModelMisconfigured,
    ContextTooLong,
    BudgetExceeded,
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

    /// The code to store in columns that earlier versions also read, because those versions fail on unknown codes.
    pub fn known_before(self) -> &'static str {
        match self {
            Self::BudgetExceeded => Self::ModelRateLimited.as_str(),
            Self::ContextTooLong => Self::ModelMisconfigured.as_str(),
            code => code.as_str(),
        }
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
            Self::InvalidJson | Self::InvalidJsonLine { .. } => ErrorCode::InvalidJson,
            Self::UnknownFormat(_) => ErrorCode::UnknownFormat,
            Self::InvalidCursor => ErrorCode::InvalidCursor,
            Self::BlankSearch => ErrorCode::BlankSearch,
            Self::UnsupportedMediaType => ErrorCode::UnsupportedMediaType,
            Self::PayloadTooLarge { .. } => ErrorCode::PayloadTooLarge,
            Self::SlowBody => ErrorCode::RequestTimeout,
            Self::MethodNotAllowed => ErrorCode::MethodNotAllowed,
            Self::Unauthenticated => ErrorCode::Unauthenticated,
            Self::AuthExpired => ErrorCode::AuthExpired,
            Self::Forbidden { .. }
            | Self::ForbiddenOnBehalf { .. }
            | Self::ForbiddenToGuests
            | Self::IntrospectionOff => ErrorCode::Forbidden,
            Self::ForbiddenOrigin => ErrorCode::ForbiddenOrigin,
            Self::InvalidHost => ErrorCode::InvalidHost,
            Self::ForbiddenHost => ErrorCode::ForbiddenHost,
            Self::RateLimited { .. } => ErrorCode::RateLimited,
            Self::Overloaded { .. } | Self::Busy { .. } => ErrorCode::Overloaded,
            Self::TimedOut { .. } => ErrorCode::Timeout,
            Self::QueryTooLarge => ErrorCode::QueryTooComplex,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::IdempotencyKeyReused => ErrorCode::IdempotencyKeyReused,
            Self::NotNewest => ErrorCode::NotNewest,
            Self::ReplyRunning { .. } => ErrorCode::ReplyRunning,
            Self::IdTaken { .. } => ErrorCode::IdTaken,
            Self::OffsetMismatch { .. } => ErrorCode::OffsetMismatch,
            Self::ReplyBusy => ErrorCode::ReplyBusy,
            Self::ReplyStopped => ErrorCode::ReplyStopped,
            Self::ReplyEnded => ErrorCode::ReplyEnded,
            Self::ManualTitle => ErrorCode::ManualTitle,
            Self::NoText => ErrorCode::NoText,
            Self::Lagged => ErrorCode::Lagged,
            Self::ModelUnavailable(_) => ErrorCode::ModelUnavailable,
            Self::ModelRateLimited(_) => ErrorCode::ModelRateLimited,
            Self::ModelMisconfigured(_) => ErrorCode::ModelMisconfigured,
            Self::ContextTooLong(_) => ErrorCode::ContextTooLong,
            Self::BudgetExceeded { .. } => ErrorCode::BudgetExceeded,
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
            | Self::BudgetExceeded { retry_after }
            | Self::ReplyRunning { retry_after }
            | Self::Busy { retry_after, .. } => Some(seconds(*retry_after)),
            _ => None,
        }
    }

    /// The offset at which the reply continues, if the request named another one.
    pub fn expected_offset(&self) -> Option<usize> {
        match self {
            Self::OffsetMismatch { expected } => Some(*expected),
            _ => None,
        }
    }

    /// A [`Self::NotFound`] for a conversation that does not exist or belongs to another owner.
    pub fn no_conversation() -> Self {
        Self::NotFound {
            what: "conversation",
        }
    }

    /// An [`Self::InvalidInput`] with this message.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidInput(message.into())
    }

    /// An [`Self::InvalidField`] with this field and message.
    pub fn invalid_field(field: &'static str, message: impl Into<String>) -> Self {
        Self::InvalidField {
            field,
            message: message.into(),
        }
    }

    /// Prefixes the message of an input error with the list and the item's index. Leaves other errors unchanged.
    #[must_use]
    pub fn of_item(self, list: &str, place: usize) -> Self {
        match self {
            Self::InvalidInput(message) | Self::InvalidField { message, .. } => {
                Self::InvalidInput(format!("{list}[{place}]: {message}"))
            }
            error => error,
        }
    }

    /// Adds the 1-based line number of the request body to an input error. Leaves other errors unchanged.
    #[must_use]
    pub fn of_line(self, line: usize) -> Self {
        match self {
            Self::InvalidJson => Self::InvalidJsonLine { line },
            Self::InvalidInput(message) | Self::InvalidField { message, .. } => {
                Self::InvalidInput(format!("line {line}: {message}"))
            }
            error => error,
        }
    }

    /// Whether the request itself is wrong, so that repeating it would fail again.
    pub fn is_of_request(&self) -> bool {
        matches!(
            self.code(),
            ErrorCode::InvalidInput
                | ErrorCode::InvalidJson
                | ErrorCode::UnknownFormat
                | ErrorCode::PayloadTooLarge
        )
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
