//! The authorization extractor of the legacy routes: verifies the caller and its scope before a handler runs.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use tokio::time::Instant;

use super::RestError;
use crate::{
    api::{Services, auth::caller},
    auth::{RateLimitKey, Scope},
    conversation::Owner,
};

/// A caller with the scope that `N` requires. Handlers of the legacy routes have no other way to an owner.
pub(super) struct Authorized<N> {
    /// The owner of the data.
    pub(super) owner: Owner,
    /// When the token expires: a stream that the request opens ends then.
    pub(super) until: Option<Instant>,
    /// The key that messages and streams are counted under.
    pub(super) rate_limit_key: RateLimitKey,
    /// Whether the caller may read message text too.
    pub(super) reads_messages: bool,
    scope: PhantomData<N>,
}

/// A scope, as a type parameter of [`Authorized`].
pub(super) trait RequiredScope {
    /// The scope.
    const SCOPE: Scope;
}

/// Read and subscribe.
pub(super) struct ToRead;
/// Send, stop and rename.
pub(super) struct ToWrite;
/// Delete.
pub(super) struct ToDelete;

impl RequiredScope for ToRead {
    const SCOPE: Scope = Scope::Read;
}
impl RequiredScope for ToWrite {
    const SCOPE: Scope = Scope::Write;
}
impl RequiredScope for ToDelete {
    const SCOPE: Scope = Scope::Delete;
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
        Ok(Self {
            owner: principal.owner(N::SCOPE)?.clone(),
            until: principal.until(),
            rate_limit_key: principal.rate_limit_key().clone(),
            reads_messages: principal.allows(Scope::Read),
            scope: PhantomData,
        })
    }
}
