// npm subscriptions-transport-ws: the older subprotocol, graphql-ws.

import assert from "node:assert/strict";
import { test } from "node:test";

import { SubscriptionClient } from "subscriptions-transport-ws";

import { contract, READ, SEND, WATCH } from "./contract.mjs";
import { Server, Sockets } from "./support.mjs";

const connect = (wire) => new SubscriptionClient(wire.url, { reconnect: true }, wire.WebSocket);

contract("subscriptions-transport-ws", Sockets, (wire) => {
  const client = connect(wire);
  const ask = (query, variables) =>
    new Promise((resolve, reject) =>
      client.request({ query, variables }).subscribe({
        next: ({ data, errors }) => (errors ? reject(new AggregateError(errors)) : resolve(data)),
        error: reject,
      }),
    );
  return {
    watch: (id, sink) =>
      client.request({ query: WATCH, variables: { id } }).subscribe({
        ...sink,
        next: ({ data }) => sink.next(data.conversationUpdated),
      }).unsubscribe,
    send: async (text) => (await ask(SEND, { input: { text } })).sendMessage.conversation,
    read: async (id) => (await ask(READ, { id })).conversation,
    close: () => client.close(),
  };
});

test("subscriptions-transport-ws is kept alive", async () => {
  // After a first `ka` the client reconnects whenever 30 seconds bring no other.
  const server = await Server.start();
  const wire = await Sockets.start(server);
  const client = connect(wire);
  try {
    const isKeepAlive = ({ type }) => type === "ka";
    await wire.received.until(isKeepAlive, "first keep-alive");
    await wire.received.until(isKeepAlive, "second keep-alive", 25_000);
    assert.deepEqual(wire.closed.values, []);
  } finally {
    client.close();
    await server.end();
  }
});
