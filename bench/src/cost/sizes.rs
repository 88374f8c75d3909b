//! The sizes of tables and their indexes.

use std::collections::BTreeMap;

use sqlx::Executor;

use crate::{Result, turn::database::Reader};

/// The size of one table, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    pub rows: i64,
    pub indexes: i64,
}

pub type Sizes = BTreeMap<String, Size>;

/// The internal tables of the search index on SQLite.
const SEARCH_WORDS: &str = "agent_search_words";

const SQLITE: &str =
    "SELECT coalesce(tbl_name, s.name), coalesce(type, 'table') = 'index', sum(pgsize)
     FROM dbstat AS s LEFT JOIN sqlite_schema AS m ON m.name = s.name
     WHERE coalesce(tbl_name, s.name) LIKE 'agent%' GROUP BY 1, 2";

const POSTGRES: &str =
    "SELECT relname::text, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
     WHERE relkind = 'r' AND relname LIKE 'agent%'";

const LOG: &str = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";

/// Reads all sizes after the server's periodic maintenance.
pub async fn sizes(reader: &mut Reader) -> Result<Sizes> {
    let mut sizes = Sizes::new();
    match reader {
        Reader::Sqlite(_) => {
            let rows: Vec<(String, bool, i64)> = reader.rows(SQLITE).await?;
            for (table, is_index, bytes) in rows {
                let is_words = table.starts_with(SEARCH_WORDS);
                let table = if is_words { "agent_search" } else { &table };
                let size = sizes.entry(table.to_owned()).or_default();
                match is_index || is_words {
                    true => size.indexes += bytes,
                    false => size.rows += bytes,
                }
            }
        }
        Reader::Postgres(connection) => {
            connection.execute("VACUUM").await?;
            let rows: Vec<(String, i64, i64)> = reader.rows(POSTGRES).await?;
            for (table, rows, indexes) in rows {
                sizes.insert(table, Size { rows, indexes });
            }
        }
    }
    Ok(sizes)
}

/// The bytes that PostgreSQL has written to its write-ahead log so far, for all clients.
pub async fn written(reader: &mut Reader) -> Result<i64> {
    match reader {
        Reader::Sqlite(_) => Ok(0),
        Reader::Postgres(_) => {
            let rows: Vec<(i64,)> = reader.rows(LOG).await?;
            Ok(rows.first().ok_or("no write-ahead log")?.0)
        }
    }
}
