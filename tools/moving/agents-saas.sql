-- Conversations of the OpenAI Agents SaaS starter's tables in PostgreSQL as lines for `titlecast import`:
--
--     psql -At -v FETCH_COUNT=1000 -f agents-saas.sql "$OLD_DATABASE_URL"
--
-- A tenant is its id; a user is `user:` and its id, as the starter's tokens call it. A conversation keeps the id that its
-- clients know, its key. The text of a message is its content, the content's `text` or `content`, or all texts of an array
-- of parts. Left out are conversations whose user was deleted, calls of tools, and messages without a text and files. A
-- title without `title_generated_at` was given by a person.
--
-- Newer versions keep messages that a user deleted, in `conversation_ledger_segments`. To leave them out, add behind
-- `AND message.role IN (…)`:
--
--     AND NOT EXISTS (
--         SELECT FROM conversation_ledger_segments AS segment
--         WHERE segment.id = message.segment_id AND segment.truncated_at IS NOT NULL
--             AND message.position > coalesce(segment.visible_through_message_position, -1)
--     )
SELECT jsonb_build_object(
    'id', conversation.conversation_key,
    'tenant', conversation.tenant_id,
    'user', 'user:' || conversation.user_id,
    'title', conversation.display_name,
    'title_source', CASE WHEN conversation.title_generated_at IS NULL THEN 'manual' ELSE 'generated' END,
    'topic_hint', conversation.topic_hint,
    'agent', conversation.agent_entrypoint,
    'created_at', conversation.created_at,
    'messages', said.messages
)::text
FROM agent_conversations AS conversation
CROSS JOIN LATERAL (
    SELECT jsonb_agg(
        jsonb_build_object(
            'role', message.role,
            'content', coalesce(item.body, ''),
            'created_at', message.created_at,
            'attachments', files.named
        )
        ORDER BY message.position
    ) AS messages
    FROM agent_messages AS message
    CROSS JOIN LATERAL (
        SELECT CASE jsonb_typeof(message.content)
            WHEN 'object' THEN coalesce(nullif(message.content -> 'text', 'null'), message.content -> 'content')
            ELSE message.content
        END AS content
    ) AS stored
    CROSS JOIN LATERAL (
        SELECT CASE jsonb_typeof(stored.content)
            WHEN 'string' THEN stored.content #>> '{}'
            WHEN 'array' THEN (
                SELECT string_agg(coalesce(part.value ->> 'text', part.value #>> '{}'), '' ORDER BY part.number)
                FROM jsonb_array_elements(stored.content) WITH ORDINALITY AS part (value, number)
                WHERE jsonb_typeof(part.value) = 'string' OR part.value ->> 'text' IS NOT NULL
            )
        END AS body
    ) AS item
    -- Older versions have no such column.
    CROSS JOIN LATERAL (
        SELECT to_jsonb(message) -> 'attachments' AS list
    ) AS attached
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(
            jsonb_build_object(
                'name', left(file.value ->> 'filename', 255),
                'media_type', substring(file.value ->> 'mime_type' FROM '^[!-.0-~]+/[!-~]+$')
            )
            ORDER BY file.number
        ) AS named
        FROM jsonb_array_elements(CASE jsonb_typeof(attached.list) WHEN 'array' THEN attached.list ELSE '[]' END)
            WITH ORDINALITY AS file (value, number)
        WHERE file.value ->> 'filename' ~ '\S' AND file.number <= 20
    ) AS files
    WHERE message.conversation_id = conversation.id
        AND message.role IN ('user', 'assistant')
        AND (item.body ~ '\S' OR files.named IS NOT NULL)
) AS said
WHERE said.messages IS NOT NULL AND conversation.user_id IS NOT NULL
ORDER BY conversation.created_at;
