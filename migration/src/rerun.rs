//! Idempotent schema changes, for steps that can be interrupted: old migrations on SQLite, which had no transaction,
//! and concurrent index builds, which PostgreSQL runs outside any transaction.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement},
};

/// Adds the missing columns. SQLite adds one column per statement.
pub(crate) async fn add_columns(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: impl IntoIterator<Item = ColumnDef>,
) -> Result<(), DbErr> {
    for column in columns {
        if !is_left_over(manager, table, &column.get_column_name()).await? {
            let add = Table::alter().table(table).add_column(column).to_owned();
            manager.alter_table(add).await?;
        }
    }
    Ok(())
}

/// Drops the columns that still exist.
pub(crate) async fn drop_columns(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: impl IntoIterator<Item = &'static str>,
) -> Result<(), DbErr> {
    for column in columns {
        let is_kept = manager.get_database_backend() != DbBackend::Sqlite;
        if is_kept || is_left_over(manager, table, column).await? {
            let drop = Table::alter().table(table).drop_column(column).to_owned();
            manager.alter_table(drop).await?;
        }
    }
    Ok(())
}

/// Whether the table has the column on SQLite. PostgreSQL always rolled back an interrupted migration.
async fn is_left_over(
    manager: &SchemaManager<'_>,
    table: &str,
    column: &str,
) -> Result<bool, DbErr> {
    match manager.get_database_backend() {
        DbBackend::Sqlite => manager.has_column(table, column).await,
        _ => Ok(false),
    }
}

/// Builds an index, concurrently on PostgreSQL. `definition` is the SQL after the index's name.
///
/// On PostgreSQL the migration must run outside a transaction (`use_transaction` returns `Some(false)`). Drops an
/// invalid index that an interrupted build left.
pub(crate) async fn create_index(
    manager: &SchemaManager<'_>,
    name: &str,
    definition: &str,
) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    if connection.get_database_backend() != DbBackend::Postgres {
        let create = format!("CREATE INDEX IF NOT EXISTS {name} {definition}");
        connection.execute_unprepared(&create).await?;
        return Ok(());
    }
    // A concurrent build waits for older transactions, and does not block writers meanwhile.
    connection
        .execute_unprepared("SET lock_timeout = 0")
        .await?;
    let built = async {
        match is_valid(connection, name).await? {
            Some(true) => return Ok(()),
            Some(false) => {
                let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
                connection.execute_unprepared(&drop).await?;
            }
            None => {}
        }
        let create = format!("CREATE INDEX CONCURRENTLY {name} {definition}");
        connection.execute_unprepared(&create).await.map(|_| ())
    }
    .await;
    connection.execute_unprepared("RESET lock_timeout").await?;
    built
}

/// Whether the index, resolved by the search path, is valid; `None` if it does not exist.
async fn is_valid(connection: &impl ConnectionTrait, name: &str) -> Result<Option<bool>, DbErr> {
    let statement = Statement::from_sql_and_values(
        DbBackend::Postgres,
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)",
        [name.into()],
    );
    let row = connection.query_one_raw(statement).await?;
    row.map(|row| row.try_get("", "indisvalid")).transpose()
}
