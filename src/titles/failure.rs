//! Classifies failed title calls: their cause, and the failure that is stored.

use crate::{
    conversation::TitleFailure,
    llm::{ModelError, ModelErrorKind},
};

/// Why a call made no title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureCause {
    /// The message: a content filter, its length, or an unusable answer to it.
    Message,
    /// The model or its provider.
    Model,
    /// An answer that violates the protocol.
    Protocol,
    /// The base URL.
    BaseUrl,
}

/// The cause of a failed call. Content filters and overlong contexts are failures of the message.
pub(super) fn cause_of(error: &ModelError) -> FailureCause {
    match error.kind {
        _ if error.is_of_the_message() => FailureCause::Message,
        ModelErrorKind::Malformed => FailureCause::Protocol,
        ModelErrorKind::NoEndpoint => FailureCause::BaseUrl,
        _ => FailureCause::Model,
    }
}

/// The failure to store for a kind of error.
pub(super) fn failure_of(kind: ModelErrorKind) -> TitleFailure {
    match kind {
        ModelErrorKind::Timeout => TitleFailure::Timeout,
        ModelErrorKind::RateLimited => TitleFailure::RateLimited,
        ModelErrorKind::QuotaExceeded => TitleFailure::QuotaExceeded,
        ModelErrorKind::Unauthorized => TitleFailure::Unauthorized,
        ModelErrorKind::NotFound | ModelErrorKind::NoEndpoint => TitleFailure::ModelNotFound,
        ModelErrorKind::InvalidRequest | ModelErrorKind::TooLong => TitleFailure::InvalidRequest,
        ModelErrorKind::Malformed => TitleFailure::Rejected,
        ModelErrorKind::Connection
        | ModelErrorKind::Unavailable
        | ModelErrorKind::Interrupted
        | ModelErrorKind::Empty => TitleFailure::Unavailable,
    }
}
