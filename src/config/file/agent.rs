//! `[agents.NAME]`.

use std::sync::Arc;

use serde_json::{Map, Value};
use strum::{EnumString, VariantNames};

use super::{
    Located, MAX_MODEL_CHARS, MAX_MODELS, MAX_NAME_CHARS, MAX_TEXT_CHARS, Place, Surroundings,
    check_name,
    section::Section,
    titles::{self, PolicyEntry},
};
use crate::{auth, config::secret_file, llm::Parameters};

/// The longest description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 500;

/// The longest instructions, in bytes of UTF-8.
const MAX_INSTRUCTIONS_BYTES: usize = 64 * 1024;

/// The most tenants of an agent.
const MAX_TENANTS: usize = 1000;

/// The largest `extra`, in bytes of JSON.
const MAX_EXTRA_BYTES: usize = 16 * 1024;

/// Request fields that `extra` must not set: they determine what is asked, of whom, and how the answer is read.
const RESERVED_FIELDS: [&str; 18] = [
    "model",
    "models",
    "messages",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "store",
    "n",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "previous_response_id",
    "conversation",
    "prompt",
    "background",
];

/// Keys that only make sense for an agent with a model.
const MODEL_KEYS: [&str; 9] = [
    "provider",
    "models",
    "instructions",
    "instructions_file",
    "parameters",
    "history_budget",
    "budget",
    "show_models",
    "keep_reasoning",
];

/// Where an agent's replies come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(in crate::config) enum EntrySource {
    /// A model.
    #[default]
    Model,
    /// A program that writes to the server.
    External,
}

/// How long texts are kept in conversations that begin with this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(in crate::config) enum Retain {
    /// As long as the conversation exists.
    Always,
    /// Until the title is settled.
    UntilTitled,
}

/// One agent in the file. A setting that is `None` has its default.
#[derive(Debug)]
pub(in crate::config) struct AgentEntry {
    pub name: String,
    pub at: Place,
    pub description: Option<String>,
    pub source: EntrySource,
    pub provider: Option<Located<String>>,
    pub models: Option<Located<Vec<Located<String>>>>,
    /// Whether the file lists models, valid or not.
    pub names_models: bool,
    /// The text and its source.
    pub instructions: Option<(Arc<str>, String)>,
    pub parameters: Parameters,
    /// Characters.
    pub history_budget: Option<u64>,
    /// Tokens per day and tenant; 0 is unlimited.
    pub budget: Option<u64>,
    pub tenants: Option<Located<Vec<String>>>,
    pub show_models: bool,
    pub keep_reasoning: bool,
    pub retain: Option<Retain>,
    /// The title policy for conversations where this agent answers.
    pub titles: Option<PolicyEntry>,
}

/// Reads one agent. Returns `None` if its name is invalid.
pub(super) fn read(
    name: String,
    section: Section<'_, '_>,
    surroundings: &Surroundings<'_>,
) -> Option<AgentEntry> {
    let at = section.at.clone();
    if let Err(message) = check_name(&name) {
        section.problem(at, message);
        return None;
    }
    let number = |key, range| section.number(key, range).map(|number| number.value);
    let description = section.text("description", MAX_DESCRIPTION_CHARS);
    let is_set = |key| section.flag(key).is_some_and(|flag| flag.value);
    let agent = AgentEntry {
        description: description.map(|text| text.value),
        source: section
            .choice("source")
            .map(|source| source.value)
            .unwrap_or_default(),
        provider: section.text("provider", MAX_NAME_CHARS),
        models: section.list("models", MAX_MODELS, MAX_MODEL_CHARS),
        names_models: section.place_of("models").is_some(),
        instructions: instructions(&section, surroundings),
        parameters: parameters(&section),
        history_budget: number("history_budget", 0..=10_000_000),
        budget: number("budget", 0..=1_000_000_000_000),
        tenants: tenants(&section),
        show_models: is_set("show_models"),
        keep_reasoning: is_set("keep_reasoning"),
        retain: section.choice("retain").map(|retain| retain.value),
        titles: section.section("titles").map(titles::read_policy),
        name,
        at,
    };
    if agent.source == EntrySource::External {
        for place in MODEL_KEYS.iter().filter_map(|key| section.place_of(key)) {
            section.problem(place, "has no effect with source = \"external\"");
        }
    } else if agent.retain == Some(Retain::UntilTitled)
        && let Some(place) = section.place_of("retain")
    {
        let message = "needs source = \"external\": a model's replies need the texts before them";
        section.problem(place, message);
    }
    section.finish();
    Some(agent)
}

