//! Title policies: the operators' settings for titles.
//!
//! A policy is resolved from three layers, setting by setting; the nearest layer that sets it wins:
//! 1. the agent's, `[agents.NAME.titles]`
//! 2. the tenant's, `[titles.tenants.TENANT]`
//! 3. the default, `[titles]`
//!
//! Flags and environment override the file's settings in the layer that they name. The order of layers is the same for
//! every setting, so that `titlecast config check --tenant --agent` can name one source for each.

use std::{collections::HashMap, sync::Arc, time::Duration};

use strum::{EnumString, IntoStaticStr, VariantNames};

use super::{TitleLanguage, clean::Limits};
use crate::llm::{Chain, Model};

/// The maximum number of tenants with a layer of their own.
pub const MAX_TENANTS: usize = 1000;

/// The longest [`TitlePolicy::style`] and [`TitlePolicy::instruction`], in characters.
pub const MAX_STYLE_CHARS: usize = 300;
/// See [`MAX_STYLE_CHARS`].
pub const MAX_INSTRUCTION_CHARS: usize = 1_000;

/// The longest [`TitlePolicy::retry`].
pub const MAX_RETRY: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The letter case of generated titles, in scripts that have case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum TitleCase {
    /// As the model wrote it.
    #[default]
    AsWritten,
    /// Only the first word and names have a capital.
    Sentence,
    /// All words but short function words have a capital.
    Title,
}

/// Whether a title follows the subject of its conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Refresh {
    /// A title is made once.
    #[default]
    Off,
    /// It is made again when the subject has moved.
    Drift,
}

/// What clients see for a conversation whose title failed permanently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Fallback {
    /// The topic hint; the title stays failed.
    #[default]
    Hint,
    /// A title that the offline model extracts from the message.
    Extract,
}

