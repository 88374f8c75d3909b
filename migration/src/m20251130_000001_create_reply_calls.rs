//! The cost of replies: one row per reply whose provider reported its tokens. Earlier replies have no row, and the
//! previous version does not read the table.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, string_len, timestamp_with_time_zone, uuid},
    sea_orm::DbErr,
};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "agent_reply_calls";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(TABLE)
                    // The reply's id. No foreign key: the cost must outlive the conversation.
                    .col(uuid("id").primary_key())
                    .col(string_len("tenant_id", 128))
                    .col(uuid("conversation_id"))
                    .col(string_len("agent", 128))
                    .col(string_len("model", 128))
                    .col(big_integer("prompt_tokens"))
                    .col(big_integer("completion_tokens"))
                    .col(big_integer("reasoning_tokens"))
                    .col(timestamp_with_time_zone("created_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("agent_reply_calls_by_tenant")
                    .table(TABLE)
                    .col("tenant_id")
                    .col("created_at")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(TABLE).to_owned())
            .await
    }
}
