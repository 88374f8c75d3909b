//! Development tokens, signed with the server's own secret.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Map, Value};

use super::{ANY_TENANT, JwtSettings, Scope, SetupError, tokens::is_name};

/// The contents of a token to sign.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The tenant.
    pub tenant: String,
    /// The user within the tenant.
    pub user: String,
    /// The scopes.
    pub scopes: Vec<Scope>,
    /// How long the token is valid.
    pub lifetime: Duration,
}

/// Signs a token that a server with the same settings accepts.
///
/// # Errors
/// [`SetupError`], also if no secret is set.
pub fn mint(settings: &JwtSettings, request: &TokenRequest) -> Result<String, SetupError> {
    let rules = settings.rules()?.ok_or(SetupError::NoSecret(""))?;
    let secret = settings.secret.as_ref().filter(|secret| !secret.is_empty());
    let secret = secret.ok_or(SetupError::NoSecret(
        "; with --jwt-keys only the owner of the private keys can sign tokens",
    ))?;
    for (name, flag) in [(&request.tenant, "--tenant"), (&request.user, "--user")] {
        if !is_name(name) {
            return Err(SetupError::Name(flag));
        }
    }
    if request.tenant == ANY_TENANT && !rules.allows_any_tenant {
        return Err(SetupError::AnyTenant);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let scopes: Vec<&str> = request.scopes.iter().map(|scope| scope.as_str()).collect();
    let end = now.saturating_add(request.lifetime).as_secs();
    let claims: [(&str, Value); 7] = [
        ("iss", rules.issuer.into()),
        ("aud", rules.audience.into()),
        (&rules.scope_claim, scopes.join(" ").into()),
        (&rules.tenant_claim, request.tenant.clone().into()),
        (&rules.user_claim, request.user.clone().into()),
        ("iat", now.as_secs().into()),
        ("exp", end.into()),
    ];
    let claims: Map<String, Value> = claims
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    // `rules` returns at least one algorithm; HS256 is the default.
    let header = Header::new(rules.algorithms.first().copied().unwrap_or_default());
    encode(
        &header,
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .map_err(|_| SetupError::Signing)
}
