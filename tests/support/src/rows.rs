//! Writes and reads rows directly in the database.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, Statement, TransactionTrait, Value};
use titlecast::conversation::Owner;
use uuid::Uuid;

use super::{TestDatabase, eventually};

/// Counts the service's replies and titles in progress. External replies are excluded, because they end only when their
/// program ends them.
const UNFINISHED: &str = "
    SELECT (SELECT count(*) FROM agent_turns WHERE reply_status = 'running' AND source IS NULL)
         + (SELECT count(*) FROM agent_conversations WHERE title_token IS NOT NULL) AS unfinished";

const CENSUS: &str = "
    SELECT (SELECT count(*) FROM agent_conversations) AS conversations,
           (SELECT count(*) FROM agent_messages) AS messages,
           (SELECT count(*) FROM agent_turns) AS turns,
           (SELECT count(*) FROM agent_search) AS searched,
           (SELECT CAST(coalesce(sum(revision), 0) AS bigint) FROM agent_conversations) AS revisions";

const CONVERSATION: &str = "
    INSERT INTO agent_conversations (
        id, tenant_id, user_id, topic_hint, agent_entrypoint, active_agent, status, message_count,
        last_message_preview, last_message_at, created_at, updated_at, title_source, title_status,
        revision, published_revision
    ) VALUES ($1, $2, $3, $4, 'triage', 'triage', 'active', $5, $6, $7, $7, $7, 'hint', 'skipped', 1, 1)";

const MESSAGE: &str = "
    INSERT INTO agent_messages (id, conversation_id, position, role, content, status, created_at)
    VALUES ($1, $2, $3, $4, $5, 'complete', $6)";

impl TestDatabase {
    /// The numbers of conversations, messages, turns and indexed texts, and the sum of all revisions: a refused request
    /// must not change any of them.
    pub async fn census(&self) -> [i64; 5] {
        let connection = self.connect().await;
        let statement =
            Statement::from_string(connection.get_database_backend(), CENSUS.to_owned());
        let row = connection.query_one_raw(statement).await.unwrap().unwrap();
        let columns = [
            "conversations",
            "messages",
            "turns",
            "searched",
            "revisions",
        ];
        let census = columns.map(|column| row.try_get("", column).unwrap());
        connection.close().await.unwrap();
        census
    }

    /// The census once no reply is running and no title is in progress, because a mutation returns before the reply and
    /// title that it started have ended.
    pub async fn census_at_rest(&self) -> [i64; 5] {
        let connection = self.connect().await;
        let backend = connection.get_database_backend();
        eventually(async || {
            let statement = Statement::from_string(backend, UNFINISHED.to_owned());
            let row = connection.query_one_raw(statement).await.unwrap().unwrap();
            let unfinished: i64 = row.try_get("", "unfinished").unwrap();
            (unfinished == 0).then_some(())
        })
        .await;
        connection.close().await.unwrap();
        self.census().await
    }

    /// Stores this many conversations as if they were from before titles existed. Returns their ids, newest first.
    pub async fn seed_untitled(&self, conversations: usize) -> Vec<String> {
        let ids = self.seed(&Owner::local(), conversations, 1).await;
        let connection = self.connect().await;
        connection
            .execute_unprepared("UPDATE agent_conversations SET title_status = 'pending'")
            .await
            .unwrap();
        connection.close().await.unwrap();
        ids
    }

    /// Stores this many conversations, each with this many messages `message 1`, `message 2`, … and without turns.
    /// Pairs of conversations have the same time. Returns the ids, newest first.
    pub async fn seed(&self, owner: &Owner, conversations: usize, messages: usize) -> Vec<String> {
        let connection = self.connect().await;
        let backend = connection.get_database_backend();
        let insert =
            |sql: &str, values: Vec<Value>| Statement::from_sql_and_values(backend, sql, values);
        let tx = connection.begin().await.unwrap();
        let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut seeded = Vec::with_capacity(conversations);
        for number in 0..conversations {
            let id = Uuid::now_v7();
            let at = start + TimeDelta::seconds((number / 2) as i64);
            let values = vec![
                id.into(),
                owner.tenant.as_str().into(),
                owner.user.as_str().into(),
                format!("conversation {number}").into(),
                (messages as i64).into(),
                format!("message {messages}").into(),
                at.into(),
            ];
            tx.execute_raw(insert(CONVERSATION, values)).await.unwrap();
            for position in 1..=messages {
                let values = vec![
                    Uuid::now_v7().into(),
                    id.into(),
                    (position as i64).into(),
                    ["assistant", "user"][position % 2].into(),
                    format!("message {position}").into(),
                    at.into(),
                ];
                tx.execute_raw(insert(MESSAGE, values)).await.unwrap();
            }
            seeded.push((at, id));
        }
        tx.commit().await.unwrap();
        connection.close().await.unwrap();
        seeded.sort_by(|a, b| b.cmp(a));
        seeded.into_iter().map(|(_, id)| id.to_string()).collect()
    }
}
