//! Ids of conversations and messages in the caller's own system.
//!
//! Our id is derived from them, so they need no index: these columns only return what the caller sent. NULL for rows
//! whose id is a UUID, and for rows of earlier versions.

use sea_orm_migration::{prelude::*, schema::string_len_null, sea_orm::DbErr};

use crate::rerun::{add_columns, drop_columns};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMN: &str = "external_id";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["agent_conversations", "agent_messages"] {
            add_columns(manager, table, [string_len_null(COLUMN, 255)]).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["agent_messages", "agent_conversations"] {
            drop_columns(manager, table, [COLUMN]).await?;
        }
        Ok(())
    }
}
