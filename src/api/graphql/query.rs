//! The root type `Query`.

use std::sync::Arc;

use async_graphql::{Context, ID, Object, SelectionField, SimpleObject};
use chrono::{DateTime, Utc};

use super::{
    agents::{self, Agent},
    audit::{self, AuditEntry},
    connections::{Connection, connection, connection_with, cost, cursor, limit},
    errors::{About, Result},
    feed::{ConversationChange, ConversationChangePage},
    lists::{ConversationFilter, ConversationOrder, ListFields, list},
    objects::{Conversation, Message, Node},
};
use crate::{
    api::{
        Services, feed, reach,
        rest::{conversation_id, external_name},
    },
    auth::{Principal, RateLimitKey, Reach, Scope},
    conversation::{self as domain, ConversationId, ConversationName, MessageId, Owner},
    db::{
        self, FeedPage, Hit,
        cursor::{AuditCursor, ConversationCursor, Cursor, HitCursor},
    },
    error::Error,
};

/// The caller's conversations.
pub(super) struct Query;

/// A search result.
#[derive(SimpleObject)]
pub(super) struct SearchHit {
    /// The conversation.
    conversation: Conversation,
    /// The best matching message; null if the title matches.
    message: Option<Message>,
    /// The part of the text around the match, one line of plain text.
    snippet: String,
    /// The words of the snippet that match, in order.
    #[graphql(complexity = "cost(None, 5, child_complexity)")]
    highlights: Vec<Highlight>,
    /// How well it matches: higher is better, within one search.
    score: f64,
}

/// A range of a snippet, in UTF-16 code units: in JavaScript `snippet.slice(start, end)`.
#[derive(SimpleObject)]
pub(super) struct Highlight {
    /// The first unit.
    start: i32,
    /// The position after the last unit.
    end: i32,
}

/// The caller.
#[derive(SimpleObject)]
pub(super) struct Viewer {
    /// The user; `local` without authentication.
    user_id: String,
    /// The user's tenant; `local` without authentication.
    tenant_id: String,
    /// What the token allows, such as `conversations:read`.
    scopes: Vec<&'static str>,
}

impl From<db::Hit> for SearchHit {
    fn from(hit: db::Hit) -> Self {
        Self {
            conversation: hit.conversation.into(),
            message: hit.message.map(Message::from),
            snippet: hit.snippet,
            highlights: hit.highlights.into_iter().map(Highlight::from).collect(),
            score: hit.score,
        }
    }
}

impl From<db::Highlight> for Highlight {
    fn from(range: db::Highlight) -> Self {
        let unit = |unit: usize| unit.try_into().unwrap_or(i32::MAX);
        Self {
            start: unit(range.start),
            end: unit(range.end),
        }
    }
}

