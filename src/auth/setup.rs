//! Builds token verification from the settings, which are validated at start-up.

use std::{fmt, sync::Arc};

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use tokio_util::task::TaskTracker;

use super::{
    crypto,
    keys::{Keys, Published},
    source::{Source, SourceError},
    tokens::{Rules, Tokens},
};

/// The shortest secret, in bytes: the hash size of HS256 (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// A secret that `Debug` does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Whether the secret is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret itself, for sending or signing. It must not be logged or printed.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Settings for token verification. An empty string counts as unset.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// The secret that signs tokens.
    pub secret: Option<Secret>,
    /// The file or URL of the published keys; excludes `secret`.
    pub keys: Option<String>,
    /// The required issuer.
    pub issuer: Option<String>,
    /// The required audience.
    pub audience: Option<String>,
    /// The allowed algorithms; empty for the default.
    pub algorithms: Vec<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that lists the scopes.
    pub scope_claim: String,
    /// The cookie that may hold the token.
    pub cookie: Option<String>,
    /// Whether a token may be valid for any tenant (`*`).
    pub any_tenant: bool,
}

/// Why the settings are invalid; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The secret is too short.
    #[error(
        "--jwt-secret (TITLECAST_JWT_SECRET) is shorter than {MIN_SECRET_BYTES} bytes; generate one with `openssl rand \
         -base64 32`"
    )]
    ShortSecret,
    /// Both a secret and published keys are set.
    #[error("--jwt-secret and --jwt-keys exclude each other; set only one of them")]
    SecretAndKeys,
    /// A token setting is set without a secret or keys.
    #[error(
        "{0} is set, but tokens cannot be verified without --jwt-secret (TITLECAST_JWT_SECRET) or --jwt-keys \
         (TITLECAST_JWT_KEYS)"
    )]
    NoKey(&'static str),
    /// A required setting is missing.
    #[error("{0} is missing; it is required with --jwt-secret or --jwt-keys")]
    Missing(&'static str),
    /// An unknown or unsupported algorithm.
    #[error("--jwt-algorithms (TITLECAST_JWT_ALGORITHMS): {name:?} is not supported {with}")]
    Algorithm {
        /// The name in the setting.
        name: String,
        /// The kind of key and the algorithms it supports.
        with: &'static str,
    },
    /// The cookie name is invalid.
    #[error("--auth-cookie (TITLECAST_AUTH_COOKIE): {0:?} is not a valid cookie name")]
    Cookie(String),
    /// The source of the keys is invalid.
    #[error("--jwt-keys (TITLECAST_JWT_KEYS): {0}")]
    Source(#[source] SourceError),
    /// The keys cannot be read.
    #[error(
        "cannot read the token keys at {place}: {cause}. Check --jwt-keys (TITLECAST_JWT_KEYS)"
    )]
    Keys {
        /// The source, without passwords.
        place: String,
        /// The cause.
        #[source]
        cause: SourceError,
    },
    /// There is no secret to sign tokens with.
    #[error("--jwt-secret (TITLECAST_JWT_SECRET) is not set, so the token cannot be signed{0}")]
    NoSecret(&'static str),
    /// The name of a tenant or user is invalid.
    #[error("{0} must be 1 to 128 characters without control characters")]
    Name(&'static str),
    /// The server would refuse a token for any tenant.
    #[error(
        "--tenant '*' is for any tenant, which the server accepts only with --ingest-any-tenant"
    )]
    AnyTenant,
    /// The library failed to sign.
    #[error("the token could not be signed")]
    Signing,
}

impl SetupError {
    /// Whether a setting itself is invalid, rather than the resource it points to.
    pub fn is_of_a_setting(&self) -> bool {
        match self {
            Self::Keys { .. } | Self::Source(SourceError::Tls) | Self::Signing => false,
            Self::ShortSecret
            | Self::SecretAndKeys
            | Self::NoKey(_)
            | Self::Missing(_)
            | Self::Algorithm { .. }
            | Self::Cookie(_)
            | Self::Source(_)
            | Self::NoSecret(_)
            | Self::Name(_)
            | Self::AnyTenant => true,
        }
    }
}

