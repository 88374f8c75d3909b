//! The routes of the AI SDK's UI message stream.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{
    TextError,
    body::{Newest, PersonMessage, UiRequest},
    has_text, key_of, named, parse,
    rewrite::{Target, rewrite},
    send_or_find,
};
use crate::{
    api::{
        Services, limits, reach,
        rest::{
            RestError,
            authorized::{Authorized, ToRead, ToWrite},
            fields::{ConversationPath, conversation_name},
        },
        sse,
    },
    auth::RateLimitKey,
    chat::{SendMessage, SentMessage, actor_key},
    conversation::{Actor, ConversationId, ConversationName, MessageId, Owner},
    db::ReplyState,
    error::{Error, Result},
};

/// Sends a message, edits one, or regenerates a reply, and streams the reply.
pub(in crate::api::rest) async fn ui_chat(
    State(services): State<Arc<Services>>,
    authorized: Result<Authorized<ToWrite>, RestError>,
    request: Request,
) -> Result<Response, TextError> {
    let caller = authorized?;
    let mut request: UiRequest = parse(request).await?;
    let name = conversation_name(&request.id)?;
    let (actor, conversation) = caller.within(&services, &name).await?;
    let newest = request.messages.0.take().or(request.message.take());
    let person = Newest(newest).of_person()?;
    let stream = services.users.stream(&caller.rate_limit_key)?;
    let turn = UiTurn {
        services: &services,
        actor: &actor,
        user: &caller.rate_limit_key,
        key: person.id.as_ref().map(|id| key_of("ui", conversation, id)),
        conversation,
        name,
        person,
        request,
    };
    let sent = send_or_find(|| turn.send()).await?;
    let response = sse::respond_ui(services.clone(), sent, caller.until, false);
    let response = reach::bound(&services, caller.reach(), response);
    Ok(limits::hold_slot(response, stream))
}

/// A request of the AI SDK.
struct UiTurn<'r> {
    services: &'r Services,
    actor: &'r Actor,
    user: &'r RateLimitKey,
    key: Option<String>,
    conversation: ConversationId,
    name: ConversationName,
    person: PersonMessage,
    request: UiRequest,
}

impl UiTurn<'_> {
    /// Executes the request, or finds the result of an earlier identical one.
    async fn send(&self) -> Result<SentMessage> {
        let Self {
            services,
            actor,
            person,
            request,
            ..
        } = self;
        let (owner, conversation) = (&actor.owner, self.conversation);
        let turn = match &self.key {
            Some(key) => {
                let key = actor_key(actor, key);
                services.db.find_turn_of_key(owner, &key).await?
            }
            None => None,
        };
        let known = match &turn {
            Some(turn) => Some(turn.message_id),
            None => named(services, owner, conversation, person).await?,
        };
        let target = match request.trigger.as_deref() {
            Some("regenerate-message") => {
                let reply =
                    stored(services, owner, conversation, request.message_id.as_ref()).await?;
                let message = match known {
                    Some(message) => Some(message),
                    None => stored(services, owner, conversation, person.id.as_ref()).await?,
                };
                let asked = match reply.or(message) {
                    Some(id) => Some(id),
                    None => newest(services, owner, conversation, person).await?,
                };
                asked.map(|id| Target::Again(id, None))
            }
            // An edit names the message to replace.
            _ if request.message_id.is_some() => match known {
                Some(message) => Some(Target::Edit(message)),
                None => {
                    let message =
                        stored(services, owner, conversation, request.message_id.as_ref()).await?;
                    message.map(Target::Edit)
                }
            },
            _ => match known {
                Some(known) => {
                    check_unedited(services, owner, known, person).await?;
                    match turn {
                        Some(_) => None,
                        // The message was sent on another wire, or recorded.
                        None => match services.db.find_turn_of(owner, known).await? {
                            Some(turn) => {
                                return services.chat.sent_before(owner, turn, None).await;
                            }
                            None => Some(Target::Again(known, None)),
                        },
                    }
                }
                None => None,
            },
        };
        match target {
            None => {
                let message = SendMessage {
                    conversation: Some(self.name.clone()),
                    external_message_id: person.external_id(),
                    text: person.text.clone(),
                    attachments: person.attachments.clone(),
                    topic_hint: request.topic_hint.clone(),
                    idempotency_key: self.key.clone(),
                    auto_title: request.auto_title.unwrap_or(true),
                    agent: request.agent.clone(),
                };
                limits::send_message(services, actor, self.user, message).await
            }
            Some(target) => {
                limits::admit_message(services, actor, self.user, None).await?;
                rewrite(services, actor, conversation, &target, person).await
            }
        }
    }
}

