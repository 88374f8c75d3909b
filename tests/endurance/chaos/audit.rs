//! The audit log of the database: triggers log each change of a conversation's title, whatever process makes it. A
//! process that is killed loses no line of it.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, QueryResult};
use titlecast_testing::{Rows, TestDatabase};
use uuid::Uuid;

use super::checker::{Change, State};

/// What is logged: column, type on PostgreSQL, type on SQLite.
const COLUMNS: [(&str, &str, &str); 10] = [
    ("display_name", "text", "text"),
    ("title_source", "text", "text"),
    ("title_status", "text", "text"),
    ("title_failure", "text", "text"),
    ("title_generated_at", "timestamptz", "text"),
    ("title_token", "uuid", "blob"),
    ("title_lease_until", "timestamptz", "text"),
    ("status", "text", "text"),
    ("revision", "bigint", "bigint"),
    ("updated_at", "timestamptz", "text"),
];

/// The log, and the rows behind it.
pub struct Audit(Rows);

impl Audit {
    /// Logs everything from now on.
    pub async fn begin(database: &TestDatabase) -> Self {
        let rows = Rows::of(database).await;
        let is_sqlite = database.is_sqlite();
        let key = match is_sqlite {
            true => "integer PRIMARY KEY AUTOINCREMENT, id blob",
            false => "bigserial PRIMARY KEY, id uuid",
        };
        let columns = joined(|column, postgres, sqlite| {
            let kind = if is_sqlite { sqlite } else { postgres };
            format!("old_{column} {kind}, new_{column} {kind}")
        });
        let mut statements = vec![format!("CREATE TABLE chaos_audit (seq {key}, {columns})")];
        let names = joined(|column, _, _| format!("old_{column}, new_{column}"));
        let insert = |row: &str, values: String| {
            format!("INSERT INTO chaos_audit (id, {names}) VALUES ({row}.id, {values});")
        };
        let inserted = insert("NEW", joined(|column, _, _| format!("NULL, NEW.{column}")));
        let updated = insert(
            "OLD",
            joined(|column, _, _| format!("OLD.{column}, NEW.{column}")),
        );
        let deleted = insert("OLD", joined(|column, _, _| format!("OLD.{column}, NULL")));
        for (event, insert) in [
            ("INSERT", inserted),
            ("UPDATE", updated),
            ("DELETE", deleted),
        ] {
            let trigger =
                format!("TRIGGER chaos_{event} AFTER {event} ON agent_conversations FOR EACH ROW");
            if is_sqlite {
                statements.push(format!("CREATE {trigger} BEGIN {insert} END"));
            } else {
                let function = format!("chaos_{event}()");
                statements.push(format!(
                    "CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN {insert} RETURN NULL; END $$"
                ));
                statements.push(format!("CREATE {trigger} EXECUTE FUNCTION {function}"));
            }
        }
        for statement in statements {
            rows.0.execute_unprepared(&statement).await.unwrap();
        }
        Self(rows)
    }

    /// All changes, in their order. Those of one row are in the order of its revisions: a row is locked
    /// when its change is logged.
    pub async fn changes(&self) -> Vec<Change> {
        let rows = self
            .0
            .all("SELECT * FROM chaos_audit ORDER BY seq", [])
            .await;
        let change = |row: &QueryResult| Change {
            id: row.try_get("", "id").unwrap(),
            old: state(row, "old_"),
            new: state(row, "new_").expect("no row of a conversation is ever deleted"),
        };
        rows.iter().map(change).collect()
    }

    /// The rows as they are now, with the revision that was recorded as published.
    pub async fn rows(&self) -> HashMap<Uuid, (State, i64)> {
        let rows = self.0.all("SELECT * FROM agent_conversations", []).await;
        let row = |row: &QueryResult| {
            let id = row.try_get("", "id").unwrap();
            let published = row.try_get("", "published_revision").unwrap();
            (id, (state(row, "").unwrap(), published))
        };
        rows.iter().map(row).collect()
    }

    /// What people said, as it is stored.
    pub async fn messages(&self) -> Vec<(Uuid, String)> {
        const SQL: &str = "SELECT conversation_id, content FROM agent_messages WHERE role = 'user'";
        let message = |row: &QueryResult| {
            let id = row.try_get("", "conversation_id").unwrap();
            (id, row.try_get("", "content").unwrap())
        };
        self.0.all(SQL, []).await.iter().map(message).collect()
    }
}

fn joined(column: impl Fn(&str, &str, &str) -> String) -> String {
    let columns = COLUMNS.map(|(name, postgres, sqlite)| column(name, postgres, sqlite));
    columns.join(", ")
}

fn state(row: &QueryResult, prefix: &str) -> Option<State> {
    Some(State {
        revision: row.try_get::<Option<i64>>(prefix, "revision").unwrap()?,
        name: row.try_get(prefix, "display_name").unwrap(),
        source: row.try_get(prefix, "title_source").unwrap(),
        title_status: row.try_get(prefix, "title_status").unwrap(),
        failure: row.try_get(prefix, "title_failure").unwrap(),
        generated_at: row.try_get(prefix, "title_generated_at").unwrap(),
        token: row.try_get(prefix, "title_token").unwrap(),
        lease_until: row.try_get(prefix, "title_lease_until").unwrap(),
        status: row.try_get(prefix, "status").unwrap(),
        updated_at: row.try_get(prefix, "updated_at").unwrap(),
    })
}
