//! Turns: `POST /api/v1/chat/stream` streams a turn, `POST /api/v1/chat` returns it as a whole, and `GET
//! /api/v1/conversations/{id}/reply` resumes it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{
    RestError,
    authorized::{Authorized, ToRead, ToWrite},
    errors::response,
    fields::{Body, ConversationPath, Params, conversation_name},
};
use crate::{
    api::{
        Services, limits, reach,
        sse::{self, Contract, StreamOptions},
        turn::{self, TurnEvent},
    },
    chat::SendMessage,
    conversation::{Attachment, attachment::MAX_ATTACHMENTS},
    error::{Error, Result},
    events::{ReplyCursor, ReplyOffset, run::Outcome},
};

pub(super) async fn streamed(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToWrite>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, RestError> {
    let contract = params.contract()?.unwrap_or(services.legacy_contract);
    let message = message(&headers, &body)?;
    let stream = services.users.stream(&caller.rate_limit_key)?;
    let mut options = StreamOptions {
        with_ids: params.wants_ids(&headers),
        ..StreamOptions::default()
    };
    // Only the legacy contract has ids from which a client can resume.
    let cursor = match contract {
        Contract::Legacy => last_event_id(&params, &headers),
        Contract::PublicSseV1 => None,
    };
    let sent = match cursor {
        // On reconnect a client repeats the request: resume the reply instead of storing the message again.
        Some(cursor) => {
            options.is_resumed = true;
            let text = &message.text;
            let actor = caller.actor_of_turn(&services, cursor.turn).await?;
            services.chat.resume(&actor.owner, cursor, text).await?
        }
        None => {
            let actor = caller
                .actor(&services, message.conversation.as_ref())
                .await?;
            let key = &caller.rate_limit_key;
            limits::send_message(&services, &actor, key, message).await?
        }
    };
    let response = sse::respond(services.clone(), sent, caller.until, contract, options);
    let response = reach::bound(&services, caller.reach(), response);
    Ok(limits::hold_slot(response, stream))
}

/// The cursor of a reconnecting client. An id in another format is ignored.
fn last_event_id(params: &Params, headers: &HeaderMap) -> Option<ReplyCursor> {
    params.last_event_id(headers)?.parse().ok()
}

/// Streams the cursor's reply from its position; without a cursor, the newest reply from the beginning.
pub(super) async fn reply(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToRead>,
    ConversationPath(name): ConversationPath,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, RestError> {
    let after = match last_event_id(&params, &headers) {
        Some(cursor) => Some(cursor),
        None => params.find("after").map(str::parse).transpose()?,
    };
    let (actor, id) = caller.within(&services, &name).await?;
    let turn = services.chat.turn(&actor.owner, id, after).await?;
    // There is no turn yet, or the client has received the end. 204 tells an EventSource not to reconnect.
    let Some(turn) = turn.filter(|_| after.is_none_or(|cursor| cursor.offset != ReplyOffset::End))
    else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let options = StreamOptions {
        with_ids: true,
        is_resumed: true,
        is_read_only: true,
    };
    let stream = services.users.stream(&caller.rate_limit_key)?;
    let contract = Contract::Legacy;
    let response = sse::respond(services.clone(), turn, caller.until, contract, options);
    let response = reach::bound(&services, caller.reach(), response);
    Ok(limits::hold_slot(response, stream))
}

pub(super) async fn whole(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToWrite>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, RestError> {
    let message = message(&headers, &body)?;
    let _stream = services.users.stream(&caller.rate_limit_key)?;
    let actor = caller
        .actor(&services, message.conversation.as_ref())
        .await?;
    let sent = limits::send_message(&services, &actor, &caller.rate_limit_key, message).await?;
    // No expiry, because the answer is not a stream: the token is checked once.
    let mut events = std::pin::pin!(turn::events(services, sent, None, false));
    while let Some(event) = events.next().await {
        let TurnEvent::Ended(conversation, end) = event else {
            continue;
        };
        if let Outcome::Failed(error) = &end.outcome {
            // The reply's task has already logged the error.
            return Ok(response(error));
        }
        let mut answer = json!({
            "conversation_id": conversation.id.to_string(),
            "response": end.text,
            "agent_used": conversation.active_agent,
            "handoff_occurred": false,
            "display_name": conversation.display_name,
            "metadata": {
                "response_id": end.response_id,
                "is_complete": matches!(end.outcome, Outcome::Completed),
            },
        });
        if let Some(id) = &conversation.external_id {
            answer["external_id"] = id.as_str().into();
        }
        if let Some(reason) = end.incomplete_reason() {
            answer["metadata"]["reason"] = reason.into();
        }
        return Ok(Json(answer).into_response());
    }
    Err(Error::Internal("the turn's stream ended without its last event".into()).into())
}

fn message(headers: &HeaderMap, body: &Body) -> Result<SendMessage> {
    let conversation = body.string("conversation_id")?;
    let context = body.object("context")?;
    let key = headers
        .get("idempotency-key")
        .map(|key| key.to_str().map(str::to_owned))
        .transpose()
        .map_err(|_| Error::invalid("the Idempotency-Key must be visible ASCII characters"))?;
    Ok(SendMessage {
        conversation: conversation.as_deref().map(conversation_name).transpose()?,
        external_message_id: None,
        text: body.required_string("message")?,
        attachments: attachments(body),
        topic_hint: context.string("topic_hint")?,
        idempotency_key: key,
        auto_title: context.bool("auto_title")?.unwrap_or(true),
        agent: body.string("agent_type")?,
    })
}

/// The files of a message. Deployed clients send several shapes, and a file without a name has never failed a request,
/// so unreadable files are skipped.
fn attachments(body: &Body) -> Vec<Attachment> {
    let Some(Value::Array(files)) = body.fields().get("attachments") else {
        return Vec::new();
    };
    let files = files.iter().filter_map(|file| {
        let text = |names: &[&str]| names.iter().find_map(|name| file.get(*name)?.as_str());
        Attachment::lenient(
            text(&["filename", "name"]),
            text(&["mime_type", "media_type"]),
            text(&["object_id", "id"]),
        )
    });
    files.take(MAX_ATTACHMENTS).collect()
}
