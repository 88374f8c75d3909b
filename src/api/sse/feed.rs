//! The feed of the caller's conversations: `GET /api/v1/conversations/changes`. Every event has its cursor as `id:`,
//! from which a reconnecting client continues.

use std::sync::Arc;

use axum::{body::Bytes, response::Response};
use chrono::Utc;
use futures_util::{StreamExt, future::ready, stream};
use graphql_transport::sleep_until_opt;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{chat::timestamp, frame::frame, response};
use crate::{
    api::{Services, feed, feed::FeedEvent as Event, observe::Surface, rest::ChangedConversation},
    conversation::Audience,
    db::{ChangeKind, cursor::Cursor},
    error::{Error, ErrorCode, Result},
};

/// One event of the feed.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct FeedEvent {
    /// `feed.ready`: every change after the cursor follows. `feed.reset`: the same, but first read the list again.
    /// `conversation.created`, `conversation.updated`, `conversation.deleted`: a conversation changed.
    kind: &'static str,
    /// The position after this event, for `after`.
    cursor: String,
    /// The newest state of the conversation, if one changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    conversation: Option<ChangedConversation>,
}

impl FeedEvent {
    fn of(event: Event, audience: &Audience) -> Self {
        let (kind, cursor, conversation) = match event {
            Event::Ready(cursor) => ("feed.ready", cursor, None),
            Event::Reset(cursor) => ("feed.reset", cursor, None),
            Event::Change(change) => {
                let kind = match change.kind {
                    ChangeKind::Created => "conversation.created",
                    ChangeKind::Updated => "conversation.updated",
                    ChangeKind::Deleted => "conversation.deleted",
                };
                let conversation = ChangedConversation::of(&change.conversation, audience);
                (kind, change.cursor, Some(conversation))
            }
        };
        Self {
            kind,
            cursor: cursor.encode(),
            conversation,
        }
    }
}

/// Streams the feed until the caller's token expires.
///
/// # Errors
/// [`Error::Database`].
pub(in crate::api) async fn respond(
    services: Arc<Services>,
    of: Audience,
    after: Option<&str>,
    until: Option<Instant>,
) -> Result<Response> {
    let events = feed::follow(services.clone(), of.clone(), after).await?;
    let http = services.http.clone();
    let frames = events
        .map(move |event| {
            let event = FeedEvent::of(event, &of);
            frame(&event, Some(&event.cursor))
        })
        .take_until(sleep_until_opt(until))
        .chain(stream::once(ready(until)).filter_map(move |until| {
            let frame = expired(until);
            if frame.is_some() {
                http.failed(Surface::Sse, ErrorCode::AuthExpired);
            }
            ready(frame)
        }));
    // Not `long_lived`, which sends a slow reader only the newest frame.
    Ok(response(
        frames,
        services.keep_alive,
        services.closing.clone(),
    ))
}

/// The last frame if the token has expired, otherwise `None`.
fn expired(until: Option<Instant>) -> Option<Bytes> {
    until.filter(|until| *until <= Instant::now())?;
    let error = Error::AuthExpired;
    let event = json!({
        "kind": "error",
        "is_terminal": true,
        "payload": { "error": error.to_string(), "code": error.code().as_str() },
        "timestamp": timestamp(Utc::now()),
    });
    Some(frame(&event, None))
}
