//! `POST /responses`: OpenAI's Responses API, streamed, without state at the provider (`store: false`).
//!
//! An event has its type in `type`, and in the event's name. Output items come in deltas, in an event with the whole
//! item, and again with the whole answer; servers send any of these.

use async_openai::{Client, config::OpenAIConfig, error::OpenAIError};
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use super::{
    Counts, DonePart, Fields, JSON_INSTRUCTION, Param, Reading, Target, ToolDelta, WholeItem,
    WireFormat, insert_extra, insert_some, model, remove_stream, text_of, title_schema,
};
use crate::llm::{
    Finish, ModelErrorKind, ReplyRequest, Speaker, TitleRequest,
    profile::Profile,
    provider::{
        failure::Failure,
        finish::{self, Ending},
        transport::Document,
    },
};

/// The Responses API.
pub(in crate::llm::provider) struct Responses;

impl WireFormat for Responses {
    fn path(&self) -> &'static str {
        "/responses"
    }

    fn create<'a>(
        &self,
        client: &'a Client<OpenAIConfig>,
        fields: &'a Fields,
    ) -> BoxFuture<'a, Result<Document, OpenAIError>> {
        async move { client.responses().create_byot(fields).await }.boxed()
    }

    fn reply(&self, target: Target<'_>, request: &ReplyRequest) -> Fields {
        let history = request.history.iter().map(|one| {
            let role = match one.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "assistant",
            };
            json!({ "role": role, "content": one.text })
        });
        let parameters = &request.parameters;
        let effort = parameters.reasoning_effort.as_deref();
        // Only reasoning models know the field.
        let summary = (target.reasoning || effort.is_some()).then_some("auto");
        let mut fields = Fields::new();
        insert_some(
            &mut fields,
            [
                ("model", Some(target.model.into())),
                (
                    "instructions",
                    request.instructions.as_deref().map(Value::from),
                ),
                ("input", Some(history.collect())),
                ("stream", Some(true.into())),
                ("store", Some(false.into())),
                (
                    "reasoning",
                    object([("effort", effort), ("summary", summary)]),
                ),
                ("temperature", parameters.temperature.map(Value::from)),
                ("top_p", parameters.top_p.map(Value::from)),
                (
                    "text",
                    object([("verbosity", parameters.verbosity.as_deref())]),
                ),
                (
                    "max_output_tokens",
                    parameters.max_output_tokens.map(Value::from),
                ),
            ],
        );
        insert_extra(&mut fields, parameters);
        fields
    }

    fn title(&self, target: Target<'_>, profile: &Profile, request: &TitleRequest) -> Fields {
        let mut text = json!({
            "format": { "type": "json_schema", "name": "title", "strict": true, "schema": title_schema() },
        });
        if let Some(verbosity) = profile.verbosity.as_deref() {
            text["verbosity"] = verbosity.into();
        }
        let input = json!([{ "role": "user", "content": request.input }]);
        let mut fields = Fields::new();
        insert_some(
            &mut fields,
            [
                ("model", Some(target.model.into())),
                ("instructions", Some(request.instruction.as_str().into())),
                ("input", Some(input)),
                ("stream", Some(false.into())),
                ("store", Some(false.into())),
                ("reasoning", object([("effort", profile.effort.as_deref())])),
                ("temperature", profile.temperature.map(Value::from)),
                ("text", Some(text)),
                ("max_output_tokens", Some(request.max_tokens.into())),
            ],
        );
        fields
    }

    fn remove(&self, fields: &mut Fields, param: Param) -> bool {
        match param {
            Param::ReasoningEffort => remove_in(fields, "reasoning", "effort"),
            Param::ReasoningSummary => remove_in(fields, "reasoning", "summary"),
            Param::Verbosity => remove_in(fields, "text", "verbosity"),
            Param::Temperature => fields.remove("temperature").is_some(),
            Param::TopP => fields.remove("top_p").is_some(),
            Param::Store => fields.remove("store").is_some(),
            Param::Stream => remove_stream(fields),
            Param::MaxOutputTokens => fields.remove("max_output_tokens").is_some(),
            Param::JsonSchema => {
                let found = self.has_schema(fields);
                if found {
                    fields["text"]["format"] = json!({ "type": "json_object" });
                    if let Some(Value::String(text)) = fields.get_mut("instructions") {
                        text.push_str(JSON_INSTRUCTION);
                    }
                }
                found
            }
            Param::ResponseFormat => {
                let found = remove_in(fields, "text", "format");
                if let Some(Value::String(text)) = fields.get_mut("instructions")
                    && text.ends_with(JSON_INSTRUCTION)
                {
                    text.truncate(text.len() - JSON_INSTRUCTION.len());
                }
                found
            }
            // This API has no such fields.
            Param::MaxCompletionTokens
            | Param::StreamOptions
            | Param::DeveloperRole
            | Param::SystemRole => false,
        }
    }

    fn has_schema(&self, fields: &Fields) -> bool {
        let format = fields.get("text").and_then(|text| text.get("format"));
        format.is_some_and(|format| format["type"] == "json_schema")
    }

    fn caps(&self) -> &'static [&'static str] {
        &["max_output_tokens"]
    }

    fn read(&self, name: &str, value: &Value) -> Result<Reading, Failure> {
        let kind = value.get("type").and_then(Value::as_str).unwrap_or(name);
        if kind == "error" {
            return Err(Failure::of_error(value));
        }
        if let Some(failure) = Failure::in_answer(value) {
            return Err(failure);
        }
        let response = value.get("response").unwrap_or(value);
        match kind.strip_prefix("response.") {
            Some("created" | "in_progress" | "queued") => Ok(Reading {
                is_acknowledgement: true,
                ..of_response(response)
            }),
            Some("completed" | "done" | "incomplete" | "failed" | "cancelled") => {
                whole(response, kind)
            }
            Some(kind) => Ok(event(kind, value)),
            // The answer itself, instead of events.
            None if value.get("output").is_some_and(Value::is_array) => whole(value, ""),
            None => Ok(Reading::default()),
        }
    }
}

