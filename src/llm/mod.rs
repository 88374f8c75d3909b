//! The outside world that writes text: the [`LanguageModel`] trait, its requests, its answers and its failures.
//!
//! One call here is one attempt: deadlines over several attempts, retries and breakers belong to the callers, who know
//! what an answer is worth. Nothing here knows a conversation, a database or an event.

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
    /// The model that writes replies, as health pages and logs name it.
    fn chat_model(&self) -> &str;

    /// The model that writes titles, as health pages and logs name it.
    fn title_model(&self) -> &str;

    /// Starts one reply. The future resolves when the provider has accepted the request; the stream then holds
    /// [`ReplyChunk`]s and ends after [`ReplyChunk::Finished`] or the first error. A stream that ends without either
    /// was cut: the caller must treat it as [`ModelErrorKind::Interrupted`].
    fn reply(&self, request: ReplyRequest) -> BoxFuture<'_, Result<ReplyStream, ModelError>>;

    /// Makes one attempt at a title and returns the raw output, whatever it looks like.
    fn title(&self, request: TitleRequest) -> BoxFuture<'_, Result<TitleOutput, ModelError>>;
}

/// The chunks of one reply.
pub type ReplyStream = BoxStream<'static, Result<ReplyChunk, ModelError>>;

/// What a reply is made from.
#[derive(Clone, Debug)]
pub struct ReplyRequest {
    /// The conversation so far, oldest first; the last turn is the user's message.
    pub history: Vec<Turn>,
}

/// One message of the history as a model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who said it.
    pub speaker: Speaker,
    /// What was said.
    pub text: String,
}

/// Who said something, in the wire's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One step of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyChunk {
    /// The provider's id for this response; at most once, before any text.
    Started {
        /// The provider's response id.
        response_id: String,
        /// The model that answers, as the provider calls it.
        model: Option<String>,
    },
    /// More text; never empty.
    Delta(String),
    /// Token counts, when the provider gives them; always before [`ReplyChunk::Finished`].
    Usage(Usage),
    /// The last chunk.
    Finished(Finish),
}

/// Why a model stopped writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Finish {
    /// It said all that it wanted to.
    Stop,
    /// It ran into its token limit.
    Length,
    /// The provider's filter stopped it.
    ContentFilter,
    /// It gave no text: only reasoning, tool calls or the like.
    NoText,
    /// A part of what it sent could not be read.
    Unreadable,
    /// It stopped for a reason that is no success.
    Unknown,
}

/// One attempt at a title.
#[derive(Clone, Debug)]
pub struct TitleRequest {
    /// The instruction.
    pub instruction: String,
    /// The delimited, shortened user message, and what else the instruction speaks of.
    pub input: String,
    /// The cap on visible and reasoning tokens together.
    pub max_tokens: u32,
    /// Whether to send nothing but the model and the messages: the full request failed for a reason that may lie in
    /// any of its parameters.
    pub plain: bool,
}

/// What came back from one attempt at a title.
#[derive(Clone, Debug)]
pub struct TitleOutput {
    /// The raw text, possibly empty.
    pub text: String,
    /// Why the model stopped.
    pub finish: Finish,
    /// Token counts, when the provider gives them.
    pub usage: Option<Usage>,
    /// The model that has answered, as the provider calls it.
    pub model: Option<String>,
}

/// A failed call. Its `Display` names the kind and the provider's machine-readable code, never the provider's message:
/// such messages repeat keys and user text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model call failed: {kind:?}{}", DisplayDetail(self))]
pub struct ModelError {
    /// What kind of failure it is; decides about retries.
    pub kind: ModelErrorKind,
    /// The HTTP status, when there was one.
    pub status: Option<u16>,
    /// The provider's error code (`insufficient_quota`), reduced to `[a-zA-Z0-9_.-]` and 64 characters.
    pub code: Option<String>,
    /// How long the provider asks us to wait; at most a day.
    pub retry_after: Option<Duration>,
}

/// The kinds of failure that callers tell apart.
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
    /// HTTP 404 that says nothing of a model: the URL leads to no server of models.
    NoEndpoint,
    /// Any other 4xx: the request itself is wrong.
    InvalidRequest,
    /// HTTP 5xx.
    Unavailable,
    /// The answer is not what the protocol says.
    Malformed,
    /// The stream ended before its end.
    Interrupted,
}

impl ModelErrorKind {
    /// Whether the same request may succeed when it is sent again.
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
    /// Whether the same request is worth sending again. One that a provider went on with in silence is not: it runs
    /// there, and is paid for.
    pub fn is_worth_another_try(&self) -> bool {
        let was_silent = self.kind == ModelErrorKind::Timeout && self.status.is_none();
        self.kind.is_transient() && !was_silent
    }

    /// Whether the request may have failed for one of its parameters, whatever the provider says: another 4xx than
    /// those about keys, models and rates, or a 5xx.
    pub fn may_be_of_a_parameter(&self) -> bool {
        let unrelated = matches!(self.status, Some(401 | 403 | 404 | 429));
        matches!(self.status, Some(400..600)) && !unrelated
    }

    /// A failure that no HTTP status came with.
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
