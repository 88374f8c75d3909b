//! Lists, searches, reads, renames and deletes conversations.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use graphql_transport::{EXECUTION, direct::DirectWrites};

use super::{
    RestError,
    answers::{
        AgentContext, ConversationPage, ConversationSummary, History, MessagePage, SearchPage,
        SearchResult, named_owner,
    },
    authorized::{Authorized, ToDelete, ToRead, ToWrite},
    bodies::{
        Direction, LastEventId, Paging, RenameRequest, ResumeParams, SearchPaging, TitleContract,
    },
    fields::{Body, ConversationPath, Params},
    until,
};
use crate::{
    api::{
        Services,
        limits::{self, TitleChange},
        reach,
        sse::{self, Contract, titles::TitleFormat},
    },
    conversation::Message,
    db::{
        ConversationFilter, ConversationList, MessageRange,
        cursor::{Cursor, MessageCursor, PageCursor},
    },
    error::{Error, Result},
};

/// The most messages in a history. Clients read longer conversations page by page.
pub(super) const MAX_HISTORY: u64 = 1_000;

/// Lists the conversations that the caller can see, newest activity first.
#[utoipa::path(
    get, path = "/api/v1/conversations", operation_id = "listConversations", tag = "conversations",
    params(
        Paging,
        ("agent" = Option<String>, Query, description = "Only conversations whose first message asked for this agent"),
        ("archived" = Option<bool>, Query, description = "`true`: only archived conversations; else only others"),
    ),
    security(("bearer" = ["conversations:read"])),
    responses((status = 200, description = "A page", body = ConversationPage)),
)]
pub(super) async fn list(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
    params: Params,
) -> Result<Json<ConversationPage>, RestError> {
    let limit = params.limit(50, 100)?;
    let list = ConversationList {
        filter: ConversationFilter {
            is_archived: params.bool("archived")?.unwrap_or_default(),
            agent: params.find("agent").map(str::to_owned),
            ..ConversationFilter::default()
        },
        ..ConversationList::default()
    };
    let (reach, after) = (caller.reach(), params.cursor()?);
    let page = services
        .db
        .conversations(reach, &list, after, limit)
        .await?;
    let next = page.items.last().filter(|_| page.has_next);
    let items = page.items.iter();
    Ok(Json(ConversationPage {
        next_cursor: next.map(|last| list.cursor(last).encode()),
        items: items
            .map(|conversation| ConversationSummary::of(conversation, reach))
            .collect(),
    }))
}

/// Finds conversations by the words of their titles and messages, best first.
#[utoipa::path(
    get, path = "/api/v1/conversations/search", operation_id = "searchConversations", tag = "conversations",
    params(
        SearchPaging,
        ("q" = String, Query, description = "The words to find, at most 32"),
        ("agent" = Option<String>, Query, description = "Only conversations whose first message asked for this agent"),
    ),
    security(("bearer" = ["conversations:read"])),
    responses((status = 200, description = "A page", body = SearchPage)),
    extensions(("x-error-codes" = json!(["BLANK_SEARCH", "OVERLOADED"]))),
)]
pub(super) async fn search(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
    params: Params,
) -> Result<Json<SearchPage>, RestError> {
    let limit = params.limit(20, 50)?;
    let text = params.find("q").filter(|text| !text.trim().is_empty());
    let text = text.ok_or(Error::BlankSearch)?;
    let (reach, after) = (caller.reach(), params.cursor()?);
    let page = services
        .db
        .search(
            (caller.caller(), reach),
            text,
            params.find("agent"),
            after,
            limit,
        )
        .await?;
    let next = page.items.last().filter(|_| page.has_next);
    let items = page.items.iter();
    Ok(Json(SearchPage {
        next_cursor: next.map(|last| last.cursor().encode()),
        items: items.map(|hit| SearchResult::of(hit, reach)).collect(),
    }))
}

