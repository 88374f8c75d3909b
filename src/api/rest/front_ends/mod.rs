//! The wires of chat front ends: the AI SDK's UI message stream and AG-UI.
//!
//! Their clients post all messages with each turn. Only the newest message of the person is read, since what is stored
//! here is the truth. Errors before the stream are a status and a text, which these clients show.

mod body;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};

use self::body::{Newest, PersonMessage, RunAgentInput, UiRequest};
use super::{
    RestError,
    authorized::{Authorized, ToRead, ToWrite},
    fields::{ConversationPath, conversation_name, json_bytes},
};
use crate::{
    api::{Services, limits, reach, sse},
    auth::RateLimitKey,
    chat::{EditMessage, RegenerateReply, SendMessage, SentMessage, actor_key},
    conversation::{
        Actor, ConversationId, ConversationName, Message, MessageId, Owner, Role, text::without_nul,
    },
    db::ReplyState,
    error::{Error, Result},
    work,
};

/// How long reading a body may take, once it is there.
const PARSE_TIME: Duration = Duration::from_secs(5);

/// How long a reply that is stopped for another one may take to end, on any node, and how often that is looked for.
const STOP_TIME: Duration = Duration::from_secs(5);
const STOP_POLL: Duration = Duration::from_millis(20);

/// The largest body: these clients send the whole conversation each time.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// An error as a status and a text.
pub(super) enum TextError {
    /// An error of the service.
    Error(Error),
    /// The newest message is not the person's: the results of tools that a front end ran, which no model here waits for.
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
                Error::invalid("the newest message must be the person's"),
                Some(StatusCode::BAD_REQUEST),
            ),
        };
        let text = match &error {
            // These clients know no keys.
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

/// Reads a body of these wires. A large one is parsed on a blocking thread.
async fn parse<T: for<'de> Deserialize<'de> + Send + 'static>(request: Request) -> Result<T> {
    let bytes = json_bytes(request, MAX_BODY_BYTES).await?;
    work::heavy_if(bytes.len(), PARSE_TIME, move |_| {
        lenient_json::from_client(&bytes).map_err(|error| match error.is_data() {
            // Without the text of the error, which may quote the message.
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

/// The idempotency key of a client's own id within a conversation.
fn key_of(wire: &str, conversation: ConversationId, id: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(conversation.0);
    hash.update(id);
    format!("{wire}-{}", hex::encode(hash.finalize()))
}

/// Sends a message, edits one, or answers one again, and streams the reply.
pub(super) async fn ui_chat(
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
    let sent = match turn.send().await {
        // A program recorded the message meanwhile.
        Err(Error::IdTaken { .. }) => turn.send().await?,
        sent => sent?,
    };
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
    /// Does what the request asks for, or finds that it was done.
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
            // An edit names the message that it replaces.
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
                        // Sent on another wire, or recorded.
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

/// The person's message that the conversation has under the client's id: sent on any wire, or recorded.
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

/// Checks that a message that is sent again has its text still: after an edit, a retry of the first request would stream the
/// former reply.
///
/// # Errors
/// [`Error::IdempotencyKeyReused`].
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

/// Whether a stored message has this text. One whose text was dropped cannot be compared.
fn has_text(stored: &Message, person: &PersonMessage) -> bool {
    stored.content.is_empty() || stored.content == without_nul(person.text.clone())
}

/// The newest message, if it has this text: a page that has none of our ids asks for another reply to it.
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

/// What a request changes.
enum Target {
    /// Another reply, to a message or in place of a reply, with an idempotency key.
    Again(MessageId, Option<String>),
    /// Another text of a message.
    Edit(MessageId),
}

/// The conversation's message or reply with this id of ours. A client has our ids of what it did not write itself.
async fn stored(
    services: &Services,
    owner: &Owner,
    conversation: ConversationId,
    id: Option<&String>,
) -> Result<Option<MessageId>> {
    let Some(id) = id.and_then(|id| id.parse().ok()) else {
        return Ok(None);
    };
    // A recorded message has no turn, and a running reply is no message yet.
    let conversation_of = match services.db.find_message(owner, id).await? {
        Some(stored) => Some(stored.conversation_id),
        None => {
            let turn = services.db.find_turn_of(owner, id).await?;
            turn.map(|turn| turn.conversation_id)
        }
    };
    Ok((conversation_of == Some(conversation)).then_some(id))
}

/// Writes the newest reply anew. One that still runs is stopped first.
async fn rewrite(
    services: &Services,
    actor: &Actor,
    conversation: ConversationId,
    target: &Target,
    person: &PersonMessage,
) -> Result<SentMessage> {
    match try_rewrite(services, actor, target, person).await {
        Err(Error::ReplyRunning { .. }) => {
            stop_newest(services, &actor.owner, conversation).await?;
            try_rewrite(services, actor, target, person).await
        }
        sent => sent,
    }
}

async fn try_rewrite(
    services: &Services,
    actor: &Actor,
    target: &Target,
    person: &PersonMessage,
) -> Result<SentMessage> {
    match target {
        Target::Again(message_id, key) => {
            let request = RegenerateReply {
                message_id: *message_id,
                idempotency_key: key.clone(),
            };
            services.chat.regenerate_reply(actor, request).await
        }
        Target::Edit(message_id) => {
            let request = EditMessage {
                message_id: *message_id,
                text: person.text.clone(),
                attachments: Some(person.attachments.clone()),
                idempotency_key: None,
            };
            services.chat.edit_message(actor, request).await
        }
    }
}

/// Stops the newest reply, and waits for its end. `useChat` only stops reading, and has taken the reply off the page when it
/// asks for another one.
async fn stop_newest(
    services: &Services,
    owner: &Owner,
    conversation: ConversationId,
) -> Result<()> {
    let running = async || {
        let turn = services.db.find_last_turn(owner, conversation).await?;
        Ok::<_, Error>(turn.filter(|turn| turn.reply == ReplyState::Running))
    };
    let Some(turn) = running().await? else {
        return Ok(());
    };
    services.chat.stop_reply(owner, turn.reply_id).await?;
    let ended = async {
        while running().await?.is_some() {
            sleep(STOP_POLL).await;
        }
        Ok(())
    };
    // A reply that goes on is reported by what is tried next.
    timeout(STOP_TIME, ended).await.unwrap_or(Ok(()))
}

/// Streams the running reply from its beginning; 204 if none runs, also of a conversation that the caller has not.
pub(super) async fn ui_resume(
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

/// Stops the running replies of a conversation: a client that disconnects does not.
pub(super) async fn ui_stop(
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

/// Runs the agent on the newest message of an AG-UI thread.
pub(super) async fn agui(
    State(services): State<Arc<Services>>,
    authorized: Result<Authorized<ToWrite>, RestError>,
    request: Request,
) -> Result<Response, TextError> {
    let caller = authorized?;
    let input: RunAgentInput = parse(request).await?;
    let name = conversation_name(&input.thread_id)?;
    let (actor, conversation) = caller.within(&services, &name).await?;
    let person = input.messages.of_person()?;
    let stream = services.users.stream(&caller.rate_limit_key)?;
    let run = AguiRun {
        services: &services,
        actor: &actor,
        user: &caller.rate_limit_key,
        key: key_of("agui", conversation, &input.run_id),
        conversation,
        name,
        person,
        agent: input.forwarded_props.and_then(|props| props.agent),
    };
    let sent = match run.send().await {
        // A program recorded the message meanwhile.
        Err(Error::IdTaken { .. }) => run.send().await?,
        sent => sent?,
    };
    let ids = sse::RunIds {
        thread_id: input.thread_id,
        run_id: input.run_id,
    };
    let response = sse::respond_agui(services.clone(), sent, caller.until, ids);
    let response = reach::bound(&services, caller.reach(), response);
    Ok(limits::hold_slot(response, stream))
}

/// A run of an AG-UI client.
struct AguiRun<'r> {
    services: &'r Services,
    actor: &'r Actor,
    user: &'r RateLimitKey,
    key: String,
    conversation: ConversationId,
    name: ConversationName,
    person: PersonMessage,
    agent: Option<String>,
}

impl AguiRun<'_> {
    /// Sends the message, or answers it again if the conversation has it: the client was cut off, or wants another reply.
    async fn send(&self) -> Result<SentMessage> {
        let Self {
            services,
            actor,
            person,
            ..
        } = self;
        let (owner, conversation) = (&actor.owner, self.conversation);
        let key = actor_key(actor, &self.key);
        let again = match services.db.find_turn_of_key(owner, &key).await? {
            // A retry of a run that answered a message again; sending checks that of a first one.
            Some(turn) if turn.id != turn.message_id => {
                let again = same_message(services, owner, turn.message_id, person).await?;
                Some(again.ok_or(Error::IdempotencyKeyReused)?)
            }
            Some(_) => None,
            None => match named(services, owner, conversation, person).await? {
                Some(named) => same_message(services, owner, named, person).await?,
                None => None,
            },
        };
        match again {
            None => {
                let message = SendMessage {
                    idempotency_key: Some(self.key.clone()),
                    conversation: Some(self.name.clone()),
                    external_message_id: person.external_id(),
                    text: person.text.clone(),
                    attachments: person.attachments.clone(),
                    topic_hint: None,
                    auto_title: true,
                    agent: self.agent.clone(),
                };
                limits::send_message(services, actor, self.user, message).await
            }
            Some(message) => {
                limits::admit_message(services, actor, self.user, None).await?;
                let target = Target::Again(message, Some(self.key.clone()));
                rewrite(services, actor, conversation, &target, person).await
            }
        }
    }
}

/// The stored message, if the client's id says that it is the same.
///
/// # Errors
/// [`Error::IdempotencyKeyReused`] if its text is another one.
async fn same_message(
    services: &Services,
    owner: &Owner,
    id: MessageId,
    person: &PersonMessage,
) -> Result<Option<MessageId>> {
    let stored = services.db.find_message(owner, id).await?;
    match stored.filter(|stored| person.id.is_some() && stored.external_id == person.id) {
        Some(stored) if !has_text(&stored, person) => Err(Error::IdempotencyKeyReused),
        stored => Ok(stored.map(|stored| stored.id)),
    }
}
