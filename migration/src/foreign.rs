//! Detects a database of another program, or one without its bookkeeping table, before the first write.

use sea_orm_migration::{
    MigratorTrait,
    sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement},
};

use crate::{Migrator, run};

/// The type of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uuid,
    Text,
    Long,
    Time,
    /// Any type.
    Any,
}

use Kind::{Any, Long, Text, Time, Uuid};

/// A table, the migration that creates it, and the columns that the migration creates.
struct Shape {
    table: &'static str,
    migration: &'static str,
    columns: &'static [(&'static str, Kind)],
    /// The columns that later migrations add.
    later: &'static [&'static str],
}

const FIRST: &str = "m20251101_000001_create_conversations";
const WEBHOOKS: &str = "m20251223_000001_create_webhooks";

#[rustfmt::skip]
const SHAPES: [Shape; 17] = [
    Shape {
        table: "agent_conversations", migration: FIRST,
        columns: &[
            ("id", Uuid), ("tenant_id", Text), ("user_id", Text), ("topic_hint", Text), ("agent_entrypoint", Text),
            ("active_agent", Text), ("status", Text), ("message_count", Long), ("last_message_preview", Text),
            ("last_message_at", Time), ("created_at", Time), ("updated_at", Time),
        ],
        later: &[
            "display_name", "title_generated_at", "title_source", "title_status", "title_failure", "revision",
            "title_token", "title_lease_until", "title_attempts", "title_hint", "published_revision",
            "title_retry_at", "title_tries", "title_failing_since", "title_from", "previous_title",
            "previous_title_source", "title_locked", "title_refreshes", "title_refreshed_at",
        ],
    },
    Shape {
        table: "agent_messages", migration: FIRST,
        columns: &[
            ("id", Uuid), ("conversation_id", Uuid), ("position", Long), ("role", Text), ("content", Text),
            ("status", Text), ("created_at", Time),
        ],
        later: &["attachments", "in_reply_to", "outcome", "model"],
    },
    Shape {
        table: "agent_turns", migration: "m20251116_000001_create_turns",
        columns: &[
            ("message_id", Uuid), ("conversation_id", Uuid), ("reply_id", Uuid), ("tenant_id", Text), ("user_id", Text),
            ("idempotency_key", Text), ("request_hash", Text), ("reply_status", Text), ("reply_failure", Text),
            ("created_at", Time),
        ],
        later: &[],
    },
    Shape {
        table: "agent_search", migration: "m20251117_000001_create_search",
        columns: &[("id", Any), ("conversation_id", Uuid), ("message_id", Uuid), ("body", Text)],
        later: &[],
    },
    Shape {
        table: "agent_title_calls", migration: "m20251118_000001_add_title_claims",
        columns: &[
            ("id", Uuid), ("tenant_id", Text), ("conversation_id", Uuid), ("model", Text), ("outcome", Text),
            ("prompt_tokens", Long), ("completion_tokens", Long), ("reasoning_tokens", Long), ("duration_ms", Long),
            ("created_at", Time),
        ],
        later: &["agent"],
    },
    Shape {
        table: "agent_cursor_key", migration: "m20251120_000001_create_cursor_key",
        columns: &[("id", Any), ("secret", Text)],
        later: &[],
    },
    Shape {
        table: "agent_reply_calls", migration: "m20251130_000001_create_reply_calls",
        columns: &[
            ("id", Uuid), ("tenant_id", Text), ("conversation_id", Uuid), ("agent", Text), ("model", Text),
            ("prompt_tokens", Long), ("completion_tokens", Long), ("reasoning_tokens", Long), ("created_at", Time),
        ],
        later: &[],
    },
    Shape {
        table: "agent_message_versions", migration: "m20251201_000001_create_versions",
        columns: &[
            ("id", Uuid), ("conversation_id", Uuid), ("message_id", Uuid), ("position", Long), ("role", Text),
            ("content", Text), ("status", Text), ("attachments", Text), ("outcome", Text), ("failure", Text),
            ("model", Text), ("created_at", Time), ("replaced_at", Time),
        ],
        later: &[],
    },
    Shape {
        table: "agent_reply_parts", migration: "m20251201_000001_create_versions",
        columns: &[("reply_id", Uuid), ("conversation_id", Uuid), ("message_id", Uuid), ("parts", Text)],
        later: &[],
    },
    Shape {
        table: "agent_feeds", migration: "m20251220_000001_create_feeds",
        columns: &[
            ("id", Any), ("tenant_id", Text), ("user_id", Text), ("position", Long), ("floor", Long), ("epoch", Long),
        ],
        later: &[],
    },
    Shape {
        table: "agent_changes", migration: "m20251220_000001_create_feeds",
        columns: &[("feed_id", Long), ("conversation_id", Uuid), ("change", Long), ("created", Long)],
        later: &[],
    },
    Shape {
        table: "agent_webhook_routes", migration: WEBHOOKS,
        columns: &[("tenant_id", Text), ("event", Text), ("hook", Text), ("seen_at", Time)],
        later: &[],
    },
    Shape {
        table: "agent_webhook_gone", migration: WEBHOOKS,
        columns: &[("hook", Text), ("since", Time)],
        later: &[],
    },
    Shape {
        table: "agent_webhook_lanes", migration: WEBHOOKS,
        columns: &[
            ("hook", Text), ("conversation_id", Uuid), ("tenant_id", Text), ("user_id", Text), ("next_at", Time),
            ("token", Uuid), ("attempts", Any), ("failing_since", Time), ("failure", Text),
            ("parked_at", Time),
        ],
        later: &[],
    },
    Shape {
        table: "agent_webhook_events", migration: WEBHOOKS,
        columns: &[
            ("number", Any), ("id", Uuid), ("hook", Text), ("conversation_id", Uuid), ("tenant_id", Text),
            ("user_id", Text), ("event", Text), ("revision", Long), ("rank", Any), ("subject_id", Uuid),
            ("created_at", Time),
        ],
        later: &[],
    },
    Shape {
        table: "agent_audit", migration: "m20251223_000002_create_audit",
        columns: &[
            ("id", Uuid), ("tenant_id", Text), ("actor", Text), ("act", Text), ("conversation_id", Uuid), ("subject", Text),
            ("created_at", Time),
        ],
        later: &[],
    },
    Shape {
        table: "agent_search_texts", migration: "m20251224_000001_create_search_texts",
        columns: &[("id", Any), ("conversation_id", Uuid), ("message_id", Uuid)],
        later: &["body"],
    },
];

