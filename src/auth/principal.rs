//! The principal: a caller's owner, scopes and expiry.

use std::{collections::BTreeSet, net::IpAddr};

use strum::VariantArray;
use tokio::time::Instant;

use super::{
    on_behalf::{ANY_TENANT, OnBehalf, OnBehalfRefusal},
    sharing::{Reach, Sharing},
};
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
    /// Record messages and write external replies, also on behalf of other users.
    #[strum(serialize = "conversations:ingest")]
    Ingest,
    /// Erase all data of the caller.
    #[strum(serialize = "account:erase")]
    Erase,
    /// Read the audit log of the tenant.
    #[strum(serialize = "audit:read")]
    Audit,
}

impl Scope {
    /// The scope's name in tokens.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The key under which a caller's messages and streams are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RateLimitKey {
    /// The token's user.
    User(Owner),
    /// The client address, without authentication.
    Address(IpAddr),
    /// Not limited: a request from the local machine, without authentication.
    Exempt,
}

/// An authenticated caller.
///
/// Every query needs an owner, and an owner is only available by naming a scope, so a handler cannot forget the scope
/// check. A request on behalf of another user only has an owner for [`Scope::Ingest`], so handlers of all other scopes
/// refuse it without an explicit check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    owner: Owner,
    scopes: BTreeSet<Scope>,
    until: Option<Instant>,
    rate_limit_key: RateLimitKey,
    /// The owner that the request acts for; `None` if it acts for the caller.
    acts_for: Option<Result<Owner, OnBehalfRefusal>>,
}

impl Principal {
    /// The principal on a server without authentication: every scope, no expiry. `address` is the rate limit key;
    /// `None` stands for the local machine, which alone may ingest.
    pub fn local(owner: Owner, address: Option<IpAddr>) -> Self {
        Self {
            rate_limit_key: address.map_or(RateLimitKey::Exempt, RateLimitKey::Address),
            owner,
            scopes: Scope::VARIANTS.iter().copied().collect(),
            until: None,
            acts_for: None,
        }
    }

    /// The bearer of a token that is valid until `until`.
    pub(super) fn bearer(owner: Owner, scopes: BTreeSet<Scope>, until: Instant) -> Self {
        Self {
            rate_limit_key: RateLimitKey::User(owner.clone()),
            owner,
            scopes,
            until: Some(until),
            acts_for: None,
        }
    }

    /// The same caller's principal for a request that acts on behalf of another user.
    pub fn on_behalf(mut self, of: OnBehalf) -> Self {
        if of != OnBehalf::default() {
            let is_local = !matches!(self.rate_limit_key, RateLimitKey::User(_));
            self.acts_for = Some(match is_local {
                true => Err(OnBehalfRefusal::Unauthenticated),
                false => of.owner(&self.owner),
            });
        }
        self
    }

    /// The owner, if the caller has the scope `needed`. For [`Scope::Ingest`] this is the owner that the request acts
    /// for.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if the scope is missing; [`Error::ForbiddenOnBehalf`] if the request names another user on
    /// a route that does not allow that; [`Error::InvalidInput`] if a header is not a valid name.
    pub fn owner(&self, needed: Scope) -> Result<&Owner> {
        if needed != Scope::Ingest && self.acts_for.is_some() {
            return Err(OnBehalfRefusal::Elsewhere.into());
        }
        if !self.scopes.contains(&needed) {
            return Err(Error::Forbidden {
                scope: needed.as_str(),
            });
        }
        let is_for_any = self.owner.tenant == ANY_TENANT;
        match (&self.acts_for, needed) {
            (Some(acts_for), _) => acts_for.as_ref().map_err(|refusal| (*refusal).into()),
            (None, Scope::Ingest) if is_for_any => Err(OnBehalfRefusal::NoTenant.into()),
            (None, Scope::Ingest) if matches!(self.rate_limit_key, RateLimitKey::Address(_)) => {
                Err(OnBehalfRefusal::RemoteAddress.into())
            }
            (None, _) if is_for_any => Err(OnBehalfRefusal::AnyTenant.into()),
            (None, _) => Ok(&self.owner),
        }
    }

