//! Classifies failed title calls: their cause, and the failure that is stored.

use crate::{
    conversation::TitleFailure,
    llm::{ModelError, ModelErrorKind},
};

/// What caused a call to make no title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureCause {
    /// The message: a content filter, its length, or an unusable answer to it.
    Message,
    /// The model or its provider.
    Model,
    /// An answer that is not of the protocol.
    Protocol,
    /// The base URL.
    BaseUrl,
}

/// The cause of a failed call. The message causes content filter errors and overlong contexts.
pub(super) fn cause_of(error: &ModelError) -> FailureCause {
    const MESSAGE_CODES: [&str; 9] = [
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "string_above_max_length",
        "responsibleaipolicyviolation",
        "moderation_blocked",
        "safety",
        "invalid_prompt",
        "request_too_large",
    ];

    let code = error
        .code
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match error.kind {
        ModelErrorKind::InvalidRequest
            if MESSAGE_CODES.contains(&code.as_str()) || error.status == Some(413) =>
        {
            FailureCause::Message
        }
        ModelErrorKind::Malformed => FailureCause::Protocol,
        ModelErrorKind::NoEndpoint => FailureCause::BaseUrl,
        _ => FailureCause::Model,
    }
}

/// Whether every call fails until an operator acts. Opens the breaker.
pub(super) fn is_final(kind: ModelErrorKind) -> bool {
    matches!(
        kind,
        ModelErrorKind::Unauthorized
            | ModelErrorKind::NotFound
            | ModelErrorKind::NoEndpoint
            | ModelErrorKind::QuotaExceeded
    )
}

pub(super) fn failure_of(error: &ModelError) -> TitleFailure {
    match error.kind {
        ModelErrorKind::Timeout => TitleFailure::Timeout,
        ModelErrorKind::RateLimited => TitleFailure::RateLimited,
        ModelErrorKind::QuotaExceeded => TitleFailure::QuotaExceeded,
        ModelErrorKind::Unauthorized => TitleFailure::Unauthorized,
        ModelErrorKind::NotFound | ModelErrorKind::NoEndpoint => TitleFailure::ModelNotFound,
        ModelErrorKind::InvalidRequest => TitleFailure::InvalidRequest,
        ModelErrorKind::Malformed => TitleFailure::Rejected,
        ModelErrorKind::Connection | ModelErrorKind::Unavailable | ModelErrorKind::Interrupted => {
            TitleFailure::Unavailable
        }
    }
}
