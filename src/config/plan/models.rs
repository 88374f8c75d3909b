//! The effective agents and chains of models.

use std::sync::Arc;

use super::{
    AgentEntry, AgentPlan, DEFAULT_AGENT, DEFAULT_PROVIDER, EntrySource, Located, ModelRef, Place,
    Problem, ProviderPlan, Providers, ReplySource, suggestion,
};
use crate::{
    config::{
        Settings,
        file::{Retain, shown_unknown},
    },
    llm::{DEFAULT_MODELS, Parameters},
};

const CHAT_MODEL: &str = "--chat-model (TITLECAST_CHAT_MODEL)";

type Models = Located<Vec<Located<String>>>;

/// Resolves the models of agents and title policies.
pub(super) struct Chains<'p> {
    pub(super) settings: &'p Settings,
    pub(super) providers: &'p Providers,
    pub(super) problems: &'p mut Vec<Problem>,
    pub(super) notes: &'p mut Vec<String>,
}

impl Chains<'_> {
    /// Resolves an agent of the file.
    pub(super) fn agent(&mut self, entry: AgentEntry) -> AgentPlan {
        let source = match entry.source {
            EntrySource::External => ReplySource::External,
            // Already reported.
            EntrySource::Model if entry.models.is_none() && entry.names_models => {
                ReplySource::Models(Vec::new())
            }
            EntrySource::Model => {
                ReplySource::Models(self.chain(&entry.at, &entry.provider, &entry.models))
            }
        };
        let models_source = match &entry.models {
            Some(models) => format!("line {}", models.at.line),
            None => "default".into(),
        };
        let history_budget = entry.history_budget.and_then(|chars| chars.try_into().ok());
        let (instructions, instructions_source) = entry.instructions.unzip();
        AgentPlan {
            name: entry.name,
            description: entry.description,
            source,
            models_source,
            instructions,
            instructions_source: instructions_source.unwrap_or_default(),
            parameters: Arc::new(entry.parameters),
            history_budget: history_budget.unwrap_or(self.settings.history_budget),
            budget: entry.budget.filter(|tokens| *tokens > 0),
            tenants: entry.tenants.map(|tenants| tenants.value),
            show_models: entry.show_models,
            keep_reasoning: entry.keep_reasoning,
            is_until_titled: entry.retain == Some(Retain::UntilTitled),
        }
    }

    /// The agent that flags and environment configure, used if the file has none.
    pub(super) fn implicit_agent(&mut self) -> AgentPlan {
        let (models, models_source) = match self.settings.chat_model() {
            Some(model) => (self.of_flag(model, &None, CHAT_MODEL), CHAT_MODEL.into()),
            None => (
                self.default_chain(&Place::default(), &None),
                "default".into(),
            ),
        };
        AgentPlan {
            name: DEFAULT_AGENT.into(),
            description: None,
            source: ReplySource::Models(models),
            models_source,
            instructions: None,
            instructions_source: String::new(),
            parameters: Arc::new(Parameters::default()),
            history_budget: self.settings.history_budget,
            budget: None,
            tenants: None,
            show_models: false,
            keep_reasoning: false,
            is_until_titled: false,
        }
    }

    pub(super) fn problem(&mut self, at: &Place, message: impl Into<String>) {
        self.problems.push(Problem {
            at: at.clone(),
            message: message.into(),
        });
    }

    /// Whether an earlier error may be why the file lacks an entry of this table.
    fn may_lack(&self, table: &str) -> bool {
        self.problems.iter().any(|problem| problem.may_hide(table))
    }

    /// The single model of a flag, at the provider of flags and environment if there is one.
    pub(super) fn of_flag(
        &mut self,
        model: &str,
        provider: &Option<Located<String>>,
        setting: &str,
    ) -> Vec<ModelRef> {
        if self.providers.names().next().is_none() {
            return Vec::new();
        }
        if provider.is_none() && self.providers.has(DEFAULT_PROVIDER) {
            return vec![ModelRef {
                provider: DEFAULT_PROVIDER.into(),
                model: model.into(),
            }];
        }
        let at = Place {
            line: 0,
            key: setting.into(),
        };
        let model = Located {
            value: model.to_owned(),
            at: at.clone(),
        };
        let models = Located {
            value: vec![model],
            at: at.clone(),
        };
        self.chain(&at, provider, &Some(models))
    }

    /// Resolves a chain in the file. With `provider`, entries are names of that provider's models; without, they are
    /// `provider/model`.
    pub(super) fn chain(
        &mut self,
        at: &Place,
        provider: &Option<Located<String>>,
        models: &Option<Models>,
    ) -> Vec<ModelRef> {
        let Some(models) = models else {
            return self.default_chain(at, provider);
        };
        if let Some(provider) = provider
            && !self.is_known(&provider.value, &provider.at)
        {
            return Vec::new();
        }
        let mut chain: Vec<ModelRef> = Vec::new();
        for entry in &models.value {
            let name = entry.value.as_str();
            if name.trim() != name || name.contains(char::is_control) || name.ends_with('/') {
                self.problem(&entry.at, "is not the name of a model");
                continue;
            }
            let found = match provider {
                Some(provider) => Some(ModelRef {
                    provider: provider.value.clone(),
                    model: entry.value.clone(),
                }),
                None => self.entry(entry),
            };
            match found {
                Some(found) if chain.contains(&found) => {
                    self.problem(&entry.at, format!("names {found} twice"));
                }
                Some(found) => chain.push(found),
                None => {}
            }
        }
        chain
    }

    /// Resolves an entry of a chain that has no `provider`.
    fn entry(&mut self, entry: &Located<String>) -> Option<ModelRef> {
        let model_ref = |provider: &str, model: &str| ModelRef {
            provider: provider.into(),
            model: model.into(),
        };
        match entry.value.split_once('/') {
            Some((provider, model)) if !model.is_empty() && self.providers.has(provider) => {
                Some(model_ref(provider, model))
            }
            // If the file has no providers, a name with a slash is just a model name.
            _ if !self.providers.are_of_the_file && self.providers.has(DEFAULT_PROVIDER) => {
                Some(model_ref(DEFAULT_PROVIDER, &entry.value))
            }
            Some((provider, _)) => {
                self.is_known(provider, &entry.at);
                None
            }
            None => match self.providers.only() {
                Some(provider) => Some(model_ref(provider, &entry.value)),
                None if self.providers.names().next().is_none() => {
                    self.is_known(DEFAULT_PROVIDER, &entry.at);
                    None
                }
                None => {
                    let message =
                        "names no provider; write \"PROVIDER/MODEL\", or set provider beside it";
                    self.problem(&entry.at, message);
                    None
                }
            },
        }
    }

    /// The chain of an agent that lists no `models`.
    pub(super) fn default_chain(
        &mut self,
        at: &Place,
        provider: &Option<Located<String>>,
    ) -> Vec<ModelRef> {
        let named = provider.as_ref().map(|provider| provider.value.as_str());
        if let Some(provider) = provider
            && !self.is_known(&provider.value, &provider.at)
        {
            return Vec::new();
        }
        let has_default = self.providers.has(DEFAULT_PROVIDER);
        if named.is_none() && self.providers.names().next().is_none() {
            // The offline model answers.
            return Vec::new();
        }
        if has_default && named.is_none_or(|name| name == DEFAULT_PROVIDER) {
            let model_ref = |model: &&str| ModelRef {
                provider: DEFAULT_PROVIDER.into(),
                model: (*model).to_owned(),
            };
            let provider = self.providers.find(DEFAULT_PROVIDER);
            // Other servers may lack these models, so their default is only one.
            let is_openai = provider.is_none_or(ProviderPlan::is_openai);
            let models = match is_openai {
                true => &DEFAULT_MODELS[..],
                false => &DEFAULT_MODELS[1..],
            };
            return models.iter().map(model_ref).collect();
        }
        match at.line {
            // The file may contain a misspelt one.
            0 if self.may_lack("agents") => {}
            0 => self.problem(
                &Place {
                    line: 1,
                    key: "agents".into(),
                },
                "the file has providers but no agent; add [agents.NAME] with models, or set --chat-model \
                 (TITLECAST_CHAT_MODEL)",
            ),
            _ => self.problem(at, "models is missing"),
        }
        Vec::new()
    }

    /// Whether this provider exists. Reports an error if not.
    fn is_known(&mut self, name: &str, at: &Place) -> bool {
        if self.providers.has(name) {
            return true;
        }
        if self.may_lack("providers") {
            return false;
        }
        let message = match name {
            DEFAULT_PROVIDER => {
                "the provider openai is not set up: set OPENAI_API_KEY or OPENAI_BASE_URL, or add [providers.openai]"
                    .to_owned()
            }
            _ => format!(
                "unknown provider {}{}",
                shown_unknown(name),
                suggestion(name, self.providers.names())
            ),
        };
        self.problem(at, message);
        false
    }
}
