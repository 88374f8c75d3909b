//! The author of a user message, in conversations that the users of a tenant share.
//!
//! NULL: the owner of the conversation, as in all rows of the previous version.

use sea_orm_migration::{prelude::*, schema::text_null, sea_orm::DbErr};

use crate::rerun::{add_columns, drop_columns};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLES: [&str; 2] = ["agent_messages", "agent_message_versions"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            add_columns(manager, table, [text_null("author")]).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            drop_columns(manager, table, ["author"]).await?;
        }
        Ok(())
    }
}
