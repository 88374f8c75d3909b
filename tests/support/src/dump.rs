//! Dumps all rows of a database, to compare it with another one.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use super::{Rows, TestDatabase};

/// Columns that an export omits: the state of jobs, of the schema and of nodes, and what is derived from texts for the
/// search index.
const LEFT_OUT: [(&str, &str); 19] = [
    ("agent_conversations", "title_token"),
    ("agent_conversations", "title_lease_until"),
    ("agent_conversations", "title_attempts"),
    ("agent_conversations", "published_revision"),
    ("agent_turns", "run_node"),
    ("agent_turns", "run_lease_until"),
    ("agent_turns", "run_text"),
    ("agent_turns", "run_parts"),
    ("agent_turns", "stop_asked"),
    ("agent_search_texts", "id"),
    ("agent_title_calls", "*"),
    ("agent_cursor_key", "*"),
    ("agent_audit", "*"),
    ("agent_feeds", "*"),
    ("agent_changes", "*"),
    ("agent_webhook_events", "*"),
    ("agent_webhook_gone", "*"),
    ("agent_webhook_lanes", "*"),
    ("agent_webhook_routes", "*"),
];

/// Rows per page.
const PAGE: usize = 20_000;

/// The name and columns of a table.
pub type Table = (String, Vec<String>);

impl Rows {
    /// The service's tables with all their columns.
    pub async fn tables(&self) -> Vec<Table> {
        const SQLITE: &str = "SELECT t.name AS t, c.name AS c FROM sqlite_master AS t \
            JOIN pragma_table_xinfo(t.name) AS c WHERE t.type = 'table' AND t.name LIKE 'agent!_%' ESCAPE '!' \
            AND t.name NOT LIKE 'agent!_search!_words%' ESCAPE '!' ORDER BY t.name, c.cid";
        // Excludes `agent_search`, which is a view.
        const POSTGRES: &str = "SELECT table_name::text AS t, column_name::text AS c \
            FROM information_schema.columns WHERE table_schema = 'public' AND table_name LIKE 'agent!_%' ESCAPE '!' \
            AND table_name <> 'agent_search' ORDER BY table_name, ordinal_position";
        let sql = match self.0.get_database_backend() {
            sea_orm::DbBackend::Sqlite => SQLITE,
            _ => POSTGRES,
        };
        let mut tables: Vec<Table> = Vec::new();
        for row in self.all(sql, []).await {
            let (table, column): (String, String) =
                (row.try_get("", "t").unwrap(), row.try_get("", "c").unwrap());
            match tables.last_mut() {
                Some((name, columns)) if *name == table => columns.push(column),
                _ => tables.push((table, vec![column])),
            }
        }
        assert!(tables.len() > 5, "{tables:?}");
        tables
    }

    /// For each exported table, its number of rows and a hash of all their columns, independent of their order.
    pub async fn digest(&self) -> BTreeMap<String, (usize, u64)> {
        let mut digest = BTreeMap::new();
        for (table, columns) in self.tables().await {
            if LEFT_OUT.contains(&(&table, "*")) {
                continue;
            }
            let mut sum = (0, 0_u64);
            self.each(&table, &columns, |row| {
                let mut hasher = DefaultHasher::new();
                row.hash(&mut hasher);
                sum = (sum.0 + 1, sum.1.wrapping_add(hasher.finish()));
            })
            .await;
            digest.insert(table, sum);
        }
        digest
    }

    /// The rows of each exported table as sorted texts.
    pub async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let mut dump = BTreeMap::new();
        for (table, columns) in self.tables().await {
            if LEFT_OUT.contains(&(&table, "*")) {
                continue;
            }
            let mut rows = Vec::new();
            self.each(&table, &columns, |row| rows.push(row)).await;
            rows.sort();
            dump.insert(table, rows);
        }
        dump
    }

    async fn each(&self, table: &str, columns: &[String], mut take: impl FnMut(String)) {
        let is_file = self.0.get_database_backend() == sea_orm::DbBackend::Sqlite;
        let columns: Vec<String> = columns
            .iter()
            .filter(|column| !LEFT_OUT.contains(&(table, column)))
            .map(|column| match is_file {
                true => format!("'{column}=' || quote({column})"),
                false => format!("'{column}=' || coalesce({column}::text, 'NULL')"),
            })
            .collect();
        let row = columns.join(" || ' ' || ");
        let (key, first) = match is_file {
            true => ("rowid", "-1".to_owned()),
            false => ("ctid", "'(0,0)'::tid".to_owned()),
        };
        let mut last = first;
        loop {
            let sql = format!(
                "SELECT CAST({key} AS text) AS k, {row} AS r FROM {table} WHERE {key} > {last} ORDER BY {key} LIMIT {PAGE}"
            );
            let rows = self.all(&sql, []).await;
            let Some(end) = rows.last() else { return };
            let end: String = end.try_get("", "k").unwrap();
            last = match is_file {
                true => end,
                false => format!("'{end}'::tid"),
            };
            for row in &rows {
                take(row.try_get("", "r").unwrap());
            }
            if rows.len() < PAGE {
                // Stop here: another statement would read rows again that a server has changed in the meantime, because
                // they moved to a later page.
                return;
            }
        }
    }
}

impl TestDatabase {
    /// See [`Rows::dump`].
    pub async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        Rows::of(self).await.dump().await
    }
}
