//! The endurance tests, in one binary: kills, freezes, cuts and other faults, attacks, load.
//!
//! `cargo test` skips this target; `cargo test --test endurance` and CI run it. Tests that take minutes or need all
//! processors are ignored by default. The justfile has a recipe for each suite of them; CI runs a tenth of each
//! (`TITLECAST_SHORT`).

#![expect(unreachable_pub, reason = "a test binary exports nothing")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod attack;
mod backfill;
mod chaos;
mod cuts;
mod duties;
mod faults;
mod feed;
mod freezes;
mod imports;
mod migration_kills;
mod outages;
