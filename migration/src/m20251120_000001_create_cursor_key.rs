//! The HMAC key of cursors: shared by all nodes, generated once by this migration. Older versions authenticate cursors
//! with it; this version only hashes the names of erased tenants and users.

use sea_orm_migration::{
    prelude::*,
    schema::{integer, string_len},
    sea_orm::DbErr,
};
use uuid::Uuid;

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "agent_cursor_key";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(TABLE)
                    .if_not_exists()
                    // The table has exactly one row.
                    .col(
                        integer("id")
                            .primary_key()
                            .check(Expr::col("id").eq(1))
                            .to_owned(),
                    )
                    .col(string_len("secret", 64))
                    .to_owned(),
            )
            .await?;
        // 244 random bits from the system's generator.
        let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let row = Query::insert()
            .into_table(TABLE)
            .columns(["id", "secret"])
            .values_panic([1.into(), secret.into()])
            .on_conflict(OnConflict::column("id").do_nothing().to_owned())
            .to_owned();
        manager.execute(row).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(TABLE).to_owned())
            .await
    }
}
