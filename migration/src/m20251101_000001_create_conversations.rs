//! Conversations and their messages, without titles.
//!
//! Uses `IF NOT EXISTS`, because some deployments have tables older than this crate.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, string_len, string_len_null, text, timestamp_with_time_zone, uuid},
    sea_orm::{ConnectionTrait, DbErr},
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
                    .table("agent_conversations")
                    .if_not_exists()
                    .col(uuid("id").primary_key())
                    .col(string_len("tenant_id", 128))
                    .col(string_len("user_id", 128))
                    .col(string_len_null("topic_hint", 256))
                    .col(string_len("agent_entrypoint", 64))
                    .col(string_len("active_agent", 64))
                    .col(string_len("status", 16).default("active"))
                    .col(big_integer("message_count").default(0))
                    .col(string_len_null("last_message_preview", 256))
                    .col(timestamp_with_time_zone("last_message_at"))
                    .col(timestamp_with_time_zone("created_at"))
                    .col(timestamp_with_time_zone("updated_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("agent_conversations_by_activity")
                    .table("agent_conversations")
                    .if_not_exists()
                    .col("tenant_id")
                    .col("user_id")
                    .col("last_message_at")
                    .col("id")
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("agent_messages")
                    .if_not_exists()
                    .col(uuid("id").primary_key())
                    .col(uuid("conversation_id"))
                    .col(big_integer("position"))
                    .col(string_len("role", 16))
                    .col(text("content"))
                    .col(string_len("status", 16).default("complete"))
                    .col(timestamp_with_time_zone("created_at"))
                    .foreign_key(
                        ForeignKey::create()
                            .name("agent_messages_conversation")
                            .from("agent_messages", "conversation_id")
                            .to("agent_conversations", "id")
                            .on_delete(ForeignKeyAction::Cascade),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("agent_messages_by_position")
                    .table("agent_messages")
                    .if_not_exists()
                    .unique()
                    .col("conversation_id")
                    .col("position")
                    .to_owned(),
            )
            .await
    }

    /// Drops the tables if they are empty. A revert must not delete conversations.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let holds_data = manager
            .get_connection()
            .query_one(
                Query::select()
                    .expr(Expr::val(1))
                    .from("agent_conversations")
                    .limit(1),
            )
            .await?;
        if holds_data.is_some() {
            return Err(DbErr::Custom(
                "agent_conversations is not empty; this step would drop it. Delete its rows first if that is meant"
                    .into(),
            ));
        }
        manager
            .drop_table(Table::drop().table("agent_messages").to_owned())
            .await?;
        manager
            .drop_table(Table::drop().table("agent_conversations").to_owned())
            .await
    }
}