/// The fields of an object that have a value; `None` if there are none.
fn object<const N: usize>(values: [(&str, Option<&str>); N]) -> Option<Value> {
    let values = values
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))));
    let fields: Fields = values.collect();
    (!fields.is_empty()).then(|| fields.into())
}

/// Removes a field of an object, and the object if nothing is left.
fn remove_in(fields: &mut Fields, object: &str, name: &str) -> bool {
    let Some(Value::Object(inner)) = fields.get_mut(object) else {
        return false;
    };
    let found = inner.remove(name).is_some();
    if inner.is_empty() {
        fields.remove(object);
    }
    found
}

/// The data in every event that contains the response.
fn of_response(response: &Value) -> Reading {
    let id = text_of(response.get("id"));
    Reading {
        id: Some(id).filter(|id| !id.is_empty()),
        model: model(response),
        usage: Counts::read(response),
        is_answer: true,
        ..Reading::default()
    }
}

/// Reads a response that is over, and its output for servers that sent no deltas. `kind` is the event's type.
fn whole(response: &Value, kind: &str) -> Result<Reading, Failure> {
    let status = response.get("status").and_then(Value::as_str);
    let status = match kind.strip_prefix("response.").unwrap_or_default() {
        "" | "done" => status.unwrap_or("completed"),
        // vLLM ends an answer that is not complete with this event too.
        "completed" => status
            .filter(|status| matches!(*status, "incomplete" | "failed" | "cancelled"))
            .unwrap_or("completed"),
        kind => kind,
    };
    let ending = match status {
        "completed" => Ending::Known(Finish::Stop),
        "failed" => {
            let failure = Failure::in_answer(response);
            return Err(failure.unwrap_or_else(|| Failure::new(ModelErrorKind::Unavailable)));
        }
        "incomplete" => {
            let reason = response.pointer("/incomplete_details/reason");
            finish::word(reason).map_or_else(
                || Ending::Unknown("incomplete".to_owned()),
                |reason| finish::classify(&reason),
            )
        }
        other => finish::classify(other),
    };
    let mut reading = Reading {
        ending: Some(ending),
        is_last: true,
        ..of_response(response)
    };
    let items = response.get("output").and_then(Value::as_array);
    for (index, item) in (0..).zip(items.into_iter().flatten()) {
        add_item(&mut reading, item, Some(index), true);
    }
    for tool in &mut reading.tools {
        tool.is_listed = true;
    }
    reading.has_message = items.is_some();
    Ok(reading)
}

