//! Replies that do not count, former versions, and typed parts.
//!
//! `agent_messages` keeps only messages that count: user messages, and the replies with text that neither failed nor
//! were replaced. Its positions are dense, because the previous version numbers messages by `message_count`. Failed
//! replies, replies without text, replaced replies and former texts of edited messages are rows of
//! `agent_message_versions`, which the previous version does not read. When it deletes a conversation's messages, the
//! foreign key removes them too.
//!
//! A further reply to the same message is a turn of its own, whose `in_reply_to` is the message. So a cursor, which
//! holds the turn's id, belongs to one reply on both versions.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, string_len, string_len_null, text, text_null, timestamp_with_time_zone,
        timestamp_with_time_zone_null, uuid, uuid_null,
    },
    sea_orm::{ConnectionTrait, DbErr},
};

use crate::rerun::{add_columns, drop_columns};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const VERSIONS: &str = "agent_message_versions";
const PARTS: &str = "agent_reply_parts";

/// The previous version expects one turn for each message: keeps the newest one, under the message's id.
const DOWN: [&str; 3] = [
    "DELETE FROM agent_turns WHERE message_id IN \
     (SELECT in_reply_to FROM agent_turns WHERE in_reply_to IS NOT NULL)",
    "DELETE FROM agent_turns WHERE in_reply_to IS NOT NULL AND EXISTS \
     (SELECT 1 FROM agent_turns AS newer WHERE newer.conversation_id = agent_turns.conversation_id \
     AND newer.in_reply_to = agent_turns.in_reply_to AND (newer.created_at > agent_turns.created_at \
     OR newer.created_at = agent_turns.created_at AND newer.message_id > agent_turns.message_id))",
    "UPDATE agent_turns SET message_id = in_reply_to WHERE in_reply_to IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let of_reply = [
            uuid_null("in_reply_to"),
            string_len_null("outcome", 16),
            string_len_null("model", 128),
        ];
        add_columns(manager, "agent_messages", of_reply).await?;
        let of_turn = [uuid_null("in_reply_to"), text_null("run_parts")];
        add_columns(manager, "agent_turns", of_turn).await?;
        manager
            .create_table(
                Table::create()
                    .table(VERSIONS)
                    .col(uuid("id").primary_key())
                    .col(uuid("conversation_id"))
                    // The message that the reply answers, or whose former text this is.
                    .col(uuid("message_id"))
                    .col(big_integer("position"))
                    .col(string_len("role", 16))
                    .col(text("content"))
                    .col(string_len("status", 16))
                    .col(text_null("attachments"))
                    .col(string_len_null("outcome", 16))
                    .col(string_len_null("failure", 64))
                    .col(string_len_null("model", 128))
                    .col(timestamp_with_time_zone("created_at"))
                    // NULL: the current reply to its message, although it does not count.
                    .col(timestamp_with_time_zone_null("replaced_at"))
                    .foreign_key(&mut of_message("agent_message_versions_message", VERSIONS))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(PARTS)
                    .col(uuid("reply_id").primary_key())
                    .col(uuid("conversation_id"))
                    .col(uuid("message_id"))
                    // JSON: every part but text, with its offset in the text.
                    .col(text("parts"))
                    .foreign_key(&mut of_message("agent_reply_parts_message", PARTS))
                    .to_owned(),
            )
            .await?;
        for (table, column) in [
            (VERSIONS, "message_id"),
            (VERSIONS, "conversation_id"),
            (PARTS, "message_id"),
        ] {
            let index = Index::create()
                .name(format!("{table}_by_{column}"))
                .table(table)
                .col(column)
                .to_owned();
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [PARTS, VERSIONS] {
            manager
                .drop_table(Table::drop().table(table).to_owned())
                .await?;
        }
        for statement in DOWN {
            manager
                .get_connection()
                .execute_unprepared(statement)
                .await?;
        }
        drop_columns(manager, "agent_turns", ["run_parts", "in_reply_to"]).await?;
        drop_columns(
            manager,
            "agent_messages",
            ["model", "outcome", "in_reply_to"],
        )
        .await
    }
}

/// Removes the row with the message that it belongs to.
fn of_message(name: &str, table: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(name)
        .from(table, "message_id")
        .to("agent_messages", "id")
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}
