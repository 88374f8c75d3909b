//! Archived and pinned conversations, and the metadata that an application attaches to one.
//!
//! NULL: neither archived nor pinned, and no metadata, as in all rows of the previous version. That version ignores the
//! columns: its lists include archived conversations, and when it deletes a conversation, the metadata stays until the
//! sweep of this version erases it (m20251215_000002_index_archive).

use sea_orm_migration::{
    prelude::*,
    schema::{text_null, timestamp_with_time_zone_null},
    sea_orm::DbErr,
};

use crate::rerun::{add_columns, drop_columns};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "agent_conversations";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            timestamp_with_time_zone_null("archived_at"),
            timestamp_with_time_zone_null("pinned_at"),
            // An object of texts, as compact JSON with sorted keys.
            text_null("metadata"),
        ];
        add_columns(manager, TABLE, columns).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_columns(manager, TABLE, ["metadata", "pinned_at", "archived_at"]).await
    }
}
