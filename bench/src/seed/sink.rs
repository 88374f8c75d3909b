//! Writes rows in the fastest way: `COPY` on PostgreSQL, multi-row inserts on SQLite.

use std::fmt::Write as _;

use chrono::SecondsFormat;
use sqlx::{Connection, Executor, PgConnection, QueryBuilder, SqliteConnection};

use super::{
    rows::{Cell, Table},
    search_text::entry_of_marked,
};
use crate::Result;

/// Rows per statement. SQLite allows 32,766 parameters per statement; a row has at most 19.
const ROWS_A_STATEMENT: usize = 500;

/// The view, and the table behind it; PostgreSQL can only copy into tables.
const SEARCH: &str = "agent_search";
const SEARCH_TEXTS: &str = "agent_search_texts";

pub enum Sink {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Sink {
    /// Connects, and checks that the database is empty.
    pub async fn open(url: &str) -> Result<Self> {
        const ANY: &str = "SELECT count(*) FROM (SELECT 1 FROM agent_conversations LIMIT 1) AS one";
        let (sink, rows): (Self, i64) = if url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(url).await?;
            // Data lost in a power cut can be generated again.
            connection
                .execute("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000")
                .await?;
            let rows = sqlx::query_scalar(ANY).fetch_one(&mut connection).await?;
            (Self::Sqlite(connection), rows)
        } else {
            let mut connection = PgConnection::connect(url).await?;
            connection.execute("SET synchronous_commit = off").await?;
            let rows = sqlx::query_scalar(ANY).fetch_one(&mut connection).await?;
            (Self::Postgres(connection), rows)
        };
        if rows > 0 {
            return Err("there are conversations already; name an empty database".into());
        }
        Ok(sink)
    }

    /// Writes the rows of these tables in one transaction.
    pub async fn write(&mut self, tables: &[Table]) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                let mut tx = connection.begin().await?;
                for table in tables {
                    for rows in table.rows.chunks(ROWS_A_STATEMENT) {
                        insert(&mut tx, table, rows).await?;
                    }
                }
                tx.commit().await?;
            }
            Self::Postgres(connection) => {
                let mut tx = connection.begin().await?;
                for table in tables {
                    let columns = table.columns.join(", ");
                    let (name, rows) = match table.name {
                        SEARCH => (SEARCH_TEXTS, copied(&entries(&table.rows))),
                        name => (name, copied(&table.rows)),
                    };
                    let copy = format!("COPY {name} ({columns}) FROM STDIN");
                    let mut copy = tx.copy_in_raw(&copy).await?;
                    copy.send(rows.into_bytes()).await?;
                    copy.finish().await?;
                }
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// Updates the planner's statistics, as the database itself would do after a while.
    pub async fn finish(self) -> Result<()> {
        match self {
            Self::Sqlite(mut connection) => {
                connection
                    .execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    .await?;
                connection.close().await?;
            }
            Self::Postgres(mut connection) => {
                connection.execute("VACUUM ANALYZE").await?;
                connection.close().await?;
            }
        }
        Ok(())
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    table: &Table,
    rows: &[Vec<Cell>],
) -> Result<()> {
    let mut query = QueryBuilder::new(format!(
        "INSERT INTO {} ({}) ",
        table.name,
        table.columns.join(", ")
    ));
    query.push_values(rows, |mut values, row| {
        for cell in row {
            match cell.clone() {
                Cell::Null => values.push("NULL"),
                Cell::Text(text) => values.push_bind(text),
                Cell::Number(number) => values.push_bind(number),
                Cell::Bool(is_so) => values.push_bind(is_so),
                Cell::Id(id) => values.push_bind(id),
                Cell::Time(time) => values.push_bind(time),
            };
        }
    });
    query.build().execute(connection).await?;
    Ok(())
}

/// Converts rows of the search index to PostgreSQL's format.
fn entries(rows: &[Vec<Cell>]) -> Vec<Vec<Cell>> {
    let entry = |cell: &Cell| match cell {
        Cell::Text(body) => Cell::Text(entry_of_marked(body)),
        other => other.clone(),
    };
    let row = |row: &Vec<Cell>| row.iter().map(entry).collect();
    rows.iter().map(row).collect()
}

/// The rows in the format of `COPY`. Generated texts contain nothing that needs escaping.
fn copied(rows: &[Vec<Cell>]) -> String {
    let mut text = String::new();
    for row in rows {
        for (place, cell) in row.iter().enumerate() {
            if place > 0 {
                text.push('\t');
            }
            // Writing to a string cannot fail.
            let _ = match cell {
                Cell::Null => write!(text, "\\N"),
                Cell::Text(part) => write!(text, "{part}"),
                Cell::Number(number) => write!(text, "{number}"),
                Cell::Bool(is_so) => write!(text, "{is_so}"),
                Cell::Id(id) => write!(text, "{id}"),
                Cell::Time(time) => write!(
                    text,
                    "{}",
                    time.to_rfc3339_opts(SecondsFormat::Micros, true)
                ),
            };
        }
        text.push('\n');
    }
    text
}
