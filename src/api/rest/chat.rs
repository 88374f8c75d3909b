//! `POST /api/v1/chat/stream` and `POST /api/v1/chat`: one turn, streamed or whole. And
//! `GET /api/v1/conversations/{id}/reply`: the stream of a turn for whoever comes back to it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde_json::json;

use super::{
    RestError,
    errors::response,
    fields::{Body, ConversationPath, Params, conversation_id},
};
use crate::{
    api::{
        Services,
        auth::{Allowed, ToRead, ToWrite},
        limits,
        sse::{self, chat::StreamOptions},
        turn::{self, TurnEvent},
    },
    chat::SendMessage,
    error::{Error, Result},
    events::{ReplyCursor, ReplyOffset, run::Outcome},
};

pub(super) async fn streamed(
    State(services): State<Arc<Services>>,
    Allowed {
        owner,
        until,
        counted,
        ..
    }: Allowed<ToWrite>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, RestError> {
    let message = message(&headers, &body)?;
    let stream = services.users.stream(&counted)?;
    let mut options = StreamOptions {
        with_ids: params.wants_ids(&headers),
        ..StreamOptions::default()
    };
    let sent = match last_event_id(&params, &headers) {
        // The same request once more, after a cut: nothing is sent again.
        Some(cursor) => {
            options.is_resumed = true;
            let text = &message.text;
            services.chat.resume(&owner, cursor, text).await?
        }
        None => limits::send_message(&services, &owner, &counted, message).await?,
    };
    let response = sse::chat::respond(services, sent, until, options);
    Ok(limits::counting(response, stream))
}

/// The place that a client that comes back was at. What is none of ours says nothing.
fn last_event_id(params: &Params, headers: &HeaderMap) -> Option<ReplyCursor> {
    params.last_event_id(headers)?.parse().ok()
}

/// The reply of a turn from a place on, or the newest from the beginning.
pub(super) async fn reply(
    State(services): State<Arc<Services>>,
    Allowed {
        owner,
        until,
        counted,
        ..
    }: Allowed<ToRead>,
    ConversationPath(id): ConversationPath,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, RestError> {
    let after = match last_event_id(&params, &headers) {
        Some(cursor) => Some(cursor),
        None => params.find("after").map(str::parse).transpose()?,
    };
    let turn = services.chat.turn(&owner, id, after).await?;
    // Nothing was sent yet, or the reader has heard of the end: with this status an EventSource does
    // not come back.
    let Some(turn) = turn.filter(|_| after.is_none_or(|cursor| cursor.offset != ReplyOffset::End))
    else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let options = StreamOptions {
        with_ids: true,
        is_resumed: true,
        only_watches: true,
    };
    let stream = services.users.stream(&counted)?;
    let response = sse::chat::respond(services, turn, until, options);
    Ok(limits::counting(response, stream))
}

pub(super) async fn whole(
    State(services): State<Arc<Services>>,
    Allowed { owner, counted, .. }: Allowed<ToWrite>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, RestError> {
    let message = message(&headers, &body)?;
    let _stream = services.users.stream(&counted)?;
    let sent = limits::send_message(&services, &owner, &counted, message).await?;
    // One answer to one request: the token had to be valid when it came.
    let mut events = std::pin::pin!(turn::events(services, sent, None, false));
    while let Some(event) = events.next().await {
        let TurnEvent::Ended(conversation, end) = event else {
            continue;
        };
        if let Outcome::Failed(error) = &end.outcome {
            // Logged when it happened, by the reply's own task.
            return Ok(response(error));
        }
        let answer = json!({
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
        return Ok(Json(answer).into_response());
    }
    Err(Error::Internal("the turn ended without an end".into()).into())
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
        conversation_id: conversation.as_deref().map(conversation_id).transpose()?,
        text: body.required_string("message")?,
        // The contract of this route: accepted and ignored.
        attachments: Vec::new(),
        topic_hint: context.string("topic_hint")?,
        idempotency_key: key,
        auto_title: context.bool("auto_title")?.unwrap_or(true),
        agent: body.string("agent_type")?,
    })
}
