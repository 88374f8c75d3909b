//! The effective configuration: file, flags and environment, merged and checked against each other.
//!
//! Flags and environment take precedence over the file. A provider's base URL and key come from the same source, so
//! that a key never reaches another host.

mod models;
mod providers;
mod sharing;
mod titles;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{models::Chains, providers::Providers};
pub use self::{providers::ProviderPlan, sharing::SharingPlan};
use super::{
    Origin, Settings,
    file::{self, AgentEntry, AuditPlan, EntrySource, Located, Place, Problem, suggestion},
    secret_file,
};
use crate::{
    agents::DEFAULT_AGENT, conversation::retention::Retentions, llm::Parameters,
    titles::policy::Policies, webhooks::WebhookSettings,
};

/// The provider that flags and environment configure.
const DEFAULT_PROVIDER: &str = "openai";

/// The effective configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The path of the file, if there is one.
    pub path: Option<PathBuf>,
    /// All providers, by name; empty if the offline model answers.
    pub providers: Vec<ProviderPlan>,
    /// All agents, by name.
    pub agents: Vec<AgentPlan>,
    /// The agent that answers if no agent or an unknown one is named.
    pub default_agent: String,
    /// Whether the file defines agents. Otherwise any name is accepted, and the only agent answers.
    pub has_agents: bool,
    /// The title policies, with models in order; no models for the offline model.
    pub titles: Policies<Vec<ModelRef>>,
    /// The visibility of each tenant's conversations.
    pub sharing: SharingPlan,
    /// The webhooks, by name.
    pub webhooks: Vec<WebhookPlan>,
    /// How long conversations are kept.
    pub retentions: Retentions,
    /// The audit log.
    pub audit: AuditPlan,
    /// Settings that are set but not used, and why.
    pub notes: Vec<String>,
}

/// A webhook in force.
#[derive(Clone, Debug)]
pub struct WebhookPlan {
    /// Its settings.
    pub settings: WebhookSettings,
    /// Where its keys come from.
    pub keys_source: String,
}

/// A model of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// The provider's name.
    pub provider: String,
    /// The model's name at the provider.
    pub model: String,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// An agent in force.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    /// The name.
    pub name: String,
    /// What the agent is for, for people.
    pub description: Option<String>,
    /// Where the agent's replies come from.
    pub source: ReplySource,
    /// The source of the list of models.
    pub models_source: String,
    /// The system prompt: the model's role and task.
    pub instructions: Option<Arc<str>>,
    /// The source of the instructions: a line of the file, or the path of the instructions file; empty without
    /// instructions.
    pub instructions_source: String,
    /// Parameters of the agent's requests.
    pub parameters: Arc<Parameters>,
    /// The most history sent with a request, in characters.
    pub history_budget: usize,
    /// Tokens per day and tenant; `None` if the agent has no limit of its own.
    pub budget: Option<u64>,
    /// The tenants that may use the agent; `None` for all.
    pub tenants: Option<Vec<String>>,
    /// Whether callers see the agent's models.
    pub show_models: bool,
    /// Whether the model's reasoning is stored with replies.
    pub keep_reasoning: bool,
    /// Whether conversations keep their texts only until their title is settled.
    pub is_until_titled: bool,
}

/// Where an agent's replies come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplySource {
    /// These models, in order; the offline model if empty.
    Models(Vec<ModelRef>),
    /// Another program, which writes to the server.
    External,
}

