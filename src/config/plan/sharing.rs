//! The effective visibility of conversations and its source.

use std::collections::BTreeMap;

use crate::{
    config::file::SharingEntry,
    conversation::{PerTenant, Visibility},
};

/// Which users of a tenant see conversations that are not their own.
#[derive(Clone, Debug)]
pub struct SharingPlan {
    /// The policies.
    pub policies: PerTenant<Visibility>,
    /// The source of the default: `line 12`, or `default`.
    pub default_source: String,
    /// The line numbers of tenants that have a policy of their own.
    pub lines: BTreeMap<String, usize>,
}

impl From<SharingEntry> for SharingPlan {
    fn from(entry: SharingEntry) -> Self {
        let default_source = match &entry.default {
            Some(located) => format!("line {}", located.at.line),
            None => "default".into(),
        };
        let default = entry.default.map(|located| located.value);
        let mut policies = PerTenant::all(default.unwrap_or_default());
        let mut lines = BTreeMap::new();
        for (tenant, located) in entry.tenants {
            lines.insert(tenant.clone(), located.at.line);
            policies = policies.with(tenant, located.value);
        }
        Self {
            policies,
            default_source,
            lines,
        }
    }
}
