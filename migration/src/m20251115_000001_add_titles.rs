//! Titles: text, generation time, source, status and failure; and the revision, which every change of a conversation
//! increments.
//!
//! Depends only on `agent_conversations`, so that a deployment with this table can apply it alone. Existing
//! conversations get no title and the status `pending`.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, string_len, string_len_null, timestamp_with_time_zone_null},
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
            // SQLite ignores the length of a varchar; the check makes both databases accept the same rows.
            string_len_null("display_name", 128)
                .check(Expr::cust("length(display_name) BETWEEN 1 AND 128"))
                .to_owned(),
            timestamp_with_time_zone_null("title_generated_at"),
            string_len("title_source", 16).default("hint").to_owned(),
            string_len("title_status", 16).default("pending").to_owned(),
            string_len_null("title_failure", 32),
            big_integer("revision").default(1).to_owned(),
        ];
        add_columns(manager, TABLE, columns).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            "revision",
            "title_failure",
            "title_status",
            "title_source",
            "title_generated_at",
            "display_name",
        ];
        drop_columns(manager, TABLE, columns).await
    }
}
