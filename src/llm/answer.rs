//! Answers of models: the chunks of a reply, and the output of a title.

use futures_util::stream::BoxStream;

use super::{ModelError, Usage};

/// The chunks of one reply.
pub type ReplyStream = BoxStream<'static, Result<ReplyChunk, ModelError>>;

/// One item of a reply stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyChunk {
    /// The provider's id for this response; at most once, before any text.
    Started {
        /// The provider's response id.
        response_id: String,
        /// The provider's name for the answering model.
        model: Option<String>,
    },
    /// More text; never empty.
    Delta(String),
    /// More of the model's reasoning, or of its summary; never empty. Not part of the text.
    Reasoning(String),
    /// A tool call. It is passed on, never executed.
    Tool(ToolCall),
    /// Token counts so far, if the provider sends them; later ones replace earlier ones.
    Usage(Usage),
    /// The last chunk.
    Finished(Finish),
}

impl ReplyChunk {
    /// Whether a reader sees this chunk.
    pub fn is_content(&self) -> bool {
        match self {
            Self::Delta(_) | Self::Reasoning(_) | Self::Tool(_) => true,
            Self::Started { .. } | Self::Usage(_) | Self::Finished(_) => false,
        }
    }
}

/// A tool call by the model: complete, and passed on once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The provider's id for the call.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// The arguments as the model wrote them, usually JSON; empty if they exceed 64 KiB.
    pub arguments: String,
}

/// Why a model stopped writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Finish {
    /// Natural end.
    Stop,
    /// Token limit reached.
    Length,
    /// Stopped by the provider's content filter.
    ContentFilter,
    /// No text: only reasoning, tool calls or the like, or nothing at all.
    NoText,
    /// Natural end, but part of the answer could not be parsed.
    Unreadable,
    /// Any other reason; the answer counts as incomplete.
    Unknown,
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
    /// The provider's name for the model that answered.
    pub model: Option<String>,
}

impl TitleOutput {
    /// Whether the model stopped by itself without visible text.
    pub fn is_silent(&self) -> bool {
        matches!(self.finish, Finish::Stop | Finish::NoText) && self.text.trim().is_empty()
    }
}
