//! The parameters that each model family accepts, as a table. A new model is a new row, never a condition elsewhere.
//!
//! Exceptions of single servers (a proxy that refuses `verbosity`) are not listed: the caller drops a parameter when
//! the provider rejects it.
//!
//! Source: OpenAI's API reference, "Create chat completion", and its guides on reasoning models.

use std::{borrow::Cow, str::FromStr};

/// The optional parameters of a request; `None` omits one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Profile {
    /// Whether it is an OpenAI reasoning model, which takes the instruction in the `developer` role.
    pub(super) reasoning: bool,
    /// The role of the instruction; `None` to derive it from the model.
    pub(super) role: Option<InstructionRole>,
    /// `reasoning_effort`.
    pub(super) effort: Option<Cow<'static, str>>,
    /// `verbosity`.
    pub(super) verbosity: Option<Cow<'static, str>>,
    /// `temperature`.
    pub(super) temperature: Option<f64>,
}

/// The role of the instruction, in the terms of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum InstructionRole {
    Developer,
    System,
}

/// The operator's overrides of the table: a named parameter replaces the model's own, and `none` leaves it out.
///
/// Written as `effort=low,verbosity=none,temperature=0.3,role=system`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileOverride {
    effort: Option<Option<String>>,
    verbosity: Option<Option<String>>,
    temperature: Option<Option<f64>>,
    role: Option<InstructionRole>,
}

impl FromStr for ProfileOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parameters = Self::default();
        for part in text.split(',').map(str::trim) {
            let (name, value) = part.split_once('=').ok_or_else(|| {
                format!("{part:?} has no value; write effort=low,temperature=none")
            })?;
            let (name, value) = (name.trim(), value.trim());
            let text = (value != "none").then(|| value.to_owned());
            if value.is_empty() || !value.chars().all(|c| c.is_ascii_alphanumeric() || c == '.') {
                return Err(format!(
                    "{name}={value} is not a valid value; use letters, digits and dots"
                ));
            }
            match name {
                "effort" => parameters.effort = Some(text),
                "verbosity" => parameters.verbosity = Some(text),
                "temperature" => {
                    let number = |text: String| {
                        let number = text
                            .parse()
                            .ok()
                            .filter(|number| (0.0..=2.0).contains(number));
                        number.ok_or_else(|| format!("temperature={value} is not 0 to 2, or none"))
                    };
                    parameters.temperature = Some(text.map(number).transpose()?);
                }
                "role" => {
                    let role = value.parse();
                    parameters.role =
                        Some(role.map_err(|_| format!("role={value} is not developer or system"))?);
                }
                _ => {
                    return Err(format!(
                        "{name} is not a known parameter; use effort, verbosity, temperature or role"
                    ));
                }
            }
        }
        Ok(parameters)
    }
}

/// A family of models that share their parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    /// `gpt-5`, `gpt-5.1`, `gpt-6`, …: this major and minor version, and later ones.
    Gpt(u16, u16),
    /// `o1`, `o3`, `o4-mini`, ….
    O,
}

/// One row of the table.
struct Row {
    family: Family,
    /// A part of the name (`chat` in `gpt-5-chat-latest`); empty matches any name.
    part: &'static str,
    reasoning: bool,
    effort: Option<&'static str>,
    verbosity: Option<&'static str>,
}

const NONE: Option<&str> = None;
const LOW: Option<&str> = Some("low");

