//! An owner's conversations by when they changed: what a node asks for after it did not hear of the others for a while.

use sea_orm_migration::{prelude::*, sea_orm::DbErr};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const INDEX: &str = "agent_conversations_by_change";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_index(
                Index::create()
                    .name(INDEX)
                    .table("agent_conversations")
                    .col("tenant_id")
                    .col("user_id")
                    .col("updated_at")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_index(Index::drop().name(INDEX).to_owned())
            .await
    }
}