/// Tables in a file that belong to SQLite, to replication tools (`_…`), or to us.
const OTHER_TABLES: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
    AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'agent\\_%' ESCAPE '\\' AND name <> 'seaql_migrations'
    ORDER BY name LIMIT 3";

/// The applied migrations, as [`run::applied`] returns them, and the reason why the database belongs to another
/// program.
///
/// The reason is `None` for our own or an empty database. Writes nothing.
///
/// # Errors
/// If the database does not answer.
pub async fn inspect(
    db: &impl ConnectionTrait,
) -> Result<(Option<Vec<String>>, Option<String>), DbErr> {
    let mut applied = run::applied(db).await?;
    loop {
        let found = difference(db, applied.as_deref().unwrap_or_default()).await?;
        if found.is_none() {
            return Ok((applied, None));
        }
        // If another process has migrated in the meantime, the new tables have new bookkeeping rows: check again.
        let now = run::applied(db).await?;
        if now == applied {
            return Ok((applied, found));
        }
        applied = now;
    }
}

async fn difference(
    db: &impl ConnectionTrait,
    applied: &[String],
) -> Result<Option<String>, DbErr> {
    let backend = db.get_database_backend();
    let known = Migrator::migrations();
    let is_ours = |name: &String| known.iter().any(|migration| migration.name() == name);
    if !applied.is_empty() && !applied.iter().any(is_ours) {
        let names = applied[..applied.len().min(3)].join(", ");
        return Ok(Some(format!(
            "its table seaql_migrations lists the migrations of another program ({names})"
        )));
    }
    if backend == DbBackend::Sqlite && applied.is_empty() {
        let others = Statement::from_string(DbBackend::Sqlite, OTHER_TABLES);
        let rows = db.query_all_raw(others).await?;
        let names = rows.iter().map(|row| row.try_get("", "name"));
        let names: Vec<String> = names.collect::<Result<_, _>>()?;
        if !names.is_empty() {
            return Ok(Some(format!("it has the tables {}", names.join(", "))));
        }
    }
    let next = known
        .iter()
        .find(|migration| !applied.iter().any(|name| name == migration.name()));
    for shape in &SHAPES {
        if applied.iter().any(|name| name == shape.migration) {
            continue;
        }
        let columns = columns(db, shape.table).await?;
        if columns.is_empty() {
            continue;
        }
        // Tables of the first migration may be older than the bookkeeping. On SQLite, a killed process may have left a
        // table of the next migration.
        let may_exist = shape.migration == FIRST
            || (backend == DbBackend::Sqlite
                && next.is_some_and(|next| next.name() == shape.migration));
        let table = shape.table;
        if !may_exist {
            return Ok(Some(format!(
                "it has a table {table}, and no record that a migration created it"
            )));
        }
        if let Some(difference) = shape.difference(backend, &columns) {
            return Ok(Some(format!("its table {table} is not ours: {difference}")));
        }
    }
    Ok(None)
}

