//! The file of providers, agents and titles: `--config`, in TOML. docs/agents.md describes its keys.
//!
//! - `section`: reads tables and collects errors with line and key; `names`: keys and names in messages
//! - `provider`, `agent`, `titles`, `sharing`, `webhook`, `retention`, `audit`: the entries of `[providers]`,
//!   `[agents]` and `[webhooks]`, the title policies, the visibility of conversations, retention, and the audit log
//!
//! Reading checks each value by itself. Checks that depend on other entries, flags or the environment are in `plan`.

mod agent;
mod audit;
mod names;
mod provider;
mod retention;
mod section;
mod sharing;
mod titles;
mod webhook;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub(super) use self::{
    agent::{AgentEntry, EntrySource, Retain},
    names::{shown_unknown, suggestion},
    provider::{IdentityEntry, ProviderEntry},
    section::Located,
    sharing::SharingEntry,
    titles::{PolicyEntry, TitlesEntry},
    webhook::WebhookEntry,
};
pub use self::{
    audit::AuditPlan,
    section::{Place, Problem},
};
use self::{
    names::check_name,
    section::{Report, Section},
};
use super::{
    origin,
    secret_file::{self, FileError},
};
use crate::{auth::Secret, conversation::retention::Retentions};

/// The largest file, in bytes. Instructions can be in separate files.
const MAX_BYTES: u64 = 1024 * 1024;

/// The most providers.
const MAX_PROVIDERS: usize = 64;

/// The most agents.
const MAX_AGENTS: usize = 256;

/// The most webhooks.
const MAX_WEBHOOKS: usize = 32;

/// The most models in a chain.
const MAX_MODELS: usize = 16;

/// The longest name of a provider, agent or tenant, or any other identifier, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The longest model name, in characters.
const MAX_MODEL_CHARS: usize = 256;

/// The longest path, URL or other short text, in characters.
const MAX_TEXT_CHARS: usize = 4096;

/// Reads an environment variable.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The contents of the file.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    /// `[providers.NAME]`.
    pub(super) providers: Vec<ProviderEntry>,
    /// `[agents.NAME]`.
    pub(super) agents: Vec<AgentEntry>,
    /// `default_agent`.
    pub(super) default_agent: Option<Located<String>>,
    /// `[titles]`.
    pub(super) titles: TitlesEntry,
    /// `[sharing]`.
    pub(super) sharing: SharingEntry,
    /// `[webhooks.NAME]`.
    pub(super) webhooks: Vec<WebhookEntry>,
    /// `[retention]`.
    pub(super) retentions: Retentions,
    /// `[audit]`.
    pub(super) audit: AuditPlan,
}

/// A secret and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretEntry {
    /// The secret.
    pub secret: Secret,
    /// Its source, such as `DESK_KEY` or `/run/secrets/desk`.
    pub source: String,
    /// The environment variable, if the secret comes from it or its `…_FILE` twin.
    pub(super) variable: Option<String>,
}

/// What reading requires besides the document itself.
struct Surroundings<'e> {
    /// The folder that relative paths refer to.
    folder: &'e Path,
    environment: Environment<'e>,
}

/// Reads the text of the file.
///
/// # Errors
/// The reason, without any of the file's content.
pub(super) fn load(path: &Path) -> Result<String, String> {
    let bytes = secret_file::read_bytes(path, MAX_BYTES).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| FileError::NotText.to_string())
}

/// Parses the text of a file in `folder`. Returns every invalid value as a problem; the content omits those values.
///
/// # Errors
/// All syntax errors.
pub(super) fn parse(
    text: &str,
    folder: &Path,
    environment: Environment<'_>,
) -> Result<(ConfigFile, Vec<Problem>), Vec<Problem>> {
    let report = Report::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    errors.iter().for_each(|error| report.add_syntax(error));
    if !errors.is_empty() {
        // After recovery, the document may not be the intended one.
        return Err(report.finish());
    }
    let surroundings = Surroundings {
        folder,
        environment,
    };
    let root = Section::root(&report, document.get_ref());
    let mut file = ConfigFile {
        default_agent: root.text("default_agent", MAX_NAME_CHARS),
        ..ConfigFile::default()
    };
    for (name, section) in root.entries("providers", MAX_PROVIDERS).unwrap_or_default() {
        file.providers
            .extend(provider::read(name, section, &surroundings));
    }
    for (name, section) in root.entries("agents", MAX_AGENTS).unwrap_or_default() {
        file.agents
            .extend(agent::read(name, section, &surroundings));
    }
    if let Some(titles) = root.section("titles") {
        file.titles = titles::read(titles);
    }
    if let Some(section) = root.section("sharing") {
        file.sharing = sharing::read(section);
    }
    if let Some(section) = root.section("audit") {
        file.audit = audit::read(section);
    }
    for (name, section) in root.entries("webhooks", MAX_WEBHOOKS).unwrap_or_default() {
        file.webhooks
            .extend(webhook::read(name, section, &surroundings));
    }
    if let Some(retention) = root.section("retention") {
        file.retentions = retention::read(retention);
    }
    root.finish();
    Ok((file, report.finish()))
}

impl Surroundings<'_> {
    /// Resolves a path in the file against its folder.
    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Reads a secret that is given as a reference: `…_env` or `…_file`.
    fn secret(
        &self,
        section: &Section<'_, '_>,
        env_key: &'static str,
        file_key: &'static str,
    ) -> Option<Located<SecretEntry>> {
        let variable = section.text(env_key, MAX_TEXT_CHARS);
        let file = section.text(file_key, MAX_TEXT_CHARS);
        match (variable, file) {
            (Some(_), Some(file)) => {
                let message = format!("{env_key} is set too; set only one of them");
                section.problem(file.at, message);
                None
            }
            (Some(variable), None) => self.secret_of_variable(section, variable.value, variable.at),
            (None, Some(file)) => self.secret_of_file(section, &file.value, file.at),
            (None, None) => None,
        }
    }

    fn secret_of_variable(
        &self,
        section: &Section<'_, '_>,
        variable: String,
        at: Place,
    ) -> Option<Located<SecretEntry>> {
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if variable.starts_with(|c: char| c.is_ascii_digit()) || !variable.chars().all(is_name) {
            // The text may be the secret itself, so do not show it.
            section.problem(
                at,
                "expected the name of a variable: capitals, digits and \"_\"",
            );
            return None;
        }
        let found = match origin::variable(&variable, self.environment) {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) if (self.environment)(&variable).is_some() => {
                Err(format!("the environment variable {variable} is empty"))
            }
            Ok(None) => Err(format!("the environment variable {variable} is not set")),
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok(secret) => {
                let value = SecretEntry {
                    secret: secret.into(),
                    source: variable.clone(),
                    variable: Some(variable),
                };
                Some(Located { value, at })
            }
            Err(message) => {
                section.problem(at, message);
                None
            }
        }
    }

    fn secret_of_file(
        &self,
        section: &Section<'_, '_>,
        path: &str,
        at: Place,
    ) -> Option<Located<SecretEntry>> {
        let path = self.path(path);
        match secret_file::read(&path) {
            Ok(secret) => {
                let value = SecretEntry {
                    secret: secret.into(),
                    source: path.display().to_string(),
                    variable: None,
                };
                Some(Located { value, at })
            }
            Err(error) => {
                section.problem(at, format!("the file {} {error}", path.display()));
                None
            }
        }
    }
}