impl JwtSettings {
    fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref().filter(|secret| !secret.is_empty())
    }

    fn keys(&self) -> Option<&str> {
        self.keys.as_deref().filter(|keys| !keys.is_empty())
    }

    /// Whether requests need tokens.
    pub fn is_on(&self) -> bool {
        self.secret().is_some() || self.keys().is_some()
    }

    /// Validates the settings and the file of published keys. Does not fetch keys from a URL.
    ///
    /// # Errors
    /// [`SetupError`] for the first invalid setting.
    pub async fn check(&self) -> Result<(), SetupError> {
        let Some(rules) = self.rules()? else {
            return Ok(());
        };
        self.cookie()?;
        if self.secret().is_some() {
            return Ok(());
        }
        match self.source()? {
            source @ Source::File(_) => published(source, &rules, &TaskTracker::new())
                .await
                .map(drop),
            Source::Url(..) => Ok(()),
        }
    }

    /// Builds the verifier and reads published keys; `None` if nothing is configured.
    ///
    /// # Errors
    /// [`SetupError`] if a setting is invalid or the keys cannot be read.
    pub async fn tokens(&self, tasks: &TaskTracker) -> Result<Option<Tokens>, SetupError> {
        let Some(rules) = self.rules()? else {
            return Ok(None);
        };
        let cookie = self.cookie()?;
        let keys = match self.secret() {
            Some(secret) => Keys::Secret(DecodingKey::from_secret(secret.as_bytes())),
            None => Keys::Published(published(self.source()?, &rules, tasks).await?),
        };
        Ok(Some(Tokens::new(rules, keys, cookie)))
    }

    /// The location of published keys.
    fn source(&self) -> Result<Source, SetupError> {
        Source::new(self.keys().unwrap_or_default()).map_err(SetupError::Source)
    }

    /// The rules for tokens; `None` if nothing is configured.
    pub(super) fn rules(&self) -> Result<Option<Rules>, SetupError> {
        const ISSUER: &str = "--jwt-issuer (TITLECAST_JWT_ISSUER)";
        const AUDIENCE: &str = "--jwt-audience (TITLECAST_JWT_AUDIENCE)";
        const COOKIE: &str = "--auth-cookie (TITLECAST_AUTH_COOKIE)";
        const ANY_TENANT: &str = "--ingest-any-tenant (TITLECAST_INGEST_ANY_TENANT)";
        crypto::install();
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let (issuer, audience) = (set(&self.issuer), set(&self.audience));
        if !self.is_on() {
            // Fail if the secret is missing by mistake, rather than serve without authentication.
            let described = [
                (issuer.is_some(), ISSUER),
                (audience.is_some(), AUDIENCE),
                (set(&self.cookie).is_some(), COOKIE),
                (self.any_tenant, ANY_TENANT),
            ];
            return match described.iter().find(|(is_set, _)| *is_set) {
                Some((_, setting)) => Err(SetupError::NoKey(setting)),
                None => Ok(None),
            };
        }
        if self.secret().is_some() && self.keys().is_some() {
            return Err(SetupError::SecretAndKeys);
        }
        if let Some(secret) = self.secret()
            && secret.as_bytes().len() < MIN_SECRET_BYTES
        {
            return Err(SetupError::ShortSecret);
        }
        let claim = |name: &String, setting: &'static str| match name.is_empty() {
            true => Err(SetupError::Missing(setting)),
            false => Ok(name.clone()),
        };
        Ok(Some(Rules {
            issuer: issuer.ok_or(SetupError::Missing(ISSUER))?,
            audience: audience.ok_or(SetupError::Missing(AUDIENCE))?,
            algorithms: self.algorithms()?,
            user_claim: claim(
                &self.user_claim,
                "--jwt-user-claim (TITLECAST_JWT_USER_CLAIM)",
            )?,
            tenant_claim: claim(
                &self.tenant_claim,
                "--jwt-tenant-claim (TITLECAST_JWT_TENANT_CLAIM)",
            )?,
            scope_claim: claim(
                &self.scope_claim,
                "--jwt-scope-claim (TITLECAST_JWT_SCOPE_CLAIM)",
            )?,
            allows_any_tenant: self.any_tenant,
        }))
    }

    /// The allowed algorithms. HMAC and public-key algorithms never mix, because a public key used as an HMAC secret
    /// would let anyone sign.
    fn algorithms(&self) -> Result<Vec<Algorithm>, SetupError> {
        let is_secret = self.secret().is_some();
        let named: Vec<&String> = self
            .algorithms
            .iter()
            .filter(|name| !name.is_empty())
            .collect();
        if named.is_empty() {
            return Ok(match is_secret {
                true => vec![Algorithm::HS256],
                false => vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
            });
        }
        let algorithm = |name: &&String| {
            let algorithm = name.parse::<Algorithm>().ok();
            let fits =
                |algorithm: &Algorithm| (algorithm.family() == AlgorithmFamily::Hmac) == is_secret;
            algorithm.filter(fits).ok_or_else(|| SetupError::Algorithm {
                name: (*name).clone(),
                with: match is_secret {
                    true => "with a secret; use HS256, HS384 or HS512",
                    false => {
                        "with published keys; use RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA"
                    }
                },
            })
        };
        named.iter().map(algorithm).collect()
    }

    fn cookie(&self) -> Result<Option<String>, SetupError> {
        let cookie = self.cookie.clone().filter(|name| !name.is_empty());
        // The name must be a `token` (RFC 2616), as RFC 6265 requires.
        let is_name = |name: &String| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        match cookie {
            Some(name) if !is_name(&name) => Err(SetupError::Cookie(name)),
            cookie => Ok(cookie),
        }
    }
}

/// Reads published keys for the first time.
async fn published(
    source: Source,
    rules: &Rules,
    tasks: &TaskTracker,
) -> Result<Arc<Published>, SetupError> {
    let place = source.to_string();
    let read = Published::read(source, rules.algorithms.clone(), tasks.clone()).await;
    read.map_err(|cause| SetupError::Keys { place, cause })
}
