//! Applies and reverts migrations: each in one transaction with its row in the bookkeeping table, so that a killed
//! process leaves a migration either applied and recorded, or not applied.
//!
//! SeaORM's own runner uses a transaction only on PostgreSQL. This one reads the next migration inside the transaction,
//! under a lock on the bookkeeping table, so that each migration runs in exactly one of several processes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sea_orm_migration::{
    MigrationTrait, MigratorTrait, SchemaManager,
    sea_orm::{
        ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr,
        SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, sqlx,
    },
};

use crate::{Migrator, progress};

/// The maximum wait for another process's lock. The migration of a large table may take long.
pub const LOCK_WAIT: Duration = Duration::from_secs(60 * 60);

/// The pause between two attempts to take the lock.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The interval between log lines during a wait.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The names of the applied migrations, oldest first; `None` without a bookkeeping table. Writes nothing.
///
/// # Errors
/// If the database does not answer, or the role may not read the table.
pub async fn applied(db: &impl ConnectionTrait) -> Result<Option<Vec<String>>, DbErr> {
    let backend = db.get_database_backend();
    // `to_regclass` resolves the unqualified name like a query does, in all schemas of the search path.
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

/// Applies all pending migrations, or the next `steps`. After a failure, earlier migrations stay applied.
///
/// # Errors
/// If a migration fails, or the lock on the bookkeeping table is not available within [`LOCK_WAIT`].
pub async fn up(db: &DatabaseConnection, steps: Option<u32>) -> Result<(), DbErr> {
    let mut done = 0;
    while steps.is_none_or(|steps| done < steps) {
        if !step_with_retry(db, Direction::Up).await? {
            break;
        }
        done += 1;
    }
    Ok(())
}

/// Reverts the newest `steps` migrations.
///
/// # Errors
/// Like [`up`].
pub async fn down(db: &DatabaseConnection, steps: u32) -> Result<(), DbErr> {
    for _ in 0..steps {
        if !step_with_retry(db, Direction::Down).await? {
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

/// Runs one step, with retries while another process holds a lock that it needs. Returns false if no step is left.
async fn step_with_retry(db: &DatabaseConnection, direction: Direction) -> Result<bool, DbErr> {
    let began = Instant::now();
    let mut last_logged: Option<Instant> = None;
    loop {
        let result = step(db, direction).await;
        progress::end();
        match result {
            Err(error) if is_locked(&error) && began.elapsed() < LOCK_WAIT => {
                if last_logged.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
                    last_logged = Some(Instant::now());
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
        // Commits first, because the bookkeeping table may be new.
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
    // A failed rollback does not matter: the server rolls back when the connection closes.
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

/// The next migration in this direction. Creates the bookkeeping table if it is missing, and locks it.
async fn next(
    tx: &DatabaseTransaction,
    direction: Direction,
) -> Result<Option<Box<dyn MigrationTrait>>, DbErr> {
    if applied(tx).await?.is_none() {
        Migrator::install(tx).await?;
    }
    if tx.get_database_backend() == DbBackend::Postgres {
        // Also excludes older versions, which take no advisory lock. Readers are not blocked.
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

/// Whether a lock of another process caused the error: SQLite's BUSY, PostgreSQL's lock_not_available and
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
        // The lowest byte is the primary result code.
        Some(_) => code.parse::<u32>().is_ok_and(|code| code & 0xff == 5),
        None => matches!(&*code, "55P03" | "40P01"),
    }
}
