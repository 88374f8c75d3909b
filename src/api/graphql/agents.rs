//! Agents in the schema.

use std::sync::Arc;

use async_graphql::{Context, SimpleObject};

use super::{errors::Result, query::reach_for};
use crate::{
    agents,
    api::Services,
    auth::{Principal, Scope},
};

/// An agent that answers the messages of a conversation.
#[derive(SimpleObject)]
pub(super) struct Agent {
    /// The name, as `SendMessageInput.agent` takes it.
    name: String,
    /// What the agent is for.
    description: Option<String>,
    /// The models that write its replies, in order, as `PROVIDER/MODEL`; empty unless the operator shows them.
    models: Vec<String>,
}

impl From<&agents::Agent> for Agent {
    fn from(agent: &agents::Agent) -> Self {
        Self {
            name: agent.name.clone(),
            description: agent.description.clone(),
            models: agent.shown_models(),
        }
    }
}

/// The agents that the caller may use, in order of their names.
pub(super) fn list(ctx: &Context<'_>) -> Result<Vec<Agent>> {
    let (services, reach) = reach_for(ctx, Scope::Read)?;
    let agents = services.chat.agents();
    Ok(agents
        .of_tenant(&reach.caller().tenant)
        .map(|agent| Agent::from(&**agent))
        .collect())
}

/// The agent that answers in a conversation with this active agent. If no agents are configured, the name is taken as
/// it is.
pub(super) fn answering(ctx: &Context<'_>, active: &str) -> Agent {
    let agents = ctx.data_unchecked::<Arc<Services>>().chat.agents();
    let tenant = ctx.data_unchecked::<Principal>().tenant();
    let agent = Agent::from(&**agents.answering(tenant, active));
    match agents.is_configured() {
        true => agent,
        false => Agent {
            name: active.to_owned(),
            ..agent
        },
    }
}
