//! The wires of chat front ends: the AI SDK's UI message stream and AG-UI.
//!
//! Their clients post the whole conversation with each turn. Only the user's newest message is read, because the stored
//! messages are authoritative. Errors before the stream begins are a status and a text, which these clients display.

mod agui;
mod body;
mod rewrite;
mod ui;

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use self::body::PersonMessage;
use super::{RestError, fields::json_bytes};
use crate::{
    api::Services,
    chat::SentMessage,
    conversation::{ConversationId, Message, MessageId, Owner, Role, text::without_nul},
    error::{Error, Result},
    work,
};

pub(super) use self::{
    agui::agui,
    ui::{ui_chat, ui_resume, ui_stop},
};

/// Time limit for parsing a received body.
const PARSE_TIME: Duration = Duration::from_secs(5);

/// The largest body, in bytes. Large, because these clients send the whole conversation each time.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// An error, sent as a status and a text.
pub(super) enum TextError {
    /// An error of the service.
    Error(Error),
    /// The newest message is not the user's. It has results of tools that the front end ran, which no model here waits
    /// for.
    NotPersonLast,
}

impl From<Error> for TextError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<RestError> for TextError {
    fn from(RestError(error): RestError) -> Self {
        Self::Error(error)
    }
}

impl IntoResponse for TextError {
    fn into_response(self) -> Response {
        let (error, status) = match self {
            Self::Error(error) => (error, None),
            Self::NotPersonLast => (
                Error::invalid("the newest message must be the user's"),
                Some(StatusCode::BAD_REQUEST),
            ),
        };
        let text = match &error {
            // These clients do not send idempotency keys themselves.
            Error::IdempotencyKeyReused => {
                "the id of the message or of the run was used with another text".to_owned()
            }
            error => error.to_string(),
        };
        // Logs the error, and sets `Retry-After` and `WWW-Authenticate`.
        let mut response = RestError(error).into_response();
        if let Some(status) = status {
            *response.status_mut() = status;
        }
        *response.body_mut() = text.into();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    }
}

/// Parses a request body of these wires; a large one on a blocking thread.
async fn parse<T: for<'de> Deserialize<'de> + Send + 'static>(request: Request) -> Result<T> {
    let bytes = json_bytes(request, MAX_BODY_BYTES).await?;
    work::heavy_if(bytes.len(), PARSE_TIME, move |_| {
        lenient_json::from_client(&bytes).map_err(|error| match error.is_data() {
            // Omit the error's own text, which may quote the message.
            true => Error::invalid(format!(
                "the body is malformed at line {}, column {}",
                error.line(),
                error.column()
            )),
            false => Error::InvalidJson,
        })
    })
    .await?
}

/// Derives an idempotency key from an id that the client chose within a conversation.
fn key_of(wire: &str, conversation: ConversationId, id: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(conversation.0);
    hash.update(id);
    format!("{wire}-{}", hex::encode(hash.finalize()))
}

/// The user's message that is stored under the client's id, whether it was sent on any wire or recorded.
async fn named(
    services: &Services,
    owner: &Owner,
    conversation: ConversationId,
    person: &PersonMessage,
) -> Result<Option<MessageId>> {
    let Some(id) = person.external_id() else {
        return Ok(None);
    };
    let named = services.db.find_named_message(owner, conversation, &id);
    let named = named.await?.filter(|named| named.role == Role::User);
    Ok(named.map(|named| named.id))
}

/// Sends a message. Retries once if another program recorded the message in the meantime, so that the retry finds it.
async fn send_or_find<F>(send: impl Fn() -> F) -> Result<SentMessage>
where
    F: Future<Output = Result<SentMessage>>,
{
    match send().await {
        Err(Error::IdTaken { .. }) => send().await,
        sent => sent,
    }
}

/// Whether a stored message has this text. Also true if the stored text was dropped and cannot be compared.
fn has_text(stored: &Message, person: &PersonMessage) -> bool {
    stored.content.is_empty() || stored.content == without_nul(person.text.clone())
}
