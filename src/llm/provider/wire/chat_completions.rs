//! `POST /chat/completions`: OpenAI's Chat Completions API, which most compatible servers implement.

use async_openai::{Client, config::OpenAIConfig, error::OpenAIError};
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use super::{
    Counts, Fields, JSON_INSTRUCTION, Param, Reading, Target, ToolDelta, WireFormat, insert_extra,
    insert_some, model, remove_stream, text_of, title_schema,
};
use crate::llm::{
    ReplyRequest, Speaker, TitleRequest,
    profile::Profile,
    provider::{failure::Failure, finish, transport::Document},
};

/// The names under which servers send reasoning.
const REASONING: [&str; 5] = [
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "thinking",
    "reasoning_details",
];

/// The Chat Completions API.
pub(in crate::llm::provider) struct ChatCompletions;

impl WireFormat for ChatCompletions {
    fn path(&self) -> &'static str {
        "/chat/completions"
    }

    fn create<'a>(
        &self,
        client: &'a Client<OpenAIConfig>,
        fields: &'a Fields,
    ) -> BoxFuture<'a, Result<Document, OpenAIError>> {
        async move { client.chat().create_byot(fields).await }.boxed()
    }

    fn reply(&self, target: Target<'_>, request: &ReplyRequest) -> Fields {
        let instructions = request.instructions.as_deref();
        let instructions =
            instructions.map(|text| message(target.instruction_role(), text.to_owned()));
        let history = request.history.iter().map(|one| {
            let role = match one.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "assistant",
            };
            message(role, one.text.clone())
        });
        let messages = instructions.into_iter().chain(history).collect();
        let mut fields = common(target, messages);
        let parameters = &request.parameters;
        insert_some(
            &mut fields,
            [
                ("stream", Some(true.into())),
                ("stream_options", Some(json!({ "include_usage": true }))),
                ("temperature", parameters.temperature.map(Value::from)),
                ("top_p", parameters.top_p.map(Value::from)),
                (
                    "reasoning_effort",
                    parameters.reasoning_effort.as_deref().map(Value::from),
                ),
                (
                    "verbosity",
                    parameters.verbosity.as_deref().map(Value::from),
                ),
                (
                    "max_completion_tokens",
                    parameters.max_output_tokens.map(Value::from),
                ),
            ],
        );
        insert_extra(&mut fields, parameters);
        fields
    }

    fn title(&self, target: Target<'_>, profile: &Profile, request: &TitleRequest) -> Fields {
        let role = profile
            .role
            .map_or(target.instruction_role(), |role| role.into());
        let messages = [
            message(role, request.instruction.clone()),
            message("user", request.input.clone()),
        ];
        let mut fields = common(target, messages.into());
        let format = json!({
            "type": "json_schema",
            "json_schema": { "name": "title", "strict": true, "schema": title_schema() },
        });
        insert_some(
            &mut fields,
            [
                ("stream", Some(false.into())),
                ("temperature", profile.temperature.map(Value::from)),
                (
                    "reasoning_effort",
                    profile.effort.as_deref().map(Value::from),
                ),
                ("verbosity", profile.verbosity.as_deref().map(Value::from)),
                ("max_completion_tokens", Some(request.max_tokens.into())),
                ("response_format", Some(format)),
            ],
        );
        fields
    }

    fn remove(&self, fields: &mut Fields, param: Param) -> bool {
        let name = match param {
            Param::ReasoningEffort => "reasoning_effort",
            Param::Verbosity => "verbosity",
            Param::Temperature => "temperature",
            Param::TopP => "top_p",
            Param::StreamOptions => "stream_options",
            Param::Store => "store",
            // This API has no such fields.
            Param::ReasoningSummary | Param::MaxOutputTokens => return false,
            Param::JsonSchema => {
                let found = self.has_schema(fields);
                if found {
                    fields.insert("response_format".into(), json!({ "type": "json_object" }));
                    if let Some(Value::String(text)) =
                        first_message(fields).and_then(|first| first.get_mut("content"))
                    {
                        text.push_str(JSON_INSTRUCTION);
                    }
                }
                return found;
            }
            Param::ResponseFormat => {
                let found = fields.remove("response_format").is_some();
                if let Some(Value::String(text)) =
                    first_message(fields).and_then(|first| first.get_mut("content"))
                    && text.ends_with(JSON_INSTRUCTION)
                {
                    text.truncate(text.len() - JSON_INSTRUCTION.len());
                }
                return found;
            }
            Param::MaxCompletionTokens => {
                let Some(cap) = fields.remove("max_completion_tokens") else {
                    return false;
                };
                fields.entry("max_tokens").or_insert(cap);
                return true;
            }
            Param::DeveloperRole => {
                let first = first_message(fields).filter(|first| first["role"] == "developer");
                let found = first.is_some();
                if let Some(first) = first {
                    first["role"] = "system".into();
                }
                return found;
            }
            Param::SystemRole => return merge_system_message(fields),
            Param::Stream => return remove_stream(fields),
        };
        fields.remove(name).is_some()
    }

    fn has_schema(&self, fields: &Fields) -> bool {
        fields
            .get("response_format")
            .is_some_and(|format| format["type"] == "json_schema")
    }

    fn caps(&self) -> &'static [&'static str] {
        &["max_completion_tokens", "max_tokens"]
    }

    fn read(&self, _: &str, value: &Value) -> Result<Reading, Failure> {
        if let Some(failure) = Failure::in_answer(value) {
            return Err(failure);
        }
        let choice = first_choice(value);
        let is_broken = choice.is_err();
        let choice = choice.unwrap_or_default();
        let part = choice.map(ChoiceContent::read).unwrap_or_default();
        let has_message = choice.is_some_and(|choice| choice.get("message").is_some());
        let id = text_of(value.get("id"));
        Ok(Reading {
            id: Some(id).filter(|id| !id.is_empty()),
            model: model(value),
            usage: Counts::read(value),
            ending: finish::read(choice, value),
            is_answer: value.get("choices").is_some(),
            has_message: has_message || !part.text.is_empty(),
            is_unreadable: part.is_unreadable || is_broken,
            item: (!part.is_message).then(String::new),
            is_message: part.is_message,
            text: part.text,
            reasoning: part.reasoning,
            tools: part.tools,
            is_refusal: part.is_refusal,
            reasons: part.reasons,
            has_others: part.has_others,
            ..Reading::default()
        })
    }
}

