//! The reach of a caller: whose conversations it reads and writes, by the policy of its tenant.

use std::sync::Arc;

use tokio::sync::watch;

use crate::conversation::{Audience, Owner, PerTenant, Rows, Visibility};

/// Whose conversations a caller reads and writes. A [`Principal`](super::Principal) grants one for a scope.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    caller: &'a Owner,
    visibility: Visibility,
}

impl<'a> Reach<'a> {
    pub(super) fn new(caller: &'a Owner, visibility: Visibility) -> Self {
        Self { caller, visibility }
    }

    /// A reach that a principal has granted before, for a request that keeps its parts.
    pub fn granted(caller: &'a Owner, visibility: Visibility) -> Self {
        Self::new(caller, visibility)
    }

    /// The caller, who owns what it creates.
    pub fn caller(self) -> &'a Owner {
        self.caller
    }

    /// The policy of the caller's tenant when the reach was made.
    pub fn visibility(self) -> Visibility {
        self.visibility
    }

    /// The conversations that a list or subscription of the caller covers.
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

/// The current visibility of conversations by tenant. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sharing(Arc<watch::Sender<PerTenant<Visibility>>>);

impl Sharing {
    /// With these policies in force.
    pub fn new(policies: PerTenant<Visibility>) -> Self {
        Self(Arc::new(watch::Sender::new(policies)))
    }

    /// The policy of a tenant.
    pub fn of(&self, tenant: &str) -> Visibility {
        *self.0.borrow().of(tenant)
    }

    /// Replaces the policies. Streams of tenants whose policy changed end.
    pub fn replace(&self, policies: PerTenant<Visibility>) {
        self.0.send_replace(policies);
    }

    /// Completes when the policy of the tenant is no longer `seen`.
    pub fn changed(
        &self,
        tenant: String,
        seen: Visibility,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut policies = self.0.subscribe();
        async move {
            let is_other = |policies: &PerTenant<Visibility>| *policies.of(&tenant) != seen;
            if policies.wait_for(is_other).await.is_err() {
                // The server is gone, so no change can follow.
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
