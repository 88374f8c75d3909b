-- Conversations of the OpenAI Agents SaaS starter's tables in PostgreSQL as lines for `titlecast import`:
--
--     psql -At -v FETCH_COUNT=1000 -f agents-saas.sql "$OLD_DATABASE_URL"
--
-- A tenant is its id; a user is `user:` and its id, as the starter's tokens call it. Left out are conversations whose user
-- was deleted, calls of tools, and messages without a text. A title without `title_generated_at` was given by a person.
SELECT jsonb_build_object(
    'id', conversation.id,
    'tenant', conversation.tenant_id,
    'user', 'user:' || conversation.user_id,
    'title', conversation.display_name,
    'title_source', CASE WHEN conversation.title_generated_at IS NULL THEN 'manual' ELSE 'generated' END,
    'agent', conversation.agent_entrypoint,
    'created_at', conversation.created_at,
    'messages', said.messages
)::text
FROM agent_conversations AS conversation
CROSS JOIN LATERAL (
    SELECT jsonb_agg(
        jsonb_build_object('role', message.role, 'content', item.body, 'created_at', message.created_at)
        ORDER BY message.position
    ) AS messages
    FROM agent_messages AS message
    CROSS JOIN LATERAL (
        SELECT CASE jsonb_typeof(message.content)
            WHEN 'string' THEN message.content #>> '{}'
            ELSE message.content ->> 'text'
        END AS body
    ) AS item
    WHERE message.conversation_id = conversation.id
        AND message.role IN ('user', 'assistant')
        AND item.body ~ '\S'
) AS said
WHERE said.messages IS NOT NULL AND conversation.user_id IS NOT NULL
ORDER BY conversation.created_at;
