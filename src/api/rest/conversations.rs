//! Lists, searches, reads, renames and deletes conversations.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use graphql_transport::{EXECUTION, direct::DirectWrites};
use serde_json::{Value, json};

use super::{
    RestError,
    authorized::{Authorized, ToDelete, ToRead, ToWrite},
    fields::{Body, ConversationPath, Params},
    until,
};
use crate::{
    api::{
        Services,
        limits::{self, TitleChange},
        sse,
    },
    conversation::{Conversation, Message},
    db::{
        ConversationFilter, MessageRange,
        cursor::{ConversationCursor, Cursor, MessageCursor, PageCursor},
    },
    error::{Error, Result},
};

/// The most messages of a history. Clients read longer ones in pages.
const MAX_HISTORY: u64 = 1_000;

pub(super) async fn list(
    State(services): State<Arc<Services>>,
    Authorized { owner, .. }: Authorized<ToRead>,
    params: Params,
) -> Result<Json<Value>, RestError> {
    let limit = params.limit(50, 100)?;
    let filter = ConversationFilter {
        agent: params.find("agent").map(str::to_owned),
    };
    let after = params.cursor()?;
    let page = services
        .db
        .conversations(&owner, &filter, after, limit)
        .await?;
    let next = page.items.last().filter(|_| page.has_next);
    let next = next.map(|last| ConversationCursor::of(last).encode());
    let items: Vec<Value> = page.items.iter().map(summary).collect();
    Ok(Json(json!({ "items": items, "next_cursor": next })))
}

pub(super) async fn search(
    State(services): State<Arc<Services>>,
    Authorized { owner, .. }: Authorized<ToRead>,
    params: Params,
) -> Result<Json<Value>, RestError> {
    let limit = params.limit(20, 50)?;
    let text = params
        .find("q")
        .ok_or_else(|| Error::invalid("q is missing"))?;
    let after = params.cursor()?;
    let page = services
        .db
        .search(&owner, text, params.find("agent"), after, limit)
        .await?;
    let next = page.items.last().filter(|_| page.has_next);
    let next = next.map(|last| last.cursor().encode());
    let items: Vec<Value> = page
        .items
        .iter()
        .map(|hit| {
            let mut item = summary(&hit.conversation);
            item["preview"] = hit.snippet.as_str().into();
            item["score"] = hit.score.into();
            item
        })
        .collect();
    Ok(Json(json!({ "items": items, "next_cursor": next })))
}

pub(super) async fn history(
    State(services): State<Arc<Services>>,
    Authorized { owner, .. }: Authorized<ToRead>,
    ConversationPath(id): ConversationPath,
) -> Result<Json<Value>, RestError> {
    let conversation = services.db.conversation(&owner, id).await?;
    let newest = MessageRange {
        after: None,
        before: None,
        limit: MAX_HISTORY,
        from_end: true,
    };
    let messages = services.db.messages(&owner, id, newest).await?;
    let messages: Vec<Value> = messages.items.iter().map(message).collect();
    Ok(Json(json!({
        "conversation_id": id.to_string(),
        "display_name": conversation.display_name,
        "topic_hint": conversation.topic_hint,
        "title_generated_at": conversation.title_generated_at,
        "messages": messages,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
    })))
}

pub(super) async fn messages(
    State(services): State<Arc<Services>>,
    Authorized { owner, .. }: Authorized<ToRead>,
    ConversationPath(id): ConversationPath,
    params: Params,
) -> Result<Json<Value>, RestError> {
    let limit = params.limit(50, 100)?;
    let is_descending = match params.find("direction") {
        None | Some("desc") => true,
        Some("asc") => false,
        Some(_) => return Err(Error::invalid("direction must be asc or desc").into()),
    };
    // A cursor includes its direction, because pages link in both directions.
    let place = params.cursor::<PageCursor>()?;
    let is_forward = place.is_none_or(|place| place.is_forward);
    let from_end = is_descending == is_forward;
    let at = place.map(|place| place.at);
    services.db.conversation(&owner, id).await?;
    let range = MessageRange {
        after: at.filter(|_| !from_end),
        before: at.filter(|_| from_end),
        limit,
        from_end,
    };
    let mut page = services.db.messages(&owner, id, range).await?;
    let (mut has_next, mut has_previous) = (page.has_next, page.has_previous);
    if is_descending {
        page.items.reverse();
        (has_next, has_previous) = (has_previous, has_next);
    }
    let cursor = |message: Option<&Message>, is_forward, exists| {
        let at = message.filter(|_| exists).map(MessageCursor::of)?;
        Some(PageCursor { at, is_forward }.encode())
    };
    let items: Vec<Value> = page.items.iter().map(message).collect();
    Ok(Json(json!({
        "items": items,
        "next_cursor": cursor(page.items.last(), true, has_next),
        "prev_cursor": cursor(page.items.first(), false, has_previous),
    })))
}

pub(super) async fn title_stream(
    State(services): State<Arc<Services>>,
    Authorized {
        owner,
        until,
        rate_limit_key,
        ..
    }: Authorized<ToRead>,
    ConversationPath(id): ConversationPath,
    params: Params,
    headers: HeaderMap,
    direct: Option<Extension<DirectWrites>>,
) -> Result<Response, RestError> {
    let with_ids = params.wants_ids(&headers);
    let detach = direct.and_then(|Extension(direct)| direct.detach);
    let stream = services.users.stream(&rate_limit_key)?;
    let response = sse::titles::respond(services, &owner, id, until, with_ids, detach).await?;
    Ok(limits::hold_slot(response, stream))
}

pub(super) async fn rename(
    State(services): State<Arc<Services>>,
    Authorized {
        owner,
        rate_limit_key,
        reads_messages,
        ..
    }: Authorized<ToWrite>,
    ConversationPath(id): ConversationPath,
    body: Body,
) -> Result<Json<Value>, RestError> {
    let title = body.required_string("display_name")?;
    services
        .users
        .title_change(&rate_limit_key, TitleChange::Rename)?;
    let renaming = async { Ok(services.titles.rename(&owner, id, &title).await?) };
    let conversation = until(EXECUTION, renaming).await?;
    let mut summary = summary(&conversation);
    if !reads_messages {
        // Both may be the beginning of a message.
        summary["topic_hint"] = Value::Null;
        summary["last_message_preview"] = Value::Null;
    }
    Ok(Json(summary))
}

pub(super) async fn delete(
    State(services): State<Arc<Services>>,
    Authorized { owner, .. }: Authorized<ToDelete>,
    ConversationPath(id): ConversationPath,
) -> Result<StatusCode, RestError> {
    services.chat.delete(&owner, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A conversation in a list. Includes fields that are `null`.
fn summary(conversation: &Conversation) -> Value {
    json!({
        "conversation_id": conversation.id.to_string(),
        "display_name": conversation.display_name,
        "topic_hint": conversation.topic_hint,
        "title_generated_at": conversation.title_generated_at,
        "agent_entrypoint": conversation.agent_entrypoint,
        "active_agent": conversation.active_agent,
        "status": conversation.status.as_str(),
        "message_count": conversation.message_count,
        "last_message_preview": conversation.last_message_preview,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
    })
}

fn message(message: &Message) -> Value {
    json!({
        "message_id": message.id.to_string(),
        "role": message.role.as_str(),
        "content": message.content,
        "timestamp": message.created_at,
    })
}
