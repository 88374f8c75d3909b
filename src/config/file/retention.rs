//! `[retention]` and `[retention.tenants.TENANT]`.

use std::{collections::BTreeMap, time::Duration};

use super::{Located, section::Section};
use crate::conversation::retention::{Retention, Retentions};

/// The shortest limit, so that a typo does not remove data that is in use.
const SHORTEST: Duration = Duration::from_secs(3_600);

/// The longest limit: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3_600);

/// Reads `[retention]`.
pub(super) fn read(section: Section<'_, '_>) -> Retentions {
    let default = read_limits(&section, Retention::default());
    let mut tenants = BTreeMap::new();
    for (tenant, below) in section.tenants() {
        tenants.insert(tenant, read_limits(&below, default));
        below.finish();
    }
    section.finish();
    Retentions { default, tenants }
}

/// Reads a table's limits; the rest are `inherited`.
fn read_limits(section: &Section<'_, '_>, inherited: Retention) -> Retention {
    let limit = |key, inherited| {
        let Some(Located { value, at }) = section.duration_within(key, LONGEST) else {
            return inherited;
        };
        if !value.is_zero() && value < SHORTEST {
            section.problem(at, "expected at least \"1h\", or \"0s\" for no limit");
        }
        (!value.is_zero()).then_some(value)
    };
    Retention {
        messages: limit("messages", inherited.messages),
        conversations: limit("conversations", inherited.conversations),
        tombstones: limit("tombstones", inherited.tombstones),
        title_calls: limit("title_calls", inherited.title_calls),
    }
}
