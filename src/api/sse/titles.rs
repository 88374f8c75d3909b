//! The title of one conversation, live: `GET /api/v1/conversations/{id}/stream`.

use std::{fmt::Display, sync::Arc};

use axum::{body::Bytes, response::Response};
use chrono::Utc;
use futures_util::{StreamExt, future::ready, stream};
use graphql_transport::{direct::Detach, sleep_until_opt};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    chat::{timestamp, title_event},
    frame::frame,
    long_lived,
};
use crate::{
    api::{Services, observe::Surface, watch},
    conversation::{Conversation, ConversationId, Owner, TitleSource},
    error::{Error, ErrorCode, Result},
};

#[derive(Serialize)]
struct TitleEvent<'a> {
    kind: &'static str,
    conversation_id: String,
    display_name: &'a str,
    timestamp: String,
}

/// Streams the current title, then each new one, until the conversation is deleted or the caller's token expires.
///
/// # Errors
/// [`NotFound`](crate::error::Error::NotFound) if the owner has no such conversation.
pub(in crate::api) async fn respond(
    services: Arc<Services>,
    owner: &Owner,
    id: ConversationId,
    until: Option<Instant>,
    with_ids: bool,
    detach: Option<Detach>,
) -> Result<Response> {
    let states = watch::conversation(services.clone(), owner, id).await?;
    let http = services.http.clone();
    let frames = states
        .scan(None, move |sent, conversation| {
            ready(Some(new_title(sent, &conversation, with_ids)))
        })
        .filter_map(ready)
        .take_until(sleep_until_opt(until))
        .chain(stream::once(ready(until)).filter_map(move |until| {
            let frame = expired(id, until);
            if frame.is_some() {
                http.failed(Surface::Sse, ErrorCode::AuthExpired);
            }
            ready(frame)
        }))
        .take_until(services.closing.clone().cancelled_owned());
    Ok(long_lived(detach, frames, services.keep_alive))
}

/// The last frame, if the token has expired.
fn expired(id: ConversationId, until: Option<Instant>) -> Option<Bytes> {
    until.filter(|until| *until <= Instant::now())?;
    let error = Error::AuthExpired;
    let event = json!({
        "kind": "error",
        "conversation_id": id.to_string(),
        "is_terminal": true,
        "payload": { "error": error.to_string(), "code": error.code().as_str() },
        "timestamp": timestamp(Utc::now()),
    });
    Some(frame(&event, None))
}

/// The frame of a title that differs from the last one sent.
fn new_title(
    sent: &mut Option<String>,
    conversation: &Conversation,
    with_ids: bool,
) -> Option<Bytes> {
    let title = conversation.display_name.as_ref()?;
    if sent.as_ref() == Some(title) {
        return None;
    }
    *sent = Some(title.clone());
    let at = match conversation.title_source {
        TitleSource::Generated => conversation.title_generated_at,
        TitleSource::Manual | TitleSource::Hint => None,
    };
    let event = TitleEvent {
        kind: title_event(conversation),
        conversation_id: conversation.id.to_string(),
        display_name: title,
        timestamp: timestamp(at.unwrap_or(conversation.updated_at)),
    };
    // The id is the revision.
    let revision: &dyn Display = &conversation.revision;
    Some(frame(&event, with_ids.then_some(revision)))
}
