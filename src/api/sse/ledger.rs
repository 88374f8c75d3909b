//! Replays stored replies as `public_sse_v1`: rebuilds the events of a turn's stream from the rows.
//!
//! The text is a single `message.delta`, because its pieces are not stored. Neither are the provider's response ids. A
//! reply always has the same events, so clients recognise them by `stream_id` and `event_id`.

use std::sync::Arc;

use axum::{body::Bytes, response::Response};
use chrono::{DateTime, Utc};
use futures_util::Stream;
use graphql_transport::one_line;
use tokio_util::sync::CancellationToken;

use super::{
    public::{Event, PublicEncoder},
    response,
};
use crate::{
    api::{
        Services,
        turn::{TurnEvent, beginning},
    },
    chat::replayed_end,
    conversation::{Conversation, Message, MessageId, Part, Usage},
    events::ReplySnapshot,
};

/// A stored reply with everything that its events are built from.
pub(in crate::api) struct StoredReply {
    pub(in crate::api) message: Message,
    /// When the message it answers was stored, if known.
    pub(in crate::api) asked_at: Option<DateTime<Utc>>,
    pub(in crate::api) parts: Vec<Part>,
    pub(in crate::api) usage: Option<Usage>,
    /// Why the reply is incomplete, if known.
    pub(in crate::api) reason: Option<String>,
}

/// The events of a stored reply, one line of JSON each.
pub(in crate::api) fn replay(conversation: &Arc<Conversation>, reply: StoredReply) -> Vec<String> {
    let StoredReply {
        message,
        asked_at,
        parts,
        usage,
        reason,
    } = reply;
    let ended_at = message.created_at;
    // Clients place tool calls by time, so they must come after the message being answered.
    let mut encoder = PublicEncoder::replay(conversation, message.id, asked_at.unwrap_or(ended_at));
    let mut events = encoder.events(&TurnEvent::Started(conversation.clone()));
    let snapshot = ReplySnapshot {
        text: message.content.as_str().into(),
        length: message.content.len(),
        recovered: true,
        parts: parts.into_iter().map(Arc::new).collect(),
    };
    for event in beginning(&snapshot) {
        events.extend(encoder.events(&event));
    }
    encoder.set_time(ended_at);
    let end = Arc::new(replayed_end(message, usage, reason.as_deref()));
    events.extend(encoder.events(&TurnEvent::Ended(conversation.clone(), end)));
    events.iter().map(line).collect()
}

/// The events of a running reply: so far, only the first.
pub(in crate::api) fn replay_begun(
    conversation: &Arc<Conversation>,
    reply: MessageId,
) -> Vec<String> {
    let mut encoder = PublicEncoder::replay(conversation, reply, conversation.updated_at);
    let events = encoder.events(&TurnEvent::Started(conversation.clone()));
    events.iter().map(line).collect()
}

fn line(event: &Event) -> String {
    // Serialising strings and numbers to memory cannot fail.
    one_line(serde_json::to_string(event).unwrap_or_else(|_| "{}".into()))
}

/// Streams replayed events. `cut` aborts the response, so that clients do not mistake a part for the whole.
pub(in crate::api) fn respond(
    services: &Services,
    lines: impl Stream<Item = Bytes> + Send + 'static,
    cut: CancellationToken,
) -> Response {
    response(lines, services.keep_alive, cut)
}
