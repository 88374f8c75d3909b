//! The commands for operators and their output: text on a terminal, otherwise JSON. No business logic.

pub mod audit;
pub mod backfill;
pub mod config_check;
pub mod config_live;
pub mod erase;
pub mod export;
pub mod health;
pub mod import;
pub mod migrate;
mod progress;
pub mod prune;
pub mod shell;
pub mod stats;
pub mod try_titles;
pub mod webhooks;
