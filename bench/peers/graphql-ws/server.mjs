// Subscriptions over WebSocket with graphql-ws and ws; publishing goes through graphql-http, which it recommends.
import { createServer } from 'node:http'
import { createPubSub } from '@graphql-yoga/subscription'
import { buildSchema } from 'graphql'
import { createHandler } from 'graphql-http/lib/use/http'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'

const pubSub = createPubSub()

const schema = buildSchema(/* GraphQL */ `
  type Conversation {
    id: ID!
    title: String!
    revision: Int!
  }
  input RenameConversationInput {
    id: ID!
    displayName: String!
  }
  type RenameConversationPayload {
    conversation: Conversation!
  }
  type Query {
    version: Int!
  }
  type Mutation {
    renameConversation(input: RenameConversationInput!): RenameConversationPayload!
  }
  type Subscription {
    conversationUpdated(id: ID!): Conversation!
  }
`)

const rootValue = {
  renameConversation: ({ input }) => {
    const conversation = { id: input.id, title: input.displayName, revision: 1 }
    pubSub.publish('conversation', input.id, { conversationUpdated: conversation })
    return { conversation }
  },
}

const roots = {
  subscription: {
    conversationUpdated: ({ id }) => pubSub.subscribe('conversation', id),
  },
}

const handler = createHandler({ schema, rootValue })
const server = createServer((request, response) => handler(request, response))
useServer({ schema, roots }, new WebSocketServer({ server, path: '/graphql' }))
server.listen(Number(process.argv[2]), '127.0.0.1')