/// All reasons why the configuration is invalid.
#[derive(Debug)]
pub struct ConfigErrors {
    /// The path of the file, if there is one.
    pub path: Option<PathBuf>,
    /// The errors, sorted by line. Errors outside the file have line 0.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// The errors, one line each: `titlecast.toml:12: agents.triage.modles: unknown key`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.problems
            .iter()
            .map(|problem| match (&self.path, problem.at.line) {
                (Some(path), 1..) => format!("{}:{problem}", path.display()),
                (Some(path), 0) if problem.at.key.is_empty() => {
                    format!("{} {}", path.display(), problem.message)
                }
                _ => format!("{}: {}", problem.at.key, problem.message),
            })
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().next().unwrap_or_default())?;
        match self.problems.len() {
            0 | 1 => Ok(()),
            count => write!(
                f,
                " (and {} more; `titlecast config check` prints all)",
                count - 1
            ),
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl Plan {
    /// Reads the file, if there is one, and merges it with the settings.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every error.
    pub fn read(settings: &Settings) -> Result<Self, ConfigErrors> {
        #[expect(clippy::disallowed_methods, reason = "a part of config")]
        let environment = |name: &str| std::env::var(name).ok();
        Self::read_with(settings, &environment)
    }

    /// Like [`Self::read`], for a running server: also rereads the implicit provider's secrets from their files. Flags
    /// and environment keep their values from start-up.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every error.
    pub fn reread(settings: &Settings) -> Result<Self, ConfigErrors> {
        let mut settings = settings.clone();
        for (id, variable, value) in [
            (
                "openai_api_key",
                "OPENAI_API_KEY_FILE",
                &mut settings.openai_api_key,
            ),
            (
                "openai_base_url",
                "OPENAI_BASE_URL_FILE",
                &mut settings.openai_base_url,
            ),
        ] {
            let Origin::SecretFile(path) = settings.origins.of(id) else {
                continue;
            };
            let read = secret_file::read(path).map_err(|error| ConfigErrors {
                path: None,
                problems: vec![Problem {
                    at: Place {
                        line: 0,
                        key: variable.into(),
                    },
                    message: format!("the file {} {error}", path.display()),
                }],
            })?;
            *value = Some(read);
        }
        Self::read(&settings)
    }

    /// Finds a model by its name on the command line: `PROVIDER/MODEL`, or just `MODEL` with a single provider.
    ///
    /// # Errors
    /// A message that says what is wrong.
    pub fn find_model(&self, name: &str) -> Result<ModelRef, String> {
        let names = || {
            self.providers
                .iter()
                .map(|provider| provider.settings.name.as_str())
        };
        let model_ref = |provider: &str, model: &str| ModelRef {
            provider: provider.into(),
            model: model.into(),
        };
        match name.split_once('/') {
            Some((provider, model)) if !model.is_empty() && names().any(|one| one == provider) => {
                Ok(model_ref(provider, model))
            }
            _ if self.providers.len() == 1 && !name.is_empty() => {
                Ok(model_ref(&self.providers[0].settings.name, name))
            }
            _ if self.providers.is_empty() => Err(
                "there is no provider: set OPENAI_API_KEY or OPENAI_BASE_URL, or name a file with --config"
                    .into(),
            ),
            _ => Err(format!(
                "{} is not a model of a provider; write PROVIDER/MODEL with one of the providers {}",
                file::shown_unknown(name),
                names().collect::<Vec<_>>().join(", ")
            )),
        }
    }

    /// The host and port of a provider.
    pub fn host_of(&self, provider: &str) -> String {
        let plan = self
            .providers
            .iter()
            .find(|plan| plan.settings.name == provider);
        let url = plan.and_then(|plan| reqwest::Url::parse(plan.settings.base_url.trim()).ok());
        match url
            .as_ref()
            .and_then(|url| Some((url.host_str()?, url.port())))
        {
            Some((host, Some(port))) => format!("{host}:{port}"),
            Some((host, None)) => host.to_owned(),
            None => provider.to_owned(),
        }
    }

    fn read_with(
        settings: &Settings,
        environment: file::Environment<'_>,
    ) -> Result<Self, ConfigErrors> {
        let Some(path) = settings.config_path() else {
            let file = file::ConfigFile::default();
            return Self::merge(settings, file, Vec::new(), None);
        };
        let text = file::load(path).map_err(|message| ConfigErrors {
            path: Some(path.to_owned()),
            problems: vec![Problem {
                at: Place::default(),
                message,
            }],
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let (file, problems) = match file::parse(&text, folder, environment) {
            Ok(parsed) => parsed,
            Err(problems) => {
                let path = Some(path.to_owned());
                return Err(ConfigErrors { path, problems });
            }
        };
        Self::merge(settings, file, problems, Some(path.to_owned()))
    }

    fn merge(
        settings: &Settings,
        file: file::ConfigFile,
        mut problems: Vec<Problem>,
        path: Option<PathBuf>,
    ) -> Result<Self, ConfigErrors> {
        let mut notes = Vec::new();
        let file::ConfigFile {
            providers,
            mut agents,
            default_agent,
            titles,
            sharing,
            webhooks,
            retentions,
            audit,
        } = file;
        let title_policy =
            |agent: &mut AgentEntry| Some((agent.name.clone(), agent.titles.take()?));
        let of_agents = agents.iter_mut().filter_map(title_policy).collect();
        let has_agents = !agents.is_empty();
        let providers = Providers::merge(settings, providers, &mut problems, &mut notes);
        let mut chains = Chains {
            settings,
            providers: &providers,
            problems: &mut problems,
            notes: &mut notes,
        };
        let agents: Vec<AgentPlan> = match has_agents {
            true => {
                let agents = agents.into_iter();
                agents.map(|agent| chains.agent(agent)).collect()
            }
            false => vec![chains.implicit_agent()],
        };
        if has_agents && settings.chat_model().is_some() {
            chains.notes.push(
                "--chat-model (TITLECAST_CHAT_MODEL) is not used: the file has agents".into(),
            );
        }
        let default_agent = choose_default(&agents, default_agent, chains.problems);
        let default = agents.iter().find(|agent| agent.name == default_agent);
        let titles = chains.policies(titles, of_agents, default);
        if problems.is_empty() {
            return Ok(Self {
                path,
                providers: providers.into_plans(),
                agents,
                default_agent,
                has_agents,
                titles,
                sharing: sharing.into(),
                webhooks: webhooks
                    .into_iter()
                    .map(|entry| WebhookPlan {
                        settings: entry.settings,
                        keys_source: entry.keys_source,
                    })
                    .collect(),
                retentions,
                audit,
                notes,
            });
        }
        problems.sort_by_key(|problem| problem.at.line);
        Err(ConfigErrors { path, problems })
    }
}

/// The default agent: the one named by `default_agent`, otherwise `default`, `triage`, or the only agent.
fn choose_default(
    agents: &[AgentPlan],
    named: Option<Located<String>>,
    problems: &mut Vec<Problem>,
) -> String {
    let names = || agents.iter().map(|agent| agent.name.as_str());
    let may_lack = problems.iter().any(|problem| problem.may_hide("agents"));
    let (name, at) = match named {
        Some(named) => {
            if !names().any(|name| name == named.value) {
                if may_lack {
                    return named.value;
                }
                let message = format!("no such agent{}", suggestion(&named.value, names()));
                problems.push(Problem {
                    at: named.at,
                    message,
                });
                return named.value;
            }
            (named.value, named.at)
        }
        None => {
            let usual = ["default", DEFAULT_AGENT]
                .into_iter()
                .find(|usual| names().any(|name| name == *usual));
            let only = names().next().filter(|_| agents.len() == 1);
            let at = Place {
                line: 1,
                key: "default_agent".into(),
            };
            match usual.or(only) {
                Some(name) => (name.to_owned(), at),
                None if may_lack => return String::new(),
                None => {
                    problems.push(Problem {
                        at,
                        message: "is missing: with several agents, none of them named default or triage, name the one \
                                  that answers if a message names none"
                            .into(),
                    });
                    return String::new();
                }
            }
        }
    };
    let is_limited = |agent: &AgentPlan| agent.name == name && agent.tenants.is_some();
    if agents.iter().any(is_limited) {
        problems.push(Problem {
            at,
            message: format!(
                "the default agent {name} has tenants, but it answers for every tenant; choose another, or remove them"
            ),
        });
    }
    name
}
