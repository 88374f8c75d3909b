//! Mutations that affect how lists show a conversation: archive, pin, metadata and deletion.

use async_graphql::{Context, ID, InputObject, SimpleObject};

use super::{
    errors::{About, Result},
    mutation::named,
    objects::Conversation,
    query::{owner_to_change, reach_for_change},
};
use crate::{
    api::rest::conversation_id,
    auth::Scope,
    conversation::{ConversationId, InvalidMetadata, Metadata, Owner, check_key},
    db::MetadataChange,
    error::Error,
};

/// The conversation to archive.
#[derive(InputObject)]
pub(super) struct ArchiveConversationInput {
    /// The conversation.
    conversation_id: Option<ID>,
    /// In place of `conversationId`: the conversation's id in the caller's own system.
    external_id: Option<String>,
}

/// An archived conversation.
#[derive(SimpleObject)]
pub(super) struct ArchiveConversationPayload {
    /// The conversation.
    conversation: Conversation,
}

/// The conversation to bring back.
#[derive(InputObject)]
pub(super) struct UnarchiveConversationInput {
    /// The conversation.
    conversation_id: Option<ID>,
    /// In place of `conversationId`: the conversation's id in the caller's own system.
    external_id: Option<String>,
}

/// A conversation that is no longer archived.
#[derive(SimpleObject)]
pub(super) struct UnarchiveConversationPayload {
    /// The conversation.
    conversation: Conversation,
}

/// The conversation to pin.
#[derive(InputObject)]
pub(super) struct PinConversationInput {
    /// The conversation.
    conversation_id: Option<ID>,
    /// In place of `conversationId`: the conversation's id in the caller's own system.
    external_id: Option<String>,
}

/// A pinned conversation.
#[derive(SimpleObject)]
pub(super) struct PinConversationPayload {
    /// The conversation.
    conversation: Conversation,
}

/// The conversation whose pin is removed.
#[derive(InputObject)]
pub(super) struct UnpinConversationInput {
    /// The conversation.
    conversation_id: Option<ID>,
    /// In place of `conversationId`: the conversation's id in the caller's own system.
    external_id: Option<String>,
}

/// A conversation without a pin.
#[derive(SimpleObject)]
pub(super) struct UnpinConversationPayload {
    /// The conversation.
    conversation: Conversation,
}

/// A pair of text to attach to a conversation, or to filter by.
#[derive(InputObject)]
pub(super) struct MetadataEntryInput {
    /// The key: 1 to 64 letters, digits, underscores, dots and hyphens.
    key: String,
    /// The value: at most 512 characters, none of them a control character.
    value: String,
}

/// A change of metadata. Keys that are not named stay.
#[derive(InputObject)]
pub(super) struct SetConversationMetadataInput {
    /// The conversation.
    conversation_id: Option<ID>,
    /// In place of `conversationId`: the conversation's id in the caller's own system.
    external_id: Option<String>,
    /// The pairs to store, in place of those with equal keys.
    #[graphql(default)]
    set: Vec<MetadataEntryInput>,
    /// The keys to remove, before `set` is stored. Unknown ones are ignored.
    #[graphql(default)]
    remove: Vec<String>,
}

/// A conversation with its metadata.
#[derive(SimpleObject)]
pub(super) struct SetConversationMetadataPayload {
    /// The conversation.
    conversation: Conversation,
}

/// A conversation to delete.
#[derive(InputObject)]
pub(super) struct DeleteConversationInput {
    /// The conversation.
    id: ID,
}

/// A conversation that was deleted.
#[derive(SimpleObject)]
pub(super) struct DeleteConversationPayload {
    /// The tombstone: its id, status and times.
    conversation: Conversation,
    /// Its id.
    deleted_conversation_id: ID,
}

/// The conversation that an input names with exactly one of its two fields.
fn target(owner: &Owner, id: Option<ID>, external_id: Option<String>) -> Result<ConversationId> {
    match named(id, external_id)? {
        Some(name) => Ok(name.id(owner)),
        None => {
            let error = Error::invalid("pass exactly one of conversationId and externalId");
            Err(error).about("conversationId")
        }
    }
}

pub(super) async fn archive_conversation(
    ctx: &Context<'_>,
    input: ArchiveConversationInput,
) -> Result<ArchiveConversationPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let id = target(reach.caller(), input.conversation_id, input.external_id)?;
    let owner = &owner_to_change(services, reach, id).await?;
    let conversation = services
        .chat
        .archive(owner, id, true, &reach.caller().user)
        .await?
        .into();
    Ok(ArchiveConversationPayload { conversation })
}

pub(super) async fn unarchive_conversation(
    ctx: &Context<'_>,
    input: UnarchiveConversationInput,
) -> Result<UnarchiveConversationPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let id = target(reach.caller(), input.conversation_id, input.external_id)?;
    let owner = &owner_to_change(services, reach, id).await?;
    let conversation = services
        .chat
        .archive(owner, id, false, &reach.caller().user)
        .await?
        .into();
    Ok(UnarchiveConversationPayload { conversation })
}

pub(super) async fn pin_conversation(
    ctx: &Context<'_>,
    input: PinConversationInput,
) -> Result<PinConversationPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let id = target(reach.caller(), input.conversation_id, input.external_id)?;
    let owner = &owner_to_change(services, reach, id).await?;
    let conversation = services.chat.pin(owner, id, true).await?.into();
    Ok(PinConversationPayload { conversation })
}

pub(super) async fn unpin_conversation(
    ctx: &Context<'_>,
    input: UnpinConversationInput,
) -> Result<UnpinConversationPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let id = target(reach.caller(), input.conversation_id, input.external_id)?;
    let owner = &owner_to_change(services, reach, id).await?;
    let conversation = services.chat.pin(owner, id, false).await?.into();
    Ok(UnpinConversationPayload { conversation })
}

pub(super) async fn set_conversation_metadata(
    ctx: &Context<'_>,
    input: SetConversationMetadataInput,
) -> Result<SetConversationMetadataPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let id = target(reach.caller(), input.conversation_id, input.external_id)?;
    let owner = &owner_to_change(services, reach, id).await?;
    let remove = input.remove;
    let keys: Result<(), _> = remove.iter().try_for_each(|key| check_key(key));
    keys.map_err(|invalid| invalid_metadata("remove", invalid))?;
    let change = MetadataChange {
        set: metadata("set", input.set)?,
        remove,
    };
    let conversation = services.chat.change_metadata(owner, id, &change).await?;
    Ok(SetConversationMetadataPayload {
        conversation: conversation.into(),
    })
}

/// Validates an argument's key-value pairs.
///
/// # Errors
/// [`Error::InvalidInput`].
pub(super) fn metadata(
    argument: &'static str,
    entries: Vec<MetadataEntryInput>,
) -> Result<Metadata, Error> {
    let pairs = entries.into_iter().map(|entry| (entry.key, entry.value));
    Metadata::new(pairs).map_err(|invalid| invalid_metadata(argument, invalid))
}

fn invalid_metadata(argument: &'static str, invalid: InvalidMetadata) -> Error {
    Error::invalid_field(argument, invalid.to_string())
}

pub(super) async fn delete_conversation(
    ctx: &Context<'_>,
    input: DeleteConversationInput,
) -> Result<DeleteConversationPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Delete)?;
    let id = conversation_id(&input.id).about("id")?;
    let owner = &owner_to_change(services, reach, id).await?;
    let tombstone = services
        .chat
        .delete(owner, id, &reach.caller().user)
        .await?;
    Ok(DeleteConversationPayload {
        conversation: tombstone.into(),
        deleted_conversation_id: id.to_string().into(),
    })
}
