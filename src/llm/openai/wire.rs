//! The JSON of `POST /chat/completions`: builds requests, reads answers. No I/O.
//!
//! Requests are typed, so that every field sent is visible here. Answers are read leniently from [`Value`]: compatible
//! servers (Ollama, vLLM, llama.cpp, LiteLLM) omit ids, send null for strings and add fields.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::llm::{
    ChatMessage, Speaker, TitleRequest, Usage,
    profile::{self, InstructionRole, Profile},
};

/// Divides the token cap of a title request without a schema to a model that does not reason. Without a schema only the
/// cap bounds the answer.
const SCHEMALESS_DIVISOR: u32 = 8;

/// Added to the instruction when JSON is requested without a schema. Some servers require the word JSON.
const JSON_INSTRUCTION: &str = " Answer as JSON with one field, title.";

/// An optional parameter that some servers or models reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Param {
    ReasoningEffort,
    Verbosity,
    Temperature,
    /// Without it `response_format` requests JSON of any shape.
    JsonSchema,
    ResponseFormat,
    /// Without it the cap is sent as `max_tokens`, its older name.
    MaxCompletionTokens,
    StreamOptions,
    Store,
    /// Without it the instruction has the role `system`.
    DeveloperRole,
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
pub(super) const PARAMS: [ParamNames; 9] = [
    ParamNames { param: Param::ReasoningEffort, field: "reasoning_effort", prose: &["reasoning_effort"] },
    ParamNames { param: Param::Verbosity, field: "verbosity", prose: &["verbosity"] },
    ParamNames { param: Param::Temperature, field: "temperature", prose: &["temperature"] },
    ParamNames { param: Param::JsonSchema, field: "response_format", prose: &["response_format", "json_schema"] },
    ParamNames { param: Param::ResponseFormat, field: "response_format", prose: &["response_format", "json_object"] },
    ParamNames { param: Param::MaxCompletionTokens, field: "max_completion_tokens", prose: &["max_completion_tokens"] },
    ParamNames { param: Param::StreamOptions, field: "stream_options", prose: &["stream_options"] },
    ParamNames { param: Param::Store, field: "store", prose: &["store"] },
    ParamNames { param: Param::DeveloperRole, field: "role", prose: &["'developer'", "`developer`", "\"developer\"", "developer role"] },
];

/// The body of a request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
}

#[derive(Clone, Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Cow<'a, str>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl<'a> Request<'a> {
    /// A streamed reply. `store` is sent only if `openai` (OpenAI's own server), since some compatible servers reject
    /// it.
    pub(super) fn reply(model: &'a str, history: &'a [ChatMessage], openai: bool) -> Self {
        let message = |message: &'a ChatMessage| Message {
            role: match message.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "assistant",
            },
            content: Cow::Borrowed(&message.text),
        };
        let messages = history.iter().map(message).collect();
        Self {
            stream: true,
            stream_options: Some(StreamOptions {
                include_usage: true,
            }),
            ..Self::new(model, messages, &profile::REPLIES, openai)
        }
    }

    /// A title as structured output. The schema has no length keywords, since providers support different ones.
    pub(super) fn title(
        model: &'a str,
        profile: &'a Profile,
        request: &'a TitleRequest,
        openai: bool,
    ) -> Self {
        let role = profile.role.unwrap_or(match openai && profile.reasoning {
            true => InstructionRole::Developer,
            false => InstructionRole::System,
        });
        let role = role.into();
        let messages = vec![
            Message {
                role,
                content: Cow::Borrowed(&request.instruction),
            },
            Message {
                role: "user",
                content: Cow::Borrowed(&request.input),
            },
        ];
        Self {
            max_completion_tokens: Some(request.max_tokens),
            response_format: Some(json!({
                "type": "json_schema",
                "json_schema": {
                    "name": "title",
                    "strict": true,
                    "schema": {
                        "type": "object",
                        "properties": { "title": { "type": "string" } },
                        "required": ["title"],
                        "additionalProperties": false,
                    },
                },
            })),
            ..Self::new(model, messages, profile, openai)
        }
    }

    fn new(model: &'a str, messages: Vec<Message<'a>>, profile: &'a Profile, openai: bool) -> Self {
        Self {
            model,
            messages,
            stream: false,
            stream_options: None,
            store: openai.then_some(false),
            reasoning_effort: profile.effort.as_deref(),
            verbosity: profile.verbosity.as_deref(),
            temperature: profile.temperature,
            max_completion_tokens: None,
            max_tokens: None,
            response_format: None,
        }
    }

    /// Removes all optional parameters; the model and the messages remain.
    pub(super) fn make_plain(&mut self) {
        for names in &PARAMS {
            self.remove(names.param);
        }
        self.max_tokens = None;
    }

    /// Whether a schema constrains the answer.
    pub(super) fn has_schema(&self) -> bool {
        let format = self.response_format.as_ref();
        format.is_some_and(|format| format["type"] == "json_schema")
    }

    /// Lowers the token cap of a model that does not reason, if there is no schema.
    pub(super) fn cap_tokens(&mut self, max_tokens: u32) {
        let cap = match self.has_schema() {
            true => max_tokens,
            false => (max_tokens / SCHEMALESS_DIVISOR).max(1),
        };
        for field in [&mut self.max_completion_tokens, &mut self.max_tokens] {
            *field = field.map(|_| cap);
        }
    }

    /// Removes a parameter, or falls back to its older form. Returns whether the request had it.
    pub(super) fn remove(&mut self, param: Param) -> bool {
        match param {
            Param::ReasoningEffort => self.reasoning_effort.take().is_some(),
            Param::Verbosity => self.verbosity.take().is_some(),
            Param::Temperature => self.temperature.take().is_some(),
            Param::JsonSchema => {
                let found = self.has_schema();
                if found {
                    self.response_format = Some(json!({ "type": "json_object" }));
                    self.messages[0].content.to_mut().push_str(JSON_INSTRUCTION);
                }
                found
            }
            Param::ResponseFormat => {
                let found = self.response_format.take();
                if found.is_some_and(|format| format["type"] == "json_object")
                    && let Some(plain) = self.messages[0].content.strip_suffix(JSON_INSTRUCTION)
                {
                    self.messages[0].content = Cow::Owned(plain.to_owned());
                    return true;
                }
                false
            }
            Param::StreamOptions => self.stream_options.take().is_some(),
            Param::Store => self.store.take().is_some(),
            Param::MaxCompletionTokens => {
                let cap = self.max_completion_tokens.take();
                self.max_tokens = self.max_tokens.or(cap);
                cap.is_some()
            }
            Param::DeveloperRole => {
                let mut found = false;
                for message in &mut self.messages {
                    if message.role == "developer" {
                        message.role = "system";
                        found = true;
                    }
                }
                found
            }
        }
    }
}