fn message(role: &str, content: String) -> Value {
    json!({ "role": role, "content": content })
}

/// The fields of every request. `store` is sent only to OpenAI, since some compatible servers reject it.
fn common(target: Target<'_>, messages: Vec<Value>) -> Fields {
    let mut fields = Fields::new();
    insert_some(
        &mut fields,
        [
            ("model", Some(target.model.into())),
            ("messages", Some(messages.into())),
            ("store", target.openai.then(|| false.into())),
        ],
    );
    fields
}

/// Puts the text of the system message before the user's first message. Some templates support only the roles user and
/// assistant.
fn merge_system_message(fields: &mut Fields) -> bool {
    let Some(Value::Array(messages)) = fields.get_mut("messages") else {
        return false;
    };
    let [system, user, ..] = messages.as_slice() else {
        return false;
    };
    let (Some(instruction), Some(text)) = (system["content"].as_str(), user["content"].as_str())
    else {
        return false;
    };
    let is_system = system["role"] == "system" || system["role"] == "developer";
    if !is_system || user["role"] != "user" {
        return false;
    }
    messages[1] = message("user", format!("{instruction}\n\n{text}"));
    messages.remove(0);
    true
}

fn first_message(fields: &mut Fields) -> Option<&mut Value> {
    fields.get_mut("messages")?.get_mut(0)
}

/// The first choice of an answer or of a streamed event. Other choices were not requested and are ignored.
///
/// # Errors
/// If `choices` is malformed.
fn first_choice(answer: &Value) -> Result<Option<&Value>, ()> {
    let choices = match answer.get("choices") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(choices)) => choices,
        Some(_) => return Err(()),
    };
    if choices.iter().any(|choice| !choice.is_object()) {
        return Err(());
    }
    let index = |choice: &&Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
    Ok(choices.iter().find(index))
}

/// The content of one choice.
#[derive(Debug, Default, PartialEq, Eq)]
struct ChoiceContent {
    /// Visible text, including refusals.
    text: String,
    /// Whether some of the text is a refusal.
    is_refusal: bool,
    /// Text of the reasoning.
    reasoning: String,
    /// Whether it has reasoning, with or without its text.
    reasons: bool,
    tools: Vec<ToolDelta>,
    /// Whether it has tool calls, images or other content that is not text.
    has_others: bool,
    /// Whether a part that may contain text could not be parsed.
    is_unreadable: bool,
    /// Whether it is a whole message.
    is_message: bool,
}

