//! Runs: node, lease, text checkpoint and stop request of a reply in progress, so that a reply survives its process.

use std::time::Duration;

use sea_orm_migration::{
    prelude::*,
    schema::{boolean, text_null, timestamp_with_time_zone_null, uuid_null},
    sea_orm::{ConnectionTrait, DbErr, prelude::ChronoUtc},
};

use crate::rerun::{add_columns, drop_columns};

/// This migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "agent_turns";

/// A partial index, which holds only replies in progress and stays small.
const INDEX: &str = "CREATE INDEX IF NOT EXISTS agent_turns_running ON agent_turns (run_lease_until) \
                     WHERE reply_status = 'running'";

/// The lease of replies that an older version runs during the migration: longer than such a reply takes.
const STILL_RUNNING: Duration = Duration::from_secs(15 * 60);

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            uuid_null("run_node"),
            timestamp_with_time_zone_null("run_lease_until"),
            text_null("run_text"),
            boolean("stop_asked").default(false).to_owned(),
        ];
        add_columns(manager, TABLE, columns).await?;
        let still_running = Query::update()
            .table(TABLE)
            .value("run_lease_until", ChronoUtc::now() + STILL_RUNNING)
            .and_where(Expr::col("reply_status").eq("running"))
            .to_owned();
        manager.execute(still_running).await?;
        manager.get_connection().execute_unprepared(INDEX).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared("DROP INDEX IF EXISTS agent_turns_running")
            .await?;
        let columns = ["stop_asked", "run_text", "run_lease_until", "run_node"];
        drop_columns(manager, TABLE, columns).await
    }
}
