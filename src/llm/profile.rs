//! What each family of models accepts, as data. A new model is a new row here, never a condition elsewhere.
//!
//! Rules that no row can know (a proxy that refuses `verbosity`, a snapshot that takes no effort) are not kept here:
//! the caller drops a parameter when the provider names it as unsupported.
//!
//! Source: OpenAI's API reference, "Create chat completion", and its guides on reasoning models.

/// The optional parameters to send with a request; `None` leaves one out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Profile {
    /// Whether it is one of OpenAI's reasoning models, which take their instruction from the `developer` role.
    pub(super) reasoning: bool,
    /// `reasoning_effort`.
    pub(super) effort: Option<&'static str>,
    /// `verbosity`.
    pub(super) verbosity: Option<&'static str>,
    /// `temperature`.
    pub(super) temperature: Option<f64>,
}

/// A line of models that share their parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    /// `gpt-5`, `gpt-5.1`, `gpt-6`, …, from this major and minor version on.
    Gpt(u16, u16),
    /// `o1`, `o3`, `o4-mini`, ….
    O,
}

/// One row of the table.
struct Row {
    family: Family,
    /// A part of the name (`chat` in `gpt-5-chat-latest`); an empty one stands for any name.
    part: &'static str,
    reasoning: bool,
    effort: Option<&'static str>,
    verbosity: Option<&'static str>,
}

const NONE: Option<&str> = None;
const LOW: Option<&str> = Some("low");

/// What titles are asked for with. The first row that fits is taken, so narrow ones stand first.
#[rustfmt::skip]
const TITLES: [Row; 6] = [
    // The models behind ChatGPT take neither an effort of their own nor another verbosity than medium.
    Row { family: Family::Gpt(5, 0), part: "chat",  reasoning: false, effort: NONE,            verbosity: NONE },
    // The pro models know only high efforts, and each another set of them.
    Row { family: Family::Gpt(5, 0), part: "pro",   reasoning: true,  effort: NONE,            verbosity: LOW },
    Row { family: Family::Gpt(5, 0), part: "codex", reasoning: true,  effort: LOW,             verbosity: NONE },
    Row { family: Family::Gpt(5, 1), part: "",      reasoning: true,  effort: Some("none"),    verbosity: LOW },
    Row { family: Family::Gpt(5, 0), part: "",      reasoning: true,  effort: Some("minimal"), verbosity: LOW },
    Row { family: Family::O,         part: "",      reasoning: true,  effort: LOW,             verbosity: NONE },
];

/// Titles from a model that no row knows: `gpt-4.1-mini`, a local model.
const OTHER_TITLES: Profile = Profile {
    reasoning: false,
    effort: None,
    verbosity: None,
    temperature: Some(0.2),
};

impl Profile {
    /// What to send for a title. Provider prefixes (`openai/gpt-5-mini`), fine-tunes (`ft:gpt-4.1-mini:…`), tags
    /// (`gpt-oss:20b`) and dated snapshots (`gpt-5-mini-2025-08-07`) are seen through.
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
            effort: row.effort,
            verbosity: row.verbosity,
            temperature: None,
        })
    }

    /// What to send for a reply: nothing. A reply should be what the model's makers tuned it to be, and every
    /// parameter left out is one that no server can refuse.
    pub(super) fn reply() -> Self {
        Self::default()
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
                effort,
                verbosity,
                temperature,
            };
            assert_eq!(Profile::title(model), expected, "{model}");
        }
    }

    #[test]
    fn replies_carry_nothing() {
        let Profile {
            effort,
            verbosity,
            temperature,
            ..
        } = Profile::reply();
        assert_eq!((effort, verbosity, temperature), (None, None, None));
    }
}