impl ChoiceContent {
    /// Reads a streamed delta, or a whole message.
    fn read(choice: &Value) -> Self {
        let mut part = Self::default();
        let content = |name| choice.get(name).filter(|content| !content.is_null());
        let (delta, message) = (content("delta"), content("message"));
        part.is_message = delta.is_none() && message.is_some();
        match delta.or(message) {
            Some(Value::Object(delta)) => {
                part.add_content(delta.get("content"));
                part.add_refusal(delta.get("refusal"));
                let holds = |names: &[&str]| names.iter().any(|name| is_filled(delta.get(*name)));
                part.reasons |= holds(&REASONING);
                part.add_reasoning(delta);
                part.add_tools(delta);
                part.has_others = holds(&["tool_calls", "function_call", "audio", "images"]);
            }
            // The legacy completions API.
            None => part.add_content(choice.get("text")),
            Some(_) => part.is_unreadable = true,
        }
        part
    }

    fn add_content(&mut self, content: Option<&Value>) {
        match content {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => self.add(text),
            Some(Value::Array(parts)) => parts.iter().for_each(|part| self.add_part(part)),
            Some(part @ Value::Object(_)) => self.add_part(part),
            Some(_) => self.is_unreadable = true,
        }
    }

    fn add_part(&mut self, part: &Value) {
        if let Value::String(text) = part {
            return self.add(text);
        }
        match part.get("type").and_then(Value::as_str).unwrap_or("text") {
            "text" | "output_text" => match part.get("text") {
                Some(Value::String(text)) => self.add(text),
                Some(Value::Null) => {}
                _ => self.is_unreadable = true,
            },
            "refusal" => self.add_refusal(part.get("refusal")),
            "thinking" | "reasoning" => {
                self.reasons = true;
                self.reasoning += &reasoning_in(Some(part));
            }
            _ => self.has_others = true,
        }
    }

    fn add_refusal(&mut self, refusal: Option<&Value>) {
        if let Some(Value::String(refusal)) = refusal
            && !refusal.is_empty()
        {
            self.is_refusal = true;
            self.add(refusal);
        }
    }

    /// Appends the text of the reasoning. Servers send the same text under several names, so only one counts.
    fn add_reasoning(&mut self, delta: &Fields) {
        let mut texts = REASONING.iter().map(|name| reasoning_in(delta.get(*name)));
        self.reasoning += &texts.find(|text| !text.is_empty()).unwrap_or_default();
    }

    fn add_tools(&mut self, delta: &Fields) {
        let calls = delta.get("tool_calls").and_then(Value::as_array);
        // The API before `tool_calls` had one call, without an id.
        let legacy = delta.get("function_call").filter(|call| call.is_object());
        for call in calls.into_iter().flatten() {
            let function = call.get("function").unwrap_or(call);
            self.tools.push(ToolDelta {
                index: call.get("index").and_then(Value::as_u64),
                id: text_of(call.get("id")),
                ..tool_delta(function)
            });
        }
        self.tools.extend(legacy.map(tool_delta));
    }

    /// Appends text without NUL, which databases reject.
    fn add(&mut self, text: &str) {
        self.text.extend(text.chars().filter(|&c| c != '\0'));
    }
}

/// The name and the arguments of a call. Some servers send the arguments as JSON instead of a string.
fn tool_delta(function: &Value) -> ToolDelta {
    let arguments = function.get("arguments");
    ToolDelta {
        name: text_of(function.get("name")),
        arguments: match arguments {
            Some(json @ (Value::Object(_) | Value::Array(_))) => json.to_string(),
            arguments => text_of(arguments),
        },
        ..ToolDelta::default()
    }
}

/// The text of reasoning: a string, an object with the text, or a list of either.
fn reasoning_in(value: Option<&Value>) -> String {
    match value {
        Some(Value::Array(parts)) => parts.iter().map(|part| reasoning_in(Some(part))).collect(),
        Some(Value::Object(part)) => ["text", "content", "summary", "thinking", "reasoning"]
            .iter()
            .map(|name| reasoning_in(part.get(*name)))
            .find(|text| !text.is_empty())
            .unwrap_or_default(),
        text => text_of(text),
    }
}

fn is_filled(value: Option<&Value>) -> bool {
    match value {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(values)) => !values.is_empty(),
        Some(Value::Object(values)) => !values.is_empty(),
        _ => false,
    }
}
