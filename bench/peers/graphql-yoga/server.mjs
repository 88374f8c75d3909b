// Subscriptions over server-sent events with graphql-yoga on Node.
import { createServer } from 'node:http'
import { createYoga } from 'graphql-yoga'
import { schema } from './schema.mjs'

createServer(createYoga({ schema, logging: 'warn' })).listen(Number(process.argv[2]), '127.0.0.1')
