//! Title mutations: inputs, payloads and resolvers.

use async_graphql::{Context, Enum, ID, InputObject, SimpleObject};

use super::{
    errors::{About, Result},
    objects::Conversation,
    query::{owner_to_change, rate_limit_key, reach_for_change},
};
use crate::{
    api::{limits::TitleChange, rest::conversation_id},
    auth::Scope,
    conversation as domain,
    titles::Regenerate,
};

/// A new title.
#[derive(InputObject)]
pub(super) struct RenameConversationInput {
    /// The conversation.
    id: ID,
    /// The title: 1 to 128 characters.
    display_name: String,
}

/// A conversation with its new title.
#[derive(SimpleObject)]
pub(super) struct RenameConversationPayload {
    /// The conversation.
    conversation: Conversation,
}

/// The conversation whose title is generated again.
#[derive(InputObject)]
pub(super) struct RegenerateTitleInput {
    /// The conversation.
    id: ID,
    /// Instructions for the title: at most 200 characters.
    hint: Option<String>,
    /// Whether a title that the user set or restored may be replaced.
    #[graphql(default)]
    replace_manual: bool,
    /// What the title is made from. By default the whole conversation if the user wrote three messages or more, else the
    /// first message.
    from: Option<TitleFrom>,
}

/// What a title is made from.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum TitleFrom {
    /// The first message with a topic.
    FirstMessage,
    /// The first message of the user, the last two exchanges and messages between. The title stays the same unless the
    /// subject moved.
    Conversation,
}

impl From<TitleFrom> for domain::TitleFrom {
    fn from(from: TitleFrom) -> Self {
        match from {
            TitleFrom::FirstMessage => Self::FirstMessage,
            TitleFrom::Conversation => Self::Conversation,
        }
    }
}

/// A conversation whose title is being generated again.
#[derive(SimpleObject)]
pub(super) struct RegenerateTitlePayload {
    /// The conversation. It keeps its title, with `titleStatus` `PENDING`, until the new title is ready.
    conversation: Conversation,
}

/// The conversation whose title is reset.
#[derive(InputObject)]
pub(super) struct ResetTitleInput {
    /// The conversation.
    id: ID,
}

/// A conversation whose title is generated, or being generated.
#[derive(SimpleObject)]
pub(super) struct ResetTitlePayload {
    /// The conversation.
    conversation: Conversation,
}

/// The conversation whose former title is restored.
#[derive(InputObject)]
pub(super) struct RestoreTitleInput {
    /// The conversation.
    id: ID,
}

/// A conversation with its former title.
#[derive(SimpleObject)]
pub(super) struct RestoreTitlePayload {
    /// The conversation.
    conversation: Conversation,
}

pub(super) async fn rename_conversation(
    ctx: &Context<'_>,
    input: RenameConversationInput,
) -> Result<RenameConversationPayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let id = conversation_id(&input.id).about("id")?;
    services
        .users
        .title_change(rate_limit_key(ctx), TitleChange::Rename)?;
    let owner = owner_to_change(services, reach, id).await?;
    let conversation = services
        .titles
        .rename(&owner, id, &input.display_name, &reach.caller().user)
        .await?;
    Ok(RenameConversationPayload {
        conversation: conversation.into(),
    })
}

pub(super) async fn regenerate_title(
    ctx: &Context<'_>,
    input: RegenerateTitleInput,
) -> Result<RegenerateTitlePayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let request = Regenerate {
        id: conversation_id(&input.id).about("id")?,
        hint: input.hint,
        replace_manual: input.replace_manual,
        from: input.from.map(Into::into),
    };
    services
        .users
        .title_change(rate_limit_key(ctx), TitleChange::Generate)?;
    let owner = owner_to_change(services, reach, request.id).await?;
    let conversation = services
        .titles
        .regenerate(&owner, request)
        .await
        .about("id")?;
    Ok(RegenerateTitlePayload {
        conversation: conversation.into(),
    })
}

pub(super) async fn reset_title(
    ctx: &Context<'_>,
    input: ResetTitleInput,
) -> Result<ResetTitlePayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let id = conversation_id(&input.id).about("id")?;
    services
        .users
        .title_change(rate_limit_key(ctx), TitleChange::Generate)?;
    let owner = owner_to_change(services, reach, id).await?;
    let conversation = services
        .titles
        .reset(&owner, id, &reach.caller().user)
        .await?;
    Ok(ResetTitlePayload {
        conversation: conversation.into(),
    })
}

pub(super) async fn restore_title(
    ctx: &Context<'_>,
    input: RestoreTitleInput,
) -> Result<RestoreTitlePayload> {
    let (services, reach) = reach_for_change(ctx, Scope::Write)?;
    let id = conversation_id(&input.id).about("id")?;
    services
        .users
        .title_change(rate_limit_key(ctx), TitleChange::Rename)?;
    let owner = owner_to_change(services, reach, id).await?;
    let conversation = services
        .titles
        .restore(&owner, id, &reach.caller().user)
        .await?;
    Ok(RestoreTitlePayload {
        conversation: conversation.into(),
    })
}
