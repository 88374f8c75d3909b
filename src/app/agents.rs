//! Builds agents, title policies, their models and webhooks from the configuration.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::StartError;
use crate::{
    agents::{Agent, Agents, Source},
    config::{AuditPlan, ModelRef, Plan, ReplySource},
    conversation::{PerTenant, Visibility, retention::Retentions},
    llm::{Chain, Model, Provider, offline::Offline},
    titles::policy::Policies,
    webhooks::Hook,
};

/// Everything that a configuration puts in force.
pub struct InForce {
    /// The agents.
    pub agents: Agents,
    /// The title policies.
    pub titles: Policies,
    /// The visibility of each tenant's conversations.
    pub sharing: PerTenant<Visibility>,
    /// The webhooks.
    pub webhooks: Vec<Arc<Hook>>,
    /// How long conversations are kept.
    pub retentions: Retentions,
    /// The audit log.
    pub audit: AuditPlan,
}

/// Delay between two words of the offline model, long enough to make the streaming visible.
const OFFLINE_WORD_INTERVAL: Duration = Duration::from_millis(25);

/// Builds the agents, policies and webhooks of a configuration, without sending requests. Providers and webhooks of
/// `before` with unchanged settings are kept, and with them the state of their breakers.
///
/// # Errors
/// [`StartError::Model`], [`StartError::Provider`] or [`StartError::Webhook`].
pub(super) fn build(
    plan: &Plan,
    before: Option<(&Agents, &[Arc<Hook>])>,
) -> Result<InForce, StartError> {
    let (before, hooks_before) = match before {
        Some((agents, hooks)) => (Some(agents), hooks),
        None => (None, &[][..]),
    };
    let mut providers: HashMap<&str, Arc<Provider>> = HashMap::new();
    for provider in &plan.providers {
        let wanted = &provider.settings;
        let mut known = before.map_or(&[][..], Agents::providers).iter();
        let built = match known.find(|known| known.settings() == wanted) {
            Some(kept) => kept.clone(),
            None => Provider::new(wanted.clone()).map_err(|error| match &plan.path {
                Some(path) if provider.at.line > 0 => {
                    StartError::Provider(format!("{}:{}", path.display(), provider.at), error)
                }
                _ => StartError::Model(error),
            })?,
        };
        providers.insert(&provider.settings.name, built);
    }
    let chain = |models: &[ModelRef]| {
        let model = |model: &ModelRef| {
            let provider = providers.get(model.provider.as_str())?;
            Some(provider.model(&model.model))
        };
        let offline = || {
            let offline = Model::offline(Offline::new(OFFLINE_WORD_INTERVAL));
            Chain::of(Arc::new(offline))
        };
        Chain::new(models.iter().filter_map(model)).unwrap_or_else(offline)
    };
    let agents = plan.agents.iter().map(|agent| Agent {
        name: agent.name.clone(),
        description: agent.description.clone(),
        tenants: agent.tenants.clone(),
        show_models: agent.show_models,
        keep_reasoning: agent.keep_reasoning,
        is_until_titled: agent.is_until_titled,
        instructions: agent.instructions.clone(),
        source: match &agent.source {
            ReplySource::Models(models) => Source::Models(chain(models)),
            ReplySource::External => Source::External,
        },
        parameters: agent.parameters.clone(),
        history_budget_chars: agent.history_budget,
        budget: agent.budget,
    });
    let agents: Vec<Agent> = agents.collect();
    let titles = plan.titles.clone().map_models(|models| chain(&models));
    let mut webhooks = Vec::new();
    for webhook in &plan.webhooks {
        let settings = &webhook.settings;
        let mut known = hooks_before.iter();
        webhooks.push(match known.find(|known| known.settings() == settings) {
            Some(kept) => kept.clone(),
            None => {
                let failed = |error| StartError::Webhook(settings.name.clone(), error);
                Arc::new(Hook::new(settings.clone()).map_err(failed)?)
            }
        });
    }
    let providers = providers.into_values().collect();
    let agents = Agents::new(agents, &plan.default_agent, plan.has_agents, providers);
    Ok(InForce {
        agents: agents.expect("a plan names one of its agents as the default"),
        titles,
        sharing: plan.sharing.policies.clone(),
        webhooks,
        retentions: plan.retentions.clone(),
        audit: plan.audit,
    })
}
