//! What replies cost: one row for each whose provider counted tokens, without any text.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, EntityTrait};

use super::{
    entity::reply_call::{ActiveModel, Entity},
    guarded::Transaction,
    turns::Turn,
};
use crate::{
    conversation::{Owner, Usage},
    error::Result,
};

/// The most tokens that one reply counts: no model writes that many, and a sum of a million such replies is no
/// overflow.
const MOST_TOKENS: u64 = 1 << 40;

/// What one reply cost.
#[derive(Clone, Copy, Debug)]
pub struct ReplyCost<'a> {
    /// The model that wrote it.
    pub model: &'a str,
    /// What the provider counted.
    pub usage: Usage,
}

/// Stores what a reply cost, in the transaction that stores its end.
pub(super) async fn insert(
    tx: &Transaction,
    owner: &Owner,
    turn: &Turn,
    agent: &str,
    cost: ReplyCost<'_>,
    at: DateTime<Utc>,
) -> Result<()> {
    let name = |text: &str| Set(text.chars().take(128).collect());
    let count = |tokens: u64| Set(i64::try_from(tokens.min(MOST_TOKENS)).unwrap_or(i64::MAX));
    let row = ActiveModel {
        id: Set(turn.reply_id.0),
        tenant_id: Set(owner.tenant.clone()),
        conversation_id: Set(turn.conversation_id.0),
        agent: name(agent),
        model: name(cost.model),
        prompt_tokens: count(cost.usage.prompt_tokens),
        completion_tokens: count(cost.usage.completion_tokens),
        reasoning_tokens: count(cost.usage.reasoning_tokens),
        created_at: Set(at),
    };
    Entity::insert(row).exec_without_returning(tx).await?;
    Ok(())
}
