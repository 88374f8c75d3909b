//! Makes the database refuse rows, as if it did not accept their values.

use sea_orm::{ConnectionTrait, DbBackend};

use super::Rows;

impl Rows {
    /// Refuses every `INSERT` or `UPDATE` of a table that meets a condition on `OLD` and `NEW`.
    pub async fn refuse(&self, event: &str, table: &str, condition: &str) {
        let name = format!("refuse_{}", uuid::Uuid::now_v7().simple());
        let backend = self.0.get_database_backend();
        // The search is a view: SQLite has `INSTEAD OF` triggers, PostgreSQL needs triggers on the underlying table.
        let (when, table) = match (table, backend) {
            ("agent_search", DbBackend::Sqlite) => ("INSTEAD OF", table),
            ("agent_search", _) => ("BEFORE", "agent_search_texts"),
            _ => ("BEFORE", table),
        };
        let sql = match backend {
            DbBackend::Sqlite => format!(
                "CREATE TRIGGER {name} {when} {event} ON {table} WHEN {condition} \
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            ),
            _ => format!(
                "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ \
                 BEGIN RAISE EXCEPTION 'refused'; END $$; \
                 CREATE TRIGGER {name} {when} {event} ON {table} FOR EACH ROW WHEN ({condition}) \
                 EXECUTE FUNCTION {name}()"
            ),
        };
        self.0.execute_unprepared(&sql).await.unwrap();
    }
}