    /// The reach of [`Self::owner`]: whose conversations it may read and write.
    ///
    /// # Errors
    /// As [`Self::owner`].
    pub fn reach(&self, needed: Scope, sharing: &Sharing) -> Result<Reach<'_>> {
        let owner = self.owner(needed)?;
        Ok(Reach::new(owner, sharing.of(&owner.tenant)))
    }

    /// The caller itself, and its scopes.
    ///
    /// # Errors
    /// [`Error::ForbiddenOnBehalf`] if the request acts on behalf of another user.
    pub fn identity(&self) -> Result<(&Owner, impl Iterator<Item = Scope>)> {
        match self.acts_for {
            Some(_) => Err(OnBehalfRefusal::Elsewhere.into()),
            None => Ok((&self.owner, self.scopes.iter().copied())),
        }
    }

    /// The caller's tenant.
    pub fn tenant(&self) -> &str {
        &self.owner.tenant
    }

    /// Whether the request may use a scope.
    pub fn allows(&self, scope: Scope) -> bool {
        self.owner(scope).is_ok()
    }

    /// When the caller's open streams must end; `None` for never.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The key under which the caller's messages and streams are counted.
    pub fn rate_limit_key(&self) -> &RateLimitKey {
        &self.rate_limit_key
    }

    /// The sharing scope of subscriptions. Equal only for callers with the same audience, policy and scopes, so that
    /// they would all receive the same events.
    pub fn sharing(&self, sharing: &Sharing) -> String {
        let Owner { tenant, user } = &self.owner;
        let visibility = sharing.of(tenant);
        let user = (!visibility.is_shared()).then_some(user);
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        // JSON encoding keeps the parts separate. `is_own` is included because a request on behalf of another user may
        // not subscribe at all.
        let is_own = self.acts_for.is_none();
        serde_json::json!([tenant, user, visibility.as_str(), scopes, is_own]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{PerTenant, Visibility};

    #[test]
    fn an_owner_is_handed_out_for_a_scope_that_is_there() {
        let scopes = BTreeSet::from([Scope::Read]);
        let reader = Principal::bearer(Owner::local(), scopes, Instant::now());
        assert_eq!(reader.owner(Scope::Read).unwrap(), &Owner::local());
        for missing in [Scope::Write, Scope::Delete] {
            let error = reader.owner(missing).unwrap_err();
            assert!(error.to_string().contains(missing.as_str()), "{error}");
        }
        let private = Sharing::new(PerTenant::all(Visibility::Private));
        assert_ne!(
            reader.sharing(&private),
            Principal::local(Owner::local(), None).sharing(&private),
            "callers with different scopes share nothing"
        );
    }

    #[test]
    fn a_reach_covers_the_tenant_only_if_its_policy_says_so() {
        let caller = |tenant: &str, user: &str| {
            let owner = Owner {
                tenant: tenant.into(),
                user: user.into(),
            };
            Principal::bearer(owner, BTreeSet::from([Scope::Read]), Instant::now())
        };
        let (ada, bob, eve) = (
            caller("acme", "ada"),
            caller("acme", "bob"),
            caller("globex", "ada"),
        );
        for visibility in [Visibility::Private, Visibility::Read, Visibility::Tenant] {
            let sharing = Sharing::new(PerTenant::all(visibility));
            let is_same = ada.sharing(&sharing) == bob.sharing(&sharing);
            assert_eq!(is_same, visibility.is_shared(), "{visibility:?}");
            assert_ne!(ada.sharing(&sharing), eve.sharing(&sharing));
            let reach = ada.reach(Scope::Read, &sharing).unwrap();
            assert_eq!(
                reach.audience().includes(bob.owner(Scope::Read).unwrap()),
                visibility.is_shared()
            );
            assert!(ada.reach(Scope::Write, &sharing).is_err());
        }
    }
}
