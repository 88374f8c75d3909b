// A chat route with the AI SDK, as its documentation has it ("Chatbot Message Persistence"), on Node's own server: the
// newest message is sent, the history is read from PostgreSQL, and both messages are stored there. The title is a second
// call, made beside the reply. It believes the header that names the user.
import { createServer } from 'node:http'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { convertToModelMessages, generateId, generateText, streamText } from 'ai'
import pg from 'pg'

const [port, database, baseURL] = process.argv.slice(2)
const pool = new pg.Pool({ connectionString: database, max: 8 })
const model = createOpenAICompatible({ name: 'bench', baseURL, includeUsage: true })('gpt-6-luna')

await pool.query(`
  CREATE TABLE chats (id uuid PRIMARY KEY, user_id text NOT NULL, title text, message_count int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
  CREATE INDEX ON chats (user_id, updated_at DESC);
  CREATE TABLE messages (id text PRIMARY KEY, chat_id uuid NOT NULL REFERENCES chats, position int NOT NULL,
    role text NOT NULL, parts jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
  CREATE UNIQUE INDEX ON messages (chat_id, position)`)

// Stores a message behind the others; how many there are with it.
async function store(chat, user, message) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const { rows } = await client.query(
      `INSERT INTO chats (id, user_id, message_count) VALUES ($1, $2, 1)
       ON CONFLICT (id) DO UPDATE SET message_count = chats.message_count + 1, updated_at = now()
       WHERE chats.user_id = $2 RETURNING message_count`,
      [chat, user],
    )
    if (rows.length === 0) throw new Error('no such chat')
    await client.query('INSERT INTO messages (id, chat_id, position, role, parts) VALUES ($1, $2, $3, $4, $5)', [
      message.id, chat, rows[0].message_count, message.role, JSON.stringify(message.parts),
    ])
    await client.query('COMMIT')
    return rows[0].message_count
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  } finally {
    client.release()
  }
}

async function load(chat) {
  const { rows } = await pool.query('SELECT id, role, parts FROM messages WHERE chat_id = $1 ORDER BY position', [chat])
  return rows
}

async function title(chat, message) {
  const { text } = await generateText({
    model,
    system: 'Write a title of 2 to 6 words for the conversation that this message begins, in its language.',
    prompt: `<message>\n${message.parts.map((part) => part.text).join('')}\n</message>`,
  })
  await pool.query('UPDATE chats SET title = $2 WHERE id = $1', [chat, JSON.parse(text).title])
}

async function chat(request, response) {
  const user = request.headers['x-user']
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const { id, message } = JSON.parse(Buffer.concat(chunks).toString())
  const count = await store(id, user, message)
  const messages = count === 1 ? [message] : await load(id)
  if (count === 1) title(id, message).catch((error) => console.error('title', error))
  const result = streamText({
    model,
    system: 'You are a helpful assistant. Answer briefly.',
    messages: await convertToModelMessages(messages),
  })
  result.consumeStream() // a reader that leaves does not end the reply
  result.pipeUIMessageStreamToResponse(response, {
    originalMessages: messages,
    generateMessageId: generateId,
    onFinish: ({ responseMessage }) => store(id, user, responseMessage),
  })
}

async function chats(request, response) {
  const { rows } = await pool.query(
    `SELECT id, title AS "displayName", message_count AS "messageCount", updated_at AS "updatedAt"
     FROM chats WHERE user_id = $1 ORDER BY updated_at DESC LIMIT 50`,
    [request.headers['x-user']],
  )
  const body = JSON.stringify(rows)
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
}

const server = createServer((request, response) => {
  const route = { 'POST /api/chat': chat, 'GET /api/chats': chats }[`${request.method} ${request.url}`]
  const answer = route ? route(request, response) : response.writeHead(404).end()
  Promise.resolve(answer).catch((error) => {
    console.error(error)
    response.headersSent ? response.destroy() : response.writeHead(500, { 'content-length': 0 }).end()
  })
})
server.keepAliveTimeout = 120_000
server.listen(Number(port), '127.0.0.1')
