//! The AG-UI route.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{
    TextError,
    body::{PersonMessage, RunAgentInput},
    has_text, key_of, named, parse,
    rewrite::{Target, rewrite},
    send_or_find,
};
use crate::{
    api::{
        Services, limits, reach,
        rest::{
            RestError,
            authorized::{Authorized, ToWrite},
            fields::conversation_name,
        },
        sse,
    },
    auth::RateLimitKey,
    chat::{SendMessage, SentMessage, actor_key},
    conversation::{Actor, ConversationId, ConversationName, MessageId, Owner},
    error::{Error, Result},
};

/// Runs the agent on the newest message of an AG-UI thread.
pub(in crate::api::rest) async fn agui(
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
    let sent = send_or_find(|| run.send()).await?;
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
    /// Sends the message. If the conversation already contains it, answers it again: the client was disconnected, or
    /// wants another reply.
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
            // A retry of a run that answered a message again. For other runs, sending the message recognises retries
            // itself.
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

/// The stored message with the client's message id, if there is one.
///
/// # Errors
/// [`Error::IdempotencyKeyReused`] if its text differs.
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
