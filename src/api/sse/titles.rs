//! The live title of one conversation: `GET /api/v1/conversations/{id}/stream`. Sent as events, or once as text that
//! ends the stream.

use std::{fmt::Display, sync::Arc, time::Duration};

use axum::{body::Bytes, response::Response};
use chrono::Utc;
use futures_util::{Stream, StreamExt, future::ready, stream};
use graphql_transport::{direct::Detach, one_line, sleep_until_opt};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::{
    chat::{timestamp, title_event},
    frame::frame,
    long_lived, response,
};
use crate::{
    api::{Services, observe::Surface, watch},
    auth::Reach,
    conversation::{Conversation, ConversationId, TitleSource, TitleStatus},
    error::{Error, ErrorCode, Result},
};

/// How long a text stream waits for a title.
const TEXT_WAIT: Duration = Duration::from_secs(30);

/// The last frame of a text stream.
const DONE: &str = "data: [DONE]\n\n";

/// How a title is sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) enum TitleFormat {
    /// An event for the current title and for each new one.
    Events {
        /// Send `id:` lines.
        with_ids: bool,
    },
    /// The title as text, then `[DONE]`.
    Text,
}

/// One event of a title stream.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct TitleEvent<'a> {
    /// `conversation.title.generated` or `conversation.title.updated`.
    kind: &'static str,
    /// The server's id.
    conversation_id: String,
    /// The id in the caller's own system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    external_id: Option<&'a str>,
    /// The title.
    display_name: &'a str,
    /// RFC 3339, UTC, with milliseconds.
    timestamp: String,
}

/// Streams the current title, then each new one, until the conversation is deleted or the caller's token expires.
///
/// # Errors
/// [`NotFound`](crate::error::Error::NotFound) if the owner has no such conversation.
pub(in crate::api) async fn respond(
    services: Arc<Services>,
    reach: Reach<'_>,
    id: ConversationId,
    until: Option<Instant>,
    format: TitleFormat,
    detach: Option<Detach>,
) -> Result<Response> {
    let states = watch::conversation(services.clone(), reach, id).await?;
    // If the tenant's policy changes, the body breaks off (`api::reach`).
    let states = states.filter_map(|state| ready(state.ok()));
    let with_ids = match format {
        TitleFormat::Events { with_ids } => with_ids,
        TitleFormat::Text => {
            let frames = text(states, until).take_until(services.closing.clone().cancelled_owned());
            let keep_alive = services.keep_alive;
            return Ok(response(frames, keep_alive, CancellationToken::new()));
        }
    };
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

/// Sends the title as text once it is stored, then the end; only the end if the title fails or is not stored in time. A
/// client appends what it receives, and shows a text of its own if it receives nothing.
fn text(
    states: impl Stream<Item = Arc<Conversation>> + Send + 'static,
    until: Option<Instant>,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let titles = states
        .take_until(sleep_until_opt(until))
        .take_until(sleep(TEXT_WAIT))
        .filter(|conversation| ready(is_decided(conversation)))
        .take(1)
        .filter_map(|conversation| {
            let title = conversation.display_name.as_deref();
            ready(title.map(|title| Bytes::from(format!("data: {}\n\n", as_text(title)))))
        });
    titles.chain(stream::once(ready(Bytes::from_static(DONE.as_bytes()))))
}

/// A title as one line of data; titles contain no line breaks. The title `[DONE]` is sent without brackets, because a
/// client would mistake it for the end.
fn as_text(title: &str) -> String {
    match title {
        "[DONE]" => "DONE".into(),
        title => one_line(title.to_owned()),
    }
}

/// Whether the conversation has a title, or none is being generated.
fn is_decided(conversation: &Conversation) -> bool {
    conversation.display_name.is_some()
        || conversation.title_status != TitleStatus::Pending
        || conversation.title_waits_for_message()
        || conversation.is_deleted()
}

/// The last frame if the token has expired, otherwise `None`.
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

/// The frame of the title, if it differs from the last one sent.
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
        external_id: conversation.external_id.as_deref(),
        display_name: title,
        timestamp: timestamp(at.unwrap_or(conversation.updated_at)),
    };
    // The event id is the revision.
    let revision: &dyn Display = &conversation.revision;
    Some(frame(&event, with_ids.then_some(revision)))
}