/// Streams the changes of all conversations that the caller can see.
#[utoipa::path(
    get, path = "/api/v1/conversations/changes", operation_id = "streamChanges", tag = "conversations",
    params(
        ("after" = Option<String>, Query, description = "The `cursor` of the last event received; from now on if absent"),
        ResumeParams,
        LastEventId,
    ),
    security(("bearer" = ["conversations:read"])),
    responses((
        status = 200, content_type = "text/event-stream", body = sse::FeedEvent,
        description = "First `feed.ready` or `feed.reset`, then an event for each conversation that changed (docs/feed.md)",
    )),
)]
pub(super) async fn changes(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, RestError> {
    let stream = services.users.stream(&caller.rate_limit_key)?;
    // A reconnecting client repeats the query and adds the id of its last event.
    let last = params.last_event_id(&headers);
    let after = last.or_else(|| params.find("after"));
    let of = caller.reach().audience();
    let response = sse::feed::respond(services.clone(), of, after, caller.until).await?;
    let response = reach::always_bound(&services, caller.reach(), response);
    Ok(limits::hold_slot(response, stream))
}

/// Reads a conversation with its newest messages.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}", operation_id = "getConversation", tag = "conversations",
    security(("bearer" = ["conversations:read"])),
    responses((status = 200, description = "The conversation", body = History)),
)]
pub(super) async fn history(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
    ConversationPath(name): ConversationPath,
) -> Result<Json<History>, RestError> {
    let (reach, id) = (caller.reach(), name.id(caller.caller()));
    let conversation = services.db.conversation(reach, id).await?;
    let newest = MessageRange {
        needs_text: true,
        after: None,
        before: None,
        limit: MAX_HISTORY,
        from_end: true,
    };
    let messages = services.db.messages(reach, id, newest).await?;
    Ok(Json(History {
        owner_id: named_owner(&conversation, reach),
        conversation_id: id.to_string(),
        display_name: conversation.display_name,
        topic_hint: conversation.topic_hint.clone(),
        title_generated_at: conversation.title_generated_at,
        messages: messages.items.iter().map(Into::into).collect(),
        created_at: conversation.created_at,
        last_message_at: conversation.last_message_at,
        updated_at: conversation.updated_at,
        agent_context: AgentContext {
            agent_entrypoint: conversation.agent_entrypoint,
            active_agent: conversation.active_agent,
            topic_hint: conversation.topic_hint,
            status: conversation.status.as_str(),
        },
        external_id: conversation.external_id,
    }))
}

/// Lists the messages of a conversation.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/messages", operation_id = "listMessages", tag = "conversations",
    params(Paging, Direction),
    security(("bearer" = ["conversations:read"])),
    responses((status = 200, description = "A page; shorter than `limit` if its text exceeds 4 MiB", body = MessagePage)),
)]
pub(super) async fn messages(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
    ConversationPath(name): ConversationPath,
    params: Params,
) -> Result<Json<MessagePage>, RestError> {
    let (reach, id) = (caller.reach(), name.id(caller.caller()));
    let limit = params.limit(50, 100)?;
    let is_descending = match params.find("direction") {
        None | Some("desc") => true,
        Some("asc") => false,
        Some(_) => return Err(Error::invalid("direction must be asc or desc").into()),
    };
    // A cursor includes its direction, because pages link both ways.
    let place = params.cursor::<PageCursor>()?;
    let is_forward = place.is_none_or(|place| place.is_forward);
    let from_end = is_descending == is_forward;
    let at = place.map(|place| place.at);
    services.db.conversation(reach, id).await?;
    let range = MessageRange {
        needs_text: true,
        after: at.filter(|_| !from_end),
        before: at.filter(|_| from_end),
        limit,
        from_end,
    };
    let mut page = services.db.messages(reach, id, range).await?;
    let (mut has_next, mut has_previous) = (page.has_next, page.has_previous);
    if is_descending {
        page.items.reverse();
        (has_next, has_previous) = (has_previous, has_next);
    }
    let cursor = |message: Option<&Message>, is_forward, exists| {
        let at = message.filter(|_| exists).map(MessageCursor::of)?;
        Some(PageCursor { at, is_forward }.encode())
    };
    Ok(Json(MessagePage {
        items: page.items.iter().map(Into::into).collect(),
        next_cursor: cursor(page.items.last(), true, has_next),
        prev_cursor: cursor(page.items.first(), false, has_previous),
    }))
}

