// npm graphql-ws: subprotocol graphql-transport-ws.

import { createClient } from "graphql-ws";

import { contract, READ, SEND, WATCH } from "./contract.mjs";
import { Sockets } from "./support.mjs";

contract("graphql-ws", Sockets, (wire, server) => {
  const client = createClient({
    url: wire.url,
    webSocketImpl: wire.WebSocket,
    // The recipe "retry on any connection problem", with the server's health in place of a pause.
    retryWait: () => server.ready(),
    shouldRetry: () => true,
  });
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
