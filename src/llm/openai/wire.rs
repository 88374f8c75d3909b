//! The JSON of `POST /chat/completions` as this crate sends and reads it. No I/O and no decisions about failures.
//!
//! Requests are typed, because every field that is sent should be visible here. Answers are read leniently from
//! [`Value`]: servers that call themselves compatible (Ollama, vLLM, llama.cpp, LiteLLM) leave out ids, send nulls for
//! strings and add fields of their own.

use serde::Serialize;
use serde_json::{Value, json};

use crate::llm::{
    Finish, Speaker, TitleRequest, Turn, Usage,
    profile::{self, Profile, Role},
};

/// A parameter that some servers or models refuse, and that a request can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Param {
    ReasoningEffort,
    Verbosity,
    Temperature,
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
    /// What stands for it in prose, in lower case. Common words count in quotes only.
    pub(super) prose: &'static [&'static str],
}

#[rustfmt::skip]
pub(super) const PARAMS: [ParamNames; 8] = [
    ParamNames { param: Param::ReasoningEffort, field: "reasoning_effort", prose: &["reasoning_effort"] },
    ParamNames { param: Param::Verbosity, field: "verbosity", prose: &["verbosity"] },
    ParamNames { param: Param::Temperature, field: "temperature", prose: &["temperature"] },
    ParamNames { param: Param::ResponseFormat, field: "response_format", prose: &["response_format", "json_schema"] },
    ParamNames { param: Param::MaxCompletionTokens, field: "max_completion_tokens", prose: &["max_completion_tokens"] },
    ParamNames { param: Param::StreamOptions, field: "stream_options", prose: &["stream_options"] },
    ParamNames { param: Param::Store, field: "store", prose: &["'store'", "`store`"] },
    ParamNames { param: Param::DeveloperRole, field: "role", prose: &["'developer'"] },
];

/// The body of a request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
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
    content: &'a str,
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
            content: &turn.text,
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
                content: &request.instruction,
            },
            Message {
                role: "user",
                content: &request.input,
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

    /// Leaves a parameter out, or goes back to its older form. False when the request did not carry it.
    pub(super) fn remove(&mut self, param: Param) -> bool {
        match param {
            Param::ReasoningEffort => self.reasoning_effort.take().is_some(),
            Param::Verbosity => self.verbosity.take().is_some(),
            Param::Temperature => self.temperature.take().is_some(),
            Param::ResponseFormat => self.response_format.take().is_some(),
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

/// The first choice of an answer or of a streamed event.
pub(super) fn first_choice(answer: &Value) -> Option<&Value> {
    let choices = answer.get("choices")?.as_array()?;
    choices
        .iter()
        .find(|choice| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0)
}

/// Text as servers write it: a string, null, or a list of parts. NUL, which no database takes, is dropped.
pub(super) fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.replace('\0', ""),
        Some(Value::Array(parts)) => parts.iter().map(|part| text(part.get("text"))).collect(),
        _ => String::new(),
    }
}

/// Why the model stopped; `Ok(None)` while it has not, `Err` when the server gave up in the middle.
pub(super) fn finish(choice: &Value) -> Result<Option<Finish>, ()> {
    match choice.get("finish_reason").and_then(Value::as_str) {
        None | Some("") => Ok(None),
        Some("length" | "max_tokens") => Ok(Some(Finish::Length)),
        Some("content_filter") => Ok(Some(Finish::ContentFilter)),
        Some("error" | "insufficient_system_resource") => Err(()),
        Some(_) => Ok(Some(Finish::Stop)),
    }
}

/// What the provider calls the model that answers.
pub(super) fn model(answer: &Value) -> Option<String> {
    answer.get("model")?.as_str().map(str::to_owned)
}

/// Token counts, when there are any; a count that is missing is 0.
pub(super) fn usage(answer: &Value) -> Option<Usage> {
    let usage = answer.get("usage").filter(|usage| usage.is_object())?;
    let count = |pointer| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    Some(Usage {
        prompt_tokens: count("/prompt_tokens"),
        completion_tokens: count("/completion_tokens"),
        reasoning_tokens: count("/completion_tokens_details/reasoning_tokens"),
    })
}
