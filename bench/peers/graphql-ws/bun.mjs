// The same with Bun's own server and WebSockets.
import { createHandler } from 'graphql-http/lib/use/fetch'
import { handleProtocols, makeHandler } from 'graphql-ws/use/bun'
import { rootValue, roots, schema } from './schema.mjs'

const handler = createHandler({ schema, rootValue })

Bun.serve({
  fetch(request, server) {
    if (request.headers.get('upgrade') !== 'websocket') {
      return handler(request)
    }
    if (!handleProtocols(request.headers.get('sec-websocket-protocol') || '')) {
      return new Response('Bad Request', { status: 404 })
    }
    if (!server.upgrade(request)) {
      return new Response('Internal Server Error', { status: 500 })
    }
    return new Response()
  },
  websocket: makeHandler({ schema, roots }),
  port: Number(process.argv[2]),
  hostname: '127.0.0.1',
})
