//! Messages and close codes of both subprotocols, without I/O.

use axum::body::Bytes;
use serde_json::{Value, json};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

use crate::{direct::Encode, payload::Payload};

/// A subprotocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `graphql-transport-ws`.
    Transport,
    /// `graphql-ws`, the older one.
    Legacy,
}

/// A client's message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Received {
    Init(Option<Value>),
    Ping(Option<Value>),
    Pong,
    Subscribe { id: String, payload: Value },
    Complete { id: String },
    Terminate,
}

/// Close codes of WebSockets (RFC 6455, section 7.4) and of the subprotocols. Clients of graphql-ws reconnect after
/// 1012, 1013, 4403 and 4408, and give up after the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray)]
#[repr(u16)]
pub enum CloseCode {
    /// The peer terminated the session.
    Normal = 1000,
    /// A frame does not follow RFC 6455.
    Protocol = 1002,
    /// A text message is not valid UTF-8.
    NotUtf8 = 1007,
    /// A message exceeds the size limit.
    TooBig = 1009,
    /// The server is shutting down.
    Restart = 1012,
    /// The caller has too many open streams, or the peer has stalled.
    TryAgain = 1013,
    /// A message does not follow the protocol.
    Invalid = 4400,
    /// The token is missing or invalid, or the session has not been acknowledged yet.
    Unauthorized = 4401,
    /// The token has expired, or the origin is forbidden. Clients reconnect, and can then send a new token.
    Forbidden = 4403,
    /// The server supports none of the client's subprotocols.
    Subprotocol = 4406,
    /// No `connection_init` arrived in time.
    InitTimeout = 4408,
    /// The id belongs to a running operation.
    Duplicate = 4409,
    /// A second `connection_init`.
    TooManyInits = 4429,
}

impl CloseCode {
    /// The code as a number.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The reason text that the protocols define.
    fn name(self) -> &'static str {
        match self {
            Self::Normal | Self::Invalid | Self::Duplicate => "",
            Self::Protocol => "Protocol error",
            Self::NotUtf8 => "Invalid UTF-8",
            Self::TooBig => "Message too big",
            Self::Restart => "Service restart",
            Self::TryAgain => "Try again later",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::Subprotocol => "Subprotocol not acceptable",
            Self::InitTimeout => "Connection initialisation timeout",
            Self::TooManyInits => "Too many initialisation requests",
        }
    }
}

/// A close code and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: CloseCode,
    reason: String,
}

impl From<CloseCode> for Close {
    fn from(code: CloseCode) -> Self {
        Self {
            code,
            reason: code.name().to_owned(),
        }
    }
}

impl Close {
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self {
            code: CloseCode::Invalid,
            reason: reason.into(),
        }
    }

    pub(super) fn duplicate(id: &str) -> Self {
        Self {
            code: CloseCode::Duplicate,
            reason: format!("Subscriber for {id} already exists"),
        }
    }

    /// The reason, truncated to the 123 bytes that a close frame can hold.
    pub(super) fn reason(&self) -> &str {
        &self.reason[..self.reason.floor_char_boundary(123)]
    }
}

