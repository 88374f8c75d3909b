//! Settings per tenant.

use std::{collections::HashMap, fmt::Display, str::FromStr};

/// A default value with overrides for some tenants. Written as `VALUE,tenant=VALUE,…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerTenant<T> {
    default: T,
    tenants: HashMap<String, T>,
}

impl<T> PerTenant<T> {
    /// The same value for all tenants.
    pub fn all(default: T) -> Self {
        Self {
            default,
            tenants: HashMap::new(),
        }
    }

    /// Sets the value of one tenant.
    pub fn with(mut self, tenant: String, value: T) -> Self {
        self.tenants.insert(tenant, value);
        self
    }

    /// The value of this tenant.
    pub fn of(&self, tenant: &str) -> &T {
        self.tenants.get(tenant).unwrap_or(&self.default)
    }

    /// The default value.
    pub fn default_value(&self) -> &T {
        &self.default
    }

    /// The tenants with a value of their own.
    pub fn tenants(&self) -> impl Iterator<Item = (&str, &T)> {
        let tenants = self.tenants.iter();
        tenants.map(|(tenant, value)| (tenant.as_str(), value))
    }

    /// Applies a function to all values.
    pub fn map<U>(self, change: impl Fn(T) -> U) -> PerTenant<U> {
        PerTenant {
            default: change(self.default),
            tenants: self
                .tenants
                .into_iter()
                .map(|(tenant, value)| (tenant, change(value)))
                .collect(),
        }
    }
}

impl<T: FromStr<Err: Display>> FromStr for PerTenant<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let value = |text: &str| {
            text.trim()
                .parse()
                .map_err(|error: T::Err| error.to_string())
        };
        let mut parts = text.split(',');
        let default = value(parts.next().unwrap_or_default())?;
        let mut tenants = HashMap::new();
        for part in parts {
            let (tenant, text) = part.split_once('=').ok_or_else(|| {
                format!("{part:?} names no tenant; write VALUE,tenant=VALUE,tenant=VALUE")
            })?;
            let tenant = tenant.trim().to_owned();
            if tenants.insert(tenant.clone(), value(text)?).is_some() {
                return Err(format!("tenant {tenant:?} is named twice"));
            }
        }
        Ok(Self { default, tenants })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_own_value_or_that_of_all() {
        let values: PerTenant<u8> = "1, acme=2,globex = 3".parse().unwrap();
        assert_eq!(
            [values.of("acme"), values.of("globex"), values.of("other")],
            [&2, &3, &1]
        );
        assert_eq!("7".parse(), Ok(PerTenant::all(7_u8)));
    }

    #[test]
    fn what_is_malformed_says_why() {
        for (text, why) in [
            ("", "empty"),
            ("x", "invalid digit"),
            ("1,2", "names no tenant"),
            ("1,acme=x", "invalid digit"),
            ("1,acme=2,acme=3", "named twice"),
        ] {
            let error = text.parse::<PerTenant<u8>>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
