//! On PostgreSQL, an owner's texts in the order in which they came: a search for a common word reads the newest ones,
//! for the index of words has no order. SQLite's has.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, DbErr},
};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

// Every text begins with the mark of its owner, which has four letters.
const INDEX: &str = "CREATE INDEX agent_search_by_owner ON agent_search (left(body, 4), id)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, INDEX).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, "DROP INDEX agent_search_by_owner").await
    }
}

async fn run(manager: &SchemaManager<'_>, statement: &str) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::Postgres {
        manager
            .get_connection()
            .execute_unprepared(statement)
            .await?;
    }
    Ok(())
}
