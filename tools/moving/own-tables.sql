-- Conversations of two tables in PostgreSQL as lines for `titlecast import`:
--
--     psql -At -v FETCH_COUNT=1000 -f own-tables.sql "$OLD_DATABASE_URL"
--
-- Put your names in. Times have to be of the type timestamptz; write `created_at AT TIME ZONE 'UTC'` for a timestamp.
SELECT jsonb_build_object(
    'id', chat.id,
    'user', chat.user_id,
    'title', left(chat.title, 128),
    'title_source', CASE WHEN chat.was_renamed THEN 'manual' ELSE 'generated' END,
    'created_at', chat.created_at,
    'messages', said.messages
)::text
FROM chats AS chat
CROSS JOIN LATERAL (
    SELECT jsonb_agg(
        jsonb_build_object('role', message.role, 'content', message.body, 'created_at', message.created_at)
        ORDER BY message.created_at, message.id
    ) AS messages
    FROM chat_messages AS message
    WHERE message.chat_id = chat.id AND message.role IN ('user', 'assistant') AND message.body ~ '\S'
) AS said
WHERE said.messages IS NOT NULL
ORDER BY chat.created_at;
