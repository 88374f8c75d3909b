//! Shared conversations: which other users read and write a conversation, and whose rows a query reads.

use strum::{EnumString, IntoStaticStr, VariantNames};

use super::Owner;

/// A tenant's policy: which users besides the owner see a conversation.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Visibility {
    /// Only the owner reads and writes.
    #[default]
    Private,
    /// All users of the tenant read; only the owner writes.
    Read,
    /// All users of the tenant read and write.
    Tenant,
}

impl Visibility {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether users of the tenant read the conversations of others.
    pub fn is_shared(self) -> bool {
        self != Self::Private
    }
}

/// The conversations that one list, subscription or feed covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// The conversations of one user of a tenant.
    User(Owner),
    /// The conversations of all users of a tenant.
    Tenant(String),
}

impl Audience {
    /// The tenant. An audience never crosses tenants.
    pub fn tenant(&self) -> &str {
        match self {
            Self::User(owner) => &owner.tenant,
            Self::Tenant(tenant) => tenant,
        }
    }

    /// Whether it covers the conversations of this owner.
    pub fn includes(&self, owner: &Owner) -> bool {
        match self {
            Self::User(user) => user == owner,
            Self::Tenant(tenant) => *tenant == owner.tenant,
        }
    }
}

/// The rows that a query may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows<'a> {
    /// The rows of one owner.
    Of(&'a Owner),
    /// The rows of all users of a tenant.
    OfTenant(&'a str),
}

impl<'a> From<&'a Owner> for Rows<'a> {
    fn from(owner: &'a Owner) -> Self {
        Self::Of(owner)
    }
}

impl<'a> From<&'a Audience> for Rows<'a> {
    fn from(audience: &'a Audience) -> Self {
        match audience {
            Audience::User(owner) => Self::Of(owner),
            Audience::Tenant(tenant) => Self::OfTenant(tenant),
        }
    }
}

/// The author of a write in a conversation: rows belong to the conversation's owner, and messages store their author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The owner of the conversation.
    pub owner: Owner,
    /// The acting user, of the same tenant.
    pub author: String,
}

impl Actor {
    /// The owner, acting in their own conversation.
    pub fn own(owner: Owner) -> Self {
        Self {
            author: owner.user.clone(),
            owner,
        }
    }

    /// Whether the conversation is another user's.
    pub fn is_guest(&self) -> bool {
        self.author != self.owner.user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(tenant: &str, user: &str) -> Owner {
        Owner {
            tenant: tenant.into(),
            user: user.into(),
        }
    }

    #[test]
    fn an_audience_never_crosses_tenants() {
        let user = Audience::User(owner("acme", "ada"));
        let tenant = Audience::Tenant("acme".into());
        for (other, of_user, of_tenant) in [
            (owner("acme", "ada"), true, true),
            (owner("acme", "bob"), false, true),
            (owner("globex", "ada"), false, false),
        ] {
            assert_eq!(user.includes(&other), of_user, "{other:?}");
            assert_eq!(tenant.includes(&other), of_tenant, "{other:?}");
        }
    }
}
