//! The statements of a first message, as PostgreSQL's statement log shows them for the service, and as
//! `tests/it/statements.rs` and ARCHITECTURE.md list them. Three transactions:
//!
//! 1. The message: insert the conversation with the claim of its title, the message, the turn, and both rows of the
//!    search index.
//! 2. The reply: update the conversation and the turn; insert the message, its index row, and the call's cost, because
//!    the model reports token counts.
//! 3. The title: insert the call's cost, update the conversation if the claim still holds, and update its index row.
//!
//! Parameters that are always NULL are written as literals. Work that the service does for many messages at once,
//! recording published revisions and renewing leases, is not included.

/// Adds the clause that returns the row, like the service's statements.
macro_rules! returning_conversation {
    ($statement:literal) => {
        concat!(
            $statement,
            " RETURNING id, tenant_id, user_id, topic_hint, agent_entrypoint, active_agent, status, message_count,
              last_message_preview, last_message_at, created_at, updated_at, display_name, title_generated_at,
              title_source, title_status, title_failure, revision, title_token, title_lease_until, title_attempts,
              title_hint, published_revision, title_retry_at, title_tries, title_failing_since, title_from,
              previous_title, previous_title_source, title_locked, title_refreshes, title_refreshed_at, external_id"
        )
    };
}

// The message is accepted. The title's claim is part of the insert of the conversation.

pub const INSERT_CONVERSATION: &str = returning_conversation!(
    "INSERT INTO agent_conversations (id, tenant_id, user_id, topic_hint, agent_entrypoint, active_agent, status,
     message_count, last_message_preview, last_message_at, created_at, updated_at, display_name, title_generated_at,
     title_source, title_status, title_failure, revision, title_token, title_lease_until, title_attempts, title_hint,
     published_revision, title_retry_at, title_tries, title_failing_since, title_from, previous_title,
     previous_title_source, title_locked, title_refreshes, title_refreshed_at, external_id)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, NULL, NULL, $13, $14, NULL, $15, $16, $17, $18, NULL,
     $19, NULL, 0, NULL, NULL, NULL, NULL, FALSE, 0, NULL, NULL)"
);

pub const INSERT_MESSAGE: &str = "INSERT INTO agent_messages
     (id, conversation_id, position, role, content, status, created_at, attachments, in_reply_to, outcome, model,
     external_id)
     VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, NULL, NULL, NULL, NULL)
     RETURNING id, conversation_id, position, role, content, status, created_at, attachments, in_reply_to, outcome,
     model, external_id";

pub const INSERT_TURN: &str = "INSERT INTO agent_turns
     (message_id, conversation_id, reply_id, tenant_id, user_id, idempotency_key, request_hash, reply_status,
     reply_failure, created_at, run_node, run_lease_until, run_text, stop_asked, in_reply_to, run_parts)
     VALUES ($1, $2, $3, $4, $5, NULL, NULL, $6, NULL, $7, $8, $9, NULL, $10, NULL, NULL)";

pub const INDEX_MESSAGE_AND_TITLE: &str =
    "INSERT INTO agent_search (conversation_id, message_id, body)
     VALUES ($1, $2, $3), ($4, $5, $6)";

// The reply is stored.

pub const COUNT_REPLY: &str = returning_conversation!(
    "UPDATE agent_conversations SET revision = revision + $1, updated_at = $2, message_count = message_count + $3,
     last_message_preview = $4, last_message_at = $5
     WHERE id = $6 AND tenant_id = $7 AND user_id = $8 AND status = $9"
);

pub const END_TURN: &str =
    "UPDATE agent_turns SET reply_status = $1, reply_failure = NULL, run_text = NULL, run_parts = NULL
     WHERE message_id = $2 AND reply_status = $3";

pub const INSERT_REPLY: &str = "INSERT INTO agent_messages
     (id, conversation_id, position, role, content, status, created_at, attachments, in_reply_to, outcome, model,
     external_id)
     VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, $8, $9, $10, NULL)";

pub const INDEX_REPLY: &str =
    "INSERT INTO agent_search (conversation_id, message_id, body) VALUES ($1, $2, $3)";

pub const INSERT_REPLY_CALL: &str = "INSERT INTO agent_reply_calls
     (id, tenant_id, conversation_id, agent, model, prompt_tokens, completion_tokens, reasoning_tokens, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

// The title is stored, if the claim still holds.

pub const INSERT_TITLE_CALL: &str = "INSERT INTO agent_title_calls
     (id, tenant_id, conversation_id, model, outcome, prompt_tokens, completion_tokens, reasoning_tokens, duration_ms,
     created_at, agent)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

pub const STORE_TITLE: &str = returning_conversation!(
    "UPDATE agent_conversations SET revision = revision + $1, updated_at = $2, title_token = NULL,
     title_lease_until = NULL, title_retry_at = NULL, title_tries = 0, title_failing_since = NULL, title_hint = NULL,
     title_from = NULL, display_name = $3, title_source = $4, title_status = $5,
     title_failure = NULL, title_generated_at = $6
     WHERE id = $7 AND tenant_id = $8 AND user_id = $9 AND status = $10 AND title_token = $11
     AND display_name IS NULL"
);

pub const INDEX_TITLE: &str =
    "UPDATE agent_search SET body = $1 WHERE conversation_id = $2 AND message_id IS NULL";

pub const RENAME: &str = returning_conversation!(
    "UPDATE agent_conversations SET revision = revision + $1, updated_at = $2, title_token = NULL,
     title_lease_until = NULL, title_retry_at = NULL, title_tries = 0, title_failing_since = NULL, title_hint = NULL,
     title_from = NULL, display_name = $3, title_source = $4, title_status = $5, title_failure = NULL,
     previous_title = NULL, previous_title_source = NULL, title_locked = TRUE
     WHERE id = $6 AND tenant_id = $7 AND user_id = $8 AND status = $9"
);

// Additional statements for a later message, which reads the preceding messages and is counted and indexed like a
// reply.

pub const HISTORY: &str = "SELECT id, conversation_id, position, role, content, status, created_at, attachments,
     in_reply_to, outcome, model, external_id, author
     FROM agent_messages
     WHERE EXISTS (SELECT 1 FROM agent_conversations WHERE status = $1 AND tenant_id = $2 AND user_id = $3
                   AND agent_conversations.id = agent_messages.conversation_id)
     AND conversation_id = $4 AND position < $5 ORDER BY position DESC LIMIT $6";
