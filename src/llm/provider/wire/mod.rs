//! The providers' APIs as JSON: builds requests, reads answers.
//!
//! - [`chat_completions`], [`responses`]: one file for each API, behind the trait [`WireFormat`]
//! - [`usage`]: token counts
//!
//! Optional parameters can be removed from a request. Answers are read leniently from [`Value`]: compatible servers
//! omit ids, send null for strings and add fields.

pub(super) mod chat_completions;
pub(super) mod responses;
mod usage;

use async_openai::{Client, config::OpenAIConfig, error::OpenAIError};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

pub(super) use self::usage::Counts;
use super::{failure::Failure, finish::Ending, transport::Document};
use crate::llm::{Parameters, ReplyRequest, TitleRequest, profile::Profile};

/// The JSON of a request.
pub(super) type Fields = Map<String, Value>;

/// A provider API: builds its requests and reads its answers.
pub(super) trait WireFormat: Send + Sync {
    /// The path after the base URL.
    fn path(&self) -> &'static str;

    /// Sends a request for a non-streamed answer.
    fn create<'a>(
        &self,
        client: &'a Client<OpenAIConfig>,
        fields: &'a Fields,
    ) -> BoxFuture<'a, Result<Document, OpenAIError>>;

    /// Builds the request for a streamed reply.
    fn reply(&self, target: Target<'_>, request: &ReplyRequest) -> Fields;

    /// Builds the request for a title as structured output. The schema has no length keywords, since providers support
    /// different ones.
    fn title(&self, target: Target<'_>, profile: &Profile, request: &TitleRequest) -> Fields;

    /// Removes a parameter, or falls back to its older form. Returns whether the request had it.
    fn remove(&self, fields: &mut Fields, param: Param) -> bool;

    /// Whether a schema constrains the answer.
    fn has_schema(&self, fields: &Fields) -> bool;

    /// This API's names for the token cap.
    fn caps(&self) -> &'static [&'static str];

    /// Reads a streamed event, or a whole answer.
    ///
    /// # Errors
    /// The failure that the event or answer reports.
    fn read(&self, name: &str, value: &Value) -> Result<Reading, Failure>;
}

/// The model that is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// Its name at the provider.
    pub(super) model: &'a str,
    /// Whether the server is OpenAI's own. It accepts parameters that compatible servers reject.
    pub(super) openai: bool,
    /// Whether the model reasons, by the table of models.
    pub(super) reasoning: bool,
}

impl Target<'_> {
    /// OpenAI's own reasoning models take instructions in the `developer` role.
    fn instruction_role(self) -> &'static str {
        match self.openai && self.reasoning {
            true => "developer",
            false => "system",
        }
    }
}

/// A request that can lose optional parameters.
#[derive(Clone)]
pub(super) struct Request {
    wire: &'static dyn WireFormat,
    pub(super) fields: Fields,
}

impl Request {
    pub(super) fn new(wire: &'static dyn WireFormat, fields: Fields) -> Self {
        Self { wire, fields }
    }

    /// See [`WireFormat::remove`].
    pub(super) fn remove(&mut self, param: Param) -> bool {
        self.wire.remove(&mut self.fields, param)
    }

    /// Removes all optional parameters; the model and the messages remain, in their roles, and a stream stays a stream.
    pub(super) fn make_plain(&mut self) {
        let params = PARAMS.iter().map(|names| names.param);
        for param in params.filter(|param| !matches!(param, Param::SystemRole | Param::Stream)) {
            self.remove(param);
        }
        for cap in self.wire.caps() {
            self.fields.remove(*cap);
        }
    }

    /// Sets the cap on tokens, if there is one. Without a schema only the cap bounds the answer of a model that does
    /// not reason.
    pub(super) fn cap_tokens(&mut self, max_tokens: u32) {
        let cap = match self.wire.has_schema(&self.fields) {
            true => max_tokens,
            false => (max_tokens / SCHEMALESS_DIVISOR).max(1),
        };
        for name in self.wire.caps() {
            if let Some(field) = self.fields.get_mut(*name) {
                *field = cap.into();
            }
        }
    }
}

/// Divides the token cap of a title request without a schema to a model that does not reason.
const SCHEMALESS_DIVISOR: u32 = 8;

