//! The wires of users' clients: requests, and the events that arrive.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::floor::USER;
use crate::{Result, http};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// Titlecast's GraphQL over WebSocket: a mutation, and the subscriptions `reply` and `conversationUpdated`
    Graphql,
    /// Titlecast's `POST /api/v1/chat/stream`
    Legacy,
    /// Titlecast's UI message stream, which the AI SDK's `useChat` reads
    Ui,
    /// Titlecast's AG-UI
    AgUi,
    /// A program of axum and sqlx that runs the same statements
    Floor,
    /// The AI SDK's route on Node
    AiSdk,
}

/// A message to send.
pub struct Message<'a> {
    pub text: &'a str,
    /// The conversation's id on this wire; a client-chosen one if the wire requires that.
    pub conversation: Option<&'a str>,
    /// Whether a new conversation gets a title.
    pub titles: bool,
    /// An id that has not been used before.
    pub fresh: &'a str,
}

const SEND: &str = "mutation ($text: String!, $id: ID, $titles: Boolean!) { \
                    sendMessage(input: { text: $text, conversationId: $id, autoTitle: $titles }) { \
                    conversation { id } } }";

const REPLY: &str = "subscription ($id: ID!) { reply(conversationId: $id) { __typename \
                     ... on ReplySoFar { text } ... on ReplyDelta { text cursor } \
                     ... on ReplyEnded { outcome text } } }";

const LIST: &str =
    "subscription { conversationUpdated { id displayName titleStatus messageCount revision } }";

