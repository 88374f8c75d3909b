//! The list of conversations: its filter, its order and its count.

use async_graphql::{Context, Enum, InputObject, Object};

use tokio::sync::OnceCell;

use super::{
    cost::COUNT,
    errors::Result,
    list_mutations::{MetadataEntryInput, metadata},
    query::reach_for,
};
use crate::{
    auth::Scope,
    db::{self, ConversationList},
};

/// Restricts a list of conversations. All conditions must hold.
#[derive(Default, InputObject)]
pub(super) struct ConversationFilter {
    /// Only conversations that were started with this agent.
    agent_entrypoint: Option<String>,
    /// `true`: only archived conversations. `false`, the default: only others.
    archived: Option<bool>,
    /// `true`: only pinned conversations. `false`: only others. Both if omitted.
    pinned: Option<bool>,
    /// Only conversations with all of these pairs.
    metadata: Option<Vec<MetadataEntryInput>>,
}

/// The order of a list of conversations.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum ConversationOrder {
    /// By `lastMessageAt`, the newest first.
    ActivityDesc,
    /// By `createdAt`, the newest first.
    CreatedDesc,
    /// Pinned conversations, then the others; both by `lastMessageAt`, the newest first.
    PinnedFirst,
}

impl From<ConversationOrder> for db::ConversationOrder {
    fn from(order: ConversationOrder) -> Self {
        match order {
            ConversationOrder::ActivityDesc => Self::Activity,
            ConversationOrder::CreatedDesc => Self::Creation,
            ConversationOrder::PinnedFirst => Self::PinnedFirst,
        }
    }
}

/// The list that the two arguments describe.
///
/// # Errors
/// [`InvalidInput`](crate::error::Error::InvalidInput) if the filter names metadata that no conversation can have.
pub(super) fn list(
    filter: Option<ConversationFilter>,
    order: Option<ConversationOrder>,
) -> Result<ConversationList> {
    let filter = filter.unwrap_or_default();
    Ok(ConversationList {
        filter: db::ConversationFilter {
            is_archived: filter.archived.unwrap_or_default(),
            is_pinned: filter.pinned,
            agent: filter.agent_entrypoint,
            metadata: metadata("filter.metadata", filter.metadata.unwrap_or_default())?,
        },
        order: order.map(Into::into).unwrap_or_default(),
    })
}

/// The fields of a list beside its page.
pub(super) struct ListFields {
    list: ConversationList,
    /// Counted once, however many aliases select it.
    count: OnceCell<Option<u64>>,
}

impl From<ConversationList> for ListFields {
    fn from(list: ConversationList) -> Self {
        Self {
            list,
            count: OnceCell::new(),
        }
    }
}

#[Object]
impl ListFields {
    /// The number of conversations in the list, on all pages. Null if more than 10,000 would have to be counted or
    /// searched for the filter. It is counted only if it is selected.
    #[graphql(complexity = "COUNT")]
    async fn total_count(&self, ctx: &Context<'_>) -> Result<Option<i32>> {
        let (services, reach) = reach_for(ctx, Scope::Read)?;
        let counting = || services.db.count_conversations(reach, &self.list);
        let count = *self.count.get_or_try_init(counting).await?;
        Ok(count.map(|count| count.try_into().unwrap_or(i32::MAX)))
    }
}