/// Added to the instruction when JSON is requested without a schema. Some servers require the word JSON.
const JSON_INSTRUCTION: &str = " Answer as JSON with one field, title.";

/// Turns a request for a stream into one for a whole answer.
fn remove_stream(fields: &mut Fields) -> bool {
    let is_streamed = fields.get("stream") == Some(&Value::Bool(true));
    if is_streamed {
        fields.insert("stream".to_owned(), false.into());
        // Servers reject stream options without a stream.
        fields.remove("stream_options");
    }
    is_streamed
}

/// The schema of a title.
fn title_schema() -> Value {
    json!({
        "type": "object",
        "properties": { "title": { "type": "string" } },
        "required": ["title"],
        "additionalProperties": false,
    })
}

/// Inserts the fields that have a value.
fn insert_some<const N: usize>(fields: &mut Fields, values: [(&str, Option<Value>); N]) {
    for (name, value) in values {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    }
}

/// Adds the agent's own fields.
fn insert_extra(fields: &mut Fields, parameters: &Parameters) {
    for (name, value) in &parameters.extra {
        fields.insert(name.clone(), value.clone());
    }
}

/// An optional parameter that some servers or models reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Param {
    ReasoningEffort,
    ReasoningSummary,
    Verbosity,
    Temperature,
    TopP,
    /// Without it the format of the answer is JSON of any shape.
    JsonSchema,
    ResponseFormat,
    /// Without it the cap is sent as `max_tokens`, its older name.
    MaxCompletionTokens,
    /// The cap in the Responses API.
    MaxOutputTokens,
    StreamOptions,
    /// Without it the reply comes in one piece.
    Stream,
    Store,
    /// Without it the instruction has the role `system`.
    DeveloperRole,
    /// Without it the instruction precedes the text of the user's first message.
    SystemRole,
}

/// How provider errors name a [`Param`].
pub(super) struct ParamNames {
    pub(super) param: Param,
    /// Its field name in `error.param`.
    pub(super) field: &'static str,
    /// Its names in messages, in lower case.
    pub(super) prose: &'static [&'static str],
}

#[rustfmt::skip]
pub(super) const PARAMS: [ParamNames; 17] = [
    ParamNames { param: Param::ReasoningEffort, field: "reasoning_effort", prose: &["reasoning_effort"] },
    ParamNames { param: Param::ReasoningEffort, field: "effort", prose: &["reasoning.effort"] },
    ParamNames { param: Param::ReasoningSummary, field: "summary", prose: &["reasoning.summary", "reasoning summaries"] },
    ParamNames { param: Param::Verbosity, field: "verbosity", prose: &["verbosity"] },
    ParamNames { param: Param::Temperature, field: "temperature", prose: &["temperature"] },
    ParamNames { param: Param::TopP, field: "top_p", prose: &["top_p"] },
    ParamNames { param: Param::JsonSchema, field: "response_format", prose: &["response_format", "text.format", "json_schema"] },
    ParamNames { param: Param::ResponseFormat, field: "response_format", prose: &["response_format", "text.format", "json_object"] },
    ParamNames { param: Param::JsonSchema, field: "format", prose: &[] },
    ParamNames { param: Param::ResponseFormat, field: "format", prose: &[] },
    ParamNames { param: Param::MaxCompletionTokens, field: "max_completion_tokens", prose: &["max_completion_tokens"] },
    ParamNames { param: Param::MaxOutputTokens, field: "max_output_tokens", prose: &["max_output_tokens"] },
    ParamNames { param: Param::StreamOptions, field: "stream_options", prose: &["stream_options"] },
    ParamNames { param: Param::Stream, field: "stream", prose: &["'stream'", "`stream`", "to stream this model", "not support streaming", "streaming is not supported"] },
    ParamNames { param: Param::Store, field: "store", prose: &["store"] },
    ParamNames { param: Param::DeveloperRole, field: "role", prose: &["'developer'", "`developer`", "\"developer\"", "developer role"] },
    ParamNames { param: Param::SystemRole, field: "role", prose: &["system role", "system roles", "system message", "system messages", "system prompt", "role system", "role 'system'", "'system'", "roles must alternate"] },
];

