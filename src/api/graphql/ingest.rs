//! Mutations for services that record the messages of their own agent.

use async_graphql::{Context, ID, InputObject, SimpleObject};
use chrono::{DateTime, Utc};

use super::{
    errors::{About, Result},
    mutation::{AttachmentInput, attachments, named},
    objects::{Conversation, Message, Role},
    query::reach_for_change,
};
use crate::{
    api::{reach, rest::message_id},
    auth::Scope,
    chat::RecordMessage,
    conversation::ConversationId,
    error::Error,
};

/// A message of another program to record.
#[derive(InputObject)]
pub(super) struct RecordMessageInput {
    /// The conversation to continue, or the id (a UUID) of a new one; a new conversation if omitted.
    conversation_id: Option<ID>,
    /// In place of `conversationId`: the conversation's id in the caller's own system, 1 to 255 characters and no UUID.
    external_id: Option<String>,
    /// The author. The first message of a conversation is the user's.
    role: Role,
    /// The message; may be empty if there are attachments.
    text: String,
    /// The message's id, a UUID; generated if omitted. Repeating the request with the same id returns the stored message.
    message_id: Option<ID>,
    /// The message's id in the caller's own system: 1 to 255 characters. Without `messageId`, the same id always is the same
    /// message of its conversation.
    external_message_id: Option<String>,
    /// When it was written, at most one day in the future; now if omitted.
    created_at: Option<DateTime<Utc>>,
    /// Attached files, at most 20. Only names and media types are stored.
    #[graphql(default)]
    attachments: Vec<AttachmentInput>,
    /// The agent that answers: one of `agents`. If omitted, the conversation keeps its agent.
    agent: Option<String>,
    /// Shown while a new conversation has no title; the beginning of the message if omitted.
    topic_hint: Option<String>,
    /// Whether a new conversation gets a title.
    #[graphql(default = true)]
    auto_title: bool,
}

/// A recorded message.
#[derive(SimpleObject)]
pub(super) struct RecordMessagePayload {
    /// The conversation with the message in it.
    conversation: Conversation,
    /// The message.
    message: Message,
    /// Whether it is new: false if an earlier request recorded it.
    created: bool,
}

pub(super) async fn record_message(
    ctx: &Context<'_>,
    input: RecordMessageInput,
) -> Result<RecordMessagePayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Ingest)?;
    let name = named(input.conversation_id, input.external_id)?;
    let name = name.unwrap_or_else(|| ConversationId::new().into());
    if let Some(agent) = &input.agent {
        services.chat.check_agent(reach.caller(), agent)?;
    }
    let id = input.message_id.as_deref().map(|id| message_id(id));
    let message = RecordMessage {
        role: input.role.into(),
        text: input.text,
        attachments: attachments(input.attachments)?,
        message_id: id.transpose().about("messageId")?,
        external_id: input.external_message_id,
        created_at: input.created_at,
        agent: input.agent,
        topic_hint: input.topic_hint,
        auto_title: input.auto_title,
    };
    let actor = reach::actor_in(services, reach, Some(&name), reach::Access::Write).await?;
    let recorded = services.chat.record(&actor, &name, vec![message]).await;
    // Internally, the field has its REST name.
    let recorded = recorded.map_err(|error| match error {
        Error::InvalidField {
            field: "external_id",
            message,
        } => Error::InvalidField {
            field: "external_message_id",
            message,
        },
        error => error,
    })?;
    let Some((message, created)) = recorded.messages.into_iter().next() else {
        return Err(Error::Internal("a record without its message".into()).into());
    };
    Ok(RecordMessagePayload {
        conversation: recorded.conversation.into(),
        message: message.into(),
        created,
    })
}
