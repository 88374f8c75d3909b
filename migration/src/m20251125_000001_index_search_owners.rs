//! On PostgreSQL, an owner's texts in the order in which they came: a search for a common word reads the newest ones,
//! for the index of words has no order. SQLite's has.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, DbErr},
};

use crate::rerun::create_index;

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const INDEX: &str = "agent_search_by_owner";

// Every text begins with the mark of its owner, which has four letters.
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