/// The instructions and their source: `line 12`, or the path of the instructions file.
fn instructions(
    section: &Section<'_, '_>,
    surroundings: &Surroundings<'_>,
) -> Option<(Arc<str>, String)> {
    // Instructions in the TOML file can be as long as the file, so they are limited below, together with those from
    // files.
    let text = section.text("instructions", MAX_INSTRUCTIONS_BYTES);
    let file = section.text("instructions_file", MAX_TEXT_CHARS);
    let (text, at, source) = match (text, file) {
        (Some(_), Some(file)) => {
            section.problem(file.at, "instructions is set too; set only one of them");
            return None;
        }
        (Some(text), None) => {
            let source = format!("line {}", text.at.line);
            (text.value, text.at, source)
        }
        (None, Some(file)) => {
            let path = surroundings.path(&file.value);
            match secret_file::read_text(&path, MAX_INSTRUCTIONS_BYTES as u64) {
                Ok(text) => (text, file.at, path.display().to_string()),
                Err(error) => {
                    section.problem(file.at, format!("the file {} {error}", path.display()));
                    return None;
                }
            }
        }
        (None, None) => return None,
    };
    if text.len() > MAX_INSTRUCTIONS_BYTES {
        let message = format!("the instructions are longer than {MAX_INSTRUCTIONS_BYTES} bytes");
        section.problem(at, message);
        return None;
    }
    Some((text.trim_end().into(), source))
}

fn parameters(section: &Section<'_, '_>) -> Parameters {
    let Some(table) = section.section("parameters") else {
        return Parameters::default();
    };
    let text = |key| table.text(key, MAX_NAME_CHARS).map(|text| text.value);
    let decimal = |key, range| table.decimal(key, range).map(|number| number.value);
    let max_output_tokens = table.number("max_output_tokens", 1..=10_000_000);
    let parameters = Parameters {
        temperature: decimal("temperature", 0.0..=2.0),
        reasoning_effort: text("reasoning_effort"),
        verbosity: text("verbosity"),
        max_output_tokens: max_output_tokens.and_then(|number| number.value.try_into().ok()),
        top_p: decimal("top_p", 0.0..=1.0),
        extra: extra(&table),
    };
    table.finish();
    parameters
}

/// Additional request fields, for compatible servers.
fn extra(parameters: &Section<'_, '_>) -> Map<String, Value> {
    let Some(table) = parameters.section("extra") else {
        return Map::new();
    };
    let mut extra = Map::new();
    for (key, value) in table.values() {
        let Located { value: name, at } = key;
        if RESERVED_FIELDS.contains(&name.as_str()) {
            table.problem(at, "is set by Titlecast; extra must not set it");
        } else if let Some(value) = value {
            extra.insert(name, value);
        } else {
            table.problem(
                at,
                "has a value that JSON cannot hold (a date, or a number that is not finite)",
            );
        }
    }
    let bytes = Value::Object(extra.clone()).to_string().len();
    if bytes > MAX_EXTRA_BYTES {
        let message = format!("is longer than {MAX_EXTRA_BYTES} bytes of JSON");
        table.problem(table.at.clone(), message);
    }
    extra
}

fn tenants(section: &Section<'_, '_>) -> Option<Located<Vec<String>>> {
    let tenants = section.list("tenants", MAX_TENANTS, MAX_TEXT_CHARS)?;
    for tenant in &tenants.value {
        if !auth::is_name(&tenant.value) {
            let message = "a tenant has 1 to 128 characters, none of them a control character";
            section.problem(tenant.at.clone(), message);
        }
    }
    Some(Located {
        value: tenants
            .value
            .into_iter()
            .map(|tenant| tenant.value)
            .collect(),
        at: tenants.at,
    })
}
