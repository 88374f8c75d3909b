//! An index of messages by their external id. Messages without one are not in it.

use sea_orm_migration::{prelude::*, sea_orm::DbErr};

use crate::rerun::create_index;

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const INDEX: &str = "agent_messages_by_external_id";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns =
            "ON agent_messages (conversation_id, external_id) WHERE external_id IS NOT NULL";
        create_index(manager, INDEX, columns).await
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