/// Parameters of title requests. The first matching row wins, so specific rows come first.
#[rustfmt::skip]
const TITLES: [Row; 7] = [
    // The largest model of each generation chooses its own effort, and rejects the parameter.
    Row { family: Family::Gpt(6, 0), part: "astra", reasoning: true,  effort: NONE,            verbosity: LOW },
    // The ChatGPT models reject `reasoning_effort`, and every verbosity but medium.
    Row { family: Family::Gpt(5, 0), part: "chat",  reasoning: false, effort: NONE,            verbosity: NONE },
    // The pro models accept only high efforts, each a different set.
    Row { family: Family::Gpt(5, 0), part: "pro",   reasoning: true,  effort: NONE,            verbosity: LOW },
    Row { family: Family::Gpt(5, 0), part: "codex", reasoning: true,  effort: LOW,             verbosity: NONE },
    Row { family: Family::Gpt(5, 1), part: "",      reasoning: true,  effort: Some("none"),    verbosity: LOW },
    Row { family: Family::Gpt(5, 0), part: "",      reasoning: true,  effort: Some("minimal"), verbosity: LOW },
    Row { family: Family::O,         part: "",      reasoning: true,  effort: LOW,             verbosity: NONE },
];

/// Parameters of titles for models without a row: `gpt-4.1-mini`, local models.
const OTHER_TITLES: Profile = Profile {
    reasoning: false,
    role: None,
    effort: None,
    verbosity: None,
    temperature: Some(0.2),
};

impl Profile {
    /// Whether the model reasons, by the table or because an effort is sent.
    pub(super) fn reasons(&self) -> bool {
        self.reasoning || self.effort.is_some()
    }

    /// The parameters of a title from this model. Ignores provider prefixes (`openai/gpt-5-mini`), fine-tunes
    /// (`ft:gpt-4.1-mini:…`), tags (`gpt-oss:20b`) and dated snapshots (`gpt-5-mini-2025-08-07`).
    pub(super) fn title(model: &str) -> Self {
        let name = model
            .rsplit('/')
            .next()
            .unwrap_or(model)
            .to_ascii_lowercase();
        let name = name.strip_prefix("ft:").unwrap_or(&name);
        let name = name.split(':').next().unwrap_or(name);
        let row = TITLES.iter().find(|row| {
            row.family.holds(name)
                && (row.part.is_empty() || name.split('-').any(|part| part == row.part))
        });
        row.map_or(OTHER_TITLES, |row| Self {
            reasoning: row.reasoning,
            role: None,
            effort: row.effort.map(Cow::Borrowed),
            verbosity: row.verbosity.map(Cow::Borrowed),
            temperature: None,
        })
    }

    /// Applies the operator's overrides.
    pub(super) fn overridden(self, by: &ProfileOverride) -> Self {
        let text = |by: &Option<Option<String>>, own| match by {
            Some(text) => text.clone().map(Cow::Owned),
            None => own,
        };
        Self {
            reasoning: self.reasoning,
            role: by.role.or(self.role),
            effort: text(&by.effort, self.effort),
            verbosity: text(&by.verbosity, self.verbosity),
            temperature: by.temperature.unwrap_or(self.temperature),
        }
    }
}

impl Family {
    fn holds(self, name: &str) -> bool {
        match self {
            Self::Gpt(major, minor) => {
                gpt_version(name).is_some_and(|version| version >= (major, minor))
            }
            Self::O => name
                .strip_prefix('o')
                .and_then(leading_number)
                .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('-')),
        }
    }
}

/// The version in `gpt-5`, `gpt-5.1-mini`, `gpt-6-2027-01-01`. Azure writes 3.5 as `gpt-35`.
fn gpt_version(name: &str) -> Option<(u16, u16)> {
    let (major, rest) = leading_number(name.strip_prefix("gpt-")?)?;
    let minor = rest.strip_prefix('.').and_then(leading_number);
    match (major, minor) {
        (35, _) => Some((3, 5)),
        (major, Some((minor, _))) => Some((major, minor)),
        (major, None) => Some((major, 0)),
    }
}

