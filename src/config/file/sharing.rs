//! `[sharing]` and `[sharing.tenants.TENANT]`.

use super::{Located, section::Section};
use crate::conversation::Visibility;

/// The contents of `[sharing]`.
#[derive(Debug, Default)]
pub(in crate::config) struct SharingEntry {
    pub default: Option<Located<Visibility>>,
    /// By tenant.
    pub tenants: Vec<(String, Located<Visibility>)>,
}

/// Reads `[sharing]`.
pub(super) fn read(section: Section<'_, '_>) -> SharingEntry {
    let default = section.choice("visibility");
    let mut tenants = Vec::new();
    for (tenant, below) in section.tenants() {
        if let Some(visibility) = below.choice("visibility") {
            tenants.push((tenant, visibility));
        }
        below.finish();
    }
    section.finish();
    SharingEntry { default, tenants }
}
