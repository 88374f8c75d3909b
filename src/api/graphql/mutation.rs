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

/// What can be changed.
pub(super) struct Mutation;

/// A message to send.
#[derive(InputObject)]
struct SendMessageInput {
    /// The conversation to continue, or the id (a UUID) that a new one shall have; a new conversation
    /// when not said.
    conversation_id: Option<ID>,
    /// The message; may be empty when something is attached.
    text: String,
    /// What is attached to the message, at most 20 files. Only what they are called and what they are is
    /// kept. A first message without a text takes its title from a name that says something.
    #[graphql(default)]
    attachments: Vec<AttachmentInput>,
    /// What to show while a new conversation has no title; the beginning of the message when not said.
    topic_hint: Option<String>,
    /// Makes a retry of the same request return the same turn: 1 to 255 visible ASCII characters.
    idempotency_key: Option<String>,
    /// Whether a new conversation gets a title.
    #[graphql(default = true)]
    auto_title: bool,
}

/// A file that is attached to a message.
#[derive(InputObject)]
struct AttachmentInput {
    /// What the file is called: 1 to 255 characters.
    name: String,
    /// Its media type, such as `application/pdf`.
    media_type: Option<String>,
}

/// A message that was accepted.
#[derive(SimpleObject)]
struct SendMessagePayload {
    /// The conversation with the message in it.
    conversation: Conversation,
    /// The message.
    message: Message,
    /// The id that the reply's message will have. The subscription `reply` shows it being written.
    reply_id: ID,
}

/// A title to give.
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

/// A conversation whose title shall be generated again.
#[derive(InputObject)]
struct RegenerateTitleInput {
    /// The conversation.
    id: ID,
    /// What the title should be like: at most 200 characters.
    hint: Option<String>,
    /// Whether a title that a person gave may be replaced.
    #[graphql(default)]
    replace_manual: bool,
}

/// A conversation whose title is generated again.
#[derive(SimpleObject)]
struct RegenerateTitlePayload {
    /// The conversation. Its title stays until there is another: `titleStatus` is `PENDING` until then.
    conversation: Conversation,
}

/// A conversation to give back to automation.
#[derive(InputObject)]
struct ResetTitleInput {
    /// The conversation.
    id: ID,
}

/// A conversation that has a generated title, or will have one.
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
    /// What is left of it: its id, its status and its times.
    conversation: Conversation,
    /// Its id.
    deleted_conversation_id: ID,
}

/// A conversation whose replies shall stop.
#[derive(InputObject)]
struct StopReplyInput {
    /// The conversation.
    conversation_id: ID,
}

/// A conversation whose replies were asked to stop.
#[derive(SimpleObject)]
struct StopReplyPayload {
    /// The conversation. What was written until now is stored as an incomplete message in a moment.
    conversation: Conversation,
    /// Whether a reply was running.
    stopped: bool,
}

/// What can be changed.
#[Object]
impl Mutation {
    /// Sends a message. Returns when it is stored; the reply and the title come by themselves.
    async fn send_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message.")] input: SendMessageInput,
    ) -> Option<Result<SendMessagePayload>> {
        payload(send_message(ctx, input)).await
    }

    /// Gives a conversation a title. It replaces what is there, and no generated title replaces it.
    async fn rename_conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation and its title.")] input: RenameConversationInput,
    ) -> Option<Result<RenameConversationPayload>> {
        payload(rename_conversation(ctx, input)).await
    }

    /// Generates another title from the first message. Returns at once; the title comes by itself. When
    /// it fails, the present one stays and `titleError` says why. One that a person gave is replaced only
    /// with `replaceManual`; else the code is `MANUAL_TITLE`.
    async fn regenerate_title(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation, and what is wished.")] input: RegenerateTitleInput,
    ) -> Option<Result<RegenerateTitlePayload>> {
        payload(regenerate_title(ctx, input)).await
    }

    /// Gives a conversation back to automation: drops a title that a person gave, or the wish for none,
    /// and generates one. Returns at once; the title comes by itself. A generated title stays.
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

    /// Stops the replies that are being written in a conversation. To disconnect is not to stop.
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
