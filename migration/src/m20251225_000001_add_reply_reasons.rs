//! Why a reply is incomplete, so that later readers get the reason that live readers got. NULL: unknown, as in all rows
//! of the previous version.

use sea_orm_migration::{prelude::*, schema::string_len_null, sea_orm::DbErr};

use crate::rerun::{add_columns, drop_columns};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "agent_turns";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_columns(manager, TABLE, [string_len_null("reply_reason", 32)]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_columns(manager, TABLE, ["reply_reason"]).await
    }
}
