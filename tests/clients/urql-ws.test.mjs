// npm @urql/core: subscriptionExchange over graphql-ws, the rest by fetchExchange.

import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { createClient } from "graphql-ws";

import { contract } from "./contract.mjs";
import { Sockets } from "./support.mjs";
import { urql } from "./urql.mjs";

contract("urql, subscriptionExchange", Sockets, (wire, server) => {
  const socket = createClient({
    url: wire.url,
    webSocketImpl: wire.WebSocket,
    retryWait: () => server.ready(),
    shouldRetry: () => true,
  });
  const subscriptions = subscriptionExchange({
    forwardSubscription: (request) => ({
      subscribe: (sink) => ({ unsubscribe: socket.subscribe(request, sink) }),
    }),
  });
  const exchanges = [fetchExchange, subscriptions];
  return urql(new Client({ url: server.url, exchanges }), () => socket.dispose());
});
