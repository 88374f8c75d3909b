//! The schema's version: reading it, moving it.
//!
//! Reading writes nothing, so that a role with rights on rows alone, or a standby, is enough for all commands but
//! `migrate up` and `migrate down`.

mod lock;

use std::time::Duration;

use futures_util::FutureExt;
use migration::{Migrator, MigratorTrait, foreign, run};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement,
    sqlx::{self, postgres::PgPoolOptions},
};

use super::{CONNECT_TIMEOUT, Database, LOCK_TIMEOUT, erase::erase_words};

/// How a database's schema stands to the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaState {
    /// The migrations that the database does not have yet, oldest first.
    pub pending: Vec<String>,
    /// Those that it has and the program does not know: a newer version's.
    pub unknown: Vec<String>,
    /// Why it is another program's database, if it is.
    pub foreign: Option<String>,
    /// The schema that has our tables where the search path leads to none.
    pub elsewhere: Option<String>,
    /// Whether new tables would be made in the schema `public`, PostgreSQL's default.
    pub is_in_public: bool,
}

impl Database {
    /// The migrations that the program knows, oldest first, each with whether the database has it.
    ///
    /// # Errors
    /// When the database does not answer.
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

    /// How the schema stands to the program.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn schema_state(&self) -> Result<SchemaState, DbErr> {
        self.read_schema_state().boxed().await
    }

    async fn read_schema_state(&self) -> Result<SchemaState, DbErr> {
        let (applied, foreign) = foreign::look(&self.writer.inner.current()).await?;
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

    /// A schema with our tables that the search path does not lead to, and whether it leads to `public`.
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

    /// Applies all pending migrations, or the next `steps` of them. Of several processes that try at the same time one
    /// applies them, the others wait for it.
    ///
    /// # Errors
    /// When one fails; those before it stay applied.
    pub async fn migrate_up(&self, steps: Option<u32>) -> Result<(), DbErr> {
        self.migrating(Change::Up(steps)).boxed().await
    }

    /// Takes back the newest `steps` migrations.
    ///
    /// # Errors
    /// When one fails, as the first does while there are conversations.
    pub async fn migrate_down(&self, steps: u32) -> Result<(), DbErr> {
        self.migrating(Change::Down(steps)).boxed().await
    }

    /// Migrates: on SQLite on the writer, on a server on a connection of its own while another one
    /// holds the lock among starters.
    async fn migrating(&self, change: Change) -> Result<(), DbErr> {
        if matches!(change, Change::Up(_)) && self.is_up_to_date().await? {
            // Locks nothing, so it needs no right to write.
            return Ok(());
        }
        if self.is_embedded() {
            change.run(&self.writer.inner.current()).await?;
            // The index may be new.
            return erase_words(&self.writer.inner.current()).await;
        }
        let options = self
            .writer
            .inner
            .current()
            .get_postgres_connection_pool()
            .connect_options();
        let lock = lock::take(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql(sqlx::AssertSqlSafe(session()))
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .connect_with((*options).clone())
            .await
            .map_err(lock::failed)?;
        let db = DatabaseConnection::from(pool);
        let result = change.run(&db).await;
        // What matters is in the result.
        let _ = db.close().await;
        lock::release(lock).await;
        result
    }
}

/// Which way, and how many.
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

/// How long a migration's transaction may be idle: some compute between two statements.
const IDLE: Duration = Duration::from_secs(10);

/// What a migration's session is set to. A statement may take long; waiting for a lock may not, since it holds up
/// those behind it. When the process is killed, the server takes its statement back soon (from version 14 on).
fn session() -> String {
    format!(
        "SET statement_timeout = 0;
         SET lock_timeout = {};
         SET idle_in_transaction_session_timeout = {};
         SELECT set_config(name, '1000', false) FROM pg_settings WHERE name = 'client_connection_check_interval'",
        LOCK_TIMEOUT.as_millis(),
        IDLE.as_millis()
    )
}
