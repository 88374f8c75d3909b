//! Indexes for the lists of a tenant whose users share their conversations: like those of an owner
//! (m20251215_000002_index_archive, m20251121_000002_index_changes), but without the user.

use sea_orm_migration::{prelude::*, sea_orm::DbErr};

use crate::rerun::create_index;

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Index names, each with the SQL that follows it.
const INDEXES: [(&str, &str); 6] = [
    (
        "agent_conversations_of_tenant",
        "ON agent_conversations (tenant_id, last_message_at, id) WHERE archived_at IS NULL",
    ),
    (
        "agent_conversations_of_tenant_by_creation",
        "ON agent_conversations (tenant_id, created_at, id) WHERE archived_at IS NULL",
    ),
    (
        "agent_conversations_of_tenant_archived",
        "ON agent_conversations (tenant_id, last_message_at, id) WHERE archived_at IS NOT NULL",
    ),
    (
        "agent_conversations_of_tenant_archived_by_creation",
        "ON agent_conversations (tenant_id, created_at, id) WHERE archived_at IS NOT NULL",
    ),
    (
        "agent_conversations_of_tenant_pinned",
        "ON agent_conversations (tenant_id, last_message_at, id) WHERE pinned_at IS NOT NULL",
    ),
    (
        "agent_conversations_of_tenant_by_change",
        "ON agent_conversations (tenant_id, updated_at)",
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
