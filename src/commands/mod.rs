//! What the program does for operators, and how it shows it: on a terminal for people, otherwise as JSON for
//! programs. Nothing here decides anything.

pub mod backfill;
pub mod health;
pub mod import;
pub mod migrate;
mod progress;
pub mod shell;
pub mod stats;
