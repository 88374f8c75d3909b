//! The root type `Mutation`. Payloads contain the changed objects, so that client caches update themselves.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::{
    errors::{About, GraphqlError, Result},
    ingest::{RecordMessageInput, RecordMessagePayload, record_message},
    list_mutations::{
        ArchiveConversationInput, ArchiveConversationPayload, DeleteConversationInput,
        DeleteConversationPayload, PinConversationInput, PinConversationPayload,
        SetConversationMetadataInput, SetConversationMetadataPayload, UnarchiveConversationInput,
        UnarchiveConversationPayload, UnpinConversationInput, UnpinConversationPayload,
        archive_conversation, delete_conversation, pin_conversation, set_conversation_metadata,
        unarchive_conversation, unpin_conversation,
    },
    objects::{Conversation, Message, reads_messages},
    query::{rate_limit_key, reach_for_change},
    reply_mutations::{
        AppendReplyInput, FinishReplyInput, OpenReplyInput, ReplyProgressPayload, append_reply,
        finish_reply, open_reply,
    },
    title_mutations::{
        RegenerateTitleInput, RegenerateTitlePayload, RenameConversationInput,
        RenameConversationPayload, ResetTitleInput, ResetTitlePayload, RestoreTitleInput,
        RestoreTitlePayload, regenerate_title, rename_conversation, reset_title, restore_title,
    },
};
use crate::{
    api::{
        limits,
        reach::{self, Access},
        rest::{conversation_id, external_name, message_id},
    },
    auth::Scope,
    chat::{EditMessage, RegenerateReply, SendMessage},
    conversation::{Attachment, ConversationName},
    db::Named,
    error::Error,
};

/// The operations that change data.
pub(super) struct Mutation;

/// A message to send.
#[derive(InputObject)]
struct SendMessageInput {
    /// The conversation to continue, or the id (a UUID) of a new one; a new conversation if omitted.
    conversation_id: Option<ID>,
    /// In place of `conversationId`: the conversation's id in the caller's own system, 1 to 255 characters and no UUID. The
    /// same id always names the same conversation; an unused id creates one.
    external_id: Option<String>,
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
    /// The agent that answers this message and the next ones: one of `agents`. If omitted, the conversation keeps its
    /// agent, and a new conversation gets the default agent.
    agent: Option<String>,
}

/// A file that is attached to a message.
#[derive(InputObject)]
pub(super) struct AttachmentInput {
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

/// The reply to regenerate.
#[derive(InputObject)]
struct RegenerateReplyInput {
    /// The newest reply, or the message that it answers.
    message_id: ID,
    /// A retry with the same key and request returns the same turn: 1 to 255 visible ASCII characters.
    idempotency_key: Option<String>,
}

/// A reply that is being regenerated.
#[derive(SimpleObject)]
struct RegenerateReplyPayload {
    /// The conversation, without the former reply.
    conversation: Conversation,
    /// The message that is answered; null without the scope `conversations:read`.
    message: Option<Message>,
    /// The id of the new reply's message. The subscription `reply` streams it.
    reply_id: ID,
}

/// The new text of a message.
#[derive(InputObject)]
struct EditMessageInput {
    /// The newest message of the user.
    message_id: ID,
    /// The new text; may be empty if there are attachments.
    text: String,
    /// Attached files in place of the old ones, which stay if this is omitted.
    attachments: Option<Vec<AttachmentInput>>,
    /// A retry with the same key and request returns the same turn: 1 to 255 visible ASCII characters.
    idempotency_key: Option<String>,
}

/// An edited message, whose reply is being regenerated.
#[derive(SimpleObject)]
struct EditMessagePayload {
    /// The conversation, without the former reply.
    conversation: Conversation,
    /// The message with its new text.
    message: Message,
    /// The id of the new reply's message. The subscription `reply` streams it.
    reply_id: ID,
}

/// The replies to stop: exactly one of the fields.
#[derive(InputObject)]
struct StopReplyInput {
    /// The conversation whose replies are stopped.
    conversation_id: Option<ID>,
    /// The reply that is stopped.
    reply_id: Option<ID>,
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

    /// Generates a new title. Returns at once; the title follows as an event. If generation fails, the current title
    /// stays and `titleError` has the reason. A locked title is replaced only with `replaceManual`; otherwise the error
    /// code is `MANUAL_TITLE`.
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

    /// Brings the former title (`previousTitle`) back and locks it: only `regenerateTitle` with `replaceManual`, or
    /// `renameConversation`, replaces it. Repeating it changes nothing.
    async fn restore_title(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation.")] input: RestoreTitleInput,
    ) -> Option<Result<RestoreTitlePayload>> {
        payload(restore_title(ctx, input)).await
    }

