//! The commands for operators and their output: text on a terminal, otherwise JSON. No business logic.

pub mod backfill;
pub mod health;
pub mod import;
pub mod migrate;
mod progress;
pub mod shell;
pub mod stats;
