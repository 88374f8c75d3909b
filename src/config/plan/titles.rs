//! The effective title policies: the file's layers, overridden by flags and environment.

use std::collections::HashMap;

use super::{AgentPlan, Place, ReplySource, models::Chains};
use crate::{
    config::{
        ModelRef, Settings,
        file::{PolicyEntry, TitlesEntry},
    },
    titles::policy::{Policies, PolicyLayer},
};

const TITLE_MODEL: &str = "--title-model (TITLECAST_TITLE_MODEL)";
const OPENERS: &str = "--title-openers (TITLECAST_TITLE_OPENERS)";
const LANGUAGE: &str = "--title-language (TITLECAST_TITLE_LANGUAGE)";
const BUDGET: &str = "--title-budget (TITLECAST_TITLE_BUDGET)";

type Layer = PolicyLayer<Vec<ModelRef>>;

impl Chains<'_> {
    /// Builds the title policies. `default` is the default agent.
    pub(super) fn policies(
        &mut self,
        entry: TitlesEntry,
        of_agents: Vec<(String, PolicyEntry)>,
        default: Option<&AgentPlan>,
    ) -> Policies<Vec<ModelRef>> {
        let (models, mut layer) = self.default_layer(entry.default, default);
        let named = |chains: &mut Self, (name, entry): (String, PolicyEntry)| {
            let layer = chains.layer(entry);
            (name, layer)
        };
        let mut tenants: HashMap<String, Layer> = entry
            .tenants
            .into_iter()
            .map(|entry| named(self, entry))
            .collect();
        let agents = of_agents
            .into_iter()
            .map(|entry| named(self, entry))
            .collect();
        self.put_flags(&mut layer, &mut tenants);
        Policies::new(models, layer, tenants, agents)
    }

    /// The default layer: its models and its other settings.
    fn default_layer(
        &mut self,
        entry: PolicyEntry,
        default: Option<&AgentPlan>,
    ) -> (Vec<ModelRef>, Layer) {
        if let Some(model) = self.settings.title_model() {
            let PolicyEntry {
                provider,
                mut layer,
                ..
            } = entry;
            if let Some(models) = &layer.models {
                self.notes.push(format!(
                    "line {}: titles.models is not used, because {TITLE_MODEL} is set",
                    models.at.line
                ));
            }
            layer.sources.insert("models", TITLE_MODEL.into());
            let models = self.of_flag(model, &provider, TITLE_MODEL);
            return (models, layer.with_models(None));
        }
        let is_silent = !entry.names_models && entry.provider.is_none();
        let mut layer = self.layer(entry);
        match layer.models.take() {
            Some(models) => (models, layer),
            None if is_silent => {
                let (models, source) = self.models_without_a_name(default);
                layer.sources.insert("models", source);
                (models, layer)
            }
            // Already reported.
            None => (Vec::new(), layer),
        }
    }

    /// The title models and their source, if neither the file nor a flag names any.
    fn models_without_a_name(&mut self, default: Option<&AgentPlan>) -> (Vec<ModelRef>, String) {
        if !self.providers.are_of_the_file {
            let chain = self.default_chain(&Place::default(), &None);
            return (chain, "default".into());
        }
        match default {
            Some(AgentPlan {
                source: ReplySource::Models(models),
                name,
                ..
            }) => (models.clone(), format!("agent {name}")),
            Some(_) => {
                let place = Place {
                    line: 1,
                    key: "titles.models".into(),
                };
                let message = "is missing: the default agent is external, so titles have no model";
                self.problem(&place, message);
                (Vec::new(), String::new())
            }
            // Already reported.
            None => (Vec::new(), String::new()),
        }
    }

    /// Resolves a layer of the file.
    fn layer(&mut self, entry: PolicyEntry) -> Layer {
        let PolicyEntry {
            provider,
            names_models,
            mut layer,
        } = entry;
        let named = layer.models.take();
        let models = named
            .as_ref()
            .map(|models| self.chain(&models.at, &provider, &named));
        if let Some(provider) = provider.filter(|_| !names_models) {
            self.problem(&provider.at, "has no effect without models");
        }
        layer.with_models(models)
    }

    /// Overrides the layers' values with those of flags and environment.
    fn put_flags(&mut self, default: &mut Layer, tenants: &mut HashMap<String, Layer>) {
        let Settings {
            title_openers,
            title_language,
            title_budget,
            ..
        } = self.settings;
        if let Some(openers) = title_openers {
            self.note(default, "titles", "openers", OPENERS);
            default.openers = Some(*openers);
        }
        if let Some(languages) = title_language {
            self.note(default, "titles", "language", LANGUAGE);
            default.language = Some(languages.default_value().clone());
            for (tenant, language) in languages.tenants() {
                let layer = tenants.entry(tenant.to_owned()).or_default();
                self.note(
                    layer,
                    &format!("titles.tenants.{tenant}"),
                    "language",
                    LANGUAGE,
                );
                layer.language = Some(language.clone());
            }
        }
        if let Some(budgets) = title_budget {
            let limit = |tokens: &u64| Some(*tokens).filter(|tokens| *tokens > 0);
            self.note(default, "titles", "budget", BUDGET);
            default.budget = Some(limit(budgets.default_value()));
            for (tenant, tokens) in budgets.tenants() {
                let layer = tenants.entry(tenant.to_owned()).or_default();
                self.note(layer, &format!("titles.tenants.{tenant}"), "budget", BUDGET);
                layer.budget = Some(limit(tokens));
            }
        }
    }

    /// Records the flag as the source of a setting. If the file sets it too, notes that the file's value is not used.
    fn note(&mut self, layer: &mut Layer, table: &str, key: &'static str, flag: &str) {
        if let Some(line) = layer.sources.insert(key, flag.to_owned()) {
            self.notes.push(format!(
                "{line}: {table}.{key} is not used, because {flag} is set"
            ));
        }
    }
}