/// Reads an event within the answer. Ignores events of other kinds.
fn event(kind: &str, value: &Value) -> Reading {
    let mut reading = Reading {
        item: Some(text_of(value.get("item_id"))),
        is_answer: true,
        ..Reading::default()
    };
    let delta = || text_of(value.get("delta"));
    let index = value.get("output_index").and_then(Value::as_u64);
    reading.place = index;
    let done = |text: String| DonePart {
        item: text_of(value.get("item_id")),
        place: index,
        part: value.get("content_index").and_then(Value::as_u64),
        text,
    };
    match kind {
        "output_text.delta" => {
            reading.text = delta();
            reading.is_unreadable = !value.get("delta").is_some_and(Value::is_string);
        }
        "refusal.delta" => {
            reading.text = delta();
            reading.is_refusal = !reading.text.is_empty();
        }
        // Repeats deltas, which some servers leave out.
        "output_text.done" => reading.done = Some(done(text_of(value.get("text")))),
        "refusal.done" => {
            let text = text_of(value.get("refusal"));
            reading.is_refusal = !text.is_empty();
            reading.done = Some(done(text));
        }
        "content_part.done" => {
            let part = value.get("part").unwrap_or(&Value::Null);
            let refusal = text_of(part.get("refusal"));
            reading.is_refusal = !refusal.is_empty();
            let text = match part.get("type").and_then(Value::as_str) {
                Some("output_text" | "text") => text_of(part.get("text")),
                _ => refusal,
            };
            reading.done = Some(done(text));
        }
        "reasoning_summary_text.delta"
        | "reasoning_text.delta"
        | "reasoning_summary.delta"
        | "reasoning.delta" => {
            reading.reasoning = delta();
            reading.reasons = true;
        }
        // A blank line between two parts of a summary.
        "reasoning_summary_part.added" => {
            let part = value.get("summary_index").and_then(Value::as_u64);
            if part.is_some_and(|part| part > 0) {
                reading.reasoning = "\n\n".to_owned();
            }
            reading.reasons = true;
        }
        "output_item.added" => {
            let item = value.get("item").unwrap_or(&Value::Null);
            add_item(&mut reading, item, index, false);
            if item.get("type").is_some_and(|kind| kind == "message") {
                reading.begun = Some(text_of(item.get("id")));
            }
            // The model has begun to reason, and may be silent for as long as before its first event.
            reading.is_acknowledgement = item.get("type").is_some_and(|kind| kind == "reasoning");
        }
        "output_item.done" => {
            let item = value.get("item").unwrap_or(&Value::Null);
            add_item(&mut reading, item, index, true);
        }
        "function_call_arguments.delta" | "function_call_arguments.done" => {
            let is_whole = kind.ends_with(".done");
            let field = if is_whole { "arguments" } else { "delta" };
            reading.has_others = true;
            reading.tools.push(ToolDelta {
                index,
                item: reading.item.take().unwrap_or_default(),
                arguments: text_of(value.get(field)),
                is_whole,
                ..ToolDelta::default()
            });
        }
        _ => {}
    }
    reading
}

/// Adds an output item: as it begins, or as a whole.
fn add_item(reading: &mut Reading, item: &Value, index: Option<u64>, is_whole: bool) {
    let id = text_of(item.get("id"));
    match item.get("type").and_then(Value::as_str) {
        Some("message") => {
            let content = item.get("content");
            let parts = content.and_then(Value::as_array);
            let mut whole = WholeItem {
                id,
                // Some compatible servers send a text instead of a list of parts.
                text: text_of(content),
                is_final: item
                    .get("phase")
                    .is_some_and(|phase| phase == "final_answer"),
                ..WholeItem::default()
            };
            for part in parts.into_iter().flatten() {
                let refusal = text_of(part.get("refusal"));
                reading.is_refusal |= !refusal.is_empty();
                whole.text += &text_of(part.get("text"));
                whole.text += &refusal;
            }
            if is_whole {
                reading.whole.push(whole);
            }
        }
        Some("reasoning") => {
            reading.reasons = true;
            if is_whole {
                let texts = ["summary", "content"].map(|name| {
                    let parts = item.get(name).and_then(Value::as_array);
                    let texts = parts.into_iter().flatten();
                    let texts: Vec<String> = texts.map(|part| text_of(part.get("text"))).collect();
                    texts.join("\n\n")
                });
                reading.whole.push(WholeItem {
                    id,
                    reasoning: texts
                        .into_iter()
                        .find(|text| !text.is_empty())
                        .unwrap_or_default(),
                    ..WholeItem::default()
                });
            }
        }
        Some("function_call") => {
            reading.has_others = true;
            reading.tools.push(ToolDelta {
                index,
                id: text_of(item.get("call_id")),
                item: id,
                name: text_of(item.get("name")),
                arguments: text_of(item.get("arguments")),
                is_whole,
                is_done: is_whole,
                ..ToolDelta::default()
            });
        }
        Some(_) => reading.has_others = true,
        None => {}
    }
}
