//! The cost of replies: one row per reply whose provider reported tokens, without any text.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    sea_query::{Expr, ExprTrait},
};

use super::{
    Database,
    entity::reply_call::{ActiveModel, Column, Entity},
    guarded::Transaction,
};
use crate::{
    conversation::{ConversationId, MessageId, Owner, Rows, Usage},
    error::Result,
};

/// The maximum token count of one reply: more than any model writes, and a sum of a million replies does not overflow.
const MAX_TOKENS: u64 = 1 << 40;

/// The cost of one reply.
#[derive(Clone, Copy, Debug)]
pub struct ReplyCost<'a> {
    /// The agent that answered.
    pub agent: &'a str,
    /// The model that wrote it.
    pub model: &'a str,
    /// The tokens reported by the provider.
    pub usage: Usage,
}

impl Database {
    /// The tokens used for a tenant's replies since `since`, by one agent or by all.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn reply_tokens(
        &self,
        tenant: &str,
        agent: Option<&str>,
        since: DateTime<Utc>,
    ) -> Result<u64> {
        let tokens = Expr::col(Column::PromptTokens).add(Expr::col(Column::CompletionTokens));
        let sum: Option<Option<i64>> = Entity::find()
            .select_only()
            .column_as(tokens.sum().cast_as("bigint"), "tokens")
            .filter(Column::TenantId.eq(tenant))
            .filter(Column::CreatedAt.gte(since))
            .apply_if(agent, |select, agent| {
                select.filter(Column::Agent.eq(agent))
            })
            .into_tuple()
            .one(&self.reader)
            .await?;
        Ok(sum.flatten().unwrap_or(0).try_into().unwrap_or(0))
    }

    /// The model and the tokens of several replies. Replies without reported tokens have no entry.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn reply_costs(
        &self,
        rows: impl Into<Rows<'_>>,
        replies: &[MessageId],
    ) -> Result<HashMap<MessageId, (String, Usage)>> {
        let tenant = match rows.into() {
            Rows::Of(owner) => &owner.tenant,
            Rows::OfTenant(tenant) => tenant,
        };
        let rows = Entity::find()
            .filter(Column::TenantId.eq(tenant))
            .filter(Column::Id.is_in(replies.iter().copied()))
            .all(&self.reader)
            .await?;
        let count = |tokens: i64| u64::try_from(tokens).unwrap_or_default();
        let costs = rows.into_iter().map(|row| {
            let usage = Usage {
                prompt_tokens: count(row.prompt_tokens),
                completion_tokens: count(row.completion_tokens),
                reasoning_tokens: count(row.reasoning_tokens),
            };
            (row.id, (row.model, usage))
        });
        Ok(costs.collect())
    }
}

/// Stores the cost of a reply, in the transaction that stores the reply.
pub(super) async fn insert(
    tx: &Transaction,
    owner: &Owner,
    (conversation, reply): (ConversationId, MessageId),
    cost: ReplyCost<'_>,
    at: DateTime<Utc>,
) -> Result<()> {
    let name = |text: &str| Set(text.chars().take(128).collect());
    let count = |tokens: u64| Set(i64::try_from(Ord::min(tokens, MAX_TOKENS)).unwrap_or(i64::MAX));
    let row = ActiveModel {
        id: Set(reply),
        tenant_id: Set(owner.tenant.clone()),
        conversation_id: Set(conversation),
        agent: name(cost.agent),
        model: name(cost.model),
        prompt_tokens: count(cost.usage.prompt_tokens),
        completion_tokens: count(cost.usage.completion_tokens),
        reasoning_tokens: count(cost.usage.reasoning_tokens),
        created_at: Set(at),
    };
    Entity::insert(row).exec_without_returning(tx).await?;
    Ok(())
}
