// The same with Bun's own server.
import { createYoga } from 'graphql-yoga'
import { schema } from './schema.mjs'

Bun.serve({
  fetch: createYoga({ schema, logging: 'warn' }),
  port: Number(process.argv[2]),
  hostname: '127.0.0.1',
  // Otherwise it ends streams that are idle for 10 seconds, and yoga's own pings come every 12.
  idleTimeout: 0,
})
