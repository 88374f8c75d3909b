//! Parses requests field by field, so that errors name the field and its type. Treats `null` as absent and ignores
//! unknown fields.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
    http::{HeaderMap, header, request::Parts},
};
use graphql_transport::{BodyError, read_body};
use serde_json::{Map, Value};

use super::RestError;
use crate::{
    api::{MAX_BODY_BYTES, Services, sse::Contract},
    conversation::{ConversationId, ConversationName, MessageId},
    db::cursor::Cursor,
    error::{Error, Result},
};

const LAST_EVENT_ID: &str = "last-event-id";

/// A JSON body that is an object.
pub(in crate::api) struct Body(Map<String, Value>);

impl FromRequest<Arc<Services>> for Body {
    type Rejection = RestError;

    async fn from_request(request: Request, _: &Arc<Services>) -> Result<Self, RestError> {
        match json_body(request).await? {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Error::invalid("the body must be a JSON object").into()),
        }
    }
}

/// Reads a JSON body of any shape.
///
/// # Errors
/// If the content type is not JSON (a page of another origin cannot send JSON without a preflight), or the body is too
/// large or not JSON.
pub(in crate::api) async fn json_body(request: Request) -> Result<Value> {
    let bytes = json_bytes(request, MAX_BODY_BYTES).await?;
    lenient_json::from_client(&bytes).map_err(|_| Error::InvalidJson)
}

/// Reads the bytes of a JSON body.
///
/// # Errors
/// The errors of [`json_body`] except those of parsing.
pub(super) async fn json_bytes(request: Request, limit_bytes: usize) -> Result<Bytes> {
    if !is_json(request.headers()) {
        return Err(Error::UnsupportedMediaType);
    }
    let read = read_body(request.into_body(), limit_bytes).await;
    read.map_err(|error| match error {
        BodyError::TooLarge => Error::PayloadTooLarge { limit_bytes },
        BodyError::Malformed => Error::InvalidJson,
    })
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

impl Body {
    /// Takes an object within a body.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the value is not an object.
    pub(super) fn of(value: Value) -> Result<Self> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(Error::invalid("it must be a JSON object")),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Vec<Value>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values.clone()),
            Some(_) => Err(Error::invalid(format!("{name} must be an array"))),
        }
    }

    /// All fields.
    pub(super) fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Error::invalid(format!("{name} must be a string"))),
        }
    }

    pub(super) fn required_string(&self, name: &str) -> Result<String> {
        self.string(name)?
            .ok_or_else(|| Error::invalid(format!("{name} is missing")))
    }

    pub(super) fn object(&self, name: &str) -> Result<Self> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(Self(Map::new())),
            Some(Value::Object(fields)) => Ok(Self(fields.clone())),
            Some(_) => Err(Error::invalid(format!("{name} must be an object"))),
        }
    }

    pub(super) fn bool(&self, name: &str) -> Result<Option<bool>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(Error::invalid(format!("{name} must be true or false"))),
        }
    }
}

/// The parameters of a query string.
pub(super) struct Params(HashMap<String, String>);

impl FromRequestParts<Arc<Services>> for Params {
    type Rejection = RestError;

    async fn from_request_parts(
        parts: &mut Parts,
        services: &Arc<Services>,
    ) -> Result<Self, RestError> {
        let params = Query::from_request_parts(parts, services).await;
        let Query(params) = params.map_err(|_| Error::invalid("the query string is malformed"))?;
        Ok(Self(params))
    }
}

