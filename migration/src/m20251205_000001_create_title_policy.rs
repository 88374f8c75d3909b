//! Columns for titles that are tried again after an outage, generated from the whole conversation, restored, or
//! refreshed.
//!
//! The previous version reads and writes only the old columns, so they keep only values that it knows: a title that
//! waits for its next try is `failed`. When the previous version titles, renames or restarts a row, it clears
//! `title_failure` and leaves `title_retry_at` behind. So `title_retry_at` counts only while `title_failure` is set.
//!
//! All columns are nullable or have a constant default: neither database rewrites the table.

use sea_orm_migration::{
    prelude::*,
    schema::{boolean, integer, string_len_null, timestamp_with_time_zone_null},
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
            // When a failed title is tried again; NULL: never.
            timestamp_with_time_zone_null("title_retry_at"),
            // The number of failed tries since the first failure, and the time of that failure.
            integer("title_tries").default(0).to_owned(),
            timestamp_with_time_zone_null("title_failing_since"),
            // What a claimed title is generated from; NULL: the first message.
            string_len_null("title_from", 16),
            // The title before the current one, and its source.
            string_len_null("previous_title", 128),
            string_len_null("previous_title_source", 16),
            // Whether a user restored the current title.
            boolean("title_locked").default(false).to_owned(),
            // How often the title was refreshed because the topic may have drifted, and when last.
            integer("title_refreshes").default(0).to_owned(),
            timestamp_with_time_zone_null("title_refreshed_at"),
        ];
        add_columns(manager, TABLE, columns).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            "title_refreshed_at",
            "title_refreshes",
            "title_locked",
            "previous_title_source",
            "previous_title",
            "title_from",
            "title_failing_since",
            "title_tries",
            "title_retry_at",
        ];
        drop_columns(manager, TABLE, columns).await
    }
}