/// The first choice of an answer or of a streamed event. Others were not requested and are ignored.
///
/// # Errors
/// When `choices` is malformed.
pub(super) fn first_choice(answer: &Value) -> Result<Option<&Value>, ()> {
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
pub(super) struct ChoiceContent {
    /// Visible text, including refusals.
    pub(super) text: String,
    /// Whether some of it is a refusal.
    pub(super) is_refusal: bool,
    /// Whether it has reasoning.
    pub(super) reasons: bool,
    /// Whether it has tool calls, images or other content that is not text.
    pub(super) has_others: bool,
    /// Whether a part that may contain text could not be parsed.
    pub(super) is_unreadable: bool,
}

impl ChoiceContent {
    /// Reads a streamed delta, or a whole message.
    pub(super) fn read(choice: &Value) -> Self {
        let mut part = Self::default();
        let places = ["delta", "message"].into_iter();
        let delta = places
            .filter_map(|name| choice.get(name))
            .find(|delta| !delta.is_null());
        match delta {
            Some(Value::Object(delta)) => {
                part.add_content(delta.get("content"));
                part.add_refusal(delta.get("refusal"));
                let holds = |names: &[&str]| names.iter().any(|name| is_filled(delta.get(*name)));
                part.reasons |= holds(&[
                    "reasoning_content",
                    "reasoning",
                    "thinking",
                    "reasoning_details",
                ]);
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
            "thinking" | "reasoning" => self.reasons = true,
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

    /// Appends text without NUL, which databases reject.
    fn add(&mut self, text: &str) {
        self.text.extend(text.chars().filter(|&c| c != '\0'));
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

/// The provider's name of the answering model.
pub(super) fn model(answer: &Value) -> Option<String> {
    answer.get("model")?.as_str().map(str::to_owned)
}

/// Token counts, if present. A missing or invalid count is 0.
pub(super) fn usage(answer: &Value) -> Option<Usage> {
    let places = ["/usage", "/choices/0/usage", "/x_groq/usage"].into_iter();
    let usage = places
        .filter_map(|place| answer.pointer(place))
        .find(|usage| usage.is_object())?;
    let counts = |places: [&str; 2]| {
        let mut found = places
            .iter()
            .filter_map(|place| count(usage.pointer(place)?));
        found.next().unwrap_or(0)
    };
    Some(Usage {
        prompt_tokens: counts(["/prompt_tokens", "/input_tokens"]),
        completion_tokens: counts(["/completion_tokens", "/output_tokens"]),
        reasoning_tokens: counts([
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
        ]),
    })
}

/// Parses a count: any number, or a string with one. Capped, so that stored sums cannot overflow.
fn count(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    // The cast saturates, and maps NaN to 0.
    Some((number as u64).min(Usage::MAX_TOKENS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_bounded() {
        #[rustfmt::skip]
        let table = [
            (json!(12), 12),
            (json!(0), 0),
            (json!(-5), 0),
            (json!(1.9), 1),
            (json!("17"), 17),
            (json!("many"), 0),
            (json!(null), 0),
            (json!([3]), 0),
            (json!({ "value": 3 }), 0),
            (json!(true), 0),
            (json!(i64::MAX), Usage::MAX_TOKENS),
            (json!(u64::MAX), Usage::MAX_TOKENS),
            (json!(i64::MIN), 0),
            (json!(1e300), Usage::MAX_TOKENS),
            (json!("inf"), Usage::MAX_TOKENS),
            (json!("NaN"), 0),
        ];
        for (value, expected) in table {
            let answer = json!({ "usage": { "prompt_tokens": value } });
            assert_eq!(usage(&answer).unwrap().prompt_tokens, expected, "{value}");
        }
        for none in [json!(null), json!(7), json!([]), json!("x")] {
            assert_eq!(usage(&json!({ "usage": none })), None);
        }
        let nested =
            json!({ "usage": { "completion_tokens": 3, "completion_tokens_details": null } });
        assert_eq!(usage(&nested).unwrap().reasoning_tokens, 0);
    }
}
