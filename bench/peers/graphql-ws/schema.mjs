// What is served on Node and on Bun.
import { createPubSub } from '@graphql-yoga/subscription'
import { buildSchema } from 'graphql'

const pubSub = createPubSub()

export const schema = buildSchema(/* GraphQL */ `
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

export const rootValue = {
  renameConversation: ({ input }) => {
    const conversation = { id: input.id, title: input.displayName, revision: 1 }
    pubSub.publish('conversation', input.id, { conversationUpdated: conversation })
    return { conversation }
  },
}

export const roots = {
  subscription: {
    conversationUpdated: ({ id }) => pubSub.subscribe('conversation', id),
  },
}
