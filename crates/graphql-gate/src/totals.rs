//! Counts for one body of a document, alone or including the fragments it spreads.

use std::collections::HashMap;

use async_graphql::Pos;

use super::{Limits, Refusal};

/// The counts of a body, alone or including its fragments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) selections: u64,
    pub(super) aliases: u64,
    pub(super) values: u64,
    pub(super) root_fields: u64,
    /// Field nesting.
    pub(super) depth: usize,
    /// Nesting of selection sets, zero-based.
    pub(super) levels: usize,
}

/// A selection set with its descendants, up to fragment spreads.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    pub(super) own: Totals,
    pub(super) spreads: Vec<Spread<'a>>,
}

/// A fragment spread.
#[derive(Debug)]
pub(super) struct Spread<'a> {
    pub(super) name: &'a str,
    pub(super) at: Pos,
    /// Field depth at the spread.
    pub(super) depth: usize,
    /// Level of the fragment's selection set at this spread.
    pub(super) level: usize,
}

impl Body<'_> {
    /// The body's own totals plus those of its spreads.
    pub(super) fn totals(&self, settled: &HashMap<&str, Totals>) -> Totals {
        let mut totals = self.own;
        for spread in &self.spreads {
            if let Some(inner) = settled.get(spread.name) {
                totals.add(Totals {
                    root_fields: if spread.depth == 0 {
                        inner.root_fields
                    } else {
                        0
                    },
                    depth: spread.depth + inner.depth,
                    levels: spread.level + inner.levels,
                    ..*inner
                });
            }
        }
        totals
    }
}

impl Totals {
    /// Adds the counts and keeps the larger nesting depths.
    pub(super) fn add(&mut self, other: Self) {
        self.selections = self.selections.saturating_add(other.selections);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.values = self.values.saturating_add(other.values);
        self.root_fields = self.root_fields.saturating_add(other.root_fields);
        self.depth = self.depth.max(other.depth);
        self.levels = self.levels.max(other.levels);
    }

    pub(super) fn check(&self, limits: &Limits, at: Pos) -> Result<(), Refusal> {
        if self.selections > bound(limits.selections) {
            return Err(Refusal::TooManySelections {
                limit: limits.selections,
                at,
            });
        }
        if self.depth > limits.depth {
            return Err(Refusal::TooDeep {
                limit: limits.depth,
                at,
            });
        }
        if self.levels > limits.levels {
            return Err(Refusal::TooManyLevels {
                limit: limits.levels,
                at,
            });
        }
        if self.aliases > bound(limits.aliases) {
            return Err(Refusal::TooManyAliases {
                limit: limits.aliases,
                at,
            });
        }
        if self.values > bound(limits.values) {
            return Err(Refusal::TooManyValues {
                limit: limits.values,
                at,
            });
        }
        Ok(())
    }
}

/// Converts a limit to the type of the totals.
pub(super) fn bound(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}
