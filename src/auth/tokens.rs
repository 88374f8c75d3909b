//! Verifies tokens and extracts their principals.

use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, SystemTime},
};

use jsonwebtoken::{Algorithm, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::supervisor::{Loop, Supervisor};

use super::{
    ANY_TENANT, Principal, Scope,
    keys::{KeyState, Keys},
};
use crate::{
    conversation::Owner,
    error::{Error, Result},
};

/// Allowed clock skew between issuer and server.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);

/// The longest token, in bytes.
const MAX_BYTES: usize = 8 * 1024;

/// The longest name of a tenant or user, in characters, as in the database columns.
const MAX_NAME: usize = 128;

/// The longest timer. A token with a longer lifetime effectively never expires.
const MAX_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The claims and algorithms that a token must have.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) user_claim: String,
    pub(super) tenant_claim: String,
    pub(super) scope_claim: String,
    /// Whether the tenant claim may be [`ANY_TENANT`].
    pub(super) allows_any_tenant: bool,
}

/// Verifies tokens.
pub struct Tokens {
    rules: Rules,
    keys: Keys,
    cookie: Option<String>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    pub(super) fn new(rules: Rules, keys: Keys, cookie: Option<String>) -> Self {
        Self {
            rules,
            keys,
            cookie,
        }
    }

    /// The name of the cookie that may hold a token, if configured.
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// The state of published keys; `None` with a secret.
    pub fn key_state(&self) -> Option<KeyState> {
        match &self.keys {
            Keys::Secret(_) => None,
            Keys::Published(published) => Some(published.state()),
        }
    }

    /// Refreshes published keys in a supervised loop until `closing`.
    pub fn start_refresh(&self, supervisor: &Supervisor, closing: &CancellationToken) {
        if let Keys::Published(published) = &self.keys {
            let (published, end) = (published.clone(), closing.clone());
            supervisor.spawn(Loop::TokenKeys, closing.clone(), move |heartbeat| {
                let (published, end) = (published.clone(), end.clone());
                async move { published.run_refresh(&heartbeat, &end).await }
            });
        }
    }

    /// Verifies a token and returns its principal.
    ///
    /// # Errors
    /// [`Error::AuthExpired`] or [`Error::Unauthenticated`], without the reason.
    pub async fn principal(&self, token: &str) -> Result<Principal> {
        if token.len() > MAX_BYTES {
            return Err(refused("length"));
        }
        let header = decode_header(token).map_err(|_| refused("malformed"))?;
        if !self.rules.algorithms.contains(&header.alg) {
            return Err(refused("algorithm"));
        }
        // RFC 7515, section 4.1.11 requires refusing unsupported critical extensions; none is supported.
        if header.crit.is_some() {
            return Err(refused("extension"));
        }
        let key = self.keys.find(header.kid.as_deref(), header.alg).await;
        let key = key.ok_or_else(|| refused("key"))?;
        let claims = decode::<Map<String, Value>>(token, &key, &self.rules.validation(header.alg));
        let claims = claims.map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => {
                refused("expired");
                Error::AuthExpired
            }
            ErrorKind::InvalidSignature => refused("signature"),
            ErrorKind::InvalidIssuer => refused("issuer"),
            ErrorKind::InvalidAudience => refused("audience"),
            ErrorKind::ImmatureSignature => refused("not yet valid"),
            ErrorKind::MissingRequiredClaim(_) => refused("claim missing"),
            _ => refused("malformed"),
        })?;
        let principal = self.rules.principal(&claims.claims);
        principal.ok_or_else(|| refused("names"))
    }
}

/// Logs the reason at `debug`, as a constant without token contents. The client does not learn it.
fn refused(reason: &'static str) -> Error {
    tracing::debug!(auth.reason = reason, "token rejected");
    Error::Unauthenticated
}

impl Rules {
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation
    }

    /// The principal of verified claims; `None` unless they name a valid tenant and user.
    fn principal(&self, claims: &Map<String, Value>) -> Option<Principal> {
        // The library would also accept a list of issuers that contains ours.
        claims.get("iss").filter(|issuer| issuer.is_string())?;
        let name = |claim: &str| {
            let name = claims.get(claim)?.as_str()?;
            is_name(name).then(|| name.to_owned())
        };
        let owner = Owner {
            tenant: name(&self.tenant_claim)?,
            user: name(&self.user_claim)?,
        };
        if owner.tenant == ANY_TENANT && !self.allows_any_tenant {
            return None;
        }
        let scopes = scopes(claims.get(&self.scope_claim));
        Some(Principal::bearer(owner, scopes, deadline(claims)?))
    }
}

/// Whether a text is a valid name for a tenant or user.
pub fn is_name(text: &str) -> bool {
    let length = text.chars().count();
    (1..=MAX_NAME).contains(&length) && !text.contains(char::is_control)
}

/// The known scopes in a list or a space-separated string (RFC 8693, section 4.2); none if the claim is absent.
fn scopes(claim: Option<&Value>) -> BTreeSet<Scope> {
    let ours = |name: &str| name.parse().ok();
    match claim {
        Some(Value::String(names)) => names.split(' ').filter_map(ours).collect(),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str);
            names.filter_map(ours).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// When the token expires, including the leeway.
fn deadline(claims: &Map<String, Value>) -> Option<Instant> {
    let exp = claims.get("exp")?;
    let exp = exp
        .as_u64()
        .or_else(|| exp.as_f64().map(|exp| exp as u64))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let end = Duration::from_secs(exp).saturating_add(LEEWAY);
    let left = end.saturating_sub(now.ok()?).min(MAX_LIFETIME);
    Some(Instant::now() + left)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_have_1_to_128_characters_and_no_control_characters() {
        for good in ["a", "auth0|5f", "名前", &"ä".repeat(128), " ", "a*.>b"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a\nb", "\u{0}", "a\u{85}", &"a".repeat(129)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn scopes_are_a_text_or_a_list_and_without_them_nothing_is_allowed() {
        let of = |claim: Value| scopes(Some(&claim)).into_iter().collect::<Vec<_>>();
        let both = [Scope::Read, Scope::Delete];
        assert_eq!(
            of(json!("openid conversations:delete conversations:read")),
            both
        );
        assert_eq!(
            of(json!(["conversations:read", 1, "conversations:delete"])),
            both
        );
        for none in [
            json!(""),
            json!("conversations"),
            json!("conversations:*"),
            json!("Conversations:Read"),
            json!(true),
            json!({ "conversations:read": true }),
            json!([["conversations:read"]]),
        ] {
            assert_eq!(of(none.clone()), [], "{none}");
        }
        assert!(scopes(None).is_empty());
    }

    #[test]
    fn an_end_that_no_timer_reaches_is_as_good_as_none() {
        let claims = |exp: Value| json!({ "exp": exp }).as_object().unwrap().clone();
        assert!(deadline(&claims(json!(u64::MAX))).unwrap() > Instant::now() + MAX_LIFETIME / 2);
        assert!(deadline(&claims(json!(0))).unwrap() <= Instant::now());
        assert!(deadline(&claims(json!("soon"))).is_none());
    }
}
