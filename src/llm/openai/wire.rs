//! The JSON of `POST /chat/completions` as this crate sends and reads it. No I/O and no decisions about failures.
//!
//! Requests are typed, because every field that is sent should be visible here. Answers are read leniently from
//! [`Value`]: servers that call themselves compatible (Ollama, vLLM, llama.cpp, LiteLLM) leave out ids, send nulls for
//! strings and add fields of their own.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::llm::{
    Speaker, TitleRequest, Turn, Usage,
    profile::{self, Profile, Role},
};

/// A title without a schema gets a part of the tokens from a model that does not reason: nothing else ends its answer.
const UNHELD_PART: u32 = 8;

/// What the instruction says besides where the answer is JSON of no given shape. Some servers insist on the word.
const AS_JSON: &str = " Answer as JSON with one field, title.";

/// A parameter that some servers or models refuse, and that a request can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Param {
    ReasoningEffort,
    Verbosity,
    Temperature,
    /// Without it `response_format` asks for JSON of any shape.
    JsonSchema,
    ResponseFormat,
    /// Without it the cap goes out as `max_tokens`, its older name.
    MaxCompletionTokens,
    StreamOptions,
    Store,
    /// Without it the instruction's role is `system`.
    DeveloperRole,
}

/// How providers name a [`Param`] in their refusals.
pub(super) struct ParamNames {
    pub(super) param: Param,
    /// Its field, as it stands in `error.param`.
    pub(super) field: &'static str,
    /// What stands for it in prose, in lower case.
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
    /// A streamed reply. `openai` says that the server is OpenAI's own: only there is `store` sent, which some
    /// compatible servers refuse as unknown.
    pub(super) fn reply(model: &'a str, history: &'a [Turn], openai: bool) -> Self {
        let message = |turn: &'a Turn| Message {
            role: match turn.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "assistant",
            },
            content: Cow::Borrowed(&turn.text),
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

    /// A title as structured output. The schema has no length keywords: providers disagree on them.
    pub(super) fn title(
        model: &'a str,
        profile: &'a Profile,
        request: &'a TitleRequest,
        openai: bool,
    ) -> Self {
        let role = profile.role.unwrap_or(match openai && profile.reasoning {
            true => Role::Developer,
            false => Role::System,
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

    /// Leaves out all that a request can do without: what is left is the model and the messages.
    pub(super) fn make_plain(&mut self) {
        for names in &PARAMS {
            self.remove(names.param);
        }
        self.max_tokens = None;
    }

    /// Whether a schema bounds the answer.
    pub(super) fn has_schema(&self) -> bool {
        let format = self.response_format.as_ref();
        format.is_some_and(|format| format["type"] == "json_schema")
    }

    /// Bounds the answer of a model that does not reason where no schema does.
    pub(super) fn bound(&mut self, max_tokens: u32) {
        let cap = match self.has_schema() {
            true => max_tokens,
            false => (max_tokens / UNHELD_PART).max(1),
        };
        for field in [&mut self.max_completion_tokens, &mut self.max_tokens] {
            *field = field.map(|_| cap);
        }
    }

    /// Leaves a parameter out, or goes back to its older form. False when the request did not carry it.
    pub(super) fn remove(&mut self, param: Param) -> bool {
        match param {
            Param::ReasoningEffort => self.reasoning_effort.take().is_some(),
            Param::Verbosity => self.verbosity.take().is_some(),
            Param::Temperature => self.temperature.take().is_some(),
            Param::JsonSchema => {
                let found = self.has_schema();
                if found {
                    self.response_format = Some(json!({ "type": "json_object" }));
                    self.messages[0].content.to_mut().push_str(AS_JSON);
                }
                found
            }
            Param::ResponseFormat => {
                let found = self.response_format.take();
                if found.is_some_and(|format| format["type"] == "json_object")
                    && let Some(plain) = self.messages[0].content.strip_suffix(AS_JSON)
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

/// The first choice of an answer or of a streamed event. Others, which were not asked for, are left aside.
///
/// # Errors
/// When there is something in place of choices that cannot be read.
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

/// What one choice adds to an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Text for a person; a refusal is one.
    pub(super) text: String,
    /// Whether some of it is a refusal.
    pub(super) is_refusal: bool,
    /// Whether the model reasoned.
    pub(super) reasons: bool,
    /// Whether there is a tool call, an image or anything else that is no text.
    pub(super) has_others: bool,
    /// Whether something that may hold text has a form that is not known.
    pub(super) is_unreadable: bool,
}

impl Part {
    /// Reads a streamed delta, or the whole message of a server that does not stream.
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
            // The older API for completions.
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

    /// NUL, which no database takes, is dropped.
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

/// What the provider calls the model that answers.
pub(super) fn model(answer: &Value) -> Option<String> {
    answer.get("model")?.as_str().map(str::to_owned)
}

/// Token counts, when there are any; a count that is missing, or none, is 0.
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

/// A count as providers write it: a number of any kind, or a text that holds one. Bounded: what is stored is summed.
fn count(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    // The cast saturates at both ends and makes 0 of what is no number.
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
