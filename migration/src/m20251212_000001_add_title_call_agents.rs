//! The agent under whose policy a call of the title model was made, for the budgets of agents.
//!
//! NULL: a call of the previous version, or one for no conversation. It counts only for its tenant.

use sea_orm_migration::{prelude::*, schema::string_len_null, sea_orm::DbErr};

use crate::rerun::{add_columns, drop_columns};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "agent_title_calls";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_columns(manager, TABLE, [string_len_null("agent", 128)]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_columns(manager, TABLE, ["agent"]).await
    }
}
