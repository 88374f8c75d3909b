//! Thousands of generated rows of several owners, so that the databases have a choice of plans.

use migration::search_text::owner_mark;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};

/// This many conversations, every fourth of them the local owner's.
const CONVERSATIONS: usize = 40_000;

const NUMBERS: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})";

/// What makes a text as long as people's are.
const MORE: &str = " and as there is time enough we could see the gardens in the north of the city before it gets warm \
    and then have lunch by the river where it is shady and go on to the temples in the hills in the afternoon";

/// `{id}`: a new id; `{time}`: a second of its own for each `i`, months ago; `{later}`: the same in a distant year.
const TABLES: [&str; 8] = [
    "INSERT INTO agent_conversations (
         id, tenant_id, user_id, topic_hint, agent_entrypoint, active_agent, status, message_count,
         last_message_preview, last_message_at, created_at, updated_at, display_name, title_source, title_status,
         title_attempts, revision, published_revision, title_failure, title_retry_at, title_failing_since)
     {numbers}
     SELECT {id}, 'local', CASE WHEN i % 4 = 0 THEN 'local' ELSE 'user-' || (i % 50) END, CASE WHEN i % 48 = 0 THEN 'Plan it ' ELSE 'Note ' END || i,
         CASE WHEN i % 10 = 0 THEN 'researcher' ELSE 'triage' END, 'triage', 'active', 3,
         'And then', {time}, {time}, {time}, CASE WHEN i % 20 = 0 THEN NULL ELSE 'Plan ' || i END,
         CASE WHEN i % 20 = 0 THEN 'hint' ELSE 'generated' END, CASE WHEN i % 20 = 0 THEN 'failed' ELSE 'ready' END,
         1, 3, 3, CASE WHEN i % 20 = 0 THEN 'budget_exceeded' ELSE NULL END,
         CASE WHEN i % 400 = 0 THEN {later} ELSE NULL END, CASE WHEN i % 400 = 0 THEN {time} ELSE NULL END
     FROM n",
    "INSERT INTO agent_messages (id, conversation_id, position, role, content, status, created_at)
     {places}
     SELECT {id}, id, i, CASE WHEN i % 2 = 1 THEN 'user' ELSE 'assistant' END, topic_hint || ' at ' || i || '{more}', 'complete', created_at
     FROM agent_conversations, n",
    "INSERT INTO agent_turns (
         message_id, conversation_id, reply_id, tenant_id, user_id, reply_status, created_at, stop_asked)
     SELECT id, conversation_id, {id}, 'local', 'local', 'completed', created_at, FALSE
     FROM agent_messages WHERE position = 1",
    // Each word with its owner's mark; the words of all but the local owner are never looked for.
    "INSERT INTO agent_search (conversation_id, message_id, body)
     SELECT id, NULL, CASE user_id WHEN 'local' THEN '{mark}' ELSE 'xxxx' END
         || replace(lower(topic_hint), ' ', CASE user_id WHEN 'local' THEN ' {mark}' ELSE ' xxxx' END)
     FROM agent_conversations
     UNION ALL SELECT conversation_id, agent_messages.id, CASE user_id WHEN 'local' THEN '{mark}' ELSE 'xxxx' END
         || replace(lower(content), ' ', CASE user_id WHEN 'local' THEN ' {mark}' ELSE ' xxxx' END)
     FROM agent_messages JOIN agent_conversations ON agent_conversations.id = conversation_id",
    "INSERT INTO agent_title_calls (
         id, tenant_id, conversation_id, model, outcome, prompt_tokens, completion_tokens, reasoning_tokens,
         duration_ms, created_at)
     SELECT {id}, tenant_id, id, 'some', 'title', 100, 10, 0, 300, created_at FROM agent_conversations",
    "INSERT INTO agent_webhook_lanes (
         hook, conversation_id, tenant_id, user_id, next_at, attempts, failing_since, parked_at)
     SELECT CASE message_count % 2 WHEN 1 THEN 'crm' ELSE 'other' END, id, tenant_id, user_id, created_at, 1, created_at,
         CASE WHEN title_status = 'failed' THEN created_at ELSE NULL END FROM agent_conversations",
    "INSERT INTO agent_webhook_events (
         id, hook, conversation_id, tenant_id, user_id, event, revision, rank, created_at)
     SELECT {id}, hook, conversation_id, tenant_id, user_id, 'conversation.deleted', 3, 4, next_at FROM agent_webhook_lanes",
    "INSERT INTO agent_audit (id, tenant_id, actor, act, conversation_id, created_at)
     SELECT {id}, CASE user_id WHEN 'local' THEN 'local' ELSE 'other' END, user_id, 'renamed', id, created_at
     FROM agent_conversations",
];

/// Fills the tables, and lets PostgreSQL look at them.
pub async fn fill(connection: &DatabaseConnection) {
    let (id, time) = match connection.get_database_backend() {
        DbBackend::Sqlite => (
            "randomblob(16)",
            "strftime('%Y-%m-%dT%H:%M:%S+00:00', '2026-01-01', i || ' seconds')",
        ),
        _ => (
            "gen_random_uuid()",
            "timestamptz '2026-01-01' + i * interval '1 second'",
        ),
    };
    let is_server = connection.get_database_backend() != DbBackend::Sqlite;
    let collecting = async |is_on: &str| {
        let set = format!("ALTER INDEX agent_search_texts_words SET (fastupdate = {is_on})");
        connection.execute_unprepared(&set).await.unwrap();
    };
    if is_server {
        collecting("on").await;
    }
    let numbers = |count: usize| NUMBERS.replace("{count}", &count.to_string());
    for table in TABLES {
        let sql = table
            .replace("{numbers}", &numbers(CONVERSATIONS))
            .replace("{places}", &numbers(3))
            .replace("{id}", id)
            .replace("{time}", time)
            .replace("{later}", &time.replace("2026", "2096"))
            .replace("{more}", MORE)
            .replace("{mark}", &owner_mark("local", "local"));
        connection.execute_unprepared(&sql).await.unwrap();
    }
    // PostgreSQL does so by itself. Nothing does it for SQLite, which then plans by the indexes alone.
    if is_server {
        collecting("off").await;
        connection
            .execute_unprepared("VACUUM ANALYZE")
            .await
            .unwrap();
    }
}
