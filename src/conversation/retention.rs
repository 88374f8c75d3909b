//! Retention limits of conversations and what belongs to them.

use std::{collections::BTreeMap, time::Duration};

/// The limits of a tenant; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The maximum age of messages.
    pub messages: Option<Duration>,
    /// The maximum time since the last activity of a conversation that is not pinned.
    pub conversations: Option<Duration>,
    /// The maximum age of tombstones.
    pub tombstones: Option<Duration>,
    /// The maximum age of records of model calls, and of turns, which hold idempotency keys.
    pub title_calls: Option<Duration>,
}

impl Retention {
    /// The limits with their names in the file.
    pub fn limits(self) -> [(&'static str, Option<Duration>); 4] {
        [
            ("messages", self.messages),
            ("conversations", self.conversations),
            ("tombstones", self.tombstones),
            ("title_calls", self.title_calls),
        ]
    }

    fn is_off(self) -> bool {
        self == Self::default()
    }
}

/// The limits of all tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retentions {
    /// For tenants without limits of their own.
    pub default: Retention,
    /// By tenant: the complete limits, including those inherited from the default.
    pub tenants: BTreeMap<String, Retention>,
}

impl Retentions {
    /// The limits of a tenant.
    pub fn of(&self, tenant: &str) -> Retention {
        self.tenants.get(tenant).copied().unwrap_or(self.default)
    }

    /// Whether nothing is ever removed.
    pub fn are_off(&self) -> bool {
        self.all().all(Retention::is_off)
    }

    /// The limits of the default and of each tenant.
    pub fn all(&self) -> impl Iterator<Item = Retention> {
        std::iter::once(self.default).chain(self.tenants.values().copied())
    }
}
