//! Title claims: token, lease and attempts in the conversation's row, so that titles survive crashes and work with
//! several nodes. Also the published revision, the cost of title calls, and the attachments of a message.
//!
//! Job state lives in the row; there is no queue table. A `pending` conversation with a lease is claimed, or was
//! claimed by a process that died. One without a lease waits for a message with enough content, or for a backfill.
//! Conversations older than this migration have no lease, so no title model is called for them unasked.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, integer, string_len, string_len_null, text_null, timestamp_with_time_zone,
        timestamp_with_time_zone_null, uuid, uuid_null,
    },
    sea_orm::{ConnectionTrait, DbErr},
};

use crate::rerun::{add_columns, drop_columns};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "agent_conversations";

/// Partial indexes, which hold only rows with work to do and stay small.
const INDEXES: [&str; 3] = [
    "CREATE INDEX IF NOT EXISTS agent_conversations_untitled ON agent_conversations (created_at, id) \
     WHERE display_name IS NULL",
    "CREATE INDEX IF NOT EXISTS agent_conversations_untold ON agent_conversations (updated_at) \
     WHERE published_revision < revision",
    "CREATE INDEX IF NOT EXISTS agent_conversations_leased ON agent_conversations (title_lease_until) \
     WHERE title_lease_until IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            uuid_null("title_token"),
            timestamp_with_time_zone_null("title_lease_until"),
            integer("title_attempts").default(0).to_owned(),
            string_len_null("title_hint", 256),
            big_integer("published_revision").default(0).to_owned(),
        ];
        add_columns(manager, TABLE, columns).await?;
        let connection = manager.get_connection();
        // Earlier revisions were published, or have no subscribers left.
        connection
            .execute_unprepared("UPDATE agent_conversations SET published_revision = revision")
            .await?;
        for index in INDEXES {
            connection.execute_unprepared(index).await?;
        }
        add_columns(manager, "agent_messages", [text_null("attachments")]).await?;
        manager
            .create_table(
                Table::create()
                    .table("agent_title_calls")
                    .if_not_exists()
                    .col(uuid("id").primary_key())
                    .col(string_len("tenant_id", 128))
                    // No foreign key: the cost must outlive the conversation.
                    .col(uuid_null("conversation_id"))
                    .col(string_len("model", 128))
                    .col(string_len("outcome", 32))
                    .col(big_integer("prompt_tokens"))
                    .col(big_integer("completion_tokens"))
                    .col(big_integer("reasoning_tokens"))
                    .col(big_integer("duration_ms"))
                    .col(timestamp_with_time_zone("created_at"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("agent_title_calls_by_tenant")
                    .table("agent_title_calls")
                    .if_not_exists()
                    .col("tenant_id")
                    .col("created_at")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(
                Table::drop()
                    .table("agent_title_calls")
                    .if_exists()
                    .to_owned(),
            )
            .await?;
        let connection = manager.get_connection();
        for index in ["untitled", "untold", "leased"] {
            connection
                .execute_unprepared(&format!("DROP INDEX IF EXISTS agent_conversations_{index}"))
                .await?;
        }
        let columns = [
            ("agent_messages", "attachments"),
            (TABLE, "published_revision"),
            (TABLE, "title_hint"),
            (TABLE, "title_attempts"),
            (TABLE, "title_lease_until"),
            (TABLE, "title_token"),
        ];
        for (table, column) in columns {
            drop_columns(manager, table, [column]).await?;
        }
        Ok(())
    }
}
