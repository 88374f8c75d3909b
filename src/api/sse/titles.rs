//! The title of one conversation, live: `GET /api/v1/conversations/{id}/stream`.

use std::sync::Arc;

use axum::{body::Bytes, response::Response};
use futures_util::{StreamExt, future::ready};
use serde::Serialize;

use super::{
    chat::{timestamp, title_event},
    frame::frame,
    response,
};
use crate::{
    api::{Services, watch},
    conversation::{Conversation, ConversationId, Owner, TitleSource},
    error::Result,
};

#[derive(Serialize)]
struct TitleEvent<'a> {
    kind: &'static str,
    conversation_id: String,
    display_name: &'a str,
    timestamp: String,
}

/// The present title at once, then one event a change, until the conversation is deleted.
///
/// # Errors
/// [`NotFound`](crate::error::Error::NotFound) when the owner does not have the conversation.
pub(in crate::api) async fn respond(
    services: Arc<Services>,
    owner: &Owner,
    id: ConversationId,
    with_ids: bool,
) -> Result<Response> {
    let states = watch::conversation(services.clone(), owner, id).await?;
    let frames = states
        .scan(None, move |sent, conversation| {
            ready(Some(new_title(sent, &conversation, with_ids)))
        })
        .filter_map(ready)
        .take_until(services.closing.clone().cancelled_owned());
    Ok(response(frames, services.keep_alive))
}

/// The frame of a title that was not sent before.
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
    // The revision: a client that comes back says which one it has.
    let id = with_ids.then(|| conversation.revision.unsigned_abs());
    Some(frame(&event, id))
}