    /// Archives a conversation: lists leave it out. Searches, subscriptions and its id still find it, and it stays archived
    /// when messages follow. Repeating it changes nothing.
    async fn archive_conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation.")] input: ArchiveConversationInput,
    ) -> Option<Result<ArchiveConversationPayload>> {
        payload(archive_conversation(ctx, input)).await
    }

    /// Brings an archived conversation back into the lists. Repeating it changes nothing.
    async fn unarchive_conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation.")] input: UnarchiveConversationInput,
    ) -> Option<Result<UnarchiveConversationPayload>> {
        payload(unarchive_conversation(ctx, input)).await
    }

    /// Pins a conversation. Repeating it changes nothing.
    async fn pin_conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation.")] input: PinConversationInput,
    ) -> Option<Result<PinConversationPayload>> {
        payload(pin_conversation(ctx, input)).await
    }

    /// Removes the pin of a conversation. Repeating it changes nothing.
    async fn unpin_conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation.")] input: UnpinConversationInput,
    ) -> Option<Result<UnpinConversationPayload>> {
        payload(unpin_conversation(ctx, input)).await
    }

    /// Changes the metadata that applications attach to a conversation: up to 16 pairs of text, which the server does not
    /// interpret.
    async fn set_conversation_metadata(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation and the changes.")] input: SetConversationMetadataInput,
    ) -> Option<Result<SetConversationMetadataPayload>> {
        payload(set_conversation_metadata(ctx, input)).await
    }

    /// Deletes a conversation with all its text, and stops its replies.
    async fn delete_conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation.")] input: DeleteConversationInput,
    ) -> Option<Result<DeleteConversationPayload>> {
        payload(delete_conversation(ctx, input)).await
    }

    /// Regenerates the newest reply. The former reply becomes a version of the new one (`Message.versions`).
    async fn regenerate_reply(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The reply.")] input: RegenerateReplyInput,
    ) -> Option<Result<RegenerateReplyPayload>> {
        payload(regenerate_reply(ctx, input)).await
    }

    /// Replaces the text of the user's newest message, and regenerates its reply. The former text and the former reply
    /// become versions.
    async fn edit_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message and its new text.")] input: EditMessageInput,
    ) -> Option<Result<EditMessagePayload>> {
        payload(edit_message(ctx, input)).await
    }

    /// Records a message of another program; no reply is generated. Title generation starts with the user's first recorded
    /// message with content. Idempotent by the message's id. Needs the scope `conversations:ingest`, and may act on behalf
    /// of a user.
    async fn record_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message.")] input: RecordMessageInput,
    ) -> Option<Result<RecordMessagePayload>> {
        payload(record_message(ctx, input)).await
    }

    /// Stops the running replies of a conversation, or one of them. Disconnecting does not stop them.
    async fn stop_reply(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation, or the reply.")] input: StopReplyInput,
    ) -> Option<Result<StopReplyPayload>> {
        payload(stop_reply(ctx, input)).await
    }

    /// Opens a reply that the caller writes, to a stored message. Needs the scope `conversations:ingest`. Without an append
    /// within `leaseSeconds` the reply ends as incomplete. For a known id, returns the progress of that reply.
    async fn open_reply(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The reply.")] input: OpenReplyInput,
    ) -> Option<Result<ReplyProgressPayload>> {
        payload(open_reply(ctx, input)).await
    }

    /// Appends to an open reply. Returns when it is stored. Bytes that are already stored change nothing; a gap or
    /// different bytes are `OFFSET_MISMATCH`, with the offset to continue at in `extensions.expectedOffset`.
    async fn append_reply(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The text and parts.")] input: AppendReplyInput,
    ) -> Option<Result<ReplyProgressPayload>> {
        payload(append_reply(ctx, input)).await
    }

    /// Ends an open reply. Repeating it changes nothing.
    async fn finish_reply(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How it ends.")] input: FinishReplyInput,
    ) -> Option<Result<ReplyProgressPayload>> {
        payload(finish_reply(ctx, input)).await
    }
}

// The fields are nullable, so that an error in one does not null its siblings, which may already be committed.

/// Prefixes the argument of an error with `input.`.
async fn payload<T>(result: impl Future<Output = Result<T>>) -> Option<Result<T>> {
    Some(result.await.map_err(GraphqlError::in_input))
}

