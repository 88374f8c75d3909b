//! The authorization extractor of the HTTP routes: verifies the caller and its scope before a handler runs.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use tokio::time::Instant;

use super::RestError;
use crate::{
    api::{
        Services,
        auth::caller,
        reach::{self, Access},
    },
    auth::{RateLimitKey, Reach, Scope},
    conversation::{Actor, ConversationId, ConversationName, MessageId, Owner, Visibility},
    db::Named,
    error::Result,
};

/// A caller with the scope that `N` requires. Handlers of the HTTP routes have no other way to get an owner.
pub(super) struct Authorized<N> {
    /// The caller, who owns what the request creates.
    caller: Owner,
    /// The visibility of the tenant's conversations.
    visibility: Visibility,
    /// When the token expires. A stream opened by the request ends then.
    pub(super) until: Option<Instant>,
    /// The key under which messages and streams are counted.
    pub(super) rate_limit_key: RateLimitKey,
    /// Whether the caller may also read message text.
    pub(super) reads_messages: bool,
    scope: PhantomData<N>,
}

/// A scope, as a type parameter of [`Authorized`].
pub(super) trait RequiredScope {
    /// The required scope.
    const SCOPE: Scope;
    /// The access that it gives to conversations of other users of the tenant.
    const ACCESS: Access = Access::Write;
}

/// To read and subscribe.
pub(super) struct ToRead;
/// To send, stop and rename.
pub(super) struct ToWrite;
/// To delete.
pub(super) struct ToDelete;
/// To record messages and write external replies. The owner is the user that the request acts for; the rate limit key
/// is the service's own.
pub(super) struct ToIngest;

/// To erase the account.
pub(super) struct ToErase;

impl RequiredScope for ToRead {
    const SCOPE: Scope = Scope::Read;
    const ACCESS: Access = Access::Read;
}
impl RequiredScope for ToWrite {
    const SCOPE: Scope = Scope::Write;
}
impl RequiredScope for ToDelete {
    const SCOPE: Scope = Scope::Delete;
}
impl RequiredScope for ToIngest {
    const SCOPE: Scope = Scope::Ingest;
}
impl RequiredScope for ToErase {
    const SCOPE: Scope = Scope::Erase;
}

impl<N: RequiredScope> Authorized<N> {
    /// The caller.
    pub(super) fn caller(&self) -> &Owner {
        &self.caller
    }

    /// The rows that the caller may read and write.
    pub(super) fn reach(&self) -> Reach<'_> {
        Reach::granted(&self.caller, self.visibility)
    }

    /// The id of the named conversation, and the caller as an actor in it.
    ///
    /// # Errors
    /// As [`reach::actor`].
    pub(super) async fn within(
        &self,
        services: &Services,
        name: &ConversationName,
    ) -> Result<(Actor, ConversationId)> {
        let actor = reach::actor_in(services, self.reach(), Some(name), N::ACCESS).await?;
        Ok((actor, name.id(&self.caller)))
    }

    /// The caller as an actor in the named conversation, or in a new one.
    ///
    /// # Errors
    /// As [`reach::actor`].
    pub(super) async fn actor(
        &self,
        services: &Services,
        name: Option<&ConversationName>,
    ) -> Result<Actor> {
        reach::actor_in(services, self.reach(), name, N::ACCESS).await
    }

    /// The caller as an actor in the conversation of a turn.
    ///
    /// # Errors
    /// As [`reach::actor`].
    pub(super) async fn actor_of_turn(
        &self,
        services: &Services,
        turn: MessageId,
    ) -> Result<Actor> {
        reach::actor(services, self.reach(), Named::Turn(turn), N::ACCESS).await
    }
}

impl<S, N> FromRequestParts<S> for Authorized<N>
where
    S: Sync,
    N: RequiredScope,
    Arc<Services>: FromRef<S>,
{
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RestError> {
        let services = Arc::<Services>::from_ref(state);
        let principal = caller(&services, parts).await?;
        let reach = principal.reach(N::SCOPE, &services.sharing)?;
        Ok(Self {
            caller: reach.caller().clone(),
            visibility: reach.visibility(),
            until: principal.until(),
            rate_limit_key: principal.rate_limit_key().clone(),
            reads_messages: principal.allows(Scope::Read),
            scope: PhantomData,
        })
    }
}