fn leading_number(text: &str) -> Option<(u16, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_by_model() {
        // model, effort, verbosity, temperature, reasoning
        #[rustfmt::skip]
        let table = [
            ("gpt-5",                            Some("minimal"), Some("low"), None,      true),
            ("gpt-5-mini",                       Some("minimal"), Some("low"), None,      true),
            ("gpt-5-nano",                       Some("minimal"), Some("low"), None,      true),
            ("gpt-5-mini-2025-08-07",            Some("minimal"), Some("low"), None,      true),
            ("GPT-5-Mini",                       Some("minimal"), Some("low"), None,      true),
            ("openai/gpt-5-mini",                Some("minimal"), Some("low"), None,      true),
            ("openrouter/openai/gpt-5-mini:nitro", Some("minimal"), Some("low"), None,    true),
            ("gpt-5.1",                          Some("none"),    Some("low"), None,      true),
            ("gpt-5.1-2025-11-13",               Some("none"),    Some("low"), None,      true),
            ("azure/gpt-5.2-mini",               Some("none"),    Some("low"), None,      true),
            ("gpt-5.10",                         Some("none"),    Some("low"), None,      true),
            ("gpt-6",                            Some("none"),    Some("low"), None,      true),
            ("gpt-6-luna",                       Some("none"),    Some("low"), None,      true),
            ("openai/gpt-6.1-terra",             Some("none"),    Some("low"), None,      true),
            ("gpt-6-astra",                      None,            Some("low"), None,      true),
            ("openai/gpt-6-astra-2026-10-01",    None,            Some("low"), None,      true),
            ("gpt-6.2-astra",                    None,            Some("low"), None,      true),
            ("gpt-7-astra-mini",                 None,            Some("low"), None,      true),
            ("gpt-5-chat-latest",                None,            None,        None,      false),
            ("gpt-5.2-pro",                      None,            Some("low"), None,      true),
            ("gpt-5.1-codex",                    Some("low"),     None,        None,      true),
            ("o1",                               Some("low"),     None,        None,      true),
            ("o3-mini",                          Some("low"),     None,        None,      true),
            ("openai/o4-mini-2025-04-16",        Some("low"),     None,        None,      true),
            ("gpt-4o",                           None,            None,        Some(0.2), false),
            ("gpt-4.1-mini",                     None,            None,        Some(0.2), false),
            ("ft:gpt-4.1-mini:acme::abc",        None,            None,        Some(0.2), false),
            ("gpt-35-turbo",                     None,            None,        Some(0.2), false),
            ("gpt-oss:20b",                      None,            None,        Some(0.2), false),
            ("olmo-2",                           None,            None,        Some(0.2), false),
            ("o1x",                              None,            None,        Some(0.2), false),
            ("not-gpt-5-mini",                   None,            None,        Some(0.2), false),
            ("qwen3:8b",                         None,            None,        Some(0.2), false),
            ("",                                 None,            None,        Some(0.2), false),
        ];
        for (model, effort, verbosity, temperature, reasoning) in table {
            let expected = Profile {
                reasoning,
                role: None,
                effort: effort.map(Cow::Borrowed),
                verbosity: verbosity.map(Cow::Borrowed),
                temperature,
            };
            assert_eq!(Profile::title(model), expected, "{model}");
        }
    }

    #[test]
    fn an_operator_knows_better() {
        let known = |text: &str| Profile::title("gpt-5-mini").overridden(&text.parse().unwrap());
        let profile = known("effort=none,temperature=0.5,role=system");
        assert_eq!(profile.effort, None);
        assert_eq!(
            profile.verbosity.as_deref(),
            Some("low"),
            "not named, not changed"
        );
        assert_eq!(profile.temperature, Some(0.5));
        assert_eq!(profile.role, Some(InstructionRole::System));
        assert_eq!(known("effort = low").effort.as_deref(), Some("low"));
        assert_eq!(
            Profile::title("qwen3:8b")
                .overridden(&"temperature=none".parse().unwrap())
                .temperature,
            None
        );
        for (text, why) in [
            ("", "no value"),
            ("effort", "no value"),
            ("effort=", "valid value"),
            ("effort=a b", "valid value"),
            ("top_p=1", "known parameter"),
            ("temperature=hot", "0 to 2"),
            ("temperature=3", "0 to 2"),
            ("role=user", "developer or system"),
        ] {
            let error = text.parse::<ProfileOverride>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
