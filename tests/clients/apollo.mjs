// What an Apollo client does, whatever its links.

import { gql } from "@apollo/client";

import { READ, SEND, WATCH } from "./contract.mjs";

export function apollo(client, close = () => {}) {
  return {
    watch(id, sink) {
      const subscription = client.subscribe({ query: gql(WATCH), variables: { id } }).subscribe({
        ...sink,
        next: ({ data, error }) => (error ? sink.error(error) : sink.next(data.conversationUpdated)),
      });
      return () => subscription.unsubscribe();
    },
    async send(text) {
      const { data } = await client.mutate({ mutation: gql(SEND), variables: { input: { text } } });
      return data.sendMessage.conversation;
    },
    async read(id) {
      const fetchPolicy = "network-only";
      const { data } = await client.query({ query: gql(READ), variables: { id }, fetchPolicy });
      return data.conversation;
    },
    async close() {
      client.stop();
      await close();
    },
  };
}