impl Protocol {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "graphql-transport-ws" => Some(Self::Transport),
            "graphql-ws" => Some(Self::Legacy),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Transport => "graphql-transport-ws",
            Self::Legacy => "graphql-ws",
        }
    }

    /// Parses a message.
    ///
    /// # Errors
    /// The close code, if the message does not follow the protocol.
    pub(super) fn read(self, text: &str) -> Result<Received, Close> {
        let message: Value = lenient_json::from_client(text.as_bytes())
            .map_err(|_| Close::invalid("Invalid message: not JSON"))?;
        let Some(kind) = message.get("type").and_then(Value::as_str) else {
            return Err(Close::invalid("Invalid message: no type"));
        };
        let payload = || {
            let payload = message.get("payload");
            payload.filter(|payload| !payload.is_null()).cloned()
        };
        // The payload of these messages is an object or absent.
        let object = || match payload() {
            None => Ok(None),
            Some(payload) if payload.is_object() => Ok(Some(payload)),
            Some(_) => Err(Close::invalid(format!(
                "Invalid {kind}: payload must be an object"
            ))),
        };
        let id = || match message.get("id").and_then(Value::as_str) {
            Some(id) if !id.is_empty() => Ok(id.to_owned()),
            _ => Err(Close::invalid(format!(
                "Invalid {kind}: id must be a string"
            ))),
        };
        let subscribe = || {
            let payload = object()?.unwrap_or(Value::Null);
            let query = payload.get("query");
            let is_named =
                payload.get("extensions").is_some() || payload.get("documentId").is_some();
            if !query.is_some_and(Value::is_string) && !is_named {
                return Err(Close::invalid(format!(
                    "Invalid {kind}: query must be a string"
                )));
            }
            Ok(Received::Subscribe { id: id()?, payload })
        };
        match (self, kind) {
            (_, "connection_init") => object().map(Received::Init),
            (Self::Transport, "ping") => object().map(Received::Ping),
            (Self::Transport, "pong") => object().map(|_| Received::Pong),
            (Self::Transport, "subscribe") | (Self::Legacy, "start") => subscribe(),
            (Self::Transport, "complete") | (Self::Legacy, "stop") => {
                Ok(Received::Complete { id: id()? })
            }
            (Self::Legacy, "connection_terminate") => Ok(Received::Terminate),
            _ => Err(Close::invalid("Invalid message: unknown type")),
        }
    }

    pub(super) fn ack(self) -> Vec<String> {
        let ack = json!({ "type": "connection_ack" }).to_string();
        // Clients of the older protocol expect the first keep-alive at once, then regular ones.
        std::iter::once(ack).chain(self.keep_alive()).collect()
    }

    /// The message sent to a rejected client before its socket is closed, if the protocol has one.
    pub(super) fn rejection(self, message: &str) -> Option<String> {
        match self {
            Self::Transport => None,
            Self::Legacy => {
                let payload = json!({ "message": message });
                Some(json!({ "type": "connection_error", "payload": payload }).to_string())
            }
        }
    }

    /// The protocol's own keep-alive message, sent in addition to WebSocket pings.
    pub(super) fn keep_alive(self) -> Option<String> {
        match self {
            Self::Transport => None,
            Self::Legacy => Some(json!({ "type": "ka" }).to_string()),
        }
    }

    pub(super) fn pong(payload: Option<Value>) -> String {
        match payload {
            Some(payload) => json!({ "type": "pong", "payload": payload }).to_string(),
            None => json!({ "type": "pong" }).to_string(),
        }
    }

    /// A response of an operation.
    pub(super) fn next(self, id: &str, payload: &Payload) -> String {
        // serde writes UTF-8.
        let json = std::str::from_utf8(&payload.json).unwrap_or("null");
        format!("{}{json}}}", self.next_head(id))
    }

    /// The start of such a message, up to the payload; a `}` closes it.
    fn next_head(self, id: &str) -> String {
        match self {
            Self::Transport => head("next", id),
            Self::Legacy => head("data", id),
        }
    }

    /// The errors of an operation that was not executed; its last message.
    pub(super) fn error(self, id: &str, errors: &Bytes) -> String {
        match self {
            Self::Transport => {
                // serde writes UTF-8.
                let errors = std::str::from_utf8(errors).unwrap_or("null");
                format!("{}{errors}}}", head("error", id))
            }
            Self::Legacy => {
                // The older protocol carries a single error, not a list.
                let errors: Value = serde_json::from_slice(errors).unwrap_or_default();
                json!({ "type": "error", "id": id, "payload": errors[0] }).to_string()
            }
        }
    }

    pub(super) fn complete(self, id: &str) -> String {
        json!({ "type": "complete", "id": id }).to_string()
    }
}

/// Encodes the responses of one operation as WebSocket frames.
pub(super) struct Frames {
    head: Box<str>,
}

impl Frames {
    pub(super) fn new(protocol: Protocol, id: &str) -> Self {
        Self {
            head: protocol.next_head(id).into(),
        }
    }
}

impl Encode for Frames {
    fn encode(&self, payload: &Payload, bytes: &mut Vec<u8>) {
        let length = self.head.len() + payload.json.len() + 1;
        let header = FrameHeader {
            opcode: OpCode::Data(Data::Text),
            ..FrameHeader::default()
        };
        bytes.reserve(header.len(length as u64) + length);
        // Writing to memory cannot fail.
        let _ = header.format(length as u64, bytes);
        bytes.extend_from_slice(self.head.as_bytes());
        bytes.extend_from_slice(&payload.json);
        bytes.push(b'}');
    }
}

/// The start of a message, up to its payload.
fn head(kind: &str, id: &str) -> String {
    let id = Value::from(id);
    format!(r#"{{"type":"{kind}","id":{id},"payload":"#)
}
