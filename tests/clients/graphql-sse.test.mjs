// npm graphql-sse: distinct connections mode.

import { createClient } from "graphql-sse";

import { contract, READ, SEND, WATCH } from "./contract.mjs";
import { Streams } from "./support.mjs";

contract("graphql-sse", Streams, (wire, server) => {
  const client = createClient({ url: wire.url, retry: () => server.ready() });
  const ask = async (query, variables) => {
    for await (const { data, errors } of client.iterate({ query, variables })) {
      if (errors) throw new AggregateError(errors);
      return data;
    }
  };
  return {
    watch: (id, sink) =>
      client.subscribe(
        { query: WATCH, variables: { id } },
        { ...sink, next: ({ data }) => sink.next(data.conversationUpdated) },
      ),
    send: async (text) => (await ask(SEND, { input: { text } })).sendMessage.conversation,
    read: async (id) => (await ask(READ, { id })).conversation,
    close: () => client.dispose(),
  };
});
