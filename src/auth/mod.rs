//! Who calls: a token goes in, a principal comes out.
//!
//! Knows no HTTP framework: where in a request a token stands is [`api::auth`](crate::api)'s business.
//! A token is never logged, and neither is why it was not taken: the client learns that it has
//! expired, or that it is not valid.

mod crypto;
mod jwks;
mod keys;
mod mint;
mod principal;
mod setup;
mod source;
mod tokens;

use std::sync::Arc;

use crate::conversation::Owner;

pub use self::{
    keys::KeyState,
    mint::{TokenRequest, mint},
    principal::{Principal, RateLimitKey, Scope},
    setup::{JwtSettings, Secret, SetupError},
    tokens::{Tokens, is_name},
};

/// Who may call.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody, as this owner and with every scope.
    Open(Owner),
    /// Who brings a token.
    Tokens(Arc<Tokens>),
}
