//! The progress of the running migration, for display.

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm_migration::sea_orm::{ConnectionTrait, DbErr, Statement};

tokio::task_local! {
    static PROGRESS: Progress;
}

/// A view of the running migration. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Option<At>>>);

/// The progress of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The migration's name.
    pub migration: String,
    /// Rows written.
    pub done: u64,
    /// Rows to write; `None` if the migration does not count rows.
    pub total: Option<u64>,
}

impl Progress {
    /// Runs a future whose migrations report to this view.
    pub async fn follow<T>(&self, run: impl Future<Output = T>) -> T {
        PROGRESS.scope(self.clone(), run).await
    }

    /// The current progress; `None` between migrations.
    pub fn at(&self) -> Option<At> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn change(change: impl FnOnce(&mut Option<At>)) {
    // Outside of `follow` there is no view.
    let _ = PROGRESS.try_with(|progress| {
        change(&mut progress.0.lock().unwrap_or_else(PoisonError::into_inner));
    });
}

/// Reports the start of a migration.
pub(crate) fn begin(migration: &str) {
    change(|at| {
        *at = Some(At {
            migration: migration.to_owned(),
            done: 0,
            total: None,
        });
    });
}

/// Reports the end of the migration.
pub(crate) fn end() {
    change(|at| *at = None);
}

/// Adds to the total number of rows that the running migration writes.
pub fn expect(rows: u64) {
    change(|at| {
        if let Some(at) = at {
            at.total = Some(at.total.unwrap_or(0) + rows);
        }
    });
}

/// Adds to the number of rows that the running migration has written.
pub fn advance(rows: u64) {
    change(|at| {
        if let Some(at) = at {
            at.done += rows;
        }
    });
}

/// The number of rows in a table.
pub(crate) async fn rows_of(db: &impl ConnectionTrait, table: &str) -> Result<u64, DbErr> {
    let count = format!("SELECT count(*) AS rows FROM {table}");
    let statement = Statement::from_string(db.get_database_backend(), count);
    let row = db.query_one_raw(statement).await?;
    let rows: i64 = row.map_or(Ok(0), |row| row.try_get("", "rows"))?;
    Ok(rows.unsigned_abs())
}