/// The operations that read data.
#[Object]
impl Query {
    /// The conversation with this id; null if the caller can see no such conversation. Pass exactly one of `id` and
    /// `externalId`.
    async fn conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation's id.")] id: Option<ID>,
        #[graphql(desc = "The conversation's id in the caller's own system.")] external_id: Option<
            String,
        >,
    ) -> Option<Result<Conversation>> {
        let found = async {
            let name = match (id, external_id) {
                (Some(id), None) => conversation_id(&id).about("id")?.into(),
                (None, Some(id)) => external_name(&id).about("externalId")?,
                (id, _) => {
                    let argument = match id {
                        Some(_) => "externalId",
                        None => "id",
                    };
                    let error = Error::invalid("pass exactly one of id and externalId");
                    return Err(error).about(argument);
                }
            };
            find_conversation(ctx, &name).await
        };
        found.await.transpose()
    }

    /// The conversations that the caller can see, those that are not archived, newest activity first: the caller's own, or
    /// those of its whole tenant, if the tenant shares them.
    #[graphql(complexity = "cost(first, 50, child_complexity)")]
    async fn conversations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many: 1 to 100; default 50.")] first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "Restricts the list.")] filter: Option<ConversationFilter>,
        #[graphql(desc = "The order; default `ACTIVITY_DESC`.")] order: Option<ConversationOrder>,
    ) -> Result<Connection<ConversationCursor, Conversation, ListFields>> {
        let (services, reach) = reach_for(ctx, Scope::Read)?;
        let list = list(filter, order)?;
        let after = list
            .checked(cursor("after", after.as_deref())?)
            .about("after")?;
        let limit = limit("first", first, 50)?;
        let page = services
            .db
            .conversations(reach, &list, after, limit)
            .await?;
        let fields = ListFields::from(list.clone());
        let position = |one: &domain::Conversation| list.cursor(one);
        Ok(connection_with(page, position, Conversation::from, fields))
    }

    /// The caller's conversations that changed after a cursor of `conversationsChanged` or of an earlier page, deleted ones
    /// included. Without `after`: no changes, and the current cursor. Read the list after it, then continue from it.
    #[graphql(complexity = "cost(first, 50, child_complexity)")]
    async fn conversation_changes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "How many: 1 to 100; default 50.")] first: Option<i32>,
    ) -> Result<ConversationChangePage> {
        let (services, reach) = reach_for(ctx, Scope::Read)?;
        let limit = limit("first", first, 50)?;
        let known = match &after {
            Some(after) => feed::known(&services.db, &reach.audience(), after).await?,
            None => None,
        };
        let page = match known {
            Some(known) => services.db.feed_page(reach, known, limit).await?,
            None => FeedPage::Reset(services.db.feed_position(reach).await?),
        };
        feed::log_bad(&page);
        Ok(match page {
            FeedPage::Changes {
                changes,
                cursor,
                has_more,
                ..
            } => ConversationChangePage {
                changes: changes.into_iter().map(ConversationChange::from).collect(),
                cursor: cursor.encode(),
                has_more,
                reset: false,
            },
            FeedPage::Reset(cursor) => ConversationChangePage {
                changes: Vec::new(),
                cursor: cursor.encode(),
                has_more: false,
                reset: after.is_some(),
            },
        })
    }

    /// The caller. Needs no scope.
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Viewer> {
        let (owner, scopes) = ctx.data_unchecked::<Principal>().identity()?;
        Ok(Viewer {
            user_id: owner.user.clone(),
            tenant_id: owner.tenant.clone(),
            scopes: scopes.map(Scope::as_str).collect(),
        })
    }

    /// The conversations that the caller can see and that contain every word of the query in their title or in one message,
    /// best match first. The last word matches as a prefix. If more than 200 titles and messages match, only the newest 200
    /// are ranked.
    #[graphql(complexity = "cost(first, 20, child_complexity)")]
    async fn search_conversations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The words to find.")] query: String,
        #[graphql(desc = "How many: 1 to 100; default 20.")] first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
    ) -> Result<Connection<HitCursor, SearchHit>> {
        let (services, reach) = reach_for(ctx, Scope::Read)?;
        let after = cursor("after", after.as_deref())?;
        let limit = limit("first", first, 20)?;
        let page = services
            .db
            .search((reach.caller(), reach), &query, None, after, limit)
            .await
            .about("query")?;
        Ok(connection(page, Hit::cursor, SearchHit::from))
    }

    /// The audit log of the caller's tenant: renames, archivings, deletions, exports and erasures, newest first. Needs the
    /// scope `audit:read`. Empty unless the operator has turned the audit log on.
    #[graphql(complexity = "cost(first, 50, child_complexity)")]
    async fn audit_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many: 1 to 100; default 50.")] first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "Only what was done since then.")] since: Option<DateTime<Utc>>,
    ) -> Result<Connection<AuditCursor, AuditEntry>> {
        audit::log(ctx, first, after.as_deref(), since).await
    }

    /// The agents that the caller may use, by name.
    async fn agents(&self, ctx: &Context<'_>) -> Result<Vec<Agent>> {
        agents::list(ctx)
    }

    /// The conversation that another subgraph refers to; for federation's `_entities`.
    #[graphql(entity)]
    async fn conversation_entity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation's id.")] id: ID,
    ) -> Result<Option<Conversation>> {
        // An invalid id counts as an unknown entity, because an error would fail the whole batch.
        let Ok(id) = conversation_id(&id) else {
            return Ok(None);
        };
        find_conversation(ctx, &id.into()).await
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

// The fields return `Option<Result<_>>`, because an error in a `Result<Option<_>>` would null the parent.

async fn find_conversation(
    ctx: &Context<'_>,
    name: &ConversationName,
) -> Result<Option<Conversation>> {
    let (services, reach) = reach_for(ctx, Scope::Read)?;
    let id = name.id(reach.caller());
    let found = services.db.find_conversation(reach, id).await?;
    Ok(found.map(Conversation::from))
}

async fn find_node(ctx: &Context<'_>, id: &ID) -> Result<Option<Node>> {
    let (services, reach) = reach_for(ctx, Scope::Read)?;
    // An invalid id is an unknown object.
    let Ok(id) = id.parse::<uuid::Uuid>() else {
        return Ok(None);
    };
    if let Some(row) = services
        .db
        .find_conversation(reach, ConversationId(id))
        .await?
    {
        return Ok(Some(Node::Conversation(row.into())));
    }
    let message = services.db.find_message(reach, MessageId(id)).await?;
    Ok(message.map(|row| Node::Message(row.into())))
}

/// The services, and the caller's reach if it has the scope. Resolvers have no other way to get an owner.
pub(super) fn reach_for<'a>(
    ctx: &Context<'a>,
    needed: Scope,
) -> Result<(&'a Arc<Services>, Reach<'a>)> {
    let caller = ctx.data_unchecked::<Principal>();
    let services: &Arc<Services> = ctx.data_unchecked();
    Ok((services, caller.reach(needed, &services.sharing)?))
}

/// Like [`reach_for`], for a mutation. Refuses it if its selection includes stored message text that the caller may not
/// read: if only the answer were refused, the change would look as if it had not been made.
pub(super) fn reach_for_change<'a>(
    ctx: &Context<'a>,
    needed: Scope,
) -> Result<(&'a Arc<Services>, Reach<'a>)> {
    let allowed = reach_for(ctx, needed)?;
    if reads_text(ctx.field()) {
        reach_for(ctx, Scope::Read)?;
    }
    Ok(allowed)
}

/// The owner of a conversation that the caller is about to change.
pub(super) async fn owner_to_change(
    services: &Services,
    reach: Reach<'_>,
    id: ConversationId,
) -> Result<Owner> {
    let named = db::Named::Conversation(id);
    let actor = reach::actor(services, reach, named, reach::Access::Write).await?;
    Ok(actor.owner)
}

/// Whether the selection below this field includes stored message text.
fn reads_text(field: SelectionField<'_>) -> bool {
    let mut fields = field.selection_set();
    fields.any(|field| matches!(field.name(), "messages" | "versions") || reads_text(field))
}

/// The key under which the caller's requests are rate-limited.
pub(super) fn rate_limit_key<'a>(ctx: &Context<'a>) -> &'a RateLimitKey {
    ctx.data_unchecked::<Principal>().rate_limit_key()
}