/// Checks that a repeated message still has its text: after an edit, a retry of the original request would stream the
/// former reply.
///
/// # Errors
/// [`Error::IdempotencyKeyReused`] if the message has another text.
async fn check_unedited(
    services: &Services,
    owner: &Owner,
    id: MessageId,
    person: &PersonMessage,
) -> Result<()> {
    match services.db.find_message(owner, id).await? {
        Some(stored) if !has_text(&stored, person) => Err(Error::IdempotencyKeyReused),
        _ => Ok(()),
    }
}

/// The newest message if it has this text: a page that does not know the server's ids requests another reply to it.
async fn newest(
    services: &Services,
    owner: &Owner,
    conversation: ConversationId,
    person: &PersonMessage,
) -> Result<Option<MessageId>> {
    let Some(turn) = services.db.find_last_turn(owner, conversation).await? else {
        return Ok(None);
    };
    let stored = services.db.find_message(owner, turn.message_id).await?;
    let same = stored.filter(|stored| has_text(stored, person));
    Ok(same.map(|stored| stored.id))
}

/// The message or reply of the conversation with this server id. Clients know the server's ids of messages that they
/// did not write.
async fn stored(
    services: &Services,
    owner: &Owner,
    conversation: ConversationId,
    id: Option<&String>,
) -> Result<Option<MessageId>> {
    let Some(id) = id.and_then(|id| id.parse().ok()) else {
        return Ok(None);
    };
    // A recorded message has no turn, and a running reply is not yet a message.
    let conversation_of = match services.db.find_message(owner, id).await? {
        Some(stored) => Some(stored.conversation_id),
        None => {
            let turn = services.db.find_turn_of(owner, id).await?;
            turn.map(|turn| turn.conversation_id)
        }
    };
    Ok((conversation_of == Some(conversation)).then_some(id))
}

/// Streams the running reply from its beginning; 204 if none is running or the caller has no such conversation.
pub(in crate::api::rest) async fn ui_resume(
    State(services): State<Arc<Services>>,
    authorized: Result<Authorized<ToRead>, RestError>,
    path: Result<ConversationPath, RestError>,
) -> Result<Response, TextError> {
    let caller = authorized?;
    let ConversationPath(name) = path?;
    let (Actor { owner, .. }, id) = caller.within(&services, &name).await?;
    let turn = match services.db.find_conversation(&owner, id).await? {
        Some(_) => services.db.find_last_turn(&owner, id).await?,
        None => None,
    };
    if turn.is_none_or(|turn| turn.reply != ReplyState::Running) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let Some(sent) = services.chat.turn(&owner, id, None).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let stream = services.users.stream(&caller.rate_limit_key)?;
    let response = sse::respond_ui(services.clone(), sent, caller.until, true);
    let response = reach::bound(&services, caller.reach(), response);
    Ok(limits::hold_slot(response, stream))
}

/// Stops the running replies of a conversation. A disconnecting client does not stop them.
pub(in crate::api::rest) async fn ui_stop(
    State(services): State<Arc<Services>>,
    authorized: Result<Authorized<ToWrite>, RestError>,
    path: Result<ConversationPath, RestError>,
) -> Result<Response, TextError> {
    let caller = authorized?;
    let ConversationPath(name) = path?;
    let (Actor { owner, .. }, id) = caller.within(&services, &name).await?;
    let (_, stopped) = services.chat.stop(&owner, id).await?;
    Ok(Json(json!({ "stopped": stopped })).into_response())
}
