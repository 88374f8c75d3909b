// What is served on Node and on Bun, with graphql-yoga's own publish and subscribe.
import { createPubSub, createSchema } from 'graphql-yoga'

const pubSub = createPubSub()

export const schema = createSchema({
  typeDefs: /* GraphQL */ `
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
  `,
  resolvers: {
    Query: { version: () => 1 },
    Mutation: {
      renameConversation: (_, { input }) => {
        const conversation = { id: input.id, title: input.displayName, revision: 1 }
        pubSub.publish('conversation', input.id, conversation)
        return { conversation }
      },
    },
    Subscription: {
      conversationUpdated: {
        subscribe: (_, { id }) => pubSub.subscribe('conversation', id),
        resolve: (conversation) => conversation,
      },
    },
  },
})
