//! External replies: `POST /api/v1/conversations/{id}/replies` opens a reply, or uploads one as a stream; `…/append`
//! and `…/finish` write it in steps; `GET …/replies/{reply_id}` returns its progress.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Extension, FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{
    RestError,
    answers::ReplyAnswer,
    authorized::{Authorized, ToIngest},
    bodies::{AppendRequest, FinishRequest, OpenReplyRequest, UploadParams},
    fields::{Body, ConversationPath, Params, ReplyPath, is_json, message_id},
};
use crate::{
    api::{Services, limits::reply_permit},
    chat::{
        external::{Append, FinishReply, OpenReply, ReplyProgress, UploadReply, Uploaded},
        upload::{self, Format, UploadBody, parts},
    },
    conversation::{ConversationId, MessageId, Owner, PartContent},
    error::{Error, Result},
    server::BodyDeadline,
};

/// How long the rest of an upload is read and discarded before it is answered.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Opens a reply if the body is JSON; uploads a reply if the body has another type.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/replies", operation_id = "createReply", tag = "recording",
    params(UploadParams),
    request_body(
        description = "JSON opens a reply. Any other type uploads one, which is stored as it arrives: lines of NDJSON, or a \
            provider's stream unchanged (docs/ingest.md)",
        content(
            (OpenReplyRequest = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/event-stream"),
        ),
    ),
    security(("bearer" = ["conversations:ingest"])),
    responses(
        (status = 201, description = "The reply is open; after an upload, it has ended", body = ReplyAnswer),
        (status = 200, description = "The reply exists already: it is open, or it had ended and nothing was written", body = ReplyAnswer),
        (status = 202, description = "The upload ended without an end of the reply, which stays open", body = ReplyAnswer),
    ),
    extensions(("x-error-codes" = json!([
        "UNKNOWN_FORMAT", "ID_TAKEN", "OFFSET_MISMATCH", "REPLY_BUSY", "REPLY_STOPPED", "REPLY_ENDED",
    ]))),
)]
pub(super) async fn create(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToIngest>,
    ConversationPath(name): ConversationPath,
    params: Params,
    deadline: Option<Extension<BodyDeadline>>,
    request: Request,
) -> Result<Response, RestError> {
    let (actor, id) = caller.within(&services, &name).await?;
    let owner = actor.owner;
    if is_json(request.headers()) {
        return open(&services, caller, (&owner, id), request).await;
    }
    let upload = UploadReply {
        open: OpenReply {
            conversation_id: id,
            reply_id: params.find("reply_id").map(message_id).transpose()?,
            in_reply_to: params.find("in_reply_to").map(message_id).transpose()?,
            agent: params.find("agent").map(str::to_owned),
        },
        offset: match params.find("offset") {
            None => 0,
            Some(offset) => offset
                .parse()
                .map_err(|_| Error::invalid_field("offset", OFFSET))?,
        },
    };
    let format = format(&params, request.headers())?;
    // Lift the deadline: the body limits its own pauses, and `chat` limits the length of the reply.
    if let Some(Extension(deadline)) = deadline {
        deadline.lift();
    }
    let (idle, reply_deadline) = services.upload_limits;
    let body = UploadBody::new(request.into_body(), idle);
    let uploaded = async {
        // Check that the conversation exists before reading anything.
        services.db.conversation(&owner, id).await?;
        let events = upload::decode(&body, format, reply_deadline).await?;
        let permit = reply_permit(&services, &caller.rate_limit_key);
        services
            .chat
            .upload_reply(&owner, upload, events, permit)
            .await
    };
    let uploaded = uploaded.await;
    body.discard(DISCARD_TIME).await;
    Ok(match uploaded? {
        Uploaded::Ended { progress, is_new } => {
            let status = match is_new {
                true => StatusCode::CREATED,
                false => StatusCode::OK,
            };
            let message = message(&services, &owner, progress).await?;
            (status, Json(message)).into_response()
        }
        Uploaded::Cut(progress) => (StatusCode::ACCEPTED, Json(answer(progress))).into_response(),
    })
}

const OFFSET: &str = "offset must be a number of bytes";

async fn open(
    services: &Arc<Services>,
    caller: Authorized<ToIngest>,
    (owner, conversation_id): (&Owner, ConversationId),
    request: Request,
) -> Result<Response, RestError> {
    let body = Body::from_request(request, services).await?;
    let id = |name: &str| -> Result<Option<MessageId>> {
        body.string(name)?.as_deref().map(message_id).transpose()
    };
    let open = OpenReply {
        conversation_id,
        reply_id: id("reply_id")?,
        in_reply_to: id("in_reply_to")?,
        agent: body.string("agent")?,
    };
    let permit = reply_permit(services, &caller.rate_limit_key);
    let (progress, is_new) = services.chat.open_reply(owner, open, permit).await?;
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, Json(answer(progress))).into_response())
}