/// Declares the settings once: as fields of the resolved policy, as optional fields of a layer, and by name.
macro_rules! settings {
    ($($(#[$doc:meta])* $key:ident: $kind:ty = $default:expr;)*) => {
        /// A resolved policy. `M` are the models: a chain to ask, or their names in the configuration.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct TitlePolicy<M = Chain> {
            /// The models that write titles, in order.
            pub models: M,
            $($(#[$doc])* pub $key: $kind,)*
        }

        /// The settings of one layer; `None` for inherited settings.
        #[derive(Clone, Debug)]
        pub struct PolicyLayer<M = Chain> {
            /// See [`TitlePolicy::models`].
            pub models: Option<M>,
            $($(#[$doc])* pub $key: Option<$kind>,)*
            /// The source of each setting, by its name: `line 12`, or a flag. For display.
            pub sources: HashMap<&'static str, String>,
        }

        impl<M> Default for PolicyLayer<M> {
            fn default() -> Self {
                Self { models: None, $($key: None,)* sources: HashMap::new() }
            }
        }

        impl<M: Clone> PolicyLayer<M> {
            /// Overrides a policy's settings with those of this layer.
            fn apply(&self, policy: &mut TitlePolicy<M>) {
                if let Some(models) = &self.models {
                    policy.models = models.clone();
                }
                $(if let Some(value) = &self.$key {
                    policy.$key = value.clone();
                })*
            }
        }

        impl<M> PolicyLayer<M> {
            /// The layer with other models.
            pub fn with_models<N>(self, models: Option<N>) -> PolicyLayer<N> {
                PolicyLayer { models, $($key: self.$key,)* sources: self.sources }
            }
        }

        impl<M> TitlePolicy<M> {
            /// The defaults, with these models.
            pub fn new(models: M) -> Self {
                Self { models, $($key: $default,)* }
            }

            /// The policy with other models.
            pub(super) fn map_models<N>(self, change: impl Fn(M) -> N) -> TitlePolicy<N> {
                TitlePolicy { models: change(self.models), $($key: self.$key,)* }
            }
        }
    };
}

settings! {
    /// One or two sentences that are added to the instruction.
    style: Option<Arc<str>> = None;
    /// The operator's instruction, instead of ours. The delimiters of the message, the shape of the answer and the
    /// language rule stay.
    instruction: Option<Arc<str>> = None;
    /// The maximum number of characters as a reader counts them (grapheme clusters). At most 128 code points in any
    /// case.
    max_characters: usize = Limits::DEFAULT.characters;
    /// The maximum number of words, separated by white space.
    max_words: usize = Limits::DEFAULT.words;
    /// The letter case.
    case: TitleCase = TitleCase::AsWritten;
    /// The language.
    language: TitleLanguage = TitleLanguage::Auto;
    /// Whether a title may begin with one emoji.
    emoji: bool = false;
    /// Whether an opener ("hi") defers the title until a message with content.
    openers: bool = true;
    /// Whether secrets and personal numbers are left out of titles, hints and previews.
    redact: bool = true;
    /// Whether the title follows the subject.
    refresh: Refresh = Refresh::Off;
    /// Title tokens that the tenant may use per day (UTC); `None` for no limit.
    budget: Option<u64> = None;
    /// The fallback for a title that failed permanently.
    fallback: Fallback = Fallback::Hint;
    /// Whether the model is asked once more for a title that the owner already has.
    distinct: bool = false;
    /// How long a title is retried after temporary failures.
    retry: Duration = Duration::from_secs(24 * 3_600);
}

impl<M> TitlePolicy<M> {
    /// The limits of generated titles.
    pub fn limits(&self) -> Limits {
        Limits {
            characters: self.max_characters,
            words: self.max_words,
        }
    }
}

/// The policies of all tenants and agents, in layers.
#[derive(Clone, Debug)]
pub struct Policies<M = Chain> {
    /// `[titles]`. Its models are always set.
    default: TitlePolicy<M>,
    sources: HashMap<&'static str, String>,
    /// `[titles.tenants.TENANT]`, by tenant.
    tenants: HashMap<String, PolicyLayer<M>>,
    /// `[agents.NAME.titles]`, by agent.
    agents: HashMap<String, PolicyLayer<M>>,
}

impl<M: Clone> Policies<M> {
    /// Builds the layers: the default one with the models `models`, and the layers of tenants and agents by name.
    pub fn new(
        models: M,
        default: PolicyLayer<M>,
        tenants: HashMap<String, PolicyLayer<M>>,
        agents: HashMap<String, PolicyLayer<M>>,
    ) -> Self {
        let mut policy = TitlePolicy::new(models);
        default.apply(&mut policy);
        Self {
            default: policy,
            sources: default.sources,
            tenants,
            agents,
        }
    }

    /// The policy of the default layer alone.
    pub fn default_policy(&self) -> &TitlePolicy<M> {
        &self.default
    }

    /// The policy for a tenant's conversations without the layers of agents.
    pub fn of_tenant(&self, tenant: &str) -> TitlePolicy<M> {
        let mut policy = self.default.clone();
        if let Some(layer) = self.tenants.get(tenant) {
            layer.apply(&mut policy);
        }
        policy
    }

    /// The policy for a tenant's conversations in which this agent answers.
    pub fn of(&self, tenant: &str, agent: &str) -> TitlePolicy<M> {
        let mut policy = self.of_tenant(tenant);
        if let Some(layer) = self.agents.get(agent) {
            layer.apply(&mut policy);
        }
        policy
    }

    /// Whether titles of this tenant leave out secrets and personal numbers, with any agent.
    pub fn redacts_with_any(&self, tenant: &str) -> bool {
        let by_agent = self.agents.values().any(|layer| layer.redact == Some(true));
        by_agent || self.of_tenant(tenant).redact
    }

    /// The daily token limit for titles of a tenant's conversations in which this agent answers, in addition to the
    /// tenant's own budget.
    pub fn budget_of_agent(&self, agent: &str) -> Option<u64> {
        self.agents.get(agent)?.budget.flatten()
    }

    /// The source of a setting for this tenant and this agent: `line 12`, a flag, or `default`.
    pub fn source(&self, key: &str, tenant: Option<&str>, agent: Option<&str>) -> &str {
        let of_agent = agent.and_then(|agent| self.agents.get(agent)?.sources.get(key));
        let of_tenant = || tenant.and_then(|tenant| self.tenants.get(tenant)?.sources.get(key));
        let source = of_agent.or_else(of_tenant);
        source
            .or_else(|| self.sources.get(key))
            .map_or("default", String::as_str)
    }

    /// The tenants with a layer of their own, in order.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        sorted(&self.tenants)
    }

    /// The agents with a layer of their own, in order.
    pub fn agents(&self) -> impl Iterator<Item = &str> {
        sorted(&self.agents)
    }

    /// The settings that the tenant's own layer sets.
    pub fn set_by_tenant(&self, tenant: &str) -> Vec<&'static str> {
        set_by(self.tenants.get(tenant))
    }

    /// The settings that the agent's own layer sets.
    pub fn set_by_agent(&self, agent: &str) -> Vec<&'static str> {
        set_by(self.agents.get(agent))
    }

    /// The models of all layers, the default ones first.
    pub fn models(&self) -> impl Iterator<Item = &M> {
        let layers = self.tenants.values().chain(self.agents.values());
        std::iter::once(&self.default.models)
            .chain(layers.filter_map(|layer| layer.models.as_ref()))
    }

    /// The policies with other models: applies `change` to the models of each layer.
    pub fn map_models<N: Clone>(self, change: impl Fn(M) -> N) -> Policies<N> {
        let layers = |layers: HashMap<String, PolicyLayer<M>>| {
            let layer = |(name, mut layer): (String, PolicyLayer<M>)| {
                let models = layer.models.take().map(&change);
                (name, layer.with_models(models))
            };
            layers.into_iter().map(layer).collect()
        };
        Policies {
            default: self.default.map_models(&change),
            sources: self.sources,
            tenants: layers(self.tenants),
            agents: layers(self.agents),
        }
    }
}

impl Policies {
    /// The shortest retry period of any layer.
    pub fn shortest_retry(&self) -> Duration {
        let layers = self.tenants.values().chain(self.agents.values());
        let others = layers.filter_map(|layer| layer.retry);
        others.fold(self.default.retry, Duration::min)
    }

    /// The models of all layers, each once.
    pub fn every_model(&self) -> Vec<Arc<Model>> {
        let mut models: Vec<Arc<Model>> = Vec::new();
        for model in self.models().flat_map(Chain::models) {
            if !models.iter().any(|known| known.name() == model.name()) {
                models.push(model.clone());
            }
        }
        models
    }
}

fn sorted<T>(layers: &HashMap<String, T>) -> impl Iterator<Item = &str> {
    let mut names: Vec<&str> = layers.keys().map(String::as_str).collect();
    names.sort_unstable();
    names.into_iter()
}

fn set_by<M>(layer: Option<&PolicyLayer<M>>) -> Vec<&'static str> {
    let mut keys: Vec<_> = layer
        .into_iter()
        .flat_map(|layer| layer.sources.keys().copied())
        .collect();
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(set: impl Fn(&mut PolicyLayer<u8>)) -> PolicyLayer<u8> {
        let mut layer = PolicyLayer::default();
        set(&mut layer);
        layer
    }

    #[test]
    fn the_nearest_layer_wins_setting_by_setting() {
        let default = layer(|layer| {
            layer.max_words = Some(8);
            layer.emoji = Some(true);
            layer.sources.insert("max_words", "line 2".into());
        });
        let acme = layer(|layer| {
            layer.max_words = Some(5);
            layer.style = Some(Some("Begin with the product.".into()));
            layer.sources.insert("max_words", "line 4".into());
        });
        let desk = layer(|layer| {
            layer.models = Some(2);
            layer.style = Some(None);
            layer.sources.insert("style", "line 9".into());
        });
        let policies = Policies::new(
            1,
            default,
            [("acme".to_owned(), acme)].into(),
            [("desk".to_owned(), desk)].into(),
        );
        let summary = |tenant, agent| {
            let policy = policies.of(tenant, agent);
            (
                policy.models,
                policy.max_words,
                policy.style.is_some(),
                policy.emoji,
            )
        };
        assert_eq!(summary("other", "other"), (1, 8, false, true));
        assert_eq!(summary("acme", "other"), (1, 5, true, true));
        assert_eq!(summary("acme", "desk"), (2, 5, false, true));
        assert_eq!(summary("other", "desk"), (2, 8, false, true));
        let source = |key, tenant, agent| policies.source(key, tenant, agent);
        assert_eq!(source("max_words", Some("acme"), Some("desk")), "line 4");
        assert_eq!(source("max_words", Some("other"), None), "line 2");
        assert_eq!(source("style", Some("acme"), Some("desk")), "line 9");
        assert_eq!(source("language", Some("acme"), Some("desk")), "default");
        let models: Vec<u8> = policies.models().copied().collect();
        assert_eq!(models, [1, 2]);
    }
}
