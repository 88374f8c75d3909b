//! Settings of token verification.

use clap::{Args, builder::FalseyValueParser};

use crate::auth::{JwtSettings, Secret};

/// Settings of token verification.
#[derive(Args, Clone, Debug)]
pub struct JwtArguments {
    /// Secret of at least 32 bytes that clients' tokens (JWTs) are signed with; with a secret or keys, every request
    /// needs a token
    #[arg(
        long,
        env = "TITLECAST_JWT_SECRET",
        hide_env_values = true,
        value_name = "SECRET",
        global = true
    )]
    jwt_secret: Option<Secret>,

    /// File or http(s) URL of the public keys (a JWKS) that verify clients' tokens; read again every 10 minutes, and
    /// when a token names an unknown key
    #[arg(
        long,
        env = "TITLECAST_JWT_KEYS",
        hide_env_values = true,
        value_name = "PATH|URL",
        global = true
    )]
    jwt_keys: Option<String>,

    /// Required issuer (`iss`) of tokens
    #[arg(
        long,
        env = "TITLECAST_JWT_ISSUER",
        value_name = "ISSUER",
        global = true
    )]
    jwt_issuer: Option<String>,

    /// Required audience (`aud`) of tokens
    #[arg(
        long,
        env = "TITLECAST_JWT_AUDIENCE",
        value_name = "AUDIENCE",
        global = true
    )]
    jwt_audience: Option<String>,

    /// Accepted signature algorithms, separated by commas; by default HS256 with a secret and RS256,ES256,EdDSA with
    /// keys
    #[arg(
        long,
        env = "TITLECAST_JWT_ALGORITHMS",
        value_delimiter = ',',
        value_name = "ALGORITHMS",
        global = true
    )]
    jwt_algorithms: Vec<String>,

    /// Claim that names the user
    #[arg(
        long,
        env = "TITLECAST_JWT_USER_CLAIM",
        default_value = "sub",
        value_name = "CLAIM",
        global = true
    )]
    jwt_user_claim: String,

    /// Claim that names the tenant
    #[arg(
        long,
        env = "TITLECAST_JWT_TENANT_CLAIM",
        default_value = "tenant",
        value_name = "CLAIM",
        global = true
    )]
    jwt_tenant_claim: String,

    /// Claim that lists the scopes: conversations:read, conversations:write,
    /// conversations:delete, conversations:ingest, account:erase and audit:read
    #[arg(
        long,
        env = "TITLECAST_JWT_SCOPE_CLAIM",
        default_value = "scope",
        value_name = "CLAIM",
        global = true
    )]
    jwt_scope_claim: String,

    /// Cookie that may carry the token, for pages that cannot send a header (EventSource)
    #[arg(
        long,
        env = "TITLECAST_AUTH_COOKIE",
        value_name = "NAME",
        global = true
    )]
    auth_cookie: Option<String>,

    /// Accept tokens with the scope conversations:ingest for any tenant: their tenant claim is *, and each request names
    /// the tenant in Titlecast-Tenant
    #[arg(long, env = "TITLECAST_INGEST_ANY_TENANT", value_parser = FalseyValueParser::new(), global = true)]
    ingest_any_tenant: bool,
}

impl JwtArguments {
    /// Whether this secret is that of `--jwt-secret`.
    pub(super) fn has_secret(&self, secret: &Secret) -> bool {
        self.jwt_secret.as_ref() == Some(secret)
    }

    /// Converts the arguments to settings of [`crate::auth`].
    pub fn settings(&self) -> JwtSettings {
        let arguments = self.clone();
        JwtSettings {
            secret: arguments.jwt_secret,
            keys: arguments.jwt_keys,
            issuer: arguments.jwt_issuer,
            audience: arguments.jwt_audience,
            algorithms: arguments.jwt_algorithms,
            user_claim: arguments.jwt_user_claim,
            tenant_claim: arguments.jwt_tenant_claim,
            scope_claim: arguments.jwt_scope_claim,
            cookie: arguments.auth_cookie,
            any_tenant: arguments.ingest_any_tenant,
        }
    }
}
