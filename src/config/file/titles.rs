//! `[titles]`, `[titles.tenants.TENANT]` and `[agents.NAME.titles]`.

use std::sync::Arc;

use super::{Located, MAX_MODEL_CHARS, MAX_MODELS, MAX_NAME_CHARS, section::Section};
use crate::titles::policy::{MAX_INSTRUCTION_CHARS, MAX_RETRY, MAX_STYLE_CHARS, PolicyLayer};

/// The range of `max_characters`.
const CHARACTERS: std::ops::RangeInclusive<u64> = 10..=120;

/// The range of `max_words`.
const WORDS: std::ops::RangeInclusive<u64> = 2..=20;

/// Model names with their positions in the file.
type Models = Located<Vec<Located<String>>>;

/// The contents of `[titles]`.
#[derive(Debug, Default)]
pub(in crate::config) struct TitlesEntry {
    pub default: PolicyEntry,
    /// By tenant.
    pub tenants: Vec<(String, PolicyEntry)>,
}

/// One layer of title policies.
#[derive(Debug, Default)]
pub(in crate::config) struct PolicyEntry {
    pub provider: Option<Located<String>>,
    /// Whether the file lists models, valid or not.
    pub names_models: bool,
    pub layer: PolicyLayer<Models>,
}

/// Reads `[titles]`.
pub(super) fn read(section: Section<'_, '_>) -> TitlesEntry {
    let default = read_settings(&section);
    let mut tenants = Vec::new();
    for (tenant, below) in section.tenants() {
        tenants.push((tenant, read_policy(below)));
    }
    section.finish();
    TitlesEntry { default, tenants }
}

/// Reads the title policy of a tenant or an agent.
pub(super) fn read_policy(section: Section<'_, '_>) -> PolicyEntry {
    let entry = read_settings(&section);
    section.finish();
    entry
}

fn read_settings(section: &Section<'_, '_>) -> PolicyEntry {
    let mut layer = PolicyLayer::default();
    // Reads settings into the layer and records their lines.
    macro_rules! read {
        ($($key:ident: $value:expr;)*) => {
            $(if let Some(Located { value, at }) = $value {
                layer.$key = Some(value);
                layer.sources.insert(stringify!($key), format!("line {}", at.line));
            })*
        };
    }
    let text = |key, max| {
        let text = section.text_or_none(key, max)?;
        Some(Located {
            value: text.value.map(Arc::from),
            at: text.at,
        })
    };
    let size = |key, range| {
        let Located { value, at } = section.number(key, range)?;
        let value = value.try_into().ok()?;
        Some(Located { value, at })
    };
    let budget = || {
        let Located { value, at } = section.number("budget", 0..=1_000_000_000_000)?;
        let value = (value > 0).then_some(value);
        Some(Located { value, at })
    };
    if let Some(models) = section.list("models", MAX_MODELS, MAX_MODEL_CHARS) {
        let source = format!("line {}", models.at.line);
        layer.models = Some(models);
        layer.sources.insert("models", source);
    }
    read! {
        style: text("style", MAX_STYLE_CHARS);
        instruction: text("instruction", MAX_INSTRUCTION_CHARS);
        max_characters: size("max_characters", CHARACTERS);
        max_words: size("max_words", WORDS);
        case: section.choice("case");
        language: section.parsed("language", MAX_NAME_CHARS);
        emoji: section.flag("emoji");
        openers: section.flag("openers");
        redact: section.flag("redact");
        refresh: section.choice("refresh");
        budget: budget();
        fallback: section.choice("fallback");
        distinct: section.flag("distinct");
        retry: section.duration_within("retry", MAX_RETRY);
    }
    PolicyEntry {
        provider: section.text("provider", MAX_NAME_CHARS),
        names_models: section.place_of("models").is_some(),
        layer,
    }
}
