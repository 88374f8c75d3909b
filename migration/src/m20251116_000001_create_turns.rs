//! Turns: one row per accepted user message, with the id and the outcome of its reply, and the idempotency key by which
//! a retried request finds it.
//!
//! A turn outlives its deleted conversation, so that a retry finds the tombstone instead of an unused key.

use sea_orm_migration::{
    prelude::*,
    schema::{string_len, string_len_null, timestamp_with_time_zone, uuid},
    sea_orm::DbErr,
};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("agent_turns")
                    .if_not_exists()
                    .col(uuid("message_id").primary_key())
                    .col(uuid("conversation_id"))
                    .col(uuid("reply_id"))
                    .col(string_len("tenant_id", 128))
                    .col(string_len("user_id", 128))
                    .col(string_len_null("idempotency_key", 255))
                    .col(string_len_null("request_hash", 64))
                    .col(string_len("reply_status", 16).default("running"))
                    .col(string_len_null("reply_failure", 64))
                    .col(timestamp_with_time_zone("created_at"))
                    .foreign_key(
                        ForeignKey::create()
                            .name("agent_turns_conversation")
                            .from("agent_turns", "conversation_id")
                            .to("agent_conversations", "id")
                            .on_delete(ForeignKeyAction::Cascade),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("agent_turns_by_key")
                    .table("agent_turns")
                    .if_not_exists()
                    .unique()
                    .col("tenant_id")
                    .col("user_id")
                    .col("idempotency_key")
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("agent_turns_by_conversation")
                    .table("agent_turns")
                    .if_not_exists()
                    .col("conversation_id")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("agent_turns").to_owned())
            .await
    }
}
