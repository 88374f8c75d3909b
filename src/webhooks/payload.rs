//! The body of an event, as documented in docs/webhooks.md.
//!
//! Rows are read when the event is sent: `data.revision` is the announced change, and `data.conversation.revision` the
//! sent state, which may be newer.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::{
    conversation::{Conversation, ConversationId, Message, Owner},
    db::{Turn, WebhookContent, WebhookEvent},
};

/// The body of an event.
pub(super) fn body(
    owner: &Owner,
    conversation: ConversationId,
    event: &WebhookEvent,
    content: &WebhookContent,
    include_text: bool,
) -> Vec<u8> {
    let mut data = Map::new();
    let mut set = |key: &str, value: Value| data.insert(key.to_owned(), value);
    set("tenant", json!(owner.tenant));
    set("user", json!(owner.user));
    set("conversation_id", json!(conversation.to_string()));
    set("revision", json!(event.revision));
    let row = content.conversation.as_ref();
    set(
        "conversation",
        row.map_or(Value::Null, |row| conversation_of(row, include_text)),
    );
    let message = content.message.as_ref();
    match event.kind.as_str() {
        "conversation.message_stored" => {
            let message = message.map(|message| message_of(message, include_text));
            set("message", message.unwrap_or_default());
        }
        "conversation.reply_ended" => {
            let reply = content.turn.as_ref();
            let reply = reply.map(|turn| reply_of(turn, message, include_text));
            set("reply", reply.unwrap_or_default());
        }
        _ => {}
    }
    let body = json!({
        "type": event.kind,
        "timestamp": time(event.at),
        "data": data,
    });
    body.to_string().into_bytes()
}

fn conversation_of(row: &Conversation, include_text: bool) -> Value {
    let mut fields = json!({
        "id": row.id.to_string(),
        "external_id": row.external_id,
        "status": <&str>::from(row.status),
        "revision": row.revision,
        "agent": row.active_agent,
        "title_status": <&str>::from(row.title_status),
        "title_source": <&str>::from(row.title_source),
        "message_count": row.message_count,
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at),
        "last_message_at": time(row.last_message_at),
        "archived_at": row.archived_at.map(time),
        "pinned_at": row.pinned_at.map(time),
    });
    if include_text {
        fields["title"] = json!(row.display_name);
        fields["topic_hint"] = json!(row.topic_hint);
    }
    fields
}

fn message_of(message: &Message, include_text: bool) -> Value {
    let mut fields = json!({
        "id": message.id.to_string(),
        "external_id": message.external_id,
        "role": <&str>::from(message.role),
        // Null: the owner of the conversation.
        "author": message.author,
        // A message that was replaced in the meantime has no position.
        "position": message.is_counted.then_some(message.position),
        "status": <&str>::from(message.status),
        "in_reply_to": message.in_reply_to.map(|id| id.to_string()),
        "created_at": time(message.created_at),
    });
    if include_text {
        fields["content"] = json!(message.content);
        fields["attachments"] = json!(message.attachments);
    }
    fields
}

fn reply_of(turn: &Turn, message: Option<&Message>, include_text: bool) -> Value {
    let outcome = message.and_then(|message| message.outcome);
    let outcome = outcome.map_or(turn.reply.into(), <&str>::from);
    let mut fields = json!({
        "id": turn.reply_id.to_string(),
        "in_reply_to": turn.message_id.to_string(),
        "outcome": outcome,
        "failure": turn.failure.map(|code| code.as_str()),
        // Whether it is a message of the conversation, which has a separate event.
        "is_message": message.is_some_and(|message| message.is_counted),
        "model": message.and_then(|message| message.model.as_deref()),
    });
    if include_text {
        fields["content"] = json!(message.map(|message| message.content.as_str()));
    }
    fields
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
