//! The database schema: one file per migration, each for SQLite and PostgreSQL.
//!
//! The effect of a released migration never changes. Migrations do not import entities, because entities follow the
//! newest schema.
//!
//! [`run`] applies each migration in a transaction with its bookkeeping row. Earlier versions did not do so on SQLite,
//! so a killed process could leave a migration half applied. The migrations up to m20251125 are therefore idempotent
//! (`rerun`).

pub use sea_orm_migration::prelude::*;

pub mod foreign;
mod m20251101_000001_create_conversations;
mod m20251115_000001_add_titles;
mod m20251116_000001_create_turns;
mod m20251117_000001_create_search;
mod m20251118_000001_add_title_claims;
mod m20251119_000001_add_runs;
mod m20251120_000001_create_cursor_key;
mod m20251121_000001_mark_search_owners;
mod m20251121_000002_index_changes;
mod m20251125_000001_index_search_owners;
mod m20251130_000001_create_reply_calls;
mod m20251201_000001_create_versions;
mod m20251205_000001_create_title_policy;
mod m20251205_000002_index_title_retries;
mod m20251210_000001_add_external_ids;
mod m20251210_000002_add_retention;
mod m20251211_000001_add_external_replies;
mod m20251212_000001_add_title_call_agents;
mod m20251215_000001_add_archive;
mod m20251215_000002_index_archive;
mod m20251220_000001_create_feeds;
mod m20251221_000001_add_authors;
mod m20251221_000002_index_tenants;
mod m20251223_000001_create_webhooks;
mod m20251223_000002_create_audit;
mod m20251224_000001_create_search_texts;
mod m20251224_000002_fill_search_texts;
mod m20251224_000003_replace_search;
mod m20251225_000001_add_reply_reasons;
mod m20251225_000002_index_message_names;
pub mod progress;
mod rerun;
pub mod run;
pub mod search_text;

/// All migrations, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20251101_000001_create_conversations::Migration),
            Box::new(m20251115_000001_add_titles::Migration),
            Box::new(m20251116_000001_create_turns::Migration),
            Box::new(m20251117_000001_create_search::Migration),
            Box::new(m20251118_000001_add_title_claims::Migration),
            Box::new(m20251119_000001_add_runs::Migration),
            Box::new(m20251120_000001_create_cursor_key::Migration),
            Box::new(m20251121_000001_mark_search_owners::Migration),
            Box::new(m20251121_000002_index_changes::Migration),
            Box::new(m20251125_000001_index_search_owners::Migration),
            Box::new(m20251130_000001_create_reply_calls::Migration),
            Box::new(m20251201_000001_create_versions::Migration),
            Box::new(m20251205_000001_create_title_policy::Migration),
            Box::new(m20251205_000002_index_title_retries::Migration),
            Box::new(m20251210_000001_add_external_ids::Migration),
            Box::new(m20251210_000002_add_retention::Migration),
            Box::new(m20251211_000001_add_external_replies::Migration),
            Box::new(m20251212_000001_add_title_call_agents::Migration),
            Box::new(m20251215_000001_add_archive::Migration),
            Box::new(m20251215_000002_index_archive::Migration),
            Box::new(m20251220_000001_create_feeds::Migration),
            Box::new(m20251221_000001_add_authors::Migration),
            Box::new(m20251221_000002_index_tenants::Migration),
            Box::new(m20251223_000001_create_webhooks::Migration),
            Box::new(m20251223_000002_create_audit::Migration),
            Box::new(m20251224_000001_create_search_texts::Migration),
            Box::new(m20251224_000002_fill_search_texts::Migration),
            Box::new(m20251224_000003_replace_search::Migration),
            Box::new(m20251225_000001_add_reply_reasons::Migration),
            Box::new(m20251225_000002_index_message_names::Migration),
        ]
    }
}