impl Params {
    /// The value of a parameter. Treats an empty value as absent.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The page size, from 1 to `most`.
    pub(super) fn limit(&self, default: u64, most: u64) -> Result<u64> {
        let Some(text) = self.find("limit") else {
            return Ok(default);
        };
        match text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(Error::invalid(format!("limit must be 1 to {most}"))),
        }
    }

    /// The value of a parameter that must be `true` or `false`.
    pub(super) fn bool(&self, name: &str) -> Result<Option<bool>> {
        match self.find(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Error::invalid(format!("{name} must be true or false"))),
        }
    }

    pub(super) fn cursor<C: Cursor>(&self) -> Result<Option<C>> {
        self.find("cursor").map(C::decode).transpose()
    }

    /// The contract that the request asks for; `None` to use the server's.
    pub(super) fn contract(&self) -> Result<Option<Contract>> {
        let contract = self.find("contract").map(str::parse).transpose();
        contract.map_err(|_| Error::invalid("contract must be legacy or public_sse_v1"))
    }

    /// Whether to send `id:` lines, which clients need to resume.
    pub(super) fn wants_ids(&self, headers: &HeaderMap) -> bool {
        self.find("ids") == Some("true")
            || headers.contains_key(LAST_EVENT_ID)
            || self.last_event_id(headers).is_some()
    }

    /// The id of the last event that a reconnecting client received. Clients that cannot set the header, such as
    /// event-source-polyfill, send it in the query string. Some libraries send an empty one with their first request.
    pub(super) fn last_event_id<'a>(&'a self, headers: &'a HeaderMap) -> Option<&'a str> {
        let header = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
        let parameters = ["lastEventId", "last_event_id"];
        let parameters = parameters.into_iter().filter_map(|name| self.find(name));
        header
            .into_iter()
            .chain(parameters)
            .find(|id| !id.is_empty())
    }
}

/// The conversation that the path names.
pub(super) struct ConversationPath(pub(super) ConversationName);

impl FromRequestParts<Arc<Services>> for ConversationPath {
    type Rejection = RestError;

    async fn from_request_parts(
        parts: &mut Parts,
        services: &Arc<Services>,
    ) -> Result<Self, RestError> {
        let params = RawPathParams::from_request_parts(parts, services)
            .await
            .map_err(|_| Error::invalid("the conversation id must be percent-encoded UTF-8"))?;
        let id = params.iter().find(|(name, _)| *name == "id");
        let name = conversation_name(id.map_or("", |(_, id)| id))?;
        Ok(Self(name))
    }
}

/// Parses the name of a conversation: a server id or an external id.
///
/// # Errors
/// [`Error::InvalidInput`] if it is neither.
pub(in crate::api) fn conversation_name(text: &str) -> Result<ConversationName> {
    ConversationName::parse(text).map_err(|invalid| Error::invalid(invalid.to_string()))
}

/// Parses an external conversation id.
///
/// # Errors
/// [`Error::InvalidInput`] if it is invalid or a UUID.
pub(in crate::api) fn external_name(text: &str) -> Result<ConversationName> {
    ConversationName::external(text).map_err(|invalid| Error::invalid(invalid.to_string()))
}

/// The reply id in the path.
pub(super) struct ReplyPath(pub(super) MessageId);

impl FromRequestParts<Arc<Services>> for ReplyPath {
    type Rejection = RestError;

    async fn from_request_parts(
        parts: &mut Parts,
        services: &Arc<Services>,
    ) -> Result<Self, RestError> {
        let invalid = || Error::invalid("the reply id must be a UUID");
        let params = RawPathParams::from_request_parts(parts, services).await;
        let params = params.map_err(|_| invalid())?;
        let id = params.iter().find(|(name, _)| *name == "reply_id");
        let id = id.and_then(|(_, id)| id.parse().ok());
        Ok(Self(id.ok_or_else(invalid)?))
    }
}

/// Parses a conversation id.
///
/// # Errors
/// [`Error::InvalidInput`] if it is not a UUID.
pub(in crate::api) fn conversation_id(text: &str) -> Result<ConversationId> {
    text.parse()
        .map_err(|_| Error::invalid("the conversation id must be a UUID"))
}

/// Parses a message id.
///
/// # Errors
/// [`Error::InvalidInput`] if it is not a UUID.
pub(in crate::api) fn message_id(text: &str) -> Result<MessageId> {
    text.parse()
        .map_err(|_| Error::invalid("the message id must be a UUID"))
}
