//! Indexes for lists: a list reads either the archived conversations or the others, so each kind has its own indexes,
//! by activity and by creation. A row is in two of them, and in a third if it is pinned.
//!
//! `agent_conversations_by_activity` stays: the previous version lists by it. The last index holds tombstones of the
//! previous version, which does not clear the metadata.

use sea_orm_migration::{prelude::*, sea_orm::DbErr};

use crate::rerun::create_index;

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Index names, each with the SQL that follows it.
const INDEXES: [(&str, &str); 6] = [
    (
        "agent_conversations_listed",
        "ON agent_conversations (tenant_id, user_id, last_message_at, id) WHERE archived_at IS NULL",
    ),
    (
        "agent_conversations_listed_by_creation",
        "ON agent_conversations (tenant_id, user_id, created_at, id) WHERE archived_at IS NULL",
    ),
    (
        "agent_conversations_archived",
        "ON agent_conversations (tenant_id, user_id, last_message_at, id) WHERE archived_at IS NOT NULL",
    ),
    (
        "agent_conversations_archived_by_creation",
        "ON agent_conversations (tenant_id, user_id, created_at, id) WHERE archived_at IS NOT NULL",
    ),
    (
        "agent_conversations_pinned",
        "ON agent_conversations (tenant_id, user_id, last_message_at, id) WHERE pinned_at IS NOT NULL",
    ),
    (
        "agent_conversations_unerased_metadata",
        "ON agent_conversations (id) WHERE status = 'deleted' AND metadata IS NOT NULL",
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
