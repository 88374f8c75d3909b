//! The schema's version: looking at it, moving it.

use std::time::Duration;

use migration::{Migrator, MigratorTrait};
use sea_orm::DbErr;

use super::Database;

/// How often and how long to wait for another process that may be migrating.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

impl Database {
    /// The migrations that the program knows, oldest first, each with whether the database has it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn migrations(&self) -> Result<Vec<(String, bool)>, DbErr> {
        let pending: Vec<String> = self.pending_migrations().await?;
        Ok(Migrator::migrations()
            .iter()
            .map(|migration| {
                let name = migration.name().to_owned();
                let applied = !pending.contains(&name);
                (name, applied)
            })
            .collect())
    }

    /// The names of the migrations that the database does not have yet, oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, DbErr> {
        let pending = Migrator::get_pending_migrations(&self.writer).await?;
        Ok(pending.iter().map(|m| m.name().to_owned()).collect())
    }

    /// The names of the migrations that the database has and the program does not know: those of a newer version.
    /// The other methods fail where there is one.
    ///
    /// # Errors
    /// When the database does not answer, or never had a migration.
    pub async fn unknown_migrations(&self) -> Result<Vec<String>, DbErr> {
        let known = Migrator::migrations();
        let applied = Migrator::get_migration_models(&self.writer).await?;
        let names = applied.into_iter().map(|applied| applied.version);
        let is_unknown = |name: &String| known.iter().all(|one| one.name() != name);
        Ok(names.filter(is_unknown).collect())
    }

    /// Applies all pending migrations, or the next `steps` of them. Several processes may try at the
    /// same time: one does it, the others fail half-way and wait for it.
    ///
    /// # Errors
    /// When one fails; those before it stay applied.
    pub async fn migrate_up(&self, steps: Option<u32>) -> Result<(), DbErr> {
        let Err(error) = Migrator::up(&self.writer, steps).await else {
            return Ok(());
        };
        if steps.is_none() {
            for _ in 0..LOOKS {
                tokio::time::sleep(PAUSE).await;
                if Migrator::up(&self.writer, None).await.is_ok() {
                    return Ok(());
                }
            }
        }
        Err(error)
    }

    /// Takes back the newest `steps` migrations.
    ///
    /// # Errors
    /// When one fails, as the first does while there are conversations.
    pub async fn migrate_down(&self, steps: u32) -> Result<(), DbErr> {
        Migrator::down(&self.writer, Some(steps)).await
    }
}
