//! The history of a conversation in the formats of deployed clients: `…/events` lists messages and tool calls as items;
//! `…/ledger/events` and `…/ledger/stream` replay its replies as `public_sse_v1`. Everything is derived from the
//! messages.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_stream::stream;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use graphql_transport::{EXECUTION, sleep_until_opt};
use serde_json::{Map, Value, json};

use super::{
    RestError,
    answers::attachments,
    authorized::{Authorized, ToRead},
    bodies::{EventList, LedgerPage, LedgerPaging},
    conversations::MAX_HISTORY,
    fields::{ConversationPath, Params},
    until,
};
use crate::{
    api::{
        Services, limits, reach,
        sse::ledger::{self, StoredReply},
    },
    conversation::{
        Actor, Conversation, ConversationId, Message, MessageId, MessageStatus, Owner, Part,
        PartContent, Role, ToolState,
    },
    db::{
        MessageRange, ReplyState,
        cursor::{Cursor, LedgerCursor, MessageCursor},
    },
    error::{Error, Result},
    work,
};

/// The number of replies whose parts one statement reads.
const BATCH: u64 = 50;

/// Size limit of a page, in bytes. The page ends after the reply that reaches it.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// The most bytes of parts in `…/events`. Beyond it, older replies are returned without their parts.
const MAX_PARTS_BYTES: usize = 4 * 1024 * 1024;

/// Time limit for encoding a page.
const ENCODING: Duration = Duration::from_secs(5);

type Parts = HashMap<MessageId, Vec<Part>>;

/// Lists the messages, tool calls, tool results and reasoning of a conversation.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/events", operation_id = "listEvents", tag = "conversations",
    params(("workflow_run_id" = Option<String>, Query, description = "The server has no workflow runs: with any value the list is empty")),
    security(("bearer" = ["conversations:read"])),
    responses((status = 200, description = "The items, oldest first", body = EventList)),
)]
pub(super) async fn items(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
    ConversationPath(name): ConversationPath,
    params: Params,
) -> Result<Response, RestError> {
    let (Actor { owner, .. }, id) = caller.within(&services, &name).await?;
    let conversation = services.db.conversation(&owner, id).await?;
    let newest = MessageRange {
        needs_text: true,
        after: None,
        before: None,
        limit: MAX_HISTORY,
        from_end: true,
    };
    // No item belongs to a workflow run.
    let messages = match params.find("workflow_run_id") {
        Some(_) => Vec::new(),
        None => services.db.messages(&owner, id, newest).await?.items,
    };
    let mut parts = Parts::new();
    let mut parts_bytes = 0;
    for batch in messages.rchunks(BATCH as usize) {
        let read = parts_of(&services, &owner, batch).await?;
        parts_bytes += read.values().flatten().map(Part::size).sum::<usize>();
        if parts_bytes > MAX_PARTS_BYTES {
            break;
        }
        parts.extend(read);
    }
    let text_bytes: usize = messages.iter().map(|message| message.content.len()).sum();
    let encoding = work::heavy_if(text_bytes + parts_bytes, ENCODING, move |_| {
        let mut items = Vec::with_capacity(messages.len());
        for message in &messages {
            let parts = parts.remove(&message.id).unwrap_or_default();
            add_items(&conversation, message, &parts, &mut items);
        }
        json!({ "conversation_id": id.to_string(), "items": items }).to_string()
    });
    Ok(as_json(encoding.await?))
}

/// The items of a message: its tool calls and their results, its reasoning, and the message itself.
fn add_items(
    conversation: &Conversation,
    message: &Message,
    parts: &[Part],
    items: &mut Vec<Value>,
) {
    let is_reply = message.role == Role::Assistant;
    let mut add = |kind: &str, own: Value| {
        let mut item = json!({
            "sequence_no": items.len() + 1,
            "run_item_type": kind,
            "run_item_name": null,
            "role": null,
            "agent": is_reply.then_some(&conversation.active_agent),
            "tool_call_id": null,
            "tool_name": null,
            "model": message.model,
            "content_text": null,
            "reasoning_text": null,
            "call_arguments": null,
            "call_output": null,
            "attachments": [],
            "response_id": null,
            "workflow_run_id": null,
            "timestamp": message.created_at,
        });
        if let (Some(item), Value::Object(own)) = (item.as_object_mut(), own) {
            item.extend(own);
        }
        items.push(item);
    };
    for part in parts {
        match &part.content {
            PartContent::Reasoning { text } => add("reasoning", json!({ "reasoning_text": text })),
            PartContent::Tool {
                id,
                name,
                arguments,
                result,
                state,
            } => {
                let call = json!({
                    "run_item_name": name,
                    "tool_call_id": id,
                    "tool_name": name,
                    "call_arguments": object(arguments),
                });
                add("tool_call", call);
                if *state != ToolState::Called {
                    let output = object(result.as_deref().unwrap_or_default());
                    let result = json!({
                        "run_item_name": name,
                        "tool_call_id": id,
                        "tool_name": name,
                        "call_output": output,
                    });
                    add("tool_result", result);
                }
            }
            PartContent::Data { .. } => {}
        }
    }
    let kind = match message.role {
        Role::User => "user_message",
        Role::Assistant => "assistant_message",
    };
    let own = json!({
        "role": message.role.as_str(),
        "content_text": message.content,
        "attachments": attachments(message),
    });
    add(kind, own);
}

