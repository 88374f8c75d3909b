//! Requests to models: the input of a reply and of a title, its parameters, and the calling user.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ProfileOverride;

/// The input of a reply. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ReplyRequest {
    /// The agent's instructions; sent before the history.
    pub instructions: Option<Arc<str>>,
    /// The conversation so far, oldest first; the last is the user's message.
    pub history: Arc<[ChatMessage]>,
    /// The agent's parameters.
    pub parameters: Arc<Parameters>,
    /// The user on whose behalf the call is made.
    pub caller: CallIdentity,
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

/// Optional parameters of a reply; `None` leaves a parameter to the provider.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The sampling temperature.
    pub temperature: Option<f64>,
    /// How much a reasoning model reasons: `minimal`, `low`, ….
    pub reasoning_effort: Option<String>,
    /// How long the answer is: `low`, `medium`, `high`.
    pub verbosity: Option<String>,
    /// The cap on visible and reasoning tokens together.
    pub max_output_tokens: Option<u32>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Additional request fields for compatible servers, sent unchanged.
    pub extra: Map<String, Value>,
}

/// The user and conversation for which a call is made, sent to providers that are configured for it. Unknown parts are
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallIdentity {
    /// The tenant.
    pub tenant: String,
    /// The user within the tenant.
    pub user: String,
    /// The conversation.
    pub conversation: String,
    /// The user's message that is answered, or that the title is made from.
    pub message: String,
    /// The agent that answers.
    pub agent: String,
    /// The purpose of the call.
    pub task: Task,
}

/// The purpose of a call.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum Task {
    /// A reply.
    #[default]
    Reply,
    /// A title.
    Title,
}

/// The maximum number of words and characters of a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TitleLimits {
    /// Words, separated by white space.
    pub words: usize,
    /// Characters, as a reader counts them.
    pub characters: usize,
}

impl Default for TitleLimits {
    fn default() -> Self {
        Self {
            words: 10,
            characters: 60,
        }
    }
}

/// One attempt at a title.
#[derive(Clone, Debug, Default)]
pub struct TitleRequest {
    /// The instruction.
    pub instruction: String,
    /// The delimited, shortened user message, and the other texts that the instruction refers to.
    pub input: String,
    /// The cap on visible and reasoning tokens together.
    pub max_tokens: u32,
    /// The limits of the title. The offline model applies them; for other models they are in the instruction.
    pub limits: TitleLimits,
    /// Whether to send only the model and the messages, because a parameter may be why the full request failed.
    pub plain: bool,
    /// The user on whose behalf the call is made.
    pub caller: CallIdentity,
    /// The operator's overrides of the model's parameters.
    pub overrides: Arc<ProfileOverride>,
}
