//! Model providers: the traits [`ReplyModel`] and [`TitleModel`], their requests, answers and errors.
//!
//! - `request`, `answer`, `error`, `name`: requests, answers, errors, and model names
//! - [`provider`]: OpenAI and compatible servers; `profile`: the parameters of each model family
//! - [`offline`]: the built-in model of a server without a provider
//! - `model`: one entry of a chain; `breaker`: stops calls that are refused; `traced`: a trace span for each call
//! - `chain`: models in order, and the walk over them that replies and titles share
//!
//! One call is one attempt. Deadlines over several attempts belong to the callers. This module depends on no database,
//! conversation or event.

mod answer;
mod breaker;
mod chain;
mod error;
mod model;
mod name;
pub mod offline;
mod profile;
pub mod provider;
mod request;
mod traced;

use futures_util::future::BoxFuture;

pub use self::{
    answer::{Finish, ReplyChunk, ReplyStream, TitleOutput, ToolCall},
    chain::{Chain, EntryState},
    error::{ModelError, ModelErrorKind},
    model::Model,
    name::ModelName,
    profile::ProfileOverride,
    provider::{
        Identity, InvalidProvider, Provider, ProviderSettings, ProxySettings, Wire, decode_reply,
    },
    request::{
        CallIdentity, ChatMessage, Parameters, ReplyRequest, Speaker, Task, TitleLimits,
        TitleRequest,
    },
};
pub(crate) use self::{
    breaker::Admission,
    chain::{Next, Walk},
    provider::{SurrogateJoiner, marked_surrogates},
};
pub use crate::conversation::Usage;

/// OpenAI's models that are used by default, in order. The first is retired on 2026-12-11; the second answers from then
/// on.
pub const DEFAULT_MODELS: [&str; 2] = ["gpt-5-mini", "gpt-6-luna"];

/// A model that writes replies.
pub trait ReplyModel: Send + Sync + 'static {
    /// The model's name, for health pages, logs and rows.
    fn name(&self) -> &ModelName;

    /// Starts one reply. The future resolves when the provider accepts the request. The stream yields [`ReplyChunk`]s
    /// and ends after [`ReplyChunk::Finished`] or the first error. If it ends without either, the connection broke: the
    /// caller must treat that as [`ModelErrorKind::Interrupted`].
    fn reply(&self, request: ReplyRequest) -> BoxFuture<'_, Result<ReplyStream, ModelError>>;
}

/// A model that writes titles.
pub trait TitleModel: Send + Sync + 'static {
    /// The model's name, for health pages, logs and rows.
    fn name(&self) -> &ModelName;

    /// Makes one attempt at a title and returns the raw, unvalidated output.
    fn title(&self, request: TitleRequest) -> BoxFuture<'_, Result<TitleOutput, ModelError>>;
}
