//! The cost of titles: one row per call of the title model, without any text.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait,
    prelude::Uuid,
    sea_query::{Expr, ExprTrait},
};

use super::{
    Database,
    entity::title_call::{ActiveModel, Column, Entity},
    guarded::Transaction,
};
use crate::{
    conversation::{ConversationId, TitleFailure, Usage},
    error::Result,
};

/// The outcome of a call that returned a title; other calls store the failure's name.
pub(super) const TITLE: &str = "title";

/// The tenant of calls that belong to no conversation, such as the check at startup.
pub const NO_TENANT: &str = "";

/// One call of the title model.
#[derive(Clone, Debug)]
pub struct TitleCall {
    /// The agent under whose policy the call was made; empty if none.
    pub agent: String,
    /// The model.
    pub model: String,
    /// Whether the call returned a title, or the reason for the failure.
    pub outcome: Result<(), TitleFailure>,
    /// The tokens reported by the provider.
    pub usage: Usage,
    /// The duration of the call.
    pub duration: Duration,
}

impl TitleCall {
    /// `title`, or the failure's name.
    pub fn outcome(&self) -> &'static str {
        self.outcome.map_or_else(TitleFailure::as_str, |()| TITLE)
    }

    /// The total number of billed tokens.
    pub fn tokens(&self) -> u64 {
        self.usage.total_tokens()
    }
}

impl Database {
    /// Stores the cost of a call that belongs to no conversation.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn store_title_call(&self, call: TitleCall) -> Result<()> {
        let calls = &[call];
        self.transaction(|tx| async move {
            insert(&tx, NO_TENANT, None, calls, self.now()).await?;
            Ok((tx, ()))
        })
        .await
    }

    /// The tokens used for a tenant's titles since `since`, by one agent or by all.
    ///
    /// # Errors
    /// [`Error::Database`](crate::error::Error::Database).
    pub async fn title_tokens(
        &self,
        tenant: &str,
        agent: Option<&str>,
        since: DateTime<Utc>,
    ) -> Result<u64> {
        let tokens = bounded(Column::PromptTokens).add(bounded(Column::CompletionTokens));
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
}

/// A token count, clamped so that sums cannot overflow. Earlier versions stored the provider's numbers unchecked.
pub(super) fn bounded(count: Column) -> Expr {
    let count = || Expr::col(count);
    let most = Usage::MAX_TOKENS as i64;
    Expr::case(count().gt(most), most)
        .case(count().lt(0), 0)
        .finally(count())
        .into()
}

/// Stores calls in a transaction.
pub(super) async fn insert(
    tx: &Transaction,
    tenant: &str,
    conversation: Option<ConversationId>,
    calls: &[TitleCall],
    at: DateTime<Utc>,
) -> Result<()> {
    if calls.is_empty() {
        return Ok(());
    }
    let count = |tokens: u64| Set(Ord::min(tokens, Usage::MAX_TOKENS) as i64);
    let name = |text: &str| text.chars().take(128).collect::<String>();
    let rows = calls.iter().map(|call| ActiveModel {
        id: Set(Uuid::now_v7()),
        tenant_id: Set(tenant.into()),
        conversation_id: Set(conversation),
        model: Set(name(&call.model)),
        outcome: Set(call.outcome().into()),
        prompt_tokens: count(call.usage.prompt_tokens),
        completion_tokens: count(call.usage.completion_tokens),
        reasoning_tokens: count(call.usage.reasoning_tokens),
        duration_ms: Set(call.duration.as_millis().try_into().unwrap_or(i64::MAX)),
        created_at: Set(at),
        agent: Set(Some(name(&call.agent)).filter(|agent| !agent.is_empty())),
    });
    Entity::insert_many(rows).exec_without_returning(tx).await?;
    Ok(())
}
