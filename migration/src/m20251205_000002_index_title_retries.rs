//! Indexes for the sweep: titles that wait for their next try, in the order in which they are due, and tombstones of
//! the previous version, which does not clear the former title. Both hold only rows with work to do.

use sea_orm_migration::{prelude::*, sea_orm::DbErr};

use crate::rerun::create_index;

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Index names, each with the SQL that follows it.
const INDEXES: [(&str, &str); 2] = [
    (
        "agent_conversations_title_retries",
        "ON agent_conversations (title_retry_at, id) WHERE title_retry_at IS NOT NULL",
    ),
    (
        "agent_conversations_unerased",
        "ON agent_conversations (id) WHERE status = 'deleted' AND previous_title IS NOT NULL",
    ),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, definition) in INDEXES {
            create_index(manager, name, definition).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, _) in INDEXES {
            manager
                .drop_index(Index::drop().name(name).if_exists().to_owned())
                .await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
