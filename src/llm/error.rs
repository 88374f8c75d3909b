//! Failed calls: what callers distinguish, and whether another call may help.

use std::time::Duration;

/// A failed call. Its `Display` names the kind and the provider's machine-readable code, never the provider's message:
/// such messages repeat keys and user text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model call failed: {kind:?}{}", DisplayDetail(self))]
pub struct ModelError {
    /// The kind of failure; decides about retries.
    pub kind: ModelErrorKind,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// The provider's error code (`insufficient_quota`), reduced to `[a-zA-Z0-9_.-]` and 64 characters.
    pub code: Option<String>,
    /// The provider's `Retry-After`; at most a day.
    pub retry_after: Option<Duration>,
}

/// The kinds of failure that callers distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ModelErrorKind {
    /// No answer in time (connect, first byte, or silence between events); also HTTP 408.
    Timeout,
    /// The connection could not be made.
    Connection,
    /// HTTP 429 that is not about quota.
    RateLimited,
    /// HTTP 402, or another status with a code such as `insufficient_quota`: waiting does not help.
    QuotaExceeded,
    /// HTTP 401, or a 403 that is not about the model or the message.
    Unauthorized,
    /// HTTP 404 that is about the model, or a 400, 403, 500 or 503 with a code such as `model_not_found`.
    NotFound,
    /// HTTP 404 that names no model: the base URL is wrong.
    NoEndpoint,
    /// The request is longer than the model's context, or than the provider accepts. Another model may accept it.
    TooLong,
    /// Any other 4xx: the request itself is wrong.
    InvalidRequest,
    /// Any other HTTP 5xx.
    Unavailable,
    /// The answer violates the protocol.
    Malformed,
    /// The connection broke before the end of the answer.
    Interrupted,
    /// A reply that ended by itself with nothing in it: no text, reasoning, tool call or refusal.
    Empty,
}

impl ModelErrorKind {
    /// Whether every call fails until an operator acts.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Unauthorized | Self::NotFound | Self::NoEndpoint | Self::QuotaExceeded
        )
    }

    /// Whether the failure concerns all models of the provider, not only the one that was asked.
    pub fn is_of_provider(self) -> bool {
        matches!(
            self,
            Self::Unauthorized | Self::QuotaExceeded | Self::Connection
        )
    }

    /// Whether a retry of the same request may succeed.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Connection
                | Self::RateLimited
                | Self::Unavailable
                | Self::Interrupted
                | Self::Empty
        )
    }
}

impl ModelError {
    /// Whether the message caused the failure: its length, or a content filter.
    pub fn is_of_the_message(&self) -> bool {
        self.kind == ModelErrorKind::TooLong || self.is_of_a_filter()
    }

    /// Whether a content filter refused the message. Another model would refuse it as well.
    pub fn is_of_a_filter(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        self.kind == ModelErrorKind::InvalidRequest && Self::is_filter_code(code)
    }

    /// Whether this code is a content filter's.
    pub(crate) fn is_filter_code(code: &str) -> bool {
        const CODES: [&str; 6] = [
            "content_filter",
            "content_policy_violation",
            "responsibleaipolicyviolation",
            "moderation_blocked",
            "safety",
            "invalid_prompt",
        ];
        CODES.iter().any(|known| code.eq_ignore_ascii_case(known))
    }

    /// Whether to retry the same request. Not after a timeout without a status: the provider may still be running that
    /// request, and bills it.
    pub fn is_worth_another_try(&self) -> bool {
        let was_silent = self.kind == ModelErrorKind::Timeout && self.status.is_none();
        self.kind.is_transient() && !was_silent
    }

    /// Whether an optional parameter may have caused the failure: a 5xx, or a 4xx that is not about keys, models or
    /// rates. The provider's explanation is not considered.
    pub fn may_be_of_a_parameter(&self) -> bool {
        let unrelated = matches!(self.status, Some(401 | 403 | 404 | 429));
        matches!(self.status, Some(400..600)) && !unrelated
    }

    /// A failure without an HTTP status.
    pub fn new(kind: ModelErrorKind) -> Self {
        Self {
            kind,
            status: None,
            code: None,
            retry_after: None,
        }
    }
}

struct DisplayDetail<'a>(&'a ModelError);

impl std::fmt::Display for DisplayDetail<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(status) = self.0.status {
            write!(f, " (status {status})")?;
        }
        if let Some(code) = &self.0.code {
            write!(f, " (code {code})")?;
        }
        Ok(())
    }
}
