//! The bare transaction that stores a new title, as the baseline for publishing it.

use std::time::Duration;

use chrono::Utc;
use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use uuid::Uuid;

use crate::{
    Result,
    seed::{
        self,
        search_text::{capped, marked, owner_mark, words},
    },
    turn::{
        database::{Database, Kind},
        statements as sql,
    },
    usage::cpu,
};

/// The number of conversations, which are renamed in turn.
const CONVERSATIONS: usize = 1_000;

/// Renames before the measurement starts.
const WARM_UP: usize = 50;

/// The processor time of one rename on a new SQLite file, in microseconds.
pub async fn bare(titlecast: &std::path::Path, count: usize) -> Result<f64> {
    let database = Database::create(Kind::Sqlite, None, titlecast).await?;
    seed::fill(&database.url, CONVERSATIONS as u64, CONVERSATIONS as u64, 1).await?;
    let options: SqliteConnectOptions = database.url.parse()?;
    let mut connection = options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .connect()
        .await?;
    let rows = sqlx::query("SELECT id, tenant_id, user_id FROM agent_conversations")
        .fetch_all(&mut connection)
        .await?;
    let owned = rows.iter().map(|row| -> Result<_> {
        Ok((
            row.try_get("id")?,
            row.try_get("tenant_id")?,
            row.try_get("user_id")?,
        ))
    });
    let owned: Vec<(Uuid, String, String)> = owned.collect::<Result<_>>()?;
    let rename = async |connection: &mut SqliteConnection, number: usize| {
        let (id, tenant, user) = &owned[number % owned.len()];
        rename(
            connection,
            *id,
            tenant,
            user,
            &format!("Trip number {number}"),
        )
        .await
    };
    for number in 0..WARM_UP {
        rename(&mut connection, number).await?;
    }
    let before = cpu(std::process::id())?;
    for number in 0..count {
        rename(&mut connection, number).await?;
    }
    let taken: Duration = cpu(std::process::id())? - before;
    connection.close().await?;
    database.remove().await?;
    Ok(taken.as_secs_f64() * 1e6 / count as f64)
}

async fn rename(
    connection: &mut SqliteConnection,
    id: Uuid,
    tenant: &str,
    user: &str,
    title: &str,
) -> Result<()> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(sql::RENAME)
        .bind(1_i64)
        .bind(Utc::now())
        .bind(title)
        .bind("manual")
        .bind("ready")
        .bind(id)
        .bind(tenant)
        .bind(user)
        .bind("active")
        .fetch_one(&mut *tx)
        .await?;
    sqlx::query(sql::INDEX_TITLE)
        .bind(marked(&owner_mark(tenant, user), &capped(&words(title))))
        .bind(id)
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}