/// Parses JSON into an object, which these fields require. Any other value is wrapped in one.
fn object(json: &str) -> Option<Map<String, Value>> {
    if json.is_empty() {
        return None;
    }
    let value = serde_json::from_str(json).unwrap_or_else(|_| Value::from(json));
    Some(match value {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".into(), other)]),
    })
}

/// Lists the events of all replies so far, as `public_sse_v1` sends them.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/ledger/events", operation_id = "listLedger", tag = "conversations",
    params(LedgerPaging),
    security(("bearer" = ["conversations:read"])),
    responses((status = 200, description = "A page; it may have fewer items and a cursor", body = LedgerPage)),
)]
pub(super) async fn ledger(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
    ConversationPath(name): ConversationPath,
    params: Params,
) -> Result<Response, RestError> {
    let (Actor { owner, .. }, id) = caller.within(&services, &name).await?;
    let limit = params.limit(500, 1_000)? as usize;
    let after = params.cursor()?;
    let page = page(&services, &owner, id, after, limit).await?;
    let next = page.next.map(|next| next.encode());
    // The events are already JSON.
    let page = format!(
        r#"{{"conversation_id":"{id}","items":[{}],"next_cursor":{}}}"#,
        page.lines.join(","),
        json!(next)
    );
    Ok(as_json(page))
}

/// Streams the events of all replies so far, as `public_sse_v1` sends them.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/ledger/stream", operation_id = "streamLedger", tag = "conversations",
    params(("cursor" = Option<String>, Query, description = "`next_cursor` of a page of `listLedger`. Opaque.")),
    security(("bearer" = ["conversations:read"])),
    responses((
        status = 200, content_type = "text/event-stream", body = String,
        description = "Events by `kind`, with `final` or `error` at the end of each reply (docs/sse.md)",
        extensions(("x-event" = json!({ "$ref": "#/components/schemas/PublicEvent" }))),
    )),
)]
pub(super) async fn ledger_stream(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
    ConversationPath(name): ConversationPath,
    params: Params,
) -> Result<Response, RestError> {
    const PAGE: usize = 500;
    let (Actor { owner, .. }, id) = caller.within(&services, &name).await?;
    let expiry = caller.until;
    let after = params.cursor()?;
    let slot = services.users.stream(&caller.rate_limit_key)?;
    // Read the first page before the response begins, so that its errors still have a status.
    let mut current = page(&services, &owner, id, after, PAGE).await?;
    let cut = services.closing.child_token();
    let (reading, broken) = (services.clone(), cut.clone());
    let frames = stream! {
        loop {
            for line in current.lines {
                yield Bytes::from(format!("data: {line}\n\n"));
            }
            let Some(next) = current.next else { break };
            let more = async { Ok(page(&reading, &owner, id, Some(next), PAGE).await?) };
            let more = tokio::select! {
                () = sleep_until_opt(expiry) => None,
                more = until(EXECUTION, more) => more.inspect_err(|error| error.0.log()).ok(),
            };
            let Some(more) = more else {
                broken.cancel();
                std::future::pending::<()>().await;
                return;
            };
            current = more;
        }
    };
    let response = ledger::respond(&services, frames, cut);
    let response = reach::bound(&services, caller.reach(), response);
    Ok(limits::hold_slot(response, slot))
}

/// Replayed events and the start of the next page.
struct Page {
    lines: Vec<String>,
    next: Option<LedgerCursor>,
}