/// A column of an existing table.
struct Column {
    name: String,
    kind: String,
    /// Whether an insert must give it a value.
    is_required: bool,
}

impl Shape {
    fn difference(&self, backend: DbBackend, columns: &[Column]) -> Option<String> {
        for (name, kind) in self.columns {
            let Some(column) = columns.iter().find(|column| column.name == *name) else {
                return Some(format!("it has no column {name}"));
            };
            if !kind.is(backend, &column.kind) {
                return Some(format!(
                    "the column {name} is of type {}, not {}",
                    column.kind,
                    kind.name()
                ));
            }
        }
        columns.iter().find_map(|column| {
            let name = column.name.as_str();
            if self.later.contains(&name) {
                return Some(format!(
                    "it has the column {name}, and no record of the migration that adds it"
                ));
            }
            let is_known = self.columns.iter().any(|(known, _)| *known == name);
            // The search table has a generated column, which is not required.
            (column.is_required && !is_known).then(|| format!("it needs a value for {name}"))
        })
    }
}

impl Kind {
    /// Whether a column of this lower-case type matches. SQLite's type names are free text.
    fn is(self, backend: DbBackend, kind: &str) -> bool {
        let has = |parts: &[&str]| parts.iter().any(|part| kind.contains(part));
        match self {
            Uuid => has(&["uuid"]),
            Text => has(&["char", "text"]) && !has(&["uuid", "time"]),
            Long if backend == DbBackend::Sqlite => has(&["int"]),
            Long => kind == "bigint",
            Time => has(&["timestamp with"]) && !has(&["without"]) || has(&["timestamp_with"]),
            Any => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Uuid => "uuid",
            Text => "text",
            Long => "bigint",
            Time => "timestamp with time zone",
            Any => "any",
        }
    }
}

/// The columns of a table, found by its unqualified name; empty if it does not exist.
async fn columns(db: &impl ConnectionTrait, table: &str) -> Result<Vec<Column>, DbErr> {
    let sql = match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT attname::text AS name, lower(format_type(atttypid, NULL)) AS kind,
                    (attnotnull AND NOT atthasdef AND attidentity = '') AS needed
             FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
        }
        _ => {
            "SELECT name, lower(type) AS kind, (\"notnull\" AND dflt_value IS NULL AND pk = 0) AS needed
             FROM pragma_table_info($1)"
        }
    };
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, [table.into()]);
    let rows = db.query_all_raw(statement).await?;
    let column = |row: &sea_orm_migration::sea_orm::QueryResult| {
        Ok(Column {
            name: row.try_get("", "name")?,
            kind: row.try_get("", "kind")?,
            is_required: row.try_get("", "needed")?,
        })
    };
    rows.iter().map(column).collect()
}