/// The meaning of one event of a reply.
#[derive(Debug, PartialEq)]
pub enum Said<'a> {
    /// The server's id of the conversation.
    Conversation(Cow<'a, str>),
    Text(Cow<'a, str>),
    /// The reply is complete. Contains the whole text if the wire repeats it.
    Completed(Option<Cow<'a, str>>),
    Failed,
    Other,
}

/// A change of a conversation in an event of a list.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    pub id: String,
    pub display_name: Option<String>,
    #[serde(default)]
    pub title_status: Option<String>,
    pub message_count: usize,
}

impl Wire {
    pub const ALL: [Self; 6] = [
        Self::Floor,
        Self::Graphql,
        Self::Legacy,
        Self::Ui,
        Self::AgUi,
        Self::AiSdk,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Graphql => "titlecast, GraphQL",
            Self::Legacy => "titlecast, legacy stream",
            Self::Ui => "titlecast, UI message stream",
            Self::AgUi => "titlecast, AG-UI",
            Self::Floor => "floor: axum and sqlx",
            Self::AiSdk => "AI SDK on Node",
        }
    }

    /// Whether Titlecast serves this wire.
    pub fn is_ours(self) -> bool {
        !matches!(self, Self::Floor | Self::AiSdk)
    }

    /// Whether a conversation can be started without a title, so that the costs can be separated.
    pub fn has_parts(self) -> bool {
        matches!(self, Self::Graphql | Self::Legacy | Self::Floor)
    }

    /// Whether the client chooses the ids of conversations.
    pub fn makes_ids(self) -> bool {
        matches!(self, Self::Ui | Self::AgUi | Self::AiSdk)
    }

    /// The identity header of a server that trusts its clients.
    pub fn named(user: &str) -> String {
        format!("{USER}: {user}")
    }

    /// The request that sends a message and is answered with the reply; `None` over WebSocket.
    pub fn request(self, header: &str, message: &Message) -> Option<Vec<u8>> {
        let Message {
            text,
            conversation,
            titles,
            fresh,
        } = message;
        let (path, body) = match self {
            Self::Graphql => return None,
            Self::Legacy => (
                "/api/v1/chat/stream",
                json!({ "message": text, "conversation_id": conversation, "context": { "auto_title": titles } }),
            ),
            Self::Ui | Self::AiSdk => {
                let message = json!({ "id": fresh, "role": "user", "parts": [{ "type": "text", "text": text }] });
                let path = match self {
                    Self::Ui => "/api/v1/ui/chat",
                    _ => "/api/chat",
                };
                (
                    path,
                    json!({ "id": conversation, "trigger": "submit-message", "message": message }),
                )
            }
            Self::AgUi => (
                "/api/v1/agui",
                json!({
                    "threadId": conversation, "runId": fresh, "state": {}, "tools": [], "context": [],
                    "forwardedProps": {}, "messages": [{ "id": fresh, "role": "user", "content": text }],
                }),
            ),
            Self::Floor => (
                "/chat",
                json!({ "message": text, "conversation_id": conversation, "titles": titles }),
            ),
        };
        let request = http::request("POST", path, "text/event-stream", Some(&body));
        Some(http::with_header(&request, header))
    }

    /// A message that is read and refused because it is empty. Returns the request, the status of its response, and a
    /// part of the response body.
    pub fn blank(self, header: &str) -> (Vec<u8>, u16, &'static str) {
        let refused = "INVALID_INPUT";
        let (path, body, status, holds) = match self {
            Self::Graphql => {
                let variables = json!({ "text": " ", "titles": true });
                let body = json!({ "query": SEND, "variables": variables });
                ("/graphql", body, 200, refused)
            }
            Self::Floor => ("/chat", json!({ "message": " ", "titles": true }), 422, ""),
            _ => (
                "/api/v1/chat/stream",
                json!({ "message": " " }),
                422,
                refused,
            ),
        };
        let request = http::request("POST", path, "application/json", Some(&body));
        (http::with_header(&request, header), status, holds)
    }

    /// The request for a list's changes; over WebSocket it is [`follow_list`].
    pub fn list(self, header: &str) -> Vec<u8> {
        let request = match self {
            Self::Floor => http::request("GET", "/changes", "text/event-stream", None),
            Self::AiSdk => http::request("GET", "/api/chats", "application/json", None),
            _ => {
                let query = json!({ "query": LIST });
                http::request("POST", "/graphql", "text/event-stream", Some(&query))
            }
        };
        http::with_header(&request, header)
    }

    /// Decodes an event of a reply.
    pub fn said(self, payload: &[u8]) -> Result<Said<'_>> {
        Ok(match self {
            Self::Graphql => graphql(serde_json::from_slice(payload)?),
            Self::Legacy => legacy(serde_json::from_slice(payload)?),
            Self::Floor => by_hand(serde_json::from_slice(payload)?),
            // The last line of this wire is not JSON.
            Self::Ui | Self::AiSdk if payload == b"[DONE]" => Said::Other,
            Self::Ui | Self::AiSdk | Self::AgUi => typed(serde_json::from_slice(payload)?),
        })
    }

    /// Decodes an event of a list; `None` if it is not a change.
    pub fn change(self, payload: &[u8]) -> Result<Option<Change>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            conversation_updated: Change,
        }
        #[derive(Deserialize)]
        struct Answer {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Next {
            payload: Answer,
        }
        Ok(Some(match self {
            Self::Floor => serde_json::from_slice(payload)?,
            Self::Graphql => {
                let next: Next = serde_json::from_slice(payload)?;
                next.payload.data.conversation_updated
            }
            _ => {
                let answer: Answer = serde_json::from_slice(payload)?;
                answer.data.conversation_updated
            }
        }))
    }
}

/// The message that sends a chat message over a WebSocket.
pub fn send(id: &str, message: &Message) -> Value {
    let variables =
        json!({ "text": message.text, "id": message.conversation, "titles": message.titles });
    subscribe(id, &json!({ "query": SEND, "variables": variables }))
}

pub fn follow_reply(id: &str, conversation: &str) -> Value {
    subscribe(
        id,
        &json!({ "query": REPLY, "variables": { "id": conversation } }),
    )
}

pub fn follow_list() -> Value {
    subscribe("list", &json!({ "query": LIST }))
}

fn subscribe(id: &str, payload: &Value) -> Value {
    json!({ "type": "subscribe", "id": id, "payload": payload })
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    r#type: &'a str,
    #[serde(borrow)]
    payload: Option<Executed<'a>>,
}

