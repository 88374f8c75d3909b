//! The cost of replies: one row per reply whose provider reported tokens, without any text.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, EntityTrait};

use super::{
    entity::reply_call::{ActiveModel, Entity},
    guarded::Transaction,
};
use crate::{
    conversation::{ConversationId, MessageId, Owner, Usage},
    error::Result,
};

/// The maximum token count of one reply: more than any model writes, and a sum of a million replies does not overflow.
const MAX_TOKENS: u64 = 1 << 40;

/// The cost of one reply.
#[derive(Clone, Copy, Debug)]
pub struct ReplyCost<'a> {
    /// The model that wrote it.
    pub model: &'a str,
    /// The tokens reported by the provider.
    pub usage: Usage,
}

/// Stores the cost of a reply, in the transaction that stores the reply.
pub(super) async fn insert(
    tx: &Transaction,
    owner: &Owner,
    (conversation, reply): (ConversationId, MessageId),
    agent: &str,
    cost: ReplyCost<'_>,
    at: DateTime<Utc>,
) -> Result<()> {
    let name = |text: &str| Set(text.chars().take(128).collect());
    let count = |tokens: u64| Set(i64::try_from(tokens.min(MAX_TOKENS)).unwrap_or(i64::MAX));
    let row = ActiveModel {
        id: Set(reply),
        tenant_id: Set(owner.tenant.clone()),
        conversation_id: Set(conversation),
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
