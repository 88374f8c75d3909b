//! How long a conversation's texts are kept: NULL forever, `until_titled` until its title is settled.
//!
//! The previous version ignores the column: it keeps the texts of such a conversation when it titles it. The next
//! change of the conversation by this version drops them.

use sea_orm_migration::{prelude::*, schema::string_len_null, sea_orm::DbErr};

use crate::rerun::{add_columns, drop_columns};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "agent_conversations";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_columns(manager, TABLE, [string_len_null("retain", 16)]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_columns(manager, TABLE, ["retain"]).await
    }
}
