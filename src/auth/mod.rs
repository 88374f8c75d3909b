//! Authentication: verifies a token and returns its principal.
//!
//! Independent of HTTP: [`api::auth`](crate::api) extracts tokens from requests. Token contents are never logged. The
//! client learns only whether its token is expired or invalid.

mod crypto;
mod jwks;
mod keys;
mod mint;
mod on_behalf;
mod principal;
mod setup;
mod sharing;
mod source;
mod tokens;

use std::sync::Arc;

use crate::conversation::Owner;

pub use self::{
    keys::KeyState,
    mint::{TokenRequest, mint},
    on_behalf::{ANY_TENANT, NamedOwner, OnBehalf, OnBehalfRefusal},
    principal::{Principal, RateLimitKey, Scope},
    setup::{JwtSettings, Secret, SetupError},
    sharing::{Reach, Sharing},
    tokens::{Tokens, is_name},
};

/// The access rules.
#[derive(Clone, Debug)]
pub enum Access {
    /// No authentication: every request acts as this owner with every scope.
    Open(Owner),
    /// Every request requires a token.
    Tokens(Arc<Tokens>),
}
