//! The root type `Mutation`. Each payload contains the changed objects, so that client caches update themselves.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::{
    errors::{About, GraphqlError, Result},
    objects::{Conversation, Message},
    query::{owner_for, rate_limit_key},
};
use crate::{
    api::{
        limits::{self, TitleChange},
        rest::conversation_id,
    },
    auth::Scope,
    chat::SendMessage,
    conversation::Attachment,
    error::Error,
    titles::Regenerate,
};

/// The operations that change data.
pub(super) struct Mutation;

/// A message to send.
#[derive(InputObject)]
struct SendMessageInput {
    /// The conversation to continue, or the id (a UUID) of a new one; a new conversation if omitted.
    conversation_id: Option<ID>,
    /// The message; may be empty if there are attachments.
    text: String,
    /// Attached files, at most 20. Only names and media types are stored. A first message without text gets its title
    /// from a meaningful file name.
    #[graphql(default)]
    attachments: Vec<AttachmentInput>,
    /// Shown while a new conversation has no title; the beginning of the message if omitted.
    topic_hint: Option<String>,
    /// A retry with the same key and request returns the same turn: 1 to 255 visible ASCII characters.
    idempotency_key: Option<String>,
    /// Whether a new conversation gets a title.
    #[graphql(default = true)]
    auto_title: bool,
}

/// A file that is attached to a message.
#[derive(InputObject)]
struct AttachmentInput {
    /// The name of the file: 1 to 255 characters.
    name: String,
    /// Its media type, such as `application/pdf`.
    media_type: Option<String>,
}

/// An accepted message.
#[derive(SimpleObject)]
struct SendMessagePayload {
    /// The conversation with the message in it.
    conversation: Conversation,
    /// The message.
    message: Message,
    /// The id of the reply's message. The subscription `reply` streams it.
    reply_id: ID,
}

/// A new title.
#[derive(InputObject)]
struct RenameConversationInput {
    /// The conversation.
    id: ID,
    /// The title: 1 to 128 characters.
    display_name: String,
}

/// A conversation with its new title.
#[derive(SimpleObject)]
struct RenameConversationPayload {
    /// The conversation.
    conversation: Conversation,
}

/// The conversation whose title is generated again.
#[derive(InputObject)]
struct RegenerateTitleInput {
    /// The conversation.
    id: ID,
    /// Instructions for the title: at most 200 characters.
    hint: Option<String>,
    /// Whether a title set by the user may be replaced.
    #[graphql(default)]
    replace_manual: bool,
}

/// A conversation whose title is being generated again.
#[derive(SimpleObject)]
struct RegenerateTitlePayload {
    /// The conversation. It keeps its title, with `titleStatus` `PENDING`, until the new title is ready.
    conversation: Conversation,
}

/// The conversation whose title is reset.
#[derive(InputObject)]
struct ResetTitleInput {
    /// The conversation.
    id: ID,
}

/// A conversation whose title is generated, or being generated.
#[derive(SimpleObject)]
struct ResetTitlePayload {
    /// The conversation.
    conversation: Conversation,
}

/// A conversation to delete.
#[derive(InputObject)]
struct DeleteConversationInput {
    /// The conversation.
    id: ID,
}

/// A conversation that was deleted.
#[derive(SimpleObject)]
struct DeleteConversationPayload {
    /// The tombstone: its id, status and times.
    conversation: Conversation,
    /// Its id.
    deleted_conversation_id: ID,
}

/// The conversation whose replies are stopped.
#[derive(InputObject)]
struct StopReplyInput {
    /// The conversation.
    conversation_id: ID,
}

/// A conversation whose replies are being stopped.
#[derive(SimpleObject)]
struct StopReplyPayload {
    /// The conversation. The text so far is stored as an incomplete message shortly after.
    conversation: Conversation,
    /// Whether a reply was running.
    stopped: bool,
}

/// The operations that change data.
#[Object]
impl Mutation {
    /// Sends a message. Returns when it is stored; the reply and the title follow as events.
    async fn send_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message.")] input: SendMessageInput,
    ) -> Option<Result<SendMessagePayload>> {
        payload(send_message(ctx, input)).await
    }

    /// Sets the title of a conversation. Generated titles do not replace it.
    async fn rename_conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation and its title.")] input: RenameConversationInput,
    ) -> Option<Result<RenameConversationPayload>> {
        payload(rename_conversation(ctx, input)).await
    }

    /// Generates a new title from the first message. Returns at once; the title follows as an event. If generation
    /// fails, the current title stays and `titleError` has the reason. A title set by the user is replaced only with
    /// `replaceManual`; otherwise the error code is `MANUAL_TITLE`.
    async fn regenerate_title(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation and the options.")] input: RegenerateTitleInput,
    ) -> Option<Result<RegenerateTitlePayload>> {
        payload(regenerate_title(ctx, input)).await
    }

    /// Returns a conversation to automatic titles: removes a title set by the user, or undoes `autoTitle: false`, and
    /// generates a title. Returns at once; the title follows as an event. A generated title stays.
    async fn reset_title(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation.")] input: ResetTitleInput,
    ) -> Option<Result<ResetTitlePayload>> {
        payload(reset_title(ctx, input)).await
    }

    /// Deletes a conversation with all its text, and stops its replies.
    async fn delete_conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation.")] input: DeleteConversationInput,
    ) -> Option<Result<DeleteConversationPayload>> {
        payload(delete_conversation(ctx, input)).await
    }

    /// Stops the running replies of a conversation. Disconnecting does not stop them.
    async fn stop_reply(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation.")] input: StopReplyInput,
    ) -> Option<Result<StopReplyPayload>> {
        payload(stop_reply(ctx, input)).await
    }
}

