//! From settings to tokens: what can be wrong with them is said before anything is served.

use std::fmt;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use tokio_util::task::TaskTracker;

use super::{
    crypto,
    keys::{Keys, Published},
    source::{Source, SourceError},
    tokens::{Rules, Tokens},
};

/// The shortest secret, in bytes: as long as the hash of HS256 (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// A secret, which no log shows.
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
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Which tokens are taken. Nothing is set by an empty text.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// The secret that signs them, or
    pub secret: Option<Secret>,
    /// the file or the URL with the keys that verify them.
    pub keys: Option<String>,
    /// Who makes them.
    pub issuer: Option<String>,
    /// Whom they are made for.
    pub audience: Option<String>,
    /// How they may be signed; none is the default.
    pub algorithms: Vec<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that lists the scopes.
    pub scope_claim: String,
    /// The cookie that may hold one.
    pub cookie: Option<String>,
}

/// Why these settings do not work; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The secret is short.
    #[error(
        "--jwt-secret (TITLECAST_JWT_SECRET) is shorter than {MIN_SECRET_BYTES} bytes; `openssl rand -base64 32` \
         makes one"
    )]
    ShortSecret,
    /// Two ways to verify tokens.
    #[error("--jwt-secret and --jwt-keys exclude each other: keep one of them")]
    SecretAndKeys,
    /// Tokens are described, and there is no way to verify them.
    #[error(
        "{0} is set, but neither --jwt-secret (TITLECAST_JWT_SECRET) nor --jwt-keys (TITLECAST_JWT_KEYS): tokens \
         could not be verified"
    )]
    NoKey(&'static str),
    /// Something else is needed along with the keys.
    #[error("{0} is missing: it is needed as soon as tokens are verified")]
    Missing(&'static str),
    /// An algorithm that there is not, or not here.
    #[error("--jwt-algorithms (TITLECAST_JWT_ALGORITHMS): {name:?} cannot be used {with}")]
    Algorithm {
        /// What was written.
        name: String,
        /// What it was to be used with, and what else can be.
        with: &'static str,
    },
    /// No header could hold a cookie of this name.
    #[error("--auth-cookie (TITLECAST_AUTH_COOKIE): {0:?} is no name of a cookie")]
    Cookie(String),
    /// Where the keys are cannot be read.
    #[error("--jwt-keys (TITLECAST_JWT_KEYS): {0}")]
    Source(#[source] SourceError),
    /// The keys cannot be had.
    #[error(
        "cannot read the keys of tokens at {place}: {cause}. Check --jwt-keys (TITLECAST_JWT_KEYS)"
    )]
    Keys {
        /// Where they were looked for, without passwords.
        place: String,
        /// What was found instead.
        #[source]
        cause: SourceError,
    },
    /// There is nothing to sign tokens with.
    #[error("a token is signed with --jwt-secret (TITLECAST_JWT_SECRET), which is not set{0}")]
    NoSecret(&'static str),
    /// A name that the server would not take either.
    #[error("{0} has to have 1 to 128 characters, and no control characters")]
    Name(&'static str),
    /// The library refused.
    #[error("the token could not be signed")]
    Signing,
}

impl SetupError {
    /// Whether a setting cannot be used as it is written, whatever is found where it points.
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
            | Self::Name(_) => true,
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

    /// Whether callers have to bring tokens.
    pub fn is_on(&self) -> bool {
        self.secret().is_some() || self.keys().is_some()
    }

    /// What takes the tokens; `None` when nothing is configured. Reads published keys for the first time.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn tokens(&self, tasks: &TaskTracker) -> Result<Option<Tokens>, SetupError> {
        let Some(rules) = self.rules()? else {
            return Ok(None);
        };
        let cookie = self.cookie()?;
        let keys = match self.secret() {
            Some(secret) => Keys::Secret(DecodingKey::from_secret(secret.as_bytes())),
            None => {
                let source = Source::new(self.keys().unwrap_or_default());
                let source = source.map_err(SetupError::Source)?;
                let place = source.to_string();
                let allowed = rules.algorithms.clone();
                let published = Published::read(source, allowed, tasks.clone()).await;
                Keys::Published(published.map_err(|cause| SetupError::Keys { place, cause })?)
            }
        };
        Ok(Some(Tokens::new(rules, keys, cookie)))
    }

    /// What tokens have to say; `None` when nothing is configured.
    pub(super) fn rules(&self) -> Result<Option<Rules>, SetupError> {
        const ISSUER: &str = "--jwt-issuer (TITLECAST_JWT_ISSUER)";
        const AUDIENCE: &str = "--jwt-audience (TITLECAST_JWT_AUDIENCE)";
        const COOKIE: &str = "--auth-cookie (TITLECAST_AUTH_COOKIE)";
        crypto::install();
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let (issuer, audience) = (set(&self.issuer), set(&self.audience));
        if !self.is_on() {
            // A secret that got lost on its way must not open the service to everybody.
            let described = [
                (issuer.is_some(), ISSUER),
                (audience.is_some(), AUDIENCE),
                (set(&self.cookie).is_some(), COOKIE),
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
        }))
    }

    /// A public key that were taken for a secret would let everybody sign: the two kinds never mix.
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
                    true => "with a secret; HS256, HS384 and HS512 can be",
                    false => {
                        "with published keys; RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA \
                         can be"
                    }
                },
            })
        };
        named.iter().map(algorithm).collect()
    }

    fn cookie(&self) -> Result<Option<String>, SetupError> {
        let cookie = self.cookie.clone().filter(|name| !name.is_empty());
        // A token, as RFC 6265 has it of RFC 2616.
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
