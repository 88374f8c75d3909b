// Subscriptions over WebSocket with graphql-ws and ws; publishing goes through graphql-http, which it recommends.
import { createServer } from 'node:http'
import { createHandler } from 'graphql-http/lib/use/http'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'
import { rootValue, roots, schema } from './schema.mjs'

const handler = createHandler({ schema, rootValue })
const server = createServer((request, response) => handler(request, response))
useServer({ schema, roots }, new WebSocketServer({ server, path: '/graphql' }))
server.listen(Number(process.argv[2]), '127.0.0.1')
