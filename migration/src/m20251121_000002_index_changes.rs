//! An index of an owner's conversations by time of change, for the resync of a node that missed events.

use sea_orm_migration::{prelude::*, sea_orm::DbErr};

use crate::rerun::create_index;

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const INDEX: &str = "agent_conversations_by_change";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let definition = "ON agent_conversations (tenant_id, user_id, updated_at)";
        create_index(manager, INDEX, definition).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_index(Index::drop().name(INDEX).if_exists().to_owned())
            .await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
