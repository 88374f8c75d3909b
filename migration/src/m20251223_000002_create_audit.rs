//! The audit log: who renamed, archived, deleted, exported or erased what, and when. Without any text.
//!
//! Empty unless `[audit] enabled` is set. The previous version does not write it.

use sea_orm_migration::{
    prelude::*,
    schema::{string_len, string_len_null, timestamp_with_time_zone, uuid, uuid_null},
    sea_orm::DbErr,
};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "agent_audit";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(TABLE)
            .col(uuid("id").primary_key())
            .col(string_len("tenant_id", 128))
            // The user or the operator; after an erasure a keyed hash.
            .col(string_len("actor", 128))
            .col(string_len("act", 32))
            .col(uuid_null("conversation_id"))
            // The user whose data it was, if not the actor's.
            .col(string_len_null("subject", 128))
            .col(timestamp_with_time_zone("created_at"))
            .to_owned();
        manager.create_table(table).await?;
        for (name, columns) in [
            (
                "agent_audit_of_tenant",
                &["tenant_id", "created_at", "id"][..],
            ),
            ("agent_audit_by_age", &["created_at", "id"]),
        ] {
            let mut index = Index::create().name(name).table(TABLE).to_owned();
            for column in columns {
                index.col(*column);
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(TABLE).to_owned())
            .await
    }
}
