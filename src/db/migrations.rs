//! Reads the schema version, and migrates the schema.
//!
//! Reading the version writes nothing. So a role with privileges on rows only, or a standby, is enough for all commands
//! except `migrate up` and `migrate down`.

mod lock;

use std::time::Duration;

use futures_util::FutureExt;
use migration::{Migrator, MigratorTrait, foreign, run};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement,
    sqlx::{self, postgres::PgPoolOptions},
};

use tokio::time::timeout;

use super::{CONNECT_TIMEOUT, Database, LOCK_TIMEOUT};

/// The state of a database's schema relative to this version of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaState {
    /// The migrations not applied yet, oldest first.
    pub pending: Vec<String>,
    /// Applied migrations of a newer version, which this program does not know.
    pub unknown: Vec<String>,
    /// The reason why the database belongs to another program, if it does.
    pub foreign: Option<String>,
    /// The schema with our tables, if it is not in the search path.
    pub elsewhere: Option<String>,
    /// Whether new tables would be created in the schema `public`, PostgreSQL's default.
    pub is_in_public: bool,
}

impl Database {
    /// The known migrations, oldest first, each with whether it is applied.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn migrations(&self) -> Result<Vec<(String, bool)>, DbErr> {
        let applied = run::applied(&self.writer.inner.current())
            .await?
            .unwrap_or_default();
        let known = Migrator::migrations();
        let names = known.iter().map(|migration| migration.name().to_owned());
        Ok(names
            .map(|name| {
                let is_applied = applied.contains(&name);
                (name, is_applied)
            })
            .collect())
    }

    /// The state of the schema relative to this version of the program.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn schema_state(&self) -> Result<SchemaState, DbErr> {
        self.read_schema_state().boxed().await
    }

    async fn read_schema_state(&self) -> Result<SchemaState, DbErr> {
        let (applied, foreign) = foreign::inspect(&self.writer.inner.current()).await?;
        let known: Vec<String> = Migrator::migrations()
            .iter()
            .map(|migration| migration.name().to_owned())
            .collect();
        let names = applied.as_deref().unwrap_or_default();
        let (elsewhere, is_in_public) = match applied {
            None => self.other_schema().await?,
            Some(_) => (None, false),
        };
        let missing = |from: &[String], of: &[String]| {
            let is_missing = |name: &&String| !of.contains(name);
            from.iter().filter(is_missing).cloned().collect()
        };
        Ok(SchemaState {
            pending: missing(&known, names),
            unknown: missing(names, &known),
            foreign,
            elsewhere,
            is_in_public,
        })
    }

    async fn is_up_to_date(&self) -> Result<bool, DbErr> {
        let applied = self.migrations().await?;
        Ok(applied.iter().all(|(_, is_applied)| *is_applied))
    }

    /// A schema with our tables outside the search path, and whether new tables would be created in `public`.
    async fn other_schema(&self) -> Result<(Option<String>, bool), DbErr> {
        if self.is_embedded() {
            return Ok((None, false));
        }
        let statement = Statement::from_string(
            DbBackend::Postgres,
            "SELECT min(nspname)::text AS name, coalesce(current_schema() = 'public', false) AS is_in_public FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
             WHERE relname = 'agent_turns' AND relkind = 'r' AND to_regclass('agent_turns') IS NULL",
        );
        let row = self.writer.query_one_raw(statement).await?;
        row.map_or(Ok((None, false)), |row| {
            Ok((row.try_get("", "name")?, row.try_get("", "is_in_public")?))
        })
    }

    /// Applies all pending migrations, or the next `steps`. Concurrent processes wait for the one that migrates.
    ///
    /// # Errors
    /// If a migration fails; earlier ones stay applied.
    pub async fn migrate_up(&self, steps: Option<u32>) -> Result<(), DbErr> {
        self.migrate(Change::Up(steps)).boxed().await
    }

    /// Reverts the newest `steps` migrations.
    ///
    /// # Errors
    /// If a migration fails. The first migration refuses to be reverted while conversations exist.
    pub async fn migrate_down(&self, steps: u32) -> Result<(), DbErr> {
        self.migrate(Change::Down(steps)).boxed().await
    }

    /// Migrates: on SQLite with the writer; on a server with a separate connection, while another connection holds the
    /// advisory lock.
    async fn migrate(&self, change: Change) -> Result<(), DbErr> {
        if matches!(change, Change::Up(_)) && self.is_up_to_date().await? {
            // Takes no lock, so that a role without write access can run it.
            return Ok(());
        }
        if self.is_embedded() {
            return change.run(&self.writer.inner.current()).await;
        }
        let options = self
            .writer
            .inner
            .current()
            .get_postgres_connection_pool()
            .connect_options();
        let mut lock = lock::take(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql(sqlx::AssertSqlSafe(session_settings()))
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .connect_with((*options).clone())
            .await
            .map_err(lock::failed)?;
        let db = DatabaseConnection::from(pool);
        let result = tokio::select! {
            result = change.run(&db) => result,
            error = lock::lost(&mut lock) => Err(error),
        };
        // An error on close does not affect the migration. A frozen connection does not close.
        let _ = timeout(CONNECT_TIMEOUT, db.close()).await;
        lock::release(lock).await;
        result
    }
}

/// A direction and the number of steps.
#[derive(Clone, Copy)]
enum Change {
    Up(Option<u32>),
    Down(u32),
}

impl Change {
    async fn run(self, db: &DatabaseConnection) -> Result<(), DbErr> {
        match self {
            Self::Up(steps) => run::up(db, steps).await,
            Self::Down(steps) => run::down(db, steps).await,
        }
    }
}

/// The idle timeout of a migration's transaction. Long, because some migrations compute between two statements.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of a migration's session.
///
/// Statements have no timeout; [`lock::lost`] detects a server that stopped answering. Lock waits have one, because a
/// queued lock blocks all later statements on the table. After a crash of the process, the server (from version 14 on)
/// aborts the statement within a second.
fn session_settings() -> String {
    format!(
        "SET statement_timeout = 0;
         SET lock_timeout = {};
         SET idle_in_transaction_session_timeout = {};
         SELECT set_config(name, '1000', false) FROM pg_settings WHERE name = 'client_connection_check_interval'",
        LOCK_TIMEOUT.as_millis(),
        IDLE_TIMEOUT.as_millis()
    )
}
