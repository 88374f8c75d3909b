//! The connections to the database, counted.

use sea_orm::{DatabaseConnection, DbBackend};

use super::Database;

/// Connections to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Which: `writer` and `reader` on SQLite, `all` on PostgreSQL.
    pub pool: &'static str,
    /// How many are open.
    pub open: u32,
    /// How many of them are not in use.
    pub idle: u32,
}

impl Database {
    /// The connections there are.
    pub fn connections(&self) -> Vec<Connections> {
        match self.is_embedded() {
            true => vec![
                connections("writer", &self.writer.inner),
                connections("reader", &self.reader.inner),
            ],
            false => vec![connections("all", &self.reader.inner)],
        }
    }
}

fn connections(pool: &'static str, connection: &DatabaseConnection) -> Connections {
    let (open, idle) = match connection.get_database_backend() {
        DbBackend::Sqlite => {
            let pool = connection.get_sqlite_connection_pool();
            (pool.size(), pool.num_idle())
        }
        _ => {
            let pool = connection.get_postgres_connection_pool();
            (pool.size(), pool.num_idle())
        }
    };
    Connections {
        pool,
        open,
        idle: u32::try_from(idle).unwrap_or(u32::MAX),
    }
}
