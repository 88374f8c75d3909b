//! Model providers: the [`LanguageModel`] trait, its requests, answers and errors.
//!
//! - [`openai`]: OpenAI and compatible servers; `profile`: the parameters of each model family
//! - [`offline`]: the built-in model of a server without a provider
//! - [`traced`]: adds a trace span to each call
//!
//! One call is one attempt. Retries, deadlines over several attempts and circuit breakers belong to the callers. This
//! module depends on no database, conversation or event.

pub mod offline;
pub mod openai;
mod profile;
pub mod traced;

use std::time::Duration;

use futures_util::{future::BoxFuture, stream::BoxStream};

pub use self::profile::ProfileOverride;
pub use crate::conversation::Usage;

/// A model that writes replies and titles: OpenAI or any compatible server, or the offline stand-in.
pub trait LanguageModel: Send + Sync + 'static {
    /// The name of the model that writes replies, for health pages and logs.
    fn chat_model(&self) -> &str;

    /// The name of the model that writes titles, for health pages and logs.
    fn title_model(&self) -> &str;

    /// Starts one reply. The future resolves when the provider accepts the request. The stream yields [`ReplyChunk`]s
    /// and ends after [`ReplyChunk::Finished`] or the first error. If it ends without either, the connection broke: the
    /// caller must treat that as [`ModelErrorKind::Interrupted`].
    fn reply(&self, request: ReplyRequest) -> BoxFuture<'_, Result<ReplyStream, ModelError>>;

    /// Makes one attempt at a title and returns the raw, unvalidated output.
    fn title(&self, request: TitleRequest) -> BoxFuture<'_, Result<TitleOutput, ModelError>>;
}

/// The chunks of one reply.
pub type ReplyStream = BoxStream<'static, Result<ReplyChunk, ModelError>>;

/// The input of a reply.
#[derive(Clone, Debug)]
pub struct ReplyRequest {
    /// The conversation so far, oldest first; the last is the user's message.
    pub history: Vec<ChatMessage>,
}

/// One message of the history, as it is sent to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// The author.
    pub speaker: Speaker,
    /// The text.
    pub text: String,
}

/// The author of a message, in the terms of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// One item of a reply stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyChunk {
    /// The provider's id for this response; at most once, before any text.
    Started {
        /// The provider's response id.
        response_id: String,
        /// The provider's name of the answering model.
        model: Option<String>,
    },
    /// More text; never empty.
    Delta(String),
    /// Token counts, if the provider sends them; always before [`ReplyChunk::Finished`].
    Usage(Usage),
    /// The last chunk.
    Finished(Finish),
}

/// Why a model stopped writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Finish {
    /// Natural end.
    Stop,
    /// Token limit reached.
    Length,
    /// Stopped by the provider's content filter.
    ContentFilter,
    /// No text: only reasoning, tool calls or the like.
    NoText,
    /// Natural end, but part of the answer could not be parsed.
    Unreadable,
    /// Any other reason; the answer counts as incomplete.
    Unknown,
}

/// One attempt at a title.
#[derive(Clone, Debug)]
pub struct TitleRequest {
    /// The instruction.
    pub instruction: String,
    /// The delimited, shortened user message, and the other texts that the instruction refers to.
    pub input: String,
    /// The cap on visible and reasoning tokens together.
    pub max_tokens: u32,
    /// Whether to send only the model and the messages, because a parameter may be why the full request failed.
    pub plain: bool,
}

/// The output of one attempt at a title.
#[derive(Clone, Debug)]
pub struct TitleOutput {
    /// The raw text, possibly empty.
    pub text: String,
    /// Why the model stopped.
    pub finish: Finish,
    /// Token counts, if the provider sends them.
    pub usage: Option<Usage>,
    /// The provider's name of the model that answered.
    pub model: Option<String>,
}

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
    /// The connection could not be made, or broke before the answer.
    Connection,
    /// HTTP 429 that is not about quota.
    RateLimited,
    /// HTTP 429 `insufficient_quota`: waiting does not help.
    QuotaExceeded,
    /// HTTP 401 or 403.
    Unauthorized,
    /// HTTP 404 that is about the model.
    NotFound,
    /// HTTP 404 that names no model: the base URL is wrong.
    NoEndpoint,
    /// Any other 4xx: the request itself is wrong.
    InvalidRequest,
    /// HTTP 5xx.
    Unavailable,
    /// The answer violates the protocol.
    Malformed,
    /// The stream ended early.
    Interrupted,
}

impl ModelErrorKind {
    /// Whether a retry of the same request may succeed.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Connection
                | Self::RateLimited
                | Self::Unavailable
                | Self::Interrupted
        )
    }
}

impl ModelError {
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
