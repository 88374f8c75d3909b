//! The reach of a caller: whose conversations it may read and write under its tenant's policy.

use std::sync::Arc;

use tokio::sync::watch;

use crate::conversation::{Audience, Owner, PerTenant, Rows, Visibility};

/// Whose conversations a caller may read and write. A [`Principal`](super::Principal) grants it for a scope.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    caller: &'a Owner,
    visibility: Visibility,
}

impl<'a> Reach<'a> {
    pub(super) fn new(caller: &'a Owner, visibility: Visibility) -> Self {
        Self { caller, visibility }
    }

    /// Rebuilds a reach that a principal granted earlier, for a request that has stored its parts.
    pub fn granted(caller: &'a Owner, visibility: Visibility) -> Self {
        Self::new(caller, visibility)
    }

    /// The caller, who owns what it creates.
    pub fn caller(self) -> &'a Owner {
        self.caller
    }

    /// The tenant's policy at the time of the grant.
    pub fn visibility(self) -> Visibility {
        self.visibility
    }

    /// The conversations covered by the caller's lists and subscriptions.
    pub fn audience(self) -> Audience {
        match self.visibility.is_shared() {
            true => Audience::Tenant(self.caller.tenant.clone()),
            false => Audience::User(self.caller.clone()),
        }
    }
}

impl<'a> From<Reach<'a>> for Rows<'a> {
    fn from(reach: Reach<'a>) -> Self {
        match reach.visibility.is_shared() {
            true => Self::OfTenant(&reach.caller.tenant),
            false => Self::Of(reach.caller),
        }
    }
}

/// The current visibility of each tenant's conversations. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sharing(Arc<watch::Sender<PerTenant<Visibility>>>);

impl Sharing {
    /// Puts the first policies in force.
    pub fn new(policies: PerTenant<Visibility>) -> Self {
        Self(Arc::new(watch::Sender::new(policies)))
    }

    /// The policy of a tenant.
    pub fn of(&self, tenant: &str) -> Visibility {
        *self.0.borrow().of(tenant)
    }

    /// Replaces the policies. Streams of tenants with a changed policy end.
    pub fn replace(&self, policies: PerTenant<Visibility>) {
        self.0.send_replace(policies);
    }

    /// Completes once the tenant's policy differs from `seen`.
    pub fn changed(
        &self,
        tenant: String,
        seen: Visibility,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut policies = self.0.subscribe();
        async move {
            let is_other = |policies: &PerTenant<Visibility>| *policies.of(&tenant) != seen;
            if policies.wait_for(is_other).await.is_err() {
                // The server is gone, so no further change can come.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_stream_ends_if_the_policy_of_its_tenant_changes() {
        let policies =
            |text: &str| -> PerTenant<Visibility> { text.parse().expect("valid policies") };
        let sharing = Sharing::new(policies("private,acme=tenant"));
        let of = |tenant: &str| sharing.changed(tenant.into(), sharing.of(tenant));
        let (acme, globex) = (of("acme"), of("globex"));
        sharing.replace(policies("private,acme=tenant,globex=private"));
        let mut acme = Box::pin(acme);
        assert_eq!((&mut acme).now_or_never(), None);
        sharing.replace(policies("private"));
        assert_eq!(acme.now_or_never(), Some(()));
        assert_eq!(Box::pin(globex).now_or_never(), None);
    }
}
