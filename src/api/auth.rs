//! Whose request it is; the same for REST, GraphQL and WebSocket: where a token stands in a request, and
//! what a handler must ask for to get at an owner.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, Method, header, request::Parts},
};
use serde_json::Value;
use tokio::time::Instant;

use super::{Services, rest::RestError};
use crate::{
    auth::{Access, Principal, RateLimitKey, Scope, Tokens},
    conversation::Owner,
    error::{Error, Result},
    server::ClientAddress,
};

/// A caller who may do what `N` needs. Handlers of the legacy routes get their owner from nothing else.
pub(super) struct Allowed<N> {
    /// Whose data it is.
    pub(super) owner: Owner,
    /// When what the request opens has to end.
    pub(super) until: Option<Instant>,
    /// As whom its messages and streams are counted.
    pub(super) counted: RateLimitKey,
    needs: PhantomData<N>,
}

/// What a handler does.
pub(super) trait Needs {
    /// What it needs for it.
    const SCOPE: Scope;
}

/// To read and to watch.
pub(super) struct ToRead;
/// To send, to stop, to rename.
pub(super) struct ToWrite;
/// To delete.
pub(super) struct ToDelete;

impl Needs for ToRead {
    const SCOPE: Scope = Scope::Read;
}
impl Needs for ToWrite {
    const SCOPE: Scope = Scope::Write;
}
impl Needs for ToDelete {
    const SCOPE: Scope = Scope::Delete;
}

impl<S, N> FromRequestParts<S> for Allowed<N>
where
    S: Sync,
    N: Needs,
    Arc<Services>: FromRef<S>,
{
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RestError> {
        let services = Arc::<Services>::from_ref(state);
        let principal = caller(&services, parts).await?;
        Ok(Self {
            owner: principal.owner(N::SCOPE)?.clone(),
            until: principal.until(),
            counted: principal.rate_limit_key().clone(),
            needs: PhantomData,
        })
    }
}

/// Who sends a request, or opens a WebSocket.
///
/// # Errors
/// [`Error::Unauthenticated`], [`Error::AuthExpired`]; [`Error::ForbiddenOrigin`] for a cookie that
/// another page may have sent.
pub(super) async fn caller(services: &Services, parts: &Parts) -> Result<Principal> {
    let tokens = match &services.access {
        Access::Open(owner) => {
            let client = parts.extensions.get::<ClientAddress>();
            let address = client.map(|ClientAddress(address)| *address);
            return Ok(Principal::local(owner.clone(), address));
        }
        Access::Tokens(tokens) => tokens,
    };
    if let Some(token) = header_token(&parts.headers)? {
        return tokens.principal(token).await;
    }
    let token = cookie_token(tokens, &parts.headers)?.ok_or(Error::Unauthenticated)?;
    // A browser sends cookies whoever asks it to; only the origin says which page did.
    let is_safe = matches!(parts.method, Method::GET | Method::HEAD)
        && !parts.headers.contains_key(header::UPGRADE);
    if !is_safe && !services.allowed_origins.confirms(&parts.headers) {
        return Err(Error::ForbiddenOrigin);
    }
    tokens.principal(token).await
}

/// Who a `connection_init` says it is, for browsers, whose WebSockets send no headers; `None` when it
/// says nothing about that.
pub(super) async fn introduced(services: &Services, payload: &Value) -> Option<Result<Principal>> {
    let Access::Tokens(tokens) = &services.access else {
        return None;
    };
    let text = |name: &str| payload.get(name).filter(|value| !value.is_null());
    let token = match text("authorization").or_else(|| text("Authorization")) {
        Some(value) => value.as_str().and_then(bearer),
        None => text("token")?.as_str(),
    };
    Some(match token {
        Some(token) => tokens.principal(token).await,
        None => Err(Error::Unauthenticated),
    })
}

/// The token of the `Authorization` header.
///
/// # Errors
/// When the header holds something else, or there are several: nobody guesses which is meant.
fn header_token(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let token = value.to_str().ok().and_then(bearer);
            token.map(Some).ok_or(Error::Unauthenticated)
        }
        (Some(_), Some(_)) => Err(Error::Unauthenticated),
    }
}

/// The token of `Bearer …`.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

/// The token of the cookie, if one may hold it.
///
/// # Errors
/// When there are several: a page of a sibling domain may have added one.
fn cookie_token<'a>(tokens: &Tokens, headers: &'a HeaderMap) -> Result<Option<&'a str>> {
    let Some(wanted) = tokens.cookie() else {
        return Ok(None);
    };
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut found = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .filter(|(name, _)| *name == wanted)
        .map(|(_, value)| value.trim_matches('"'));
    match (found.next(), found.next()) {
        (token, None) => Ok(token.filter(|token| !token.is_empty())),
        _ => Err(Error::Unauthenticated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_and_nothing_else() {
        for (value, token) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bearer a.b.c", Some("a.b.c")),
            ("BEARER  a.b.c ", Some("a.b.c")),
            ("Bearer", None),
            ("Basic a.b.c", None),
            ("Bearera.b.c", None),
            ("a.b.c", None),
            ("", None),
        ] {
            assert_eq!(bearer(value), token, "{value:?}");
        }
    }
}
