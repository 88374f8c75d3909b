//! A hand-written list: an axum route that runs the same statement as Titlecast's list and writes the rows as JSON. It
//! is the baseline for the cost of a list over GraphQL.
//!
//! `list-route PORT DATABASE_URL` listens on that port of 127.0.0.1.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{
    FromRow, PgPool, Row, SqlitePool,
    postgres::{PgPoolOptions, PgRow},
    sqlite::{SqlitePoolOptions, SqliteRow},
};
use tokio::net::TcpListener;
use uuid::Uuid;

/// The statement that Titlecast runs.
const LIST: &str = r#"SELECT "agent_conversations"."id", "agent_conversations"."tenant_id",
    "agent_conversations"."user_id", "agent_conversations"."topic_hint", "agent_conversations"."agent_entrypoint",
    "agent_conversations"."active_agent", "agent_conversations"."status", "agent_conversations"."message_count",
    "agent_conversations"."last_message_preview", "agent_conversations"."last_message_at",
    "agent_conversations"."created_at", "agent_conversations"."updated_at", "agent_conversations"."display_name",
    "agent_conversations"."title_generated_at", "agent_conversations"."title_source",
    "agent_conversations"."title_status", "agent_conversations"."title_failure", "agent_conversations"."revision",
    "agent_conversations"."title_token", "agent_conversations"."title_lease_until",
    "agent_conversations"."title_attempts", "agent_conversations"."title_hint",
    "agent_conversations"."published_revision"
    FROM "agent_conversations"
    WHERE "agent_conversations"."status" = $1 AND "agent_conversations"."tenant_id" = $2
        AND "agent_conversations"."user_id" = $3
    ORDER BY "agent_conversations"."last_message_at" DESC, "agent_conversations"."id" DESC LIMIT $4"#;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conversation {
    id: Uuid,
    topic_hint: Option<String>,
    agent_entrypoint: String,
    active_agent: String,
    status: String,
    message_count: i64,
    last_message_preview: Option<String>,
    last_message_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    display_name: Option<String>,
    title_generated_at: Option<DateTime<Utc>>,
    title_source: String,
    title_status: String,
    revision: i64,
}

/// By hand, because sqlx's derive would compile its drivers a second time for the compiler.
macro_rules! from_row {
    ($row:ty) => {
        impl FromRow<'_, $row> for Conversation {
            fn from_row(row: &$row) -> sqlx::Result<Self> {
                Ok(Self {
                    id: row.try_get("id")?,
                    topic_hint: row.try_get("topic_hint")?,
                    agent_entrypoint: row.try_get("agent_entrypoint")?,
                    active_agent: row.try_get("active_agent")?,
                    status: row.try_get("status")?,
                    message_count: row.try_get("message_count")?,
                    last_message_preview: row.try_get("last_message_preview")?,
                    last_message_at: row.try_get("last_message_at")?,
                    created_at: row.try_get("created_at")?,
                    updated_at: row.try_get("updated_at")?,
                    display_name: row.try_get("display_name")?,
                    title_generated_at: row.try_get("title_generated_at")?,
                    title_source: row.try_get("title_source")?,
                    title_status: row.try_get("title_status")?,
                    revision: row.try_get("revision")?,
                })
            }
        }
    };
}

from_row!(SqliteRow);
from_row!(PgRow);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    nodes: Vec<Conversation>,
    has_next_page: bool,
}

enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

async fn list(State(pool): State<Arc<Pool>>) -> Json<List> {
    let owner = ("active", "local", "local");
    let read = match &*pool {
        Pool::Sqlite(pool) => {
            let query = sqlx::query_as(LIST)
                .bind(owner.0)
                .bind(owner.1)
                .bind(owner.2);
            query.bind(51_i64).fetch_all(pool).await
        }
        Pool::Postgres(pool) => {
            let query = sqlx::query_as(LIST)
                .bind(owner.0)
                .bind(owner.1)
                .bind(owner.2);
            query.bind(51_i64).fetch_all(pool).await
        }
    };
    let mut nodes: Vec<Conversation> = read.expect("the database answers");
    let has_next_page = nodes.len() > 50;
    nodes.truncate(50);
    Json(List {
        nodes,
        has_next_page,
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(url)) = (arguments.next(), arguments.next()) else {
        return Err("list-route PORT DATABASE_URL".into());
    };
    let pool = if url.starts_with("sqlite:") {
        Pool::Sqlite(
            SqlitePoolOptions::new()
                .max_connections(10)
                .connect(&url)
                .await?,
        )
    } else {
        Pool::Postgres(
            PgPoolOptions::new()
                .max_connections(10)
                .connect(&url)
                .await?,
        )
    };
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    let routes = Router::new()
        .route("/list", get(list))
        .with_state(Arc::new(pool));
    axum::serve(listener, routes).await?;
    Ok(())
}
