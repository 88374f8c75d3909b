//! Authentication for REST, GraphQL and WebSocket alike: finds the token of a request and verifies it.

use axum::http::{HeaderMap, Method, header, request::Parts};
use serde_json::Value;

use super::{Services, on_behalf};
use crate::{
    auth::{Access, Principal, Tokens},
    error::{Error, Result},
    server::ClientAddress,
};

/// The caller of a request or a WebSocket handshake.
///
/// # Errors
/// [`Error::Unauthenticated`] or [`Error::AuthExpired`]; [`Error::ForbiddenOrigin`] if the token is in a cookie and the
/// origin is not trusted (CSRF).
pub(super) async fn caller(services: &Services, parts: &Parts) -> Result<Principal> {
    let caller = bearer_of(services, parts).await?;
    Ok(caller.on_behalf(on_behalf::named(&parts.headers)))
}

async fn bearer_of(services: &Services, parts: &Parts) -> Result<Principal> {
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
    // A browser attaches cookies to requests from any page, so a request that changes something needs a trusted origin.
    let is_safe = matches!(parts.method, Method::GET | Method::HEAD)
        && !parts.headers.contains_key(header::UPGRADE);
    if !is_safe && !services.allowed_origins.confirms(&parts.headers) {
        return Err(Error::ForbiddenOrigin);
    }
    tokens.principal(token).await
}

/// The caller named by a `connection_init` payload, which browsers use because their WebSockets cannot send headers;
/// `None` if the payload has no token.
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
/// [`Error::Unauthenticated`] if the header is not a bearer token, or is sent more than once: choosing one would be a
/// guess.
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

/// The token in `Bearer …`.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

/// The token in the cookie, if a cookie is configured.
///
/// # Errors
/// [`Error::Unauthenticated`] if the cookie is sent more than once: a sibling domain may have added one.
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
