//! The principal: the owner of the data, the scopes, and the expiry of a caller.

use std::{collections::BTreeSet, net::IpAddr};

use strum::VariantArray;
use tokio::time::Instant;

use crate::{
    conversation::Owner,
    error::{Error, Result},
};

/// A scope of a token.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::EnumString,
    strum::IntoStaticStr,
    VariantArray,
)]
pub enum Scope {
    /// Read conversations and subscribe to them.
    #[strum(serialize = "conversations:read")]
    Read,
    /// Send messages, stop replies, and change titles.
    #[strum(serialize = "conversations:write")]
    Write,
    /// Delete conversations.
    #[strum(serialize = "conversations:delete")]
    Delete,
}

impl Scope {
    /// The scope's name in tokens.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The key that a caller's messages and streams are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RateLimitKey {
    /// The token's user.
    User(Owner),
    /// The client address, without authentication.
    Address(IpAddr),
    /// Not limited: a request from the server's own machine, without authentication.
    Exempt,
}

/// An authenticated caller.
///
/// Every query needs an owner, and the owner is available only by naming a scope. So a handler cannot forget the
/// scope check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    owner: Owner,
    scopes: BTreeSet<Scope>,
    until: Option<Instant>,
    rate_limit_key: RateLimitKey,
}

impl Principal {
    /// The principal of a server without authentication: every scope, no expiry. `address` is its rate limit key.
    pub fn local(owner: Owner, address: Option<IpAddr>) -> Self {
        Self {
            rate_limit_key: address.map_or(RateLimitKey::Exempt, RateLimitKey::Address),
            owner,
            scopes: Scope::VARIANTS.iter().copied().collect(),
            until: None,
        }
    }

    /// The bearer of a token that is valid until `until`.
    pub(super) fn bearer(owner: Owner, scopes: BTreeSet<Scope>, until: Instant) -> Self {
        Self {
            rate_limit_key: RateLimitKey::User(owner.clone()),
            owner,
            scopes,
            until: Some(until),
        }
    }

    /// The owner, if the caller has the scope `needed`.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without the scope.
    pub fn owner(&self, needed: Scope) -> Result<&Owner> {
        match self.allows(needed) {
            true => Ok(&self.owner),
            false => Err(Error::Forbidden {
                scope: needed.as_str(),
            }),
        }
    }

    /// Whether the caller has a scope.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// When the caller's open streams must end; `None` for never.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The key that its messages and streams are counted by.
    pub fn rate_limit_key(&self) -> &RateLimitKey {
        &self.rate_limit_key
    }

    /// The sharing scope of subscriptions: equal only for the same owner and the same scopes, so that every answer is
    /// the same.
    pub fn sharing(&self) -> String {
        let Owner { tenant, user } = &self.owner;
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        // JSON encoding keeps the parts separate.
        serde_json::json!([tenant, user, scopes]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_handed_out_for_a_scope_that_is_there() {
        let scopes = BTreeSet::from([Scope::Read]);
        let reader = Principal::bearer(Owner::local(), scopes, Instant::now());
        assert_eq!(reader.owner(Scope::Read).unwrap(), &Owner::local());
        for missing in [Scope::Write, Scope::Delete] {
            let error = reader.owner(missing).unwrap_err();
            assert!(error.to_string().contains(missing.as_str()), "{error}");
        }
        assert_ne!(
            reader.sharing(),
            Principal::local(Owner::local(), None).sharing(),
            "callers with different scopes share nothing"
        );
    }
}
