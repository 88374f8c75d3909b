//! On PostgreSQL, an index of an owner's texts in insertion order. A search for a common word scans the newest texts,
//! because a GIN index has no order. SQLite's FTS5 index is ordered.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, DbErr},
};

use crate::rerun::create_index;

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const INDEX: &str = "agent_search_by_owner";

// Every text begins with its owner's mark of four letters.
const DEFINITION: &str = "ON agent_search (left(body, 4), id)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        match manager.get_database_backend() {
            DbBackend::Postgres => create_index(manager, INDEX, DEFINITION).await,
            _ => Ok(()),
        }
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = format!("DROP INDEX IF EXISTS {INDEX}");
        manager.get_connection().execute_unprepared(&drop).await?;
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