// The fields are nullable, so that an error does not null sibling mutations, which may be committed.

/// Adds `input.` to the argument of an error.
async fn payload<T>(result: impl Future<Output = Result<T>>) -> Option<Result<T>> {
    Some(result.await.map_err(GraphqlError::in_input))
}

async fn send_message(ctx: &Context<'_>, input: SendMessageInput) -> Result<SendMessagePayload> {
    let (services, owner) = owner_for(ctx, Scope::Write)?;
    let conversation = input.conversation_id;
    let message = SendMessage {
        conversation_id: conversation
            .as_deref()
            .map(|id| conversation_id(id))
            .transpose()
            .about("conversationId")?,
        text: input.text,
        attachments: input
            .attachments
            .into_iter()
            .map(|file| Attachment::new(&file.name, file.media_type))
            .collect::<Result<_, _>>()
            .map_err(|invalid| Error::invalid_field("attachments", invalid.to_string()))?,
        topic_hint: input.topic_hint,
        idempotency_key: input.idempotency_key,
        auto_title: input.auto_title,
        agent: None,
    };
    let sent = limits::send_message(services, owner, rate_limit_key(ctx), message).await?;
    Ok(SendMessagePayload {
        conversation: sent.conversation.into(),
        message: sent.message.into(),
        reply_id: sent.reply.reply_id.to_string().into(),
    })
}

async fn rename_conversation(
    ctx: &Context<'_>,
    input: RenameConversationInput,
) -> Result<RenameConversationPayload> {
    let (services, owner) = owner_for(ctx, Scope::Write)?;
    let id = conversation_id(&input.id).about("id")?;
    services
        .users
        .title_change(rate_limit_key(ctx), TitleChange::Rename)?;
    let conversation = services
        .titles
        .rename(owner, id, &input.display_name)
        .await?;
    Ok(RenameConversationPayload {
        conversation: conversation.into(),
    })
}

async fn regenerate_title(
    ctx: &Context<'_>,
    input: RegenerateTitleInput,
) -> Result<RegenerateTitlePayload> {
    let (services, owner) = owner_for(ctx, Scope::Write)?;
    let request = Regenerate {
        id: conversation_id(&input.id).about("id")?,
        hint: input.hint,
        replace_manual: input.replace_manual,
    };
    services
        .users
        .title_change(rate_limit_key(ctx), TitleChange::Generate)?;
    let conversation = services
        .titles
        .regenerate(owner, request)
        .await
        .about("id")?;
    Ok(RegenerateTitlePayload {
        conversation: conversation.into(),
    })
}

async fn reset_title(ctx: &Context<'_>, input: ResetTitleInput) -> Result<ResetTitlePayload> {
    let (services, owner) = owner_for(ctx, Scope::Write)?;
    let id = conversation_id(&input.id).about("id")?;
    services
        .users
        .title_change(rate_limit_key(ctx), TitleChange::Generate)?;
    let conversation = services.titles.reset(owner, id).await?;
    Ok(ResetTitlePayload {
        conversation: conversation.into(),
    })
}

async fn delete_conversation(
    ctx: &Context<'_>,
    input: DeleteConversationInput,
) -> Result<DeleteConversationPayload> {
    let (services, owner) = owner_for(ctx, Scope::Delete)?;
    let id = conversation_id(&input.id).about("id")?;
    let tombstone = services.chat.delete(owner, id).await?;
    Ok(DeleteConversationPayload {
        conversation: tombstone.into(),
        deleted_conversation_id: id.to_string().into(),
    })
}

async fn stop_reply(ctx: &Context<'_>, input: StopReplyInput) -> Result<StopReplyPayload> {
    let (services, owner) = owner_for(ctx, Scope::Write)?;
    let id = conversation_id(&input.conversation_id).about("conversationId")?;
    let (conversation, stopped) = services.chat.stop(owner, id).await?;
    Ok(StopReplyPayload {
        conversation: conversation.into(),
        stopped,
    })
}
