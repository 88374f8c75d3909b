//! Reads stored rows with plain SQL.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, ExecResult, QueryResult, Statement, Value};
use uuid::Uuid;

use super::{TestDatabase, eventually};

/// A conversation's title columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTitle {
    pub display_name: Option<String>,
    pub title_generated_at: Option<DateTime<Utc>>,
    pub title_source: String,
    pub title_status: String,
    pub title_failure: Option<String>,
    pub topic_hint: Option<String>,
    pub revision: i64,
}

/// One message: role, status and content.
pub type StoredMessage = (String, String, String);

/// Direct access to the rows, bypassing the service.
pub struct Rows(pub DatabaseConnection);

impl Rows {
    pub async fn of(database: &TestDatabase) -> Self {
        Self(database.connect().await)
    }

    /// The rows of a query. Parameters are written as `$1` on both databases.
    pub async fn all(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Vec<QueryResult> {
        let statement = Statement::from_sql_and_values(self.0.get_database_backend(), sql, values);
        self.0.query_all_raw(statement).await.unwrap()
    }

    /// Runs a statement. Parameters are written as `$1` on both databases.
    pub async fn run(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<ExecResult, sea_orm::DbErr> {
        let statement = Statement::from_sql_and_values(self.0.get_database_backend(), sql, values);
        self.0.execute_raw(statement).await
    }

    /// The number of rows in a table.
    pub async fn count(&self, table: &str) -> i64 {
        let rows = self
            .all(&format!("SELECT count(*) AS n FROM {table}"), [])
            .await;
        rows[0].try_get("", "n").unwrap()
    }

    pub async fn title(&self, conversation: &str) -> StoredTitle {
        const SQL: &str = "SELECT display_name, title_generated_at, title_source, title_status, \
            title_failure, topic_hint, revision FROM agent_conversations WHERE id = $1";
        let rows = self.all(SQL, [id(conversation)]).await;
        let [row] = rows.as_slice() else {
            panic!("{} conversations {conversation}", rows.len());
        };
        StoredTitle {
            display_name: row.try_get("", "display_name").unwrap(),
            title_generated_at: row.try_get("", "title_generated_at").unwrap(),
            title_source: row.try_get("", "title_source").unwrap(),
            title_status: row.try_get("", "title_status").unwrap(),
            title_failure: row.try_get("", "title_failure").unwrap(),
            topic_hint: row.try_get("", "topic_hint").unwrap(),
            revision: row.try_get("", "revision").unwrap(),
        }
    }

    /// The title columns once the title is no longer pending.
    pub async fn decided_title(&self, conversation: &str) -> StoredTitle {
        eventually(async || {
            let title = self.title(conversation).await;
            (title.title_status != "pending").then_some(title)
        })
        .await
    }

    /// The messages of a conversation, in order.
    pub async fn messages(&self, conversation: &str) -> Vec<StoredMessage> {
        const SQL: &str = "SELECT role, status, content FROM agent_messages \
            WHERE conversation_id = $1 ORDER BY position";
        let rows = self.all(SQL, [id(conversation)]).await;
        let text = |row: &QueryResult, column: &str| row.try_get("", column).unwrap();
        rows.iter()
            .map(|row| (text(row, "role"), text(row, "status"), text(row, "content")))
            .collect()
    }

    /// The current replies of a conversation that do not count as messages.
    pub async fn uncounted(&self, conversation: &str) -> Vec<StoredMessage> {
        const SQL: &str = "SELECT role, status, content FROM agent_message_versions \
            WHERE conversation_id = $1 AND replaced_at IS NULL ORDER BY position";
        let rows = self.all(SQL, [id(conversation)]).await;
        let text = |row: &QueryResult, column: &str| row.try_get("", column).unwrap();
        rows.iter()
            .map(|row| (text(row, "role"), text(row, "status"), text(row, "content")))
            .collect()
    }

    /// How the newest turn of a conversation ended: its state, and the code if it failed.
    pub async fn last_turn(&self, conversation: &str) -> (String, Option<String>) {
        const SQL: &str = "SELECT reply_status, reply_failure FROM agent_turns \
            WHERE conversation_id = $1 ORDER BY created_at DESC, message_id DESC LIMIT 1";
        let rows = self.all(SQL, [id(conversation)]).await;
        let status = rows[0].try_get("", "reply_status").unwrap();
        (status, rows[0].try_get("", "reply_failure").unwrap())
    }
}

/// An id as it is stored.
pub fn id(text: &str) -> Value {
    text.parse::<Uuid>().unwrap().into()
}