#[derive(Deserialize)]
struct Executed<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    reply: Option<ReplyEvent<'a>>,
    send_message: Option<Sent>,
}

#[derive(Deserialize)]
struct Sent {
    conversation: Identified,
}

#[derive(Deserialize)]
struct Identified {
    id: String,
}

#[derive(Deserialize)]
struct ReplyEvent<'a> {
    #[serde(rename = "__typename")]
    kind: &'a str,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    outcome: Option<&'a str>,
}

fn graphql(frame: Frame<'_>) -> Said<'_> {
    let data = match (frame.r#type, frame.payload) {
        ("complete", _) => return Said::Other,
        ("next", Some(Executed { data: Some(data) })) => data,
        _ => return Said::Failed,
    };
    match data {
        Data {
            send_message: Some(sent),
            ..
        } => Said::Conversation(sent.conversation.id.into()),
        Data {
            reply: Some(event), ..
        } => match (event.kind, event.text, event.outcome) {
            ("ReplySoFar" | "ReplyDelta", Some(text), _) => Said::Text(text),
            ("ReplyEnded", text, Some("COMPLETED")) => Said::Completed(text),
            _ => Said::Failed,
        },
        _ => Said::Failed,
    }
}

#[derive(Deserialize)]
struct LegacyEvent<'a> {
    kind: &'a str,
    conversation_id: &'a str,
    raw_type: Option<&'a str>,
    #[serde(borrow)]
    text_delta: Option<Cow<'a, str>>,
    #[serde(borrow)]
    response_text: Option<Cow<'a, str>>,
}

fn legacy(event: LegacyEvent<'_>) -> Said<'_> {
    match (event.kind, event.raw_type) {
        ("error", _) | (_, Some("response.incomplete")) => Said::Failed,
        (_, Some("response.created")) => Said::Conversation(event.conversation_id.into()),
        (_, Some("response.completed")) => match event.response_text {
            None => Said::Failed,
            text => Said::Completed(text),
        },
        _ => event.text_delta.map_or(Said::Other, Said::Text),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypedEvent<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    delta: Option<Cow<'a, str>>,
    #[serde(borrow)]
    thread_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message_metadata: Option<Metadata<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    conversation_id: Option<Cow<'a, str>>,
    outcome: Option<&'a str>,
}

/// Decodes events of the UI message stream and AG-UI, both of which have a type.
fn typed(event: TypedEvent<'_>) -> Said<'_> {
    let metadata = event.message_metadata;
    match (event.r#type, event.delta) {
        ("text-delta" | "TEXT_MESSAGE_CONTENT", Some(text)) => Said::Text(text),
        ("start", _) => metadata
            .and_then(|metadata| metadata.conversation_id)
            .map_or(Said::Other, Said::Conversation),
        ("RUN_STARTED", _) => event.thread_id.map_or(Said::Other, Said::Conversation),
        ("finish", _) => match metadata.and_then(|metadata| metadata.outcome) {
            None | Some("completed") => Said::Completed(None),
            Some(_) => Said::Failed,
        },
        ("RUN_FINISHED", _) => Said::Completed(None),
        ("error" | "abort" | "RUN_ERROR", _) => Said::Failed,
        _ => Said::Other,
    }
}

#[derive(Deserialize)]
struct FloorEvent<'a> {
    conversation_id: Option<&'a str>,
    #[serde(borrow)]
    delta: Option<Cow<'a, str>>,
    #[serde(borrow)]
    done: Option<Cow<'a, str>>,
}

fn by_hand(event: FloorEvent<'_>) -> Said<'_> {
    match (event.conversation_id, event.delta, event.done) {
        (Some(id), _, _) => Said::Conversation(id.into()),
        (_, Some(text), _) => Said::Text(text),
        (_, _, Some(text)) => Said::Completed(Some(text)),
        _ => Said::Other,
    }
}
