//! Applies migrations and takes them back: each in one transaction with its row in the bookkeeping table, so that a
//! process that is killed leaves a migration applied and recorded, or neither.
//!
//! SeaORM's own runner uses a transaction on PostgreSQL alone. Which migration is next is read inside the transaction,
//! under a lock on the bookkeeping: of several processes each migration runs in one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sea_orm_migration::{
    MigrationTrait, MigratorTrait, SchemaManager,
    sea_orm::{
        ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr,
        SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, sqlx,
    },
};

use crate::{Migrator, progress};

/// How long a starter waits for the locks of others, which may migrate for long.
pub const WAIT: Duration = Duration::from_secs(60 * 60);

/// The pause between two tries to get a lock.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How often a starter that waits says so.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The names of the migrations that the database has, oldest first; `None` without a bookkeeping table. Writes nothing.
///
/// # Errors
/// When the database does not answer, or the table may not be read.
pub async fn applied(db: &impl ConnectionTrait) -> Result<Option<Vec<String>>, DbErr> {
    let backend = db.get_database_backend();
    // As unqualified names are resolved: in all schemas of the search path.
    let exists = match backend {
        DbBackend::Postgres => "SELECT 1 WHERE to_regclass('seaql_migrations') IS NOT NULL",
        _ => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'",
    };
    let exists = Statement::from_string(backend, exists);
    if db.query_one_raw(exists).await?.is_none() {
        return Ok(None);
    }
    let select = "SELECT version FROM seaql_migrations ORDER BY version";
    let rows = db
        .query_all_raw(Statement::from_string(backend, select))
        .await?;
    let names = rows.iter().map(|row| row.try_get("", "version"));
    names.collect::<Result<_, _>>().map(Some)
}

/// Applies the next pending migrations: all, or `steps` of them. Those before one that fails stay applied.
///
/// # Errors
/// When one fails, or the lock on the bookkeeping cannot be had.
pub async fn up(db: &DatabaseConnection, steps: Option<u32>) -> Result<(), DbErr> {
    let mut done = 0;
    while steps.is_none_or(|steps| done < steps) {
        if !waiting(db, Direction::Up).await? {
            break;
        }
        done += 1;
    }
    Ok(())
}

/// Takes back the newest `steps` migrations.
///
/// # Errors
/// As [`up`].
pub async fn down(db: &DatabaseConnection, steps: u32) -> Result<(), DbErr> {
    for _ in 0..steps {
        if !waiting(db, Direction::Down).await? {
            break;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Takes one step, again where another process has what it needs locked. Returns false when there is none to take.
async fn waiting(db: &DatabaseConnection, direction: Direction) -> Result<bool, DbErr> {
    let began = Instant::now();
    let mut said: Option<Instant> = None;
    loop {
        let result = step(db, direction).await;
        progress::end();
        match result {
            Err(error) if is_locked(&error) && began.elapsed() < WAIT => {
                if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                    said = Some(Instant::now());
                    tracing::info!(
                        target: "titlecast::migration",
                        waited_s = began.elapsed().as_secs(),
                        "migration waits: another process has the database locked"
                    );
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            result => return result,
        }
    }
}

async fn step(db: &DatabaseConnection, direction: Direction) -> Result<bool, DbErr> {
    let tx = begin(db).await?;
    let found = match next(&tx, direction).await {
        Ok(found) => found,
        Err(error) => return rolled_back(tx, error).await,
    };
    let Some(migration) = found else {
        tx.rollback().await?;
        return Ok(false);
    };
    progress::begin(migration.name());
    let is_outside = db.get_database_backend() == DbBackend::Postgres
        && migration.use_transaction() == Some(false);
    if is_outside {
        // The bookkeeping table may be new.
        tx.commit().await?;
        change(&*migration, &SchemaManager::new(db), direction).await?;
        record(db, migration.name(), direction).await?;
        return Ok(true);
    }
    let changed = async {
        change(&*migration, &SchemaManager::new(&tx), direction).await?;
        record(&tx, migration.name(), direction).await
    };
    match changed.await {
        Ok(()) => tx.commit().await.map(|()| true),
        Err(error) => rolled_back(tx, error).await,
    }
}

async fn rolled_back(tx: DatabaseTransaction, error: DbErr) -> Result<bool, DbErr> {
    // The error says more than whether this worked: without it the transaction ends with the connection.
    let _ = tx.rollback().await;
    Err(error)
}

async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    };
    db.begin_with_options(options).await
}

/// The migration that this direction leads over next. Creates the bookkeeping table where it is missing, and locks it.
async fn next(
    tx: &DatabaseTransaction,
    direction: Direction,
) -> Result<Option<Box<dyn MigrationTrait>>, DbErr> {
    if applied(tx).await?.is_none() {
        Migrator::install(tx).await?;
    }
    if tx.get_database_backend() == DbBackend::Postgres {
        // Also against versions that know no advisory lock. Reading goes on.
        tx.execute_unprepared("LOCK TABLE seaql_migrations IN EXCLUSIVE MODE")
            .await?;
    }
    let applied = applied(tx).await?.unwrap_or_default();
    let mut migrations = Migrator::migrations().into_iter();
    let has = |migration: &dyn MigrationTrait| applied.iter().any(|name| name == migration.name());
    Ok(match direction {
        Direction::Up => migrations.find(|migration| !has(&**migration)),
        Direction::Down => migrations.rev().find(|migration| has(&**migration)),
    })
}

async fn change(
    migration: &dyn MigrationTrait,
    manager: &SchemaManager<'_>,
    direction: Direction,
) -> Result<(), DbErr> {
    match direction {
        Direction::Up => migration.up(manager).await,
        Direction::Down => migration.down(manager).await,
    }
}

async fn record(
    db: &impl ConnectionTrait,
    migration: &str,
    direction: Direction,
) -> Result<(), DbErr> {
    let backend = db.get_database_backend();
    let statement = match direction {
        Direction::Up => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.map_or(0, |now| now.as_secs() as i64);
            Statement::from_sql_and_values(
                backend,
                "INSERT INTO seaql_migrations (version, applied_at) VALUES ($1, $2)",
                [migration.into(), now.into()],
            )
        }
        Direction::Down => Statement::from_sql_and_values(
            backend,
            "DELETE FROM seaql_migrations WHERE version = $1",
            [migration.into()],
        ),
    };
    db.execute_raw(statement).await?;
    Ok(())
}

/// Whether another process has locked what was needed: SQLite's BUSY, PostgreSQL's lock_not_available and
/// deadlock_detected.
pub fn is_locked(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let sqlx::Error::Database(error) = &**error else {
        return false;
    };
    let code = error.code().unwrap_or_default();
    match error.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
        // The lowest byte is the code, those above extend it.
        Some(_) => code.parse::<u32>().is_ok_and(|code| code & 0xff == 5),
        None => matches!(&*code, "55P03" | "40P01"),
    }
}