async fn send_message(ctx: &Context<'_>, input: SendMessageInput) -> Result<SendMessagePayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let message = SendMessage {
        conversation: named(input.conversation_id, input.external_id)?,
        external_message_id: None,
        text: input.text,
        attachments: attachments(input.attachments)?,
        topic_hint: input.topic_hint,
        idempotency_key: input.idempotency_key,
        auto_title: input.auto_title,
        agent: input.agent,
    };
    if let Some(agent) = &message.agent {
        services.chat.check_agent(reach.caller(), agent)?;
    }
    let name = message.conversation.as_ref();
    let actor = reach::actor_in(services, reach, name, Access::Write).await?;
    let sent = limits::send_message(services, &actor, rate_limit_key(ctx), message).await?;
    Ok(SendMessagePayload {
        conversation: sent.conversation.into(),
        message: sent.message.into(),
        reply_id: sent.reply.reply_id.to_string().into(),
    })
}

/// The conversation that an input names with at most one of its two fields.
pub(super) fn named(
    id: Option<ID>,
    external_id: Option<String>,
) -> Result<Option<ConversationName>> {
    match (id, external_id) {
        (Some(id), None) => Ok(Some(conversation_id(&id).about("conversationId")?.into())),
        (None, Some(id)) => Ok(Some(external_name(&id).about("externalId")?)),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            let error = Error::invalid("pass only one of conversationId and externalId");
            Err(error).about("externalId")
        }
    }
}

pub(super) fn attachments(files: Vec<AttachmentInput>) -> Result<Vec<Attachment>, Error> {
    files
        .into_iter()
        .map(|file| Attachment::new(&file.name, file.media_type))
        .collect::<Result<_, _>>()
        .map_err(|invalid| Error::invalid_field("attachments", invalid.to_string()))
}

async fn regenerate_reply(
    ctx: &Context<'_>,
    input: RegenerateReplyInput,
) -> Result<RegenerateReplyPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let request = RegenerateReply {
        message_id: message_id(&input.message_id).about("messageId")?,
        idempotency_key: input.idempotency_key,
    };
    let named = Named::Message(request.message_id);
    let actor = reach::actor(services, reach, named, Access::Write).await?;
    let key = request.idempotency_key.as_deref();
    limits::admit_message(services, &actor, rate_limit_key(ctx), key).await?;
    let sent = services.chat.regenerate_reply(&actor, request).await?;
    Ok(RegenerateReplyPayload {
        conversation: sent.conversation.into(),
        message: reads_messages(ctx).then(|| sent.message.into()),
        reply_id: sent.reply.reply_id.to_string().into(),
    })
}

async fn edit_message(ctx: &Context<'_>, input: EditMessageInput) -> Result<EditMessagePayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let request = EditMessage {
        message_id: message_id(&input.message_id).about("messageId")?,
        text: input.text,
        attachments: input.attachments.map(attachments).transpose()?,
        idempotency_key: input.idempotency_key,
    };
    let named = Named::Message(request.message_id);
    let actor = reach::actor(services, reach, named, Access::Write).await?;
    let key = request.idempotency_key.as_deref();
    limits::admit_message(services, &actor, rate_limit_key(ctx), key).await?;
    let keeps_attachments = request.attachments.is_none();
    let mut sent = services.chat.edit_message(&actor, request).await?;
    if keeps_attachments && !reads_messages(ctx) {
        sent.message.attachments.clear();
    }
    Ok(EditMessagePayload {
        conversation: sent.conversation.into(),
        message: sent.message.into(),
        reply_id: sent.reply.reply_id.to_string().into(),
    })
}

async fn stop_reply(ctx: &Context<'_>, input: StopReplyInput) -> Result<StopReplyPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let (conversation, stopped) = match (input.conversation_id, input.reply_id) {
        (Some(id), None) => {
            let id = conversation_id(&id).about("conversationId")?;
            let named = Named::Conversation(id);
            let actor = reach::actor(services, reach, named, Access::Write).await?;
            services.chat.stop(&actor.owner, id).await?
        }
        (None, Some(id)) => {
            let id = message_id(&id).about("replyId")?;
            let actor = reach::actor(services, reach, Named::Message(id), Access::Write).await?;
            services.chat.stop_reply(&actor.owner, id).await?
        }
        (conversation, _) => {
            let field = match conversation {
                Some(_) => "reply_id",
                None => "conversation_id",
            };
            let message = "pass exactly one of conversationId and replyId";
            return Err(Error::invalid_field(field, message).into());
        }
    };
    Ok(StopReplyPayload {
        conversation: conversation.into(),
        stopped,
    })
}