/// Streams the title of a conversation: the current one, then each change.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/stream", operation_id = "streamTitle", tag = "conversations",
    params(
        ("contract" = Option<TitleContract>, Query, description = "How titles are sent; absent, `--legacy-contract` decides"),
        ("ids" = Option<bool>, Query, description = "`true` adds `id:` lines"),
    ),
    security(("bearer" = ["conversations:read"])),
    responses((
        status = 200, content_type = "text/event-stream", body = String,
        description = "Frames of one line, `data: ` and a TitleEvent. The stream stays open. With `contract=text` the \
            title is sent as text, then `[DONE]`, and the stream ends",
        extensions(("x-event" = json!({ "$ref": "#/components/schemas/TitleEvent" }))),
    )),
)]
pub(super) async fn title_stream(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
    ConversationPath(name): ConversationPath,
    params: Params,
    headers: HeaderMap,
    direct: Option<Extension<DirectWrites>>,
) -> Result<Response, RestError> {
    let id = name.id(caller.caller());
    let format = match params.find("contract") {
        None if services.legacy_contract == Contract::PublicSseV1 => TitleFormat::Text,
        Some("text" | "public_sse_v1") => TitleFormat::Text,
        None | Some("legacy") => TitleFormat::Events {
            with_ids: params.wants_ids(&headers),
        },
        Some(_) => return Err(Error::invalid("contract must be legacy or text").into()),
    };
    let reach = caller.reach();
    // A detached body bypasses the response body, which is what breaks off when the tenant's policy changes.
    let detach = direct
        .filter(|_| !reach.visibility().is_shared())
        .and_then(|Extension(direct)| direct.detach);
    let stream = services.users.stream(&caller.rate_limit_key)?;
    let until = caller.until;
    let responding = sse::titles::respond(services.clone(), reach, id, until, format, detach);
    let response = reach::bound(&services, reach, responding.await?);
    Ok(limits::hold_slot(response, stream))
}

/// Sets the title of a conversation.
#[utoipa::path(
    patch, path = "/api/v1/conversations/{id}/title", operation_id = "renameConversation", tag = "conversations",
    request_body = RenameRequest,
    security(("bearer" = ["conversations:write"])),
    responses((
        status = 200, body = ConversationSummary,
        description = "The conversation. Without the scope `conversations:read`, `topic_hint` and \
            `last_message_preview` are null",
    )),
    extensions(("x-error-codes" = json!(["TIMEOUT"]))),
)]
pub(super) async fn rename(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToWrite>,
    ConversationPath(name): ConversationPath,
    body: Body,
) -> Result<Json<ConversationSummary>, RestError> {
    let title = body.required_string("display_name")?;
    services
        .users
        .title_change(&caller.rate_limit_key, TitleChange::Rename)?;
    let renaming = async {
        let (actor, id) = caller.within(&services, &name).await?;
        Ok(services
            .titles
            .rename(&actor.owner, id, &title, &actor.author)
            .await?)
    };
    let conversation = until(EXECUTION, renaming).await?;
    let summary = ConversationSummary::of(&conversation, caller.reach());
    // Both fields may contain the beginning of a message.
    Ok(Json(match caller.reads_messages {
        true => summary,
        false => summary.without_text(),
    }))
}

/// Deletes a conversation with its messages. Idempotent: 204 also if there is no such conversation.
#[utoipa::path(
    delete, path = "/api/v1/conversations/{id}", operation_id = "deleteConversation", tag = "conversations",
    security(("bearer" = ["conversations:delete"])),
    responses((status = 204, description = "The conversation was deleted, or did not exist")),
)]
pub(super) async fn delete(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToDelete>,
    ConversationPath(name): ConversationPath,
) -> Result<StatusCode, RestError> {
    let (actor, id) = caller.within(&services, &name).await?;
    match services.chat.delete(&actor.owner, id, &actor.author).await {
        // Deployed clients repeat a deletion until it succeeds.
        Ok(_) | Err(Error::NotFound { .. }) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(error.into()),
    }
}
