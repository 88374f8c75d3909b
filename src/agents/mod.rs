//! Agents: each has instructions, models and parameters for answering messages.
//!
//! [`Agents`] is one consistent state of the configuration. The [`Registry`] holds the current one; a reload replaces
//! it as a whole. A running reply keeps the [`Agent`] that it started with.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::llm::{Chain, Parameters, Provider};

/// The default agent of a server whose configuration names no agent.
pub const DEFAULT_AGENT: &str = "triage";

/// An agent: its instructions, the source of its replies, and its limits.
#[derive(Debug)]
pub struct Agent {
    /// The name.
    pub name: String,
    /// The description that callers see.
    pub description: Option<String>,
    /// The tenants that may use the agent; `None` for all.
    pub tenants: Option<Vec<String>>,
    /// Whether callers see its models.
    pub show_models: bool,
    /// Whether the model's reasoning is stored with its replies. It is delivered live in any case.
    pub keep_reasoning: bool,
    /// Whether conversations that begin with it keep their texts only until their title is settled.
    pub is_until_titled: bool,
    /// The system prompt: the model's role and task.
    pub instructions: Option<Arc<str>>,
    /// The source of its replies.
    pub source: Source,
    /// The parameters of its requests.
    pub parameters: Arc<Parameters>,
    /// The maximum length of the history in a request, in characters.
    pub history_budget_chars: usize,
    /// Reply tokens that each tenant may use per day with this agent; `None` for no limit of its own.
    pub budget: Option<u64>,
}

/// The source of an agent's replies.
#[derive(Clone, Debug)]
pub enum Source {
    /// Models, in the order in which they are asked.
    Models(Chain),
    /// An external program, which writes replies to the server. No model is called.
    External,
}

impl Agent {
    /// Whether this tenant may use the agent.
    pub fn is_for(&self, tenant: &str) -> bool {
        let tenants = self.tenants.as_ref();
        tenants.is_none_or(|tenants| tenants.iter().any(|known| known == tenant))
    }

    /// The names of its models that callers may see.
    pub fn shown_models(&self) -> Vec<String> {
        match &self.source {
            Source::Models(chain) if self.show_models => {
                let models = chain.models().iter();
                models.map(|model| model.name().to_string()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// All agents.
#[derive(Debug)]
pub struct Agents {
    agents: BTreeMap<String, Arc<Agent>>,
    default: Arc<Agent>,
    is_configured: bool,
    /// The providers of all models, so that a reload keeps those that did not change.
    providers: Vec<Arc<Provider>>,
}

impl Agents {
    /// Builds the state from `agents`. `default` answers if a message names no agent; returns `None` if it is not among
    /// them. `is_configured`: the agents come from a file. Otherwise any name is accepted, and the default agent
    /// answers.
    pub fn new(
        agents: impl IntoIterator<Item = Agent>,
        default: &str,
        is_configured: bool,
        providers: Vec<Arc<Provider>>,
    ) -> Option<Self> {
        let agents = agents.into_iter().map(Arc::new);
        let agents: BTreeMap<String, _> = agents.map(|agent| (agent.name.clone(), agent)).collect();
        Some(Self {
            default: agents.get(default)?.clone(),
            agents,
            is_configured,
            providers,
        })
    }

    /// All agents, the default one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Agent>> {
        let is_other = |agent: &&Arc<Agent>| agent.name != self.default.name;
        std::iter::once(&self.default).chain(self.agents.values().filter(is_other))
    }

    /// The chains of models that write replies, the default agent's first.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.all().filter_map(|agent| match &agent.source {
            Source::Models(chain) => Some(chain),
            Source::External => None,
        })
    }

    /// The providers of all models.
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    /// The agent that answers if a message names none.
    pub fn default_agent(&self) -> &Arc<Agent> {
        &self.default
    }

    /// Whether the agents come from a file.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// The agents that this tenant may use, by name.
    pub fn of_tenant<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = &'a Arc<Agent>> {
        self.agents.values().filter(|agent| agent.is_for(tenant))
    }

    /// The agent with this name; `None` if it is unknown or belongs to another tenant.
    pub fn find(&self, tenant: &str, name: &str) -> Option<&Arc<Agent>> {
        self.agents.get(name).filter(|agent| agent.is_for(tenant))
    }

    /// The agent that answers in a conversation whose active agent has this name; the default one if there is no such
    /// agent.
    pub fn answering(&self, tenant: &str, active: &str) -> &Arc<Agent> {
        self.find(tenant, active).unwrap_or(&self.default)
    }

    /// The agent name to store for a message that names `asked`. For an unknown name, the default agent's; without a
    /// configuration file, any name is stored unchanged.
    pub fn stored_name<'a>(&'a self, tenant: &str, asked: &'a str) -> &'a str {
        match self.is_configured {
            true => &self.answering(tenant, asked).name,
            false => asked,
        }
    }

    /// The agent names that a conversation of this tenant may keep; `None` for any.
    pub fn kept_names(&self, tenant: &str) -> Option<Vec<String>> {
        let names = self.of_tenant(tenant).map(|agent| agent.name.clone());
        self.is_configured.then(|| names.collect())
    }
}

/// The agents in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry(Arc<State>);

#[derive(Debug)]
struct State {
    current: RwLock<Arc<Agents>>,
    /// Whether the last reload failed: the current agents are then older than the file.
    reload_failed: AtomicBool,
}

impl Registry {
    /// Creates a registry with these agents in force.
    pub fn new(agents: Agents) -> Self {
        Self(Arc::new(State {
            current: RwLock::new(Arc::new(agents)),
            reload_failed: AtomicBool::new(false),
        }))
    }

    /// The current agents. Hold the result for the duration of one operation, so that it sees one state.
    pub fn current(&self) -> Arc<Agents> {
        // The lock is held only during a clone, which cannot panic.
        let current = self.0.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the agents. Running replies keep theirs.
    pub fn replace(&self, agents: Agents) {
        let mut current = self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(agents);
        self.0.reload_failed.store(false, Relaxed);
    }

    /// Records that a reload failed.
    pub fn record_failed_reload(&self) {
        self.0.reload_failed.store(true, Relaxed);
    }

    /// Whether the last reload failed.
    pub fn has_failed_reload(&self) -> bool {
        self.0.reload_failed.load(Relaxed)
    }
}
