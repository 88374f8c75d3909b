//! The caller: whose data, what may be done with it, and for how long.

use std::{collections::BTreeSet, net::IpAddr};

use strum::VariantArray;
use tokio::time::Instant;

use crate::{
    conversation::Owner,
    error::{Error, Result},
};

/// What a token may allow.
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
    /// To read conversations, and to watch them.
    #[strum(serialize = "conversations:read")]
    Read,
    /// To send messages, to stop replies, and to change titles.
    #[strum(serialize = "conversations:write")]
    Write,
    /// To delete conversations.
    #[strum(serialize = "conversations:delete")]
    Delete,
}

impl Scope {
    /// The scope as tokens name it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// As whom a caller's messages and streams are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RateLimitKey {
    /// The user that the token names.
    User(Owner),
    /// Where the request comes from: there are no tokens.
    Address(IpAddr),
    /// Not at all: it comes from the server's own machine.
    Exempt,
}

/// The caller. It hands its owner out for a scope only: whoever forgets to ask for one gets at no data,
/// since every query starts from an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    owner: Owner,
    scopes: BTreeSet<Scope>,
    until: Option<Instant>,
    rate_limit_key: RateLimitKey,
}

impl Principal {
    /// The caller of a server without authentication: may do everything, for ever. `address` is where it
    /// is counted by.
    pub fn local(owner: Owner, address: Option<IpAddr>) -> Self {
        Self {
            rate_limit_key: address.map_or(RateLimitKey::Exempt, RateLimitKey::Address),
            owner,
            scopes: Scope::VARIANTS.iter().copied().collect(),
            until: None,
        }
    }

    /// The bearer of a token that is valid until then.
    pub(super) fn bearer(owner: Owner, scopes: BTreeSet<Scope>, until: Instant) -> Self {
        Self {
            rate_limit_key: RateLimitKey::User(owner.clone()),
            owner,
            scopes,
            until: Some(until),
        }
    }

    /// Whose data the caller may use in this way.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when it may not.
    pub fn owner(&self, needed: Scope) -> Result<&Owner> {
        match self.scopes.contains(&needed) {
            true => Ok(&self.owner),
            false => Err(Error::Forbidden {
                scope: needed.as_str(),
            }),
        }
    }

    /// When what the caller has open must end; `None` for never.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// As whom its messages and streams are counted.
    pub fn rate_limit_key(&self) -> &RateLimitKey {
        &self.rate_limit_key
    }

    /// A text that two callers share only when everything that they ask is answered alike: the same
    /// owner, and the same scopes.
    pub fn sharing(&self) -> String {
        let Owner { tenant, user } = &self.owner;
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        // Encoded as a list, no part can run into the next.
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
            "who may do less shares nothing with who may do more"
        );
    }
}
