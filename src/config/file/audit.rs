//! `[audit]`.

use std::time::Duration;

use super::section::Section;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long entries are kept, by default and at most.
const KEEP: Duration = DAY.saturating_mul(400);
const MAX_KEEP: Duration = DAY.saturating_mul(3653);

/// The settings of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditPlan {
    /// Whether actions are recorded.
    pub is_on: bool,
    /// How long entries are kept.
    pub keep: Duration,
}

impl Default for AuditPlan {
    fn default() -> Self {
        Self {
            is_on: false,
            keep: KEEP,
        }
    }
}

/// Reads the table.
pub(super) fn read(section: Section<'_, '_>) -> AuditPlan {
    let is_on = section.flag("enabled").is_some_and(|flag| flag.value);
    let keep = section.duration_within("keep", MAX_KEEP);
    let keep = keep.map_or(KEEP, |keep| match keep.value < DAY {
        true => {
            section.problem(keep.at, "must be at least 1d");
            KEEP
        }
        false => keep.value,
    });
    section.finish();
    AuditPlan { is_on, keep }
}
