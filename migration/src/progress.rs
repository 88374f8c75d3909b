//! How far the migration under way is, for whatever shows it.

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, Statement};

tokio::task_local! {
    static PROGRESS: Progress;
}

/// A view of the migration under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Option<At>>>);

/// Where a migration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The migration's name.
    pub migration: String,
    /// Rows written until now.
    pub done: u64,
    /// Rows to write; `None` when the migration does not count any.
    pub total: Option<u64>,
}

impl Progress {
    /// Runs this; migrations in it report here.
    pub async fn follow<T>(&self, run: impl Future<Output = T>) -> T {
        PROGRESS.scope(self.clone(), run).await
    }

    /// Where it is; `None` between migrations.
    pub fn at(&self) -> Option<At> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn change(change: impl FnOnce(&mut Option<At>)) {
    // Without a view there is nothing to report to.
    let _ = PROGRESS.try_with(|progress| {
        change(&mut progress.0.lock().unwrap_or_else(PoisonError::into_inner));
    });
}

/// A migration begins.
pub(crate) fn begin(migration: &str) {
    change(|at| {
        *at = Some(At {
            migration: migration.to_owned(),
            done: 0,
            total: None,
        });
    });
}

/// The migration that began has ended.
pub(crate) fn end() {
    change(|at| *at = None);
}

/// The migration under way writes this many rows.
pub fn expect(rows: u64) {
    change(|at| {
        if let Some(at) = at {
            at.total = Some(at.total.unwrap_or(0) + rows);
        }
    });
}

/// The migration under way has written this many rows more.
pub fn advance(rows: u64) {
    change(|at| {
        if let Some(at) = at {
            at.done += rows;
        }
    });
}

/// How many rows a table has.
pub(crate) async fn rows_of(db: &impl ConnectionTrait, table: &str) -> Result<u64, DbErr> {
    let count = format!("SELECT count(*) AS rows FROM {table}");
    let statement = Statement::from_string(db.get_database_backend(), count);
    let row = db.query_one_raw(statement).await?;
    let rows: i64 = row.map_or(Ok(0), |row| row.try_get("", "rows"))?;
    Ok(rows.unsigned_abs())
}
