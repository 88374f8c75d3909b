//! The root type `Query`.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::{
    connections::{Connection, connection, cost, cursor, limit},
    errors::{About, Result},
    objects::{Conversation, Message, Node},
};
use crate::{
    api::{Services, rest::conversation_id},
    auth::{Principal, RateLimitKey, Scope},
    conversation::{ConversationId, MessageId, Owner},
    db::{
        self, Hit,
        cursor::{ConversationCursor, HitCursor},
    },
};

/// The caller's conversations.
pub(super) struct Query;

/// Restricts a list of conversations.
#[derive(Default, InputObject)]
pub(super) struct ConversationFilter {
    /// Only conversations that were started with this agent.
    agent_entrypoint: Option<String>,
}

/// A search result.
#[derive(SimpleObject)]
pub(super) struct SearchHit {
    /// The conversation.
    conversation: Conversation,
    /// The best matching message; null if the title matches.
    message: Option<Message>,
    /// The part of the text around the match, one line of plain text.
    snippet: String,
    /// How well it matches: higher is better, within one search.
    score: f64,
}

impl From<db::Hit> for SearchHit {
    fn from(hit: db::Hit) -> Self {
        Self {
            conversation: hit.conversation.into(),
            message: hit.message.map(Message::from),
            snippet: hit.snippet,
            score: hit.score,
        }
    }
}

/// The operations that read data.
#[Object]
impl Query {
    /// The conversation with this id; null if the caller has no such conversation.
    async fn conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation's id.")] id: ID,
    ) -> Option<Result<Conversation>> {
        find_conversation(ctx, &id).await.transpose()
    }

    /// The caller's conversations, newest activity first.
    #[graphql(complexity = "cost(first, 50, child_complexity)")]
    async fn conversations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many: 1 to 100; default 50.")] first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "Restricts the list; all if omitted.")] filter: Option<ConversationFilter>,
    ) -> Result<Connection<ConversationCursor, Conversation>> {
        let (services, owner) = owner_for(ctx, Scope::Read)?;
        let filter = db::ConversationFilter {
            agent: filter.unwrap_or_default().agent_entrypoint,
        };
        let after = cursor("after", after.as_deref())?;
        let limit = limit("first", first, 50)?;
        let page = services
            .db
            .conversations(owner, &filter, after, limit)
            .await?;
        Ok(connection(page, ConversationCursor::of, Conversation::from))
    }

    /// The caller's conversations that contain every word of the query in their title or in one message, best match
    /// first. The last word matches as a prefix. If more than 200 titles and messages match, only the newest 200 are
    /// ranked.
    #[graphql(complexity = "cost(first, 20, child_complexity)")]
    async fn search_conversations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The words to find.")] query: String,
        #[graphql(desc = "How many: 1 to 100; default 20.")] first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
    ) -> Result<Connection<HitCursor, SearchHit>> {
        let (services, owner) = owner_for(ctx, Scope::Read)?;
        let after = cursor("after", after.as_deref())?;
        let limit = limit("first", first, 20)?;
        let page = services
            .db
            .search(owner, &query, None, after, limit)
            .await
            .about("query")?;
        Ok(connection(page, Hit::cursor, SearchHit::from))
    }

    /// The conversation that another subgraph refers to; for federation's `_entities`.
    #[graphql(entity)]
    async fn conversation_entity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation's id.")] id: ID,
    ) -> Result<Option<Conversation>> {
        // An invalid id is an unknown entity. An error would fail the whole batch.
        if conversation_id(&id).is_err() {
            return Ok(None);
        }
        find_conversation(ctx, &id).await
    }

    /// The object with this id; null if the caller has no such object.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id of a conversation or a message.")] id: ID,
    ) -> Option<Result<Node>> {
        find_node(ctx, &id).await.transpose()
    }
}

// The fields return `Option<Result<_>>`: an error of a `Result<Option<_>>` would null the parent.

async fn find_conversation(ctx: &Context<'_>, id: &ID) -> Result<Option<Conversation>> {
    let (services, owner) = owner_for(ctx, Scope::Read)?;
    let found = services
        .db
        .find_conversation(owner, conversation_id(id).about("id")?)
        .await?;
    Ok(found.map(Conversation::from))
}

async fn find_node(ctx: &Context<'_>, id: &ID) -> Result<Option<Node>> {
    let (services, owner) = owner_for(ctx, Scope::Read)?;
    // An invalid id is an unknown object.
    let Ok(id) = id.parse::<uuid::Uuid>() else {
        return Ok(None);
    };
    if let Some(row) = services
        .db
        .find_conversation(owner, ConversationId(id))
        .await?
    {
        return Ok(Some(Node::Conversation(row.into())));
    }
    let message = services.db.find_message(owner, MessageId(id)).await?;
    Ok(message.map(|row| Node::Message(row.into())))
}

/// The services, and the owner if the caller has the scope. Resolvers have no other way to an owner.
pub(super) fn owner_for<'a>(
    ctx: &Context<'a>,
    needed: Scope,
) -> Result<(&'a Arc<Services>, &'a Owner)> {
    let caller = ctx.data_unchecked::<Principal>();
    Ok((ctx.data_unchecked(), caller.owner(needed)?))
}

/// The caller's key for rate limits.
pub(super) fn rate_limit_key<'a>(ctx: &Context<'a>) -> &'a RateLimitKey {
    ctx.data_unchecked::<Principal>().rate_limit_key()
}