/// Reads at most `limit` events, fewer if their texts are long.
///
/// # Errors
/// [`Error::InvalidCursor`] if `after` belongs to another conversation; the errors of the reads.
async fn page(
    services: &Services,
    owner: &Owner,
    id: ConversationId,
    after: Option<LedgerCursor>,
    limit: usize,
) -> Result<Page> {
    let conversation = Arc::new(services.db.conversation(owner, id).await?);
    if after.is_some_and(|after| after.conversation != id) {
        return Err(Error::InvalidCursor);
    }
    let (mut at, mut skipped) = after.map_or((None, 0), |after| (after.at, after.events));
    let next = |at, events| {
        Some(LedgerCursor {
            conversation: id,
            at,
            events,
        })
    };
    let (mut lines, mut bytes) = (Vec::new(), 0);
    loop {
        let range = MessageRange {
            needs_text: false,
            after: at,
            before: None,
            limit: BATCH,
            from_end: false,
        };
        let batch = services.db.messages(owner, id, range).await?;
        let replies = stored_replies(services, owner, batch.items).await?;
        for (place, reply) in replies {
            if let Some(reply) = reply {
                let size =
                    reply.message.content.len() + reply.parts.iter().map(Part::size).sum::<usize>();
                let conversation = conversation.clone();
                let replaying = move |_: &work::Stop| ledger::replay(&conversation, reply);
                let replayed = work::heavy_if(size, ENCODING, replaying).await?;
                bytes += size;
                let room = limit - lines.len();
                let is_cut = replayed.len() > skipped + room;
                lines.extend(replayed.into_iter().skip(skipped).take(room));
                if is_cut {
                    let next = next(at, skipped + room);
                    return Ok(Page { lines, next });
                }
            }
            (at, skipped) = (Some(place), 0);
            if bytes >= PAGE_BYTES {
                let next = next(at, 0);
                return Ok(Page { lines, next });
            }
        }
        if !batch.has_next {
            break;
        }
    }
    let newest = services.db.find_last_turn(owner, id).await?;
    if let Some(turn) = newest.filter(|turn| turn.reply == ReplyState::Running) {
        if lines.len() == limit {
            // The event goes to the next page.
            let next = next(at, 0);
            return Ok(Page { lines, next });
        }
        lines.extend(ledger::replay_begun(&conversation, turn.reply_id));
    }
    Ok(Page { lines, next: None })
}

/// The cursors of messages. For replies, also the data from which their events are built.
async fn stored_replies(
    services: &Services,
    owner: &Owner,
    messages: Vec<Message>,
) -> Result<Vec<(MessageCursor, Option<StoredReply>)>> {
    let mut parts = parts_of(services, owner, &messages).await?;
    let ids: Vec<MessageId> = replies(&messages).map(|reply| reply.id).collect();
    let mut costs = match ids.is_empty() {
        true => HashMap::new(),
        false => services.db.reply_costs(owner, &ids).await?,
    };
    let incomplete = replies(&messages).filter(|reply| reply.status == MessageStatus::Incomplete);
    let incomplete: Vec<MessageId> = incomplete.map(|reply| reply.id).collect();
    let mut reasons = match messages.first() {
        Some(first) if !incomplete.is_empty() => {
            let conversation = first.conversation_id;
            let read = services.db.reply_reasons(owner, conversation, &incomplete);
            read.await?
        }
        _ => HashMap::new(),
    };
    let mut asked: HashMap<MessageId, DateTime<Utc>> = HashMap::new();
    let mut stored = Vec::with_capacity(messages.len());
    for message in messages {
        let place = MessageCursor::of(&message);
        if message.role == Role::User {
            asked.insert(message.id, message.created_at);
            stored.push((place, None));
            continue;
        }
        let asked_at = match message.in_reply_to {
            None => None,
            Some(id) if asked.contains_key(&id) => asked.get(&id).copied(),
            // The first reply of a page can answer a message of the previous page.
            Some(id) => {
                let found = services.db.find_message(owner, id).await?;
                found.map(|found| found.created_at)
            }
        };
        let reply = StoredReply {
            asked_at,
            parts: parts.remove(&message.id).unwrap_or_default(),
            usage: costs.remove(&message.id).map(|(_, usage)| usage),
            reason: reasons.remove(&message.id),
            message,
        };
        stored.push((place, Some(reply)));
    }
    Ok(stored)
}

fn replies(messages: &[Message]) -> impl Iterator<Item = &Message> {
    messages
        .iter()
        .filter(|message| message.role == Role::Assistant)
}

/// The parts of the replies among these messages. Reads them reply by reply if they are too large for one statement.
async fn parts_of(services: &Services, owner: &Owner, messages: &[Message]) -> Result<Parts> {
    let ids: Vec<MessageId> = replies(messages).map(|reply| reply.id).collect();
    if ids.is_empty() {
        return Ok(Parts::new());
    }
    let read = services.db.reply_parts(owner, &ids).await;
    if !matches!(read, Err(Error::QueryTooLarge)) {
        return read;
    }
    let mut parts = Parts::new();
    for id in ids {
        parts.extend(services.db.reply_parts(owner, &[id]).await?);
    }
    Ok(parts)
}

fn as_json(text: String) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