/// Appends to a reply. When the request is answered, the text up to `offset` is stored.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/replies/{reply_id}/append", operation_id = "appendReply", tag = "recording",
    request_body = AppendRequest,
    security(("bearer" = ["conversations:ingest"])),
    responses((status = 200, description = "Stored", body = ReplyAnswer)),
    extensions(("x-error-codes" = json!(["OFFSET_MISMATCH", "REPLY_BUSY", "REPLY_STOPPED", "REPLY_ENDED"]))),
)]
pub(super) async fn append(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToIngest>,
    ConversationPath(name): ConversationPath,
    ReplyPath(reply): ReplyPath,
    body: Body,
) -> Result<Json<ReplyAnswer>, RestError> {
    let (actor, id) = caller.within(&services, &name).await?;
    let append = Append {
        offset: body
            .fields()
            .get("offset")
            .and_then(Value::as_u64)
            .and_then(|offset| offset.try_into().ok())
            .ok_or_else(|| Error::invalid_field("offset", OFFSET))?,
        text: match body.string("text")? {
            None => String::new(),
            Some(_) => parts::text(body.fields())?,
        },
        parts: appended_parts(&body)?,
    };
    let permit = reply_permit(&services, &caller.rate_limit_key);
    let progress = services
        .chat
        .append_reply(&actor.owner, (id, reply), append, permit)
        .await?;
    Ok(Json(answer(progress)))
}

fn appended_parts(body: &Body) -> Result<Vec<PartContent>> {
    let list = match body.fields().get("parts") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(Error::invalid("parts must be a list of objects")),
    };
    parts::check_count(list.len())?;
    list.iter()
        .map(|part| match part {
            Value::Object(fields) => parts::part(fields),
            _ => Err(Error::invalid("each part must be an object")),
        })
        .collect()
}

/// Ends a reply.
#[utoipa::path(
    post, path = "/api/v1/conversations/{id}/replies/{reply_id}/finish", operation_id = "finishReply", tag = "recording",
    request_body = FinishRequest,
    security(("bearer" = ["conversations:ingest"])),
    responses((status = 200, description = "The reply has ended", body = ReplyAnswer)),
    extensions(("x-error-codes" = json!(["OFFSET_MISMATCH", "REPLY_BUSY", "REPLY_STOPPED", "REPLY_ENDED"]))),
)]
pub(super) async fn finish(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToIngest>,
    ConversationPath(name): ConversationPath,
    ReplyPath(reply): ReplyPath,
    body: Body,
) -> Result<Json<ReplyAnswer>, RestError> {
    let (actor, id) = caller.within(&services, &name).await?;
    let fields = body.fields();
    let finish = FinishReply {
        outcome: parts::outcome(fields)?,
        usage: parts::usage(fields)?,
        model: parts::model(fields)?,
    };
    let permit = reply_permit(&services, &caller.rate_limit_key);
    let progress = services
        .chat
        .finish_reply(&actor.owner, (id, reply), finish, permit)
        .await?;
    Ok(Json(answer(progress)))
}

/// Returns the progress of a reply.
#[utoipa::path(
    get, path = "/api/v1/conversations/{id}/replies/{reply_id}", operation_id = "getReply", tag = "recording",
    security(("bearer" = ["conversations:ingest"])),
    responses((status = 200, description = "Its progress", body = ReplyAnswer)),
)]
pub(super) async fn progress(
    State(services): State<Arc<Services>>,
    caller: Authorized<ToIngest>,
    ConversationPath(name): ConversationPath,
    ReplyPath(reply): ReplyPath,
) -> Result<Json<ReplyAnswer>, RestError> {
    let (actor, id) = caller.within(&services, &name).await?;
    let progress = services
        .chat
        .reply_progress(&actor.owner, id, reply)
        .await?;
    Ok(Json(answer(progress)))
}

/// The format of an upload, from `?format=`, the header of a UI message stream, or the content type. `None` for an
/// event stream that has neither `?format=` nor that header.
fn format(params: &Params, headers: &HeaderMap) -> Result<Option<Format>> {
    if let Some(name) = params.find("format") {
        return name.parse().map(Some).map_err(|_| {
            Error::UnknownFormat(
                "format must be ndjson, chat_completions, responses or ui_message_stream",
            )
        });
    }
    if headers.contains_key("x-vercel-ai-ui-message-stream") {
        return Ok(Some(Format::UiMessageStream));
    }
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    Ok(match essence.eq_ignore_ascii_case("text/event-stream") {
        true => None,
        false => Some(Format::Ndjson),
    })
}

fn answer(progress: ReplyProgress) -> ReplyAnswer {
    ReplyAnswer {
        reply_id: progress.reply_id.to_string(),
        offset: progress.offset,
        status: progress
            .outcome
            .map_or("running", |outcome| outcome.as_str()),
        lease_seconds: progress.lease.as_secs_f64().ceil() as u64,
        message_id: None,
        role: None,
        content: None,
        timestamp: None,
    }
}

/// The answer for a reply that has ended, with its message.
async fn message(
    services: &Services,
    owner: &Owner,
    progress: ReplyProgress,
) -> Result<ReplyAnswer> {
    let mut answer = answer(progress);
    let message = services.db.find_message(owner, progress.reply_id).await?;
    if let Some(message) = message {
        answer.message_id = Some(message.id.to_string());
        answer.role = Some(message.role.as_str());
        answer.content = Some(message.content);
        answer.timestamp = Some(message.created_at);
    }
    Ok(answer)
}
