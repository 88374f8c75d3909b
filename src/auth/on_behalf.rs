//! Acting on behalf of a user: the owner that a request with `Titlecast-On-Behalf-Of` and `Titlecast-Tenant` acts for.
//!
//! [`Principal::owner`](super::Principal::owner) returns that owner for [`Scope::Ingest`](super::Scope::Ingest) only.

use super::is_name;
use crate::{
    conversation::Owner,
    error::{Error, Result},
};

/// The tenant claim of a token that may act for users of any tenant. No real tenant has this name.
pub const ANY_TENANT: &str = "*";

/// The contents of a request's two headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnBehalf {
    /// The user to act for.
    pub user: Option<NamedOwner>,
    /// The user's tenant.
    pub tenant: Option<NamedOwner>,
}

/// The value of one header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedOwner {
    /// A name.
    Name(String),
    /// Not a valid name: malformed, too long, or sent more than once.
    Malformed,
}

impl NamedOwner {
    /// Checks a decoded value; `None` means that it could not be decoded.
    pub fn new(value: Option<String>) -> Self {
        let name = value.filter(|value| is_name(value));
        name.map_or(Self::Malformed, Self::Name)
    }

    fn name(self) -> Result<String, OnBehalfRefusal> {
        match self {
            Self::Name(name) => Ok(name),
            Self::Malformed => Err(OnBehalfRefusal::Name),
        }
    }
}

impl OnBehalf {
    /// The owner that the bearer of a token acts for. `own` is the token's own owner.
    pub(super) fn owner(self, own: &Owner) -> Result<Owner, OnBehalfRefusal> {
        let tenant = self.tenant.map(NamedOwner::name).transpose()?;
        let user = self.user.map(NamedOwner::name).transpose()?;
        let tenant = match tenant {
            Some(tenant) if tenant == ANY_TENANT => return Err(OnBehalfRefusal::OtherTenant),
            Some(tenant) if own.tenant == ANY_TENANT => tenant,
            Some(tenant) if tenant != own.tenant => return Err(OnBehalfRefusal::OtherTenant),
            None if own.tenant == ANY_TENANT => return Err(OnBehalfRefusal::NoTenant),
            Some(_) | None => own.tenant.clone(),
        };
        let user = user.unwrap_or_else(|| own.user.clone());
        Ok(Owner { tenant, user })
    }
}

/// Why a request must not act for the named owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBehalfRefusal {
    /// The request does not record messages or write a reply.
    Elsewhere,
    /// The server has no authentication.
    Unauthenticated,
    /// The server has no authentication, and the client is on another machine.
    RemoteAddress,
    /// The token belongs to another tenant.
    OtherTenant,
    /// The token is valid for any tenant, but the request names none.
    NoTenant,
    /// The token is valid for any tenant, but the request does not record messages or write a reply.
    AnyTenant,
    /// A header value is not a valid name.
    Name,
}

impl From<OnBehalfRefusal> for Error {
    fn from(refusal: OnBehalfRefusal) -> Self {
        let reason = match refusal {
            OnBehalfRefusal::Elsewhere => {
                "Titlecast-On-Behalf-Of and Titlecast-Tenant are allowed only where messages are recorded and replies \
                 are written"
            }
            OnBehalfRefusal::Unauthenticated => {
                "Titlecast-On-Behalf-Of and Titlecast-Tenant need a token; this server has no authentication"
            }
            OnBehalfRefusal::RemoteAddress => {
                "without authentication, only clients on the server's own machine may record messages"
            }
            OnBehalfRefusal::OtherTenant => {
                "the token may act for users of its own tenant only; remove Titlecast-Tenant"
            }
            OnBehalfRefusal::NoTenant => {
                "the token is for any tenant; name the tenant in Titlecast-Tenant"
            }
            OnBehalfRefusal::AnyTenant => {
                "a token for any tenant may only record messages and write replies"
            }
            OnBehalfRefusal::Name => {
                return Self::invalid(
                    "Titlecast-On-Behalf-Of and Titlecast-Tenant must each be sent once, as 1 to 128 characters without \
                     control characters, in percent-encoded UTF-8",
                );
            }
        };
        Self::ForbiddenOnBehalf { reason }
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
    fn a_token_acts_for_users_of_its_tenant_and_one_for_any_tenant_names_it() {
        let named = |name: Option<&str>| name.map(|name| NamedOwner::new(Some(name.into())));
        let acting = |own: &Owner, user, tenant| {
            let (user, tenant) = (named(user), named(tenant));
            OnBehalf { user, tenant }.owner(own)
        };
        let service = owner("acme", "bot");
        assert_eq!(
            acting(&service, Some("ada"), None),
            Ok(owner("acme", "ada"))
        );
        assert_eq!(
            acting(&service, Some("ada"), Some("acme")),
            Ok(owner("acme", "ada"))
        );
        let any = owner("*", "bot");
        assert_eq!(
            acting(&any, Some("ada"), Some("acme")),
            Ok(owner("acme", "ada"))
        );
        assert_eq!(acting(&any, None, Some("acme")), Ok(owner("acme", "bot")));
        use OnBehalfRefusal::{Name, NoTenant, OtherTenant};
        for (own, user, tenant, refusal) in [
            (&service, Some("ada"), Some("globex"), OtherTenant),
            (&service, Some("ada"), Some("*"), OtherTenant),
            (&service, None, Some("globex"), OtherTenant),
            (&any, Some("ada"), None, NoTenant),
            (&any, Some("ada"), Some("*"), OtherTenant),
            (&any, Some("a\nb"), Some("acme"), Name),
            (&service, Some(""), None, Name),
            (&service, Some("ada"), Some(""), Name),
        ] {
            assert_eq!(
                acting(own, user, tenant),
                Err(refusal),
                "{user:?} {tenant:?}"
            );
        }
    }
}
