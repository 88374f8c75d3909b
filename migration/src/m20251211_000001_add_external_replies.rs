//! Replies that a program outside of the server writes. NULL: a model's reply. The previous version closes them when
//! their lease expires, as it closes any running reply.

use sea_orm_migration::{prelude::*, schema::string_len_null};

use crate::rerun::{add_columns, drop_columns};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_columns(manager, "agent_turns", [string_len_null("source", 16)]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_columns(manager, "agent_turns", ["source"]).await
    }
}