/// The content of one event, or of a whole answer.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// The provider's id for the answer.
    pub(super) id: Option<String>,
    /// The provider's name for the answering model.
    pub(super) model: Option<String>,
    pub(super) usage: Counts,
    pub(super) ending: Option<Ending>,
    /// Visible text, including refusals.
    pub(super) text: String,
    pub(super) reasoning: String,
    /// The output item that contains the text and reasoning; empty if the server sends no id, `None` if the API has no
    /// items.
    pub(super) item: Option<String>,
    /// The position of the output item in the answer.
    pub(super) place: Option<u64>,
    /// The id of a message that begins, without its text.
    pub(super) begun: Option<String>,
    /// A whole part of a message, for servers that do not send it in another form.
    pub(super) done: Option<DonePart>,
    /// Whole output items, for servers that send no deltas of them.
    pub(super) whole: Vec<WholeItem>,
    pub(super) tools: Vec<ToolDelta>,
    /// Whether some of the text is a refusal.
    pub(super) is_refusal: bool,
    /// Whether the model reasoned.
    pub(super) reasons: bool,
    /// Whether there are tool calls, images or other content that is not text.
    pub(super) has_others: bool,
    /// Whether a part that may contain text could not be parsed.
    pub(super) is_unreadable: bool,
    /// Whether it is part of an answer at all.
    pub(super) is_answer: bool,
    /// Whether it has the message of a whole answer.
    pub(super) has_message: bool,
    /// Whether text, reasoning and tool calls are a whole message, which repeats earlier deltas.
    pub(super) is_message: bool,
    /// Whether it only acknowledges the request: the model has not begun to answer.
    pub(super) is_acknowledgement: bool,
    /// Whether nothing follows.
    pub(super) is_last: bool,
}

impl Reading {
    /// Whether it has a part of the answer.
    pub(super) fn has_content(&self) -> bool {
        !self.text.is_empty() || !self.reasoning.is_empty() || !self.tools.is_empty()
    }

    /// If an item is marked as the final answer, drops the text of the other items, which comment on the work.
    pub(super) fn keep_final_answer(&mut self) {
        let is_final = |item: &WholeItem| item.is_final && !item.text.is_empty();
        if self.whole.iter().any(is_final) {
            let others = self.whole.iter_mut().filter(|item| !item.is_final);
            others.for_each(|item| item.text.clear());
        }
    }

    /// Turns the content into a whole item that may repeat deltas.
    pub(super) fn repeat(&mut self) {
        self.whole.push(WholeItem {
            id: String::new(),
            text: std::mem::take(&mut self.text),
            reasoning: std::mem::take(&mut self.reasoning),
            is_final: false,
        });
        for tool in &mut self.tools {
            (tool.is_whole, tool.is_listed) = (true, true);
        }
    }
}

/// A whole output item.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WholeItem {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) reasoning: String,
    /// Whether the provider marks it as the final answer.
    pub(super) is_final: bool,
}

/// A whole part of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DonePart {
    /// The id of the item, its position, and the position of the part within it; empty or `None` if the server leaves
    /// them out.
    pub(super) item: String,
    pub(super) place: Option<u64>,
    pub(super) part: Option<u64>,
    pub(super) text: String,
}

/// A fragment of a tool call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ToolDelta {
    /// The position of the call among the calls of the answer.
    pub(super) index: Option<u64>,
    /// The id of the call; often only in its first fragment.
    pub(super) id: String,
    /// The id of the output item that is the call.
    pub(super) item: String,
    pub(super) name: String,
    /// More of the arguments.
    pub(super) arguments: String,
    /// The same with marks instead of lone surrogates, if it has any.
    pub(super) marked: Option<String>,
    /// Whether `arguments` are complete.
    pub(super) is_whole: bool,
    /// Whether the call is complete.
    pub(super) is_done: bool,
    /// Whether it comes from the list of all output items at the end of the answer.
    pub(super) is_listed: bool,
}

/// The text of a string field without NUL, which databases reject.
fn text_of(value: Option<&Value>) -> String {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    match text.contains('\0') {
        true => text.replace('\0', ""),
        false => text.to_owned(),
    }
}

/// The provider's name for the answering model.
fn model(answer: &Value) -> Option<String> {
    answer.get("model")?.as_str().map(str::to_owned)
}
