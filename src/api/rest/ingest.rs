//! `POST /api/v1/conversations/{id}/messages`: records messages of another program, without generating a reply.
//!
//! The body is one message, an array, or NDJSON. Arrays and NDJSON are stored completely or not at all.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use graphql_transport::{BodyError, read_body};
use serde_json::Value;

use super::{
    RestError,
    answers::{RecordAnswer, RecordedItem},
    authorized::{Authorized, ToIngest},
    bodies::RecordRequest,
    fields::{Body, ConversationPath, message_id},
};
use crate::{
    api::Services,
    chat::{MAX_RECORDED_MESSAGES, RecordMessage},
    conversation::{Attachment, Message, Role},
    error::{Error, Result},
    work,
};

/// The largest body, in bytes.
const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// Time limit for parsing a body.
const PARSING: Duration = Duration::from_secs(5);

/// The content types with one JSON value per line.
const NDJSON: [&str; 4] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
];

/// Records messages of another program. No reply is generated.
///
/// Idempotent: a message with the same id, role, content and attachments is stored once.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/messages", operation_id = "recordMessages", tag = "recording",
    request_body(
        description = "One message, a list, or one message per line (NDJSON); at most 500 messages and 1 MiB",
        content((RecordRequest = "application/json"), (String = "application/x-ndjson")),
    ),
    security(("bearer" = ["conversations:ingest"])),
    responses(
        (status = 201, description = "Stored", body = RecordAnswer),
        (status = 200, description = "All messages were already stored", body = RecordAnswer),
    ),
    extensions(("x-error-codes" = json!(["ID_TAKEN"]))),
)]
pub(super) async fn record(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToIngest>,
    ConversationPath(name): ConversationPath,
    Messages(messages): Messages,
) -> Result<Response, RestError> {
    let is_list = matches!(messages, OneOrMany::Many(_));
    let messages = match messages {
        OneOrMany::One(message) => vec![*message],
        OneOrMany::Many(messages) => messages,
    };
    let (actor, _) = caller.within(&services, &name).await?;
    let recorded = services.chat.record(&actor, &name, messages).await?;
    let conversation = &recorded.conversation;
    let mut answer = RecordAnswer {
        conversation_id: conversation.id.to_string(),
        external_id: conversation.external_id.clone(),
        message_id: None,
        status: None,
        items: None,
    };
    let mut items: Vec<RecordedItem> = recorded.messages.iter().map(item).collect();
    match items.pop() {
        Some(item) if !is_list => {
            answer.message_id = Some(item.message_id);
            answer.status = Some(item.status);
        }
        last => {
            items.extend(last);
            answer.items = Some(items);
        }
    }
    let status = match recorded.messages.iter().any(|(_, is_new)| *is_new) {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, Json(answer)).into_response())
}

fn item((message, is_new): &(Message, bool)) -> RecordedItem {
    RecordedItem {
        message_id: message.id.to_string(),
        status: match is_new {
            true => "created",
            false => "exists",
        },
    }
}

enum OneOrMany<T> {
    One(Box<T>),
    Many(Vec<T>),
}

/// The messages in a body.
pub(super) struct Messages(OneOrMany<RecordMessage>);

impl FromRequest<Arc<Services>> for Messages {
    type Rejection = RestError;

    async fn from_request(request: Request, _: &Arc<Services>) -> Result<Self, RestError> {
        let is_ndjson = match essence(request.headers()) {
            Some(essence) if essence.eq_ignore_ascii_case("application/json") => false,
            Some(essence) if NDJSON.iter().any(|name| essence.eq_ignore_ascii_case(name)) => true,
            _ => return Err(Error::UnsupportedMediaType.into()),
        };
        let bytes = read_body(request.into_body(), MAX_RECORD_BYTES).await;
        let bytes = bytes.map_err(|error| match error {
            BodyError::TooLarge => Error::PayloadTooLarge {
                limit_bytes: MAX_RECORD_BYTES,
            },
            BodyError::Malformed => Error::InvalidJson,
        })?;
        let parsing = work::heavy_if(bytes.len(), PARSING, move |_| parsed(&bytes, is_ndjson));
        Ok(Self(parsing.await??))
    }
}

fn essence(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

fn parsed(bytes: &Bytes, is_ndjson: bool) -> Result<OneOrMany<RecordMessage>> {
    let value = |bytes: &[u8]| lenient_json::from_client(bytes).map_err(|_| Error::InvalidJson);
    let values = match is_ndjson {
        true => {
            let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
            // Parse one line more than allowed, which is enough to refuse the body.
            let lines = lines.take(MAX_RECORDED_MESSAGES + 1);
            let values =
                lines.map(|(number, line)| value(line).map_err(|error| error.of_line(number)));
            values.collect::<Result<Vec<Value>>>()?
        }
        false => match value(bytes)? {
            Value::Array(values) => values,
            one => return Ok(OneOrMany::One(Box::new(message(one)?))),
        },
    };
    if !(1..=MAX_RECORDED_MESSAGES).contains(&values.len()) {
        let text = format!("a request must have 1 to {MAX_RECORDED_MESSAGES} messages");
        return Err(Error::invalid(text));
    }
    let messages = values.into_iter().enumerate().map(|(place, value)| {
        let message = message(value);
        message.map_err(|error| error.of_item("messages", place))
    });
    Ok(OneOrMany::Many(messages.collect::<Result<_>>()?))
}

/// Reads a message from its JSON object.
fn message(value: Value) -> Result<RecordMessage> {
    let fields = Body::of(value)?;
    let role = match fields.required_string("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => {
            return Err(Error::invalid_field(
                "role",
                "role must be user or assistant",
            ));
        }
    };
    let id = fields.string("message_id")?;
    Ok(RecordMessage {
        role,
        text: fields.string("content")?.unwrap_or_default(),
        attachments: attachments(&fields)?,
        message_id: id.as_deref().map(message_id).transpose()?,
        external_id: fields.string("external_id")?,
        created_at: time(&fields)?,
        agent: fields.string("agent")?,
        topic_hint: fields.string("topic_hint")?,
        auto_title: fields.bool("auto_title")?.unwrap_or(true),
    })
}

fn attachments(fields: &Body) -> Result<Vec<Attachment>> {
    let files = fields.list("attachments")?.into_iter().map(|file| {
        let file = Body::of(file)?;
        let name = file.string("name")?.unwrap_or_default();
        Attachment::new(&name, file.string("media_type")?)
            .map_err(|invalid| Error::invalid_field("attachments", invalid.to_string()))
    });
    files.collect()
}

fn time(fields: &Body) -> Result<Option<DateTime<Utc>>> {
    let Some(text) = fields.string("created_at")? else {
        return Ok(None);
    };
    let time = DateTime::parse_from_rfc3339(&text);
    time.map(|time| Some(time.to_utc())).map_err(|_| {
        let text = "created_at must be a time with an offset, such as 2026-01-31T12:00:00Z";
        Error::invalid_field("created_at", text)
    })
}
